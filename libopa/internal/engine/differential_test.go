package engine

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

const (
	randomPolicies  = 125 // less the few that OPA's type checker refuses
	randomQuestions = 64  // of each policy
	deepest         = 9   // form within form
	imports         = "import data.flowyml.base\nimport data.flowyml.fixed\nimport data.flowyml.low\nimport data.flowyml.high\n"
)

// grammar says what random policies, data, inputs and questions look like. A word in capitals stands for one of its forms,
// the first one where it is too deep for more; `@` for the rule that is being written, `#` for a number used nowhere else.
var grammar = map[string][]string{
	"VALUE": {`1`, `1`, `2`, `"a"`, `"2"`, `true`, `false`, `null`, `[1, VALUE]`, `["x", 1]`, `{"a": VALUE, "b": 1}`, `{"b": VALUE}`},
	"DATA":  {`{"flowyml": {"base": {"a": VALUE, "b": VALUE, "c": {"a": VALUE, "b": VALUE}, "d": [VALUE, VALUE]}}}`},
	"INPUT": {`{"a": VALUE, "b": VALUE, "k": "NAME"}`, `{"a": {"a": VALUE, "b": VALUE}, "k": "NAME"}`, `{}`, `VALUE`},
	"PATH":  {"PACKAGE", "ASKED", "ASKED", "JUDGED"},
	"NAME":  {"a", "b", "c", "d"},
	"RULE": {
		"@ := TERM", "@ := z if { z := TERM; BODY }", "@ := z if z := MANY", "@ := [to_number(z)] if z := BASE[_]",
		"@ := [y, z] if { y := ASKED; z := ASKED WITH }", "@ := [y, z] if { z := ASKED WITH; y := ASKED }",
		"@ := z if { walk(BASE, [path, z]); count(path) == 1 }", "@ := TERM if { BODY }\n\n@ := TERM if { BODY }",
		"@ := TERM if { BODY } else := TERM if { BODY } else := 3", "@ if { ASKED == BASE } else := ASKED",
		"@ := 1 if { BASE == BASE } else := READ", "@ := 1 if BASE == BASE\n\nelse := ASKED", "default @ := 1\n\n@ := z if { z := TERM; BODY }",
		"@ contains z if { z := MANY; BODY }", "@[k] := z if { some k, z in REF; BODY }", "@.a := TERM\n\n@.b := TERM if { BODY }",
	},
	"SPREAD":   {"@ := z if { walk(base.d, [[_], z]) }", "@ := z if { walk(base.d, [[_], z]); to_number(z) }", "RULE", "RULE", "RULE"},
	"VERDICT":  {"@ if { BODY }", "@ if { ASKED == base.d[0] }", "@ if { ASKED == base.d[0] } else := BASE", "@ if { BODY }\n\n@ if { BODY }", "default @ := false\n\n@ if { BODY }"},
	"FUNCTION": {"@(x) := [x, TERM]", "@(x) := x.NAME if { BODY }\n\n@(1) := TERM", "default @(_) := 2\n\n@(x) := TERM if x == TERM"},
	"BODY":     {"true", "EXPR", "EXPR", "EXPR; EXPR"},
	"EXPR": {
		"REF", "TERM == BASE", "ASKED == BASE", "ASKED == BASE", "ASKED != BASE", "JUDGED", "not JUDGED WITH", "not ASKED == BASE WITH",
		"v# := TERM WITH", "some v# in REF", "every v# in REF { v# != BASE }", "every v# in [BASE, BASE] { v# == REF }",
		"walk(BASE, [_, v#])",
	},
	"WITH": {"", "with READ as VALUE", "with BASE as ASKED", "with ASKED as READ", "with base.a as ASKED with READ as READ"},
	"TERM": {
		"REF", "REF", "ASKED", "ASKED", "JUDGED", "[TERM, TERM]", `{"a": TERM}`, "[v# | v# := TERM; EXPR]", "{v# | some v# in REF}",
		"{v#: w# | some v#, w# in REF}", "[count([1 | EXPR])]", `object.get(READ, "a", TERM)`, "[to_number(READ)]", "CALLED(TERM)",
	},
	"REF":  {"BASE", "READ", "ASKED", "ASKED", "ASKED[READ]", "READ[READ].NAME", "MANY"},
	"MANY": {"BASE[_]", "READ[_]", "ASKED[_]", "PACKAGE[_]", "PACKAGE[READ]"},
	"BASE": {"base.a", "base.b", "base.c", "base.c.NAME", "base.d", "base.NAME"},
	"READ": {"base.NAME", "input", "input.k", "input.NAME", "input.a.NAME"},
	// To these is added what was written before.
	"PACKAGE": {"base"}, "ASKED": {"base.a"}, "JUDGED": {"base.a"}, "CALLED": {"type_name"},
}

var symbols = regexp.MustCompile(`[A-Z]+|[@#]`)

// writer writes the same for the same seed.
type writer struct {
	*rand.Rand
	forms map[string][]string
	rule  string // that is being written
	last  int    // number
}

