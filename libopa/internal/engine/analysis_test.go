package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

func analysed(t *testing.T, vouched ast.Ref, modules ...string) *analysis {
	t.Helper()
	named := map[string]string{}
	for number, text := range modules {
		named[fmt.Sprintf("%d.rego", number)] = text
	}
	compiler, err := ast.CompileModules(named)
	must(t, err)
	return analyse(compiler, vouched)
}

func TestAnalysisKnowsWhatPolicyMentionsOfTheInput(t *testing.T) {
	for text, wanted := range map[string]string{
		`x := 1`:                              `{}`,
		`x := input.a.b`:                      `{"a":{"b":true}}`,
		`x := [input.a.b, input.a.c]`:         `{"a":{"b":true,"c":true}}`,
		`x := [input.a.b, input.a]`:           `{"a":true}`,
		`x := [input.a, input.a.b]`:           `{"a":true}`,
		`x := input`:                          `true`,
		`x := count(input)`:                   `true`,
		`x := input[_]`:                       `true`,
		`x contains input[data.k].b`:          `true`,
		`x := input.a[_].b`:                   `{"a":true}`,
		`x := input.a[0].b`:                   `{"a":true}`,
		`x := input["a b"]["\"\\é"]`:          `{"a b":{"\"\\é":true}}`,
		`x := {v | v := input.a.b}`:           `{"a":{"b":true}}`,
		`x if every v in input.a { v }`:       `{"a":true}`,
		`x if not input.a.b`:                  `{"a":{"b":true}}`,
		`x if data.y with input.a.b as 2`:     `{"a":{"b":true}}`,
		`x if data.y with input as 2`:         `true`,
		`x[input.a] := input.b`:               `{"a":true,"b":true}`,
		"x := 1 if data.y\n\nelse := input.a": `{"a":true}`,
		"import input.a.b as c\n\nx := c.d":   `{"a":{"b":{"d":true}}}`,
	} {
		found := analysed(t, nil, "package p\n\n"+text).mentioned
		if shown := shownMentioned(t, found); shown != wanted {
			t.Errorf("%s\nfound  %s\nwanted %s", text, shown, wanted)
		}
	}
}

func shownMentioned(t *testing.T, part *mentioned) string {
	t.Helper()
	var plain func(*mentioned) any
	plain = func(part *mentioned) any {
		if part.whole {
			return true
		}
		keys := map[string]any{}
		for key, below := range part.keys {
			keys[key] = plain(below)
		}
		return keys
	}
	encoded, err := json.Marshal(plain(part))
	must(t, err)
	return string(encoded)
}

func TestAnalysisKnowsWhichDocumentsNoInputCanChange(t *testing.T) {
	found := analysed(t, ast.MustParseRef("data.p.vouched"), `package p

alone := 1

default defaulted := 2

defaulted := data.org.x

contains_data contains x if some x in data.org.xs

by_rule := alone + data.org.x

by_function := twice(data.org.x)

by_else := 1 if data.org.x

else := 2 if data.org.y

mapped[key] := value if some key, value in data.org.xs

nested.a.b := 1

nested.a.c := data.org.x

with_data := x if x := by_rule with data.org.x as 7

vouched := true

twice(x) := x * 2
`, `package varying

import data.p

input_itself := input

by_rule := [p.alone, input_itself]

by_other if not by_rule

by_every if every x in data.org.xs { x == input.x }

by_comprehension := [x | some x in data.org.xs; x == input.x]

by_function := added(1)

by_package := data.varying.below

by_some_rule := data.p[_] if input.x

by_dynamic_rule := data[name].by_rule if some name in ["p", "varying"]

by_else := 1 if data.org.x

else := input.x

partly := 1 if data.org.x

partly := 2 if input.x

default defaulted := 2

defaulted := input.x

with_input := x if x := p.alone with input.x as 1

vouched_for := p.vouched

dice := rand.intn("x", 6)

by_clock := time.now_ns()

by_mock := x if x := p.by_rule with lower as net.lookup_ip_addr

certificates := crypto.x509.parse_and_verify_certificates(data.org.certificates)

nested.a := 1

nested[key] := input.x if some key in ["b"]

added(x) := input.x + x
`, `package varying.below

x := input.x

constant := 1
`)
	var names []string
	for known := range maps.Values(found.constants) {
		for _, one := range known {
			names = append(names, one.ref.String())
		}
	}
	slices.Sort(names)
	mustEqual(t, names, []string{
		"data.p.alone", "data.p.by_else", "data.p.by_function", "data.p.by_rule", "data.p.contains_data", "data.p.defaulted",
		"data.p.mapped", "data.p.nested.a.b", "data.p.nested.a.c", "data.p.with_data", "data.varying.below.constant",
	})
}

