package engine

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// constants are the documents that depend on data alone, by the hash of their references: no input can change them, so
// that one value holds for every decision on the same view.
type constants map[int][]*constant

type constant struct {
	ref   ast.Ref
	asked atomic.Int32             // how many decisions evaluated it themselves
	value atomic.Pointer[ast.Term] // nil until it was evaluated on its own; undefined
}

// undefined stands for a document that has no value.
var undefined = &ast.Term{}

// constantsBelow finds the documents that no rule varies, be it of theirs or below them.
func constantsBelow(root *ast.TreeNode, varying map[*ast.Rule]bool) constants {
	found := constants{}
	var visit func(*ast.TreeNode, ast.Ref)
	visit = func(node *ast.TreeNode, ref ast.Ref) {
		switch {
		case len(node.Values) == 0:
			for _, child := range node.Children {
				visit(child, ref.Append(ast.NewTerm(child.Key)))
			}
		case !anyVaries(node, varying):
			found[ref.Hash()] = append(found[ref.Hash()], &constant{ref: ref})
		}
	}
	for _, child := range root.Children {
		visit(child, ast.Ref{ast.NewTerm(child.Key)})
	}
	return found
}

// anyVaries says whether a rule at the node or below it varies; a function does, with its arguments.
func anyVaries(node *ast.TreeNode, varying map[*ast.Rule]bool) (found bool) {
	node.DepthFirst(func(below *ast.TreeNode) bool {
		for _, rule := range below.Values {
			for ; rule != nil; rule = rule.Else {
				found = found || varying[rule] || len(rule.Head.Args) > 0
			}
		}
		return found
	})
	return found
}

func (known constants) find(hash int, ref ast.Ref) *constant {
	for _, one := range known[hash] {
		if equalRefs(one.ref, ref) {
			return one
		}
	}
	return nil
}

// documents are what one decision has evaluated so far, and the constants, as OPA's evaluator looks them up. It stands
// in for OPA's own topdown.VirtualCache, which is made anew for each query and takes a tenth of what a small one
// allocates. Not safe for concurrent use, as a query is not.
//
// OPA pushes a frame where `with` is said: what is evaluated there holds there only. Constants are asked outside of every
// `with` that policy says; those of the query itself touch no constant. What stands here is never taken for the value of
// a constant: OPA notes that of a rule before it has seen whether another one contradicts it, and may stop there.
type documents struct {
	constants constants
	outer     int // the frames that policy itself has not pushed
	entries   []entry
	newest    map[int]int // by hash, the place of the newest entry plus one
	frames    []int       // where each open frame begins in entries
	terms     []*ast.Term // the references of entries
	due       []*constant // what this decision was the second to evaluate
}

type entry struct {
	hash  int
	ref   ast.Ref
	value *ast.Term
	older int // the place plus one of the entry of this hash before this one
}

var _ topdown.VirtualCache = (*documents)(nil)

// manyEntries is how much a decision may leave behind for the next one to use.
const manyEntries = 4096

var spareDocuments = sync.Pool{New: func() any { return &documents{newest: map[int]int{}} }}

// newDocuments has evaluated nothing yet; the query says `with` at so many places. Give it back with release.
func newDocuments(known constants, withs int) *documents {
	fresh := spareDocuments.Get().(*documents)
	fresh.constants, fresh.outer = known, withs+1
	fresh.frames = append(fresh.frames, 0)
	return fresh
}

// release ends the use of the documents of a decision, however it ended.
func (docs *documents) release() {
	if len(docs.terms) > manyEntries {
		return
	}
	clear(docs.newest)
	*docs = documents{
		newest:  docs.newest,
		entries: emptied(docs.entries), frames: emptied(docs.frames),
		terms: emptied(docs.terms), due: emptied(docs.due),
	}
	spareDocuments.Put(docs)
}

// emptied keeps the room of a slice and nothing that it led to.
func emptied[T any](used []T) []T {
	clear(used)
	return used[:0]
}

// Push opens a frame, in which nothing is evaluated yet.
func (docs *documents) Push() {
	docs.frames = append(docs.frames, len(docs.entries))
}

// Pop closes the innermost frame and forgets what was evaluated in it.
func (docs *documents) Pop() {
	first := docs.frames[len(docs.frames)-1]
	for _, gone := range slices.Backward(docs.entries[first:]) {
		docs.newest[gone.hash] = gone.older
	}
	clear(docs.entries[first:])
	docs.frames, docs.entries = docs.frames[:len(docs.frames)-1], docs.entries[:first]
}

// Get gives the value of a document, or true where it is known to have none.
func (docs *documents) Get(ref ast.Ref) (*ast.Term, bool) {
	hash := ref.Hash()
	for place := docs.newest[hash]; place > docs.frames[len(docs.frames)-1]; place = docs.entries[place-1].older {
		if found := &docs.entries[place-1]; equalRefs(found.ref, ref) {
			return valueOf(found.value)
		}
	}
	if len(docs.frames) <= docs.outer {
		if found := docs.constants.find(hash, ref); found != nil {
			return valueOf(found.value.Load())
		}
	}
	return nil, false
}

// Put notes the value of a document, nil for none.
func (docs *documents) Put(ref ast.Ref, value *ast.Term) {
	if value == nil {
		value = undefined
	}
	hash, first := ref.Hash(), len(docs.terms)
	docs.terms = append(docs.terms, ref...) // OPA goes on writing to the memory of ref
	docs.entries = append(docs.entries, entry{
		hash: hash, ref: ast.Ref(docs.terms[first:]), value: value, older: docs.newest[hash],
	})
	docs.newest[hash] = len(docs.entries)
	if len(docs.frames) <= docs.outer {
		if found := docs.constants.find(hash, ref); found != nil && found.asked.Add(1) == 2 {
			docs.due = append(docs.due, found)
		}
	}
}

// Keys are the references of the documents that have a value in the innermost frame.
func (docs *documents) Keys() []ast.Ref {
	var keys []ast.Ref
	for _, one := range docs.entries[docs.frames[len(docs.frames)-1]:] {
		if one.value != undefined {
			keys = append(keys, one.ref)
		}
	}
	return keys
}

func valueOf(noted *ast.Term) (*ast.Term, bool) {
	if noted == undefined {
		return nil, true
	}
	return noted, false
}

func equalRefs(one, other ast.Ref) bool {
	return slices.EqualFunc(one, other, (*ast.Term).Equal)
}
