package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
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
			loaded := []func(*rego.Rego){rego.Module("ways.rego", module), rego.Store(inmem.New())}
			wanted := answeredByOPA(t, "data.flowyml.ways."+name, input, loaded...)
			found := decide(t, evaluator, "flowyml/ways/"+name, input).outcome()
			mustEqual(t, []any{name, input, found}, []any{name, input, wanted})
		}
	}
}
