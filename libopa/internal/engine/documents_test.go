package engine

import (
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
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