// Whatever way policy takes to a part of the input, it finds there what OPA finds in the whole input.
func TestDecideFindsInTheInputWhatOPAFinds(t *testing.T) {
	inputs := []string{
		`{}`, `null`, `7`, `[{"b": 1}]`, `{"a": null}`, `{"a": {"b": 1, "c": [1, {"b": 2}]}, "b": {"a": {"b": 3}}, "k": "a"}`,
		`{"a": [{"b": 1}, {"b": 2}], "k": 0, "a b": {"c": {"d": "x"}}}`, `{"\u0061": {"b": 1}, "k": "a", "x": {"a": {"b": 4}}}`,
		`{"a": {"b": {"c": {"b": 5}}}, "k": "b"}`,
	}
	bodies := map[string]string{
		"whole":         `input`,
		"direct":        `input.a.b`,
		"two":           `[object.get(input.a, "b", 0), object.get(input, "k", 0)]`,
		"get":           `object.get(input, ["a", "b"], "none")`,
		"some_key":      `{key: value | some key; value := input[key].b}`,
		"some_value":    `[value | some value in input]`,
		"element":       `[input.a[i].b | some i]`,
		"quoted":        `input["a b"].c.d`,
		"dynamic":       `input[input.k]`,
		"dynamic_below": `input.a[input.k]`,
		"walked":        `[path | walk(input.a, [path, _])]`,
		"keys":          `object.keys(input.a)`,
		"counted":       `count(input)`,
		"negated":       `[1 | not input.a.b]`,
		"with_below":    `data.flowyml.ways.direct with input.a.b as 9`,
		"with_above":    `data.flowyml.ways.direct with input.a as {"b": 8}`,
		"with_whole":    `data.flowyml.ways.direct with input as {"a": {"b": 7}}`,
		"with_beside":   `data.flowyml.ways.counted with input.q as 6`,
		"by_function":   `f(input)`,
		"union":         `object.union(input.a, {"b": 0})`,
	}
	for name, body := range bodies {
		module := fmt.Sprintf("package flowyml.ways\n\n%s := x if x := %s\n", name, body)
		if !strings.Contains(body, "data.flowyml.ways.counted") {
			module += "\nf(x) := x.a.b\n"
		}
		if strings.Contains(body, "ways.direct") {
			module += "\ndirect := input.a.b\n"
		}
		if strings.Contains(body, "ways.counted") {
			module += "\ncounted := count(input)\n"
		}
		evaluator := started(t, settings(map[string]string{
			"flowyml": archive(t, files{".manifest": manifest("f1", "flowyml"), "ways.rego": module}),
		}))
		for _, input := range inputs {
			value, err := ast.ValueFromReader(strings.NewReader(input))
			must(t, err)
			results, err := rego.New(
				rego.Query("data.flowyml.ways."+name), rego.Module("ways.rego", module), rego.Store(inmem.New()),
				rego.ParsedInput(value), rego.StrictBuiltinErrors(true),
			).Eval(context.Background())
			found := decide(t, evaluator, "flowyml/ways/"+name, input)
			switch {
			case err != nil:
				if found.Error == nil || found.Error.Code != answer.Evaluation {
					t.Errorf("%s of %s: found %+v %+v, wanted %v", name, input, found.OK, found.Error, err)
				}
			case len(results) == 0:
				if found.Error == nil || found.Error.Code != answer.Undefined {
					t.Errorf("%s of %s: found %+v %+v, wanted undefined", name, input, found.OK, found.Error)
				}
			case found.OK == nil:
				t.Errorf("%s of %s: %+v", name, input, found.Error)
			default:
				mustEqual(t, found.OK.Result, results[0].Expressions[0].Value)
			}
		}
	}
}

var looks atomic.Int64

// What data alone says is found out by the first two decisions, then once for all others; and anew when data changes.
func TestDecideEvaluatesConstantsNoMoreOftenThanItMust(t *testing.T) {
	ast.RegisterBuiltin(&ast.Builtin{Name: "test.look", Decl: types.NewFunction(types.Args(types.A), types.A)})
	topdown.RegisterBuiltinFunc("test.look", func(_ topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		looks.Add(1)
		return iter(operands[0])
	})
	policy := archive(t, files{".manifest": manifest("f1", "flowyml"), "main.rego": `package flowyml.main

decision := [looked, count(looked_set), input.n] if not none

looked := test.look(data.org.x)

looked_set contains test.look(data.org.x)

none := test.look(data.org.x) == "none"
`})
	org := func(x string) files {
		return files{".manifest": manifest(x, "org"), "data.json": fmt.Sprintf(`{"org": {"x": %q}}`, x)}
	}
	path := archive(t, org("a"))
	evaluator := started(t, settings(map[string]string{"flowyml": policy, "org": path}))
	for _, x := range []string{"a", "b"} {
		pack(t, path, org(x))
		evaluator.loadAgain(context.Background(), "org")
		before := looks.Load()
		for n := range 10 {
			mustEqual(t, decide(t, evaluator, "", fmt.Sprintf(`{"n": %d}`, n)).OK.Result, []any{x, 1, n})
		}
		if found := looks.Load() - before; found != 3*(2+1) {
			t.Errorf("%d looks at %s", found, x)
		}
	}
}