func (writer *writer) write(word string, depth int) string {
	form := writer.forms[word][0]
	if depth > 0 {
		form = writer.forms[word][writer.IntN(len(writer.forms[word]))]
	}
	writer.last++
	number := strconv.Itoa(writer.last)
	return symbols.ReplaceAllStringFunc(form, func(symbol string) string {
		switch symbol {
		case "@":
			return writer.rule
		case "#":
			return number
		}
		return writer.write(symbol, depth-1)
	})
}

func (writer *writer) path(word string) string {
	return "flowyml/" + strings.ReplaceAll(writer.write(word, deepest), ".", "/")
}

// policy is three packages, each of which reads what was written before.
func (writer *writer) policy() files {
	modules := files{}
	for _, name := range []string{"fixed", "low", "high"} {
		module := "package flowyml." + name + "\n\n" + imports
		for _, next := range [][3]string{
			{"d", "SPREAD", "ASKED"}, {"a", "RULE", "ASKED"}, {"f", "FUNCTION", "CALLED"}, {"c", "VERDICT", "JUDGED"}, {"b", "RULE", "ASKED"},
		} {
			writer.rule = next[0]
			module += "\n" + writer.write(next[1], deepest) + "\n"
			writer.forms[next[2]] = slices.Concat(writer.forms[next[2]], []string{name + "." + next[0]})
		}
		modules[name+".rego"] = module
		writer.forms["PACKAGE"] = slices.Concat(writer.forms["PACKAGE"], []string{name})
	}
	return modules
}

// Random policies answer as OPA's own rego package does, for one evaluator that is asked one thing after another. Their
// forms are those that a call on the compiler and store could get wrong: ways to come by the input and by rules (by a
// variable too), to replace either (`with`, also what is vouched for), to fail and to stop early. Left out is what makes
// OPA 1.22.4 itself overflow its stack: heads with variables before their end, packages that read themselves by a
// variable.
func TestRandomPoliciesAnswerAsOPADoes(t *testing.T) {
	tally := map[string]int{}
	for seed := range uint64(randomPolicies) {
		writer := &writer{Rand: rand.New(rand.NewPCG(seed, 0)), forms: maps.Clone(grammar)}
		policy := writer.policy()
		compiler, err := ast.CompileModules(policy)
		if err != nil {
			continue
		}
		tally["policy"]++
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { writer.compare(t, policy, compiler, tally) }) {
			return
		}
	}
	t.Log(tally)
	for _, kind := range []string{"value", answer.Undefined, answer.Evaluation} {
		if tally[kind] == 0 {
			t.Errorf("no %s: these policies show nothing", kind)
		}
	}
}

func (writer *writer) compare(t *testing.T, policy files, compiler *ast.Compiler, tally map[string]int) {
	data := writer.write("DATA", deepest)
	bundle := files{".manifest": manifest("f1", "flowyml"), "data.json": data}
	maps.Copy(bundle, policy)
	vouching := settings(map[string]string{"flowyml": archive(t, bundle)})
	vouching.Vouched = writer.path("JUDGED")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\nvouched for: %s\n\n%s", data, vouching.Vouched, strings.Join(slices.Sorted(maps.Values(policy)), "\n"))
		}
	})
	evaluator, store := started(t, vouching), inmem.NewFromReader(strings.NewReader(data))
	for range randomQuestions {
		path, input, vouched := writer.path("PATH"), writer.write("INPUT", deepest), evaluator.vouched
		question := "data." + strings.ReplaceAll(path, "/", ".")
		if writer.IntN(2) == 0 {
			vouched = nil
		} else {
			question += " with " + vouched.String() + " as true"
		}
		var parsed given
		must(t, json.Unmarshal(evaluator.answer(path, vouched, []byte(input), 10*time.Second), &parsed)) // as Decide and Query do
		wanted := answeredByOPA(t, question, input, rego.Compiler(compiler), rego.Store(store))
		mustEqual(t, []any{question, input, parsed.outcome()}, []any{question, input, wanted})
		tally[wanted.Code]++
	}
}

type outcome struct {
	Code  string
	Value any
}

func (found given) outcome() outcome {
	if found.OK != nil {
		return outcome{"value", found.OK.Result}
	}
	return outcome{Code: found.Error.Code}
}

func answeredByOPA(t *testing.T, question, input string, loaded ...func(*rego.Rego)) outcome {
	t.Helper()
	value, err := ast.ValueFromReader(strings.NewReader(input))
	must(t, err)
	asked := append(loaded, rego.ParsedQuery(ast.MustParseBody(question)), rego.ParsedInput(value), rego.StrictBuiltinErrors(true))
	results, err := rego.New(asked...).Eval(context.Background())
	switch {
	case err != nil:
		return outcome{Code: answer.Evaluation}
	case len(results) == 0:
		return outcome{Code: answer.Undefined}
	}
	return outcome{"value", results[0].Expressions[0].Value}
}
