package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

var someRefs = []ast.Ref{
	ast.MustParseRef("data.a"), ast.MustParseRef("data.b"), ast.MustParseRef("data.a.b"), ast.MustParseRef("data.a.b[1]"),
	ast.MustParseRef(`data.a.b["1"]`), ast.MustParseRef(`data.f[{"x": [1, {2}]}]`), ast.MustParseRef(`data.f[{"x": [1, {3}]}]`),
}

// Without constants they are what OPA's own cache is, whatever is done in whatever order, also when used again.
func FuzzDocumentsAgreeWithOPA(f *testing.F) {
	for _, seed := range []string{"", "\x02\x06\x0a", "\x00\x02\x02\x06\x01\x06", "\x02\x0a\x00\x12\x0a\x00\x0a\x01\x0a\x01\x0a", "\x03\x07\x02\x06"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		wanted, found, depth := topdown.NewVirtualCache(), newDocuments(nil, 0), 1
		defer found.release()
		reused := slices.Clone(someRefs[2]) // OPA hands over parts of memory that it goes on writing to
		for number, step := range steps {
			ref := someRefs[int(step>>2)%len(someRefs)]
			switch step & 3 {
			case 0:
				wanted.Push()
				found.Push()
				depth++
			case 1:
				if depth > 1 {
					wanted.Pop()
					found.Pop()
					depth--
				}
			case 2:
				if _, none := wanted.Get(ref); !none { // a document that has no value never gets one
					value := ast.IntNumberTerm(number)
					wanted.Put(ref, value)
					found.Put(append(reused[:0], ref...), value)
				}
			case 3:
				if value, _ := wanted.Get(ref); value == nil { // nor does one that has a value lose it
					wanted.Put(ref, nil)
					found.Put(append(reused[:0], ref...), nil)
				}
			}
			for _, ref := range someRefs {
				wantedValue, wantedUndefined := wanted.Get(ref)
				foundValue, foundUndefined := found.Get(ref)
				if wantedUndefined != foundUndefined || !wantedUndefined && wantedValue != foundValue {
					t.Fatalf("after %v, %v: found %v %v, wanted %v %v", steps[:number+1], ref, foundValue, foundUndefined, wantedValue, wantedUndefined)
				}
			}
		}
	})
}

func TestDocumentsListTheKeysOfTheInnermostFrame(t *testing.T) {
	docs := newDocuments(nil, 0)
	defer docs.release()
	docs.Put(someRefs[0], ast.IntNumberTerm(1))
	docs.Push()
	docs.Put(someRefs[1], ast.IntNumberTerm(2))
	docs.Put(someRefs[2], nil)
	mustEqual(t, docs.Keys(), []ast.Ref{someRefs[1]})
	docs.Pop()
	mustEqual(t, docs.Keys(), []ast.Ref{someRefs[0]})
}

func TestDocumentsThatWereManyAreNotKept(t *testing.T) {
	docs := newDocuments(nil, 0)
	for range manyEntries {
		docs.Put(someRefs[2], ast.IntNumberTerm(1))
	}
	docs.release()
	if fresh := newDocuments(nil, 0); cap(fresh.terms) > manyEntries {
		t.Fatal(cap(fresh.terms))
	}
}

func TestDocumentsLeaveNothingBehind(t *testing.T) {
	docs := newDocuments(nil, 1)
	docs.Put(someRefs[0], ast.StringTerm("a"))
	docs.Push()
	docs.Put(someRefs[1], ast.StringTerm("b"))
	docs.Pop()
	entries, terms := docs.entries, docs.terms
	docs.release()
	for _, left := range entries[:cap(entries)] {
		if left.value != nil || left.ref != nil {
			t.Fatal(left)
		}
	}
	for _, left := range terms[:cap(terms)] {
		if left != nil {
			t.Fatal(left)
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