// A constant under `with` is another document, and one that cannot be evaluated fails every decision that asks for it.
func TestDecideKeepsConstantsApart(t *testing.T) {
	vouching := settings(map[string]string{"flowyml": archive(t, files{
		".manifest": manifest("f1", "flowyml"),
		"data.json": `{"flowyml": {"x": 1}}`,
		"main.rego": `package flowyml.main

decision := {"plain": twice, "with": changed, "again": twice, "checked": checked, "n": input.n}

twice := data.flowyml.x * 2

changed := x if x := twice with data.flowyml.x as input.n

valid := false

default checked := true

checked := false if valid

conflicting := 1 if data.flowyml.x

conflicting := 2 if data.flowyml.x > 0

failing := time.parse_rfc3339_ns(sprintf("%v", [data.flowyml.x]))
`})})
	vouching.Vouched = "flowyml/main/valid"
	evaluator := started(t, vouching)
	for n := range 3 {
		input := fmt.Sprintf(`{"n": %d}`, n)
		wanted := map[string]any{"plain": 2, "with": 2 * n, "again": 2, "checked": false, "n": n}
		mustEqual(t, decide(t, evaluator, "", input).OK.Result, wanted)
		wanted["checked"] = true
		mustEqual(t, decide(t, evaluator, "flowyml/main/decision", input).OK.Result, wanted)
		mustEqual(t, decide(t, evaluator, "flowyml/main/changed", input).OK.Result, 2*n)
		for _, broken := range []string{"conflicting", "failing"} {
			if found := decide(t, evaluator, "flowyml/main/"+broken, input); found.Error == nil || found.Error.Code != answer.Evaluation {
				t.Errorf("%s: %+v %+v", broken, found.OK, found.Error)
			}
		}
	}
}

// What OPA finds wrong with a policy on some inputs is found on them, whatever was asked before: a constant that is used
// after a part of it was evaluated, and one that runs rules which its own reference never names.
func TestDecideFailsWhereOPAFails(t *testing.T) {
	for name, tried := range map[string]struct {
		data, module  string
		fine, failing string
	}{
		"early exit past a contradiction": {`{}`, `
limit := value if value := data.flowyml.few[_]

ok if {
	input.quick
	limit == 1
}

answer := true if ok

else := limit < 5`, `{"quick": true}`, `{}`},
		"early exit from a walk": {`{"t": [1, 2]}`, `
limit := value if {
	walk(data.flowyml.t, [path, value])
	count(path) == 1
}

ok if {
	input.quick
	limit == 1
}

answer := true if ok

else := limit < 5`, `{"quick": true}`, `{}`},
		"early exit past a failing builtin": {`{"t": [1, "x"]}`, `
limit := number if {
	walk(data.flowyml.t, [path, value])
	count(path) == 1
	number := to_number(value)
}

ok if {
	input.quick
	limit == 1
}

answer := true if ok

else := limit < 5`, `{"quick": true}`, `{}`},
		"rules that share the beginning of a reference": {`{"limits": {"gpu": 8}}`, `
limit[name].max := max if some name, max in data.flowyml.limits

limit[name].min := to_number(value) if some name, value in input.min

too_large contains name if data.flowyml.p.limit[name].max > 9

answer := count(too_large) == 0`, `{}`, `{"min": {"gpu": "many"}}`},
	} {
		evaluator := started(t, settings(map[string]string{"flowyml": archive(t, files{
			".manifest": manifest("f1", "flowyml"),
			"data.json": fmt.Sprintf(`{"flowyml": %s}`, tried.data),
			"p.rego":    "package flowyml.p\n" + tried.module + "\n",
			"few.rego":  "package flowyml.few\n\na := 1\n\nb := 9\n",
		})}))
		for round := range 4 {
			if found := decide(t, evaluator, "flowyml/p/answer", tried.fine); found.OK == nil || found.OK.Result != true {
				t.Errorf("%s, round %d: %+v %+v", name, round, found.OK, found.Error)
			}
			if found := decide(t, evaluator, "flowyml/p/answer", tried.failing); found.Error == nil || found.Error.Code != answer.Evaluation {
				t.Errorf("%s, round %d: %+v %+v", name, round, found.OK, found.Error)
			}
		}
	}
}

// A path that no rule stands at can be vouched for too; what is asked without it then knows nothing of that.
func TestDecideKeepsWhatIsVouchedForFromQueries(t *testing.T) {
	vouching := settings(map[string]string{"flowyml": archive(t, files{
		".manifest": manifest("f1", "flowyml"),
		"data.json": `{"flowyml": {"lib": {"valid": false}}}`,
		"main.rego": "package flowyml.main\n\ndecision := said\n\nsaid := data.flowyml.lib.valid",
	})})
	vouching.Vouched = "flowyml/lib/valid"
	evaluator := started(t, vouching)
	for range 4 {
		mustEqual(t, decide(t, evaluator, "", `{}`).OK.Result, true)
		mustEqual(t, decide(t, evaluator, "flowyml/main/decision", `{}`).OK.Result, false)
	}
}
