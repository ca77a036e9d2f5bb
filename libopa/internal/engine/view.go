package engine

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

type bundleManifest = bundle.Manifest

// view is what one state of the store means for decisions: the compiled policy, and the bundles it came from.
type view struct {
	compiler  *ast.Compiler
	manifests map[string]bundleManifest
	state     uint64          // its number, as every answer carries it
	origin    json.RawMessage // the end of every answer: bundle name to revision, kept copies, the state
	fault     error           // why this state may not decide
	queries   sync.Map        // queryKey to ast.Body
}

func (evaluator *Evaluator) newView(ctx context.Context, txn storage.Transaction) (*view, error) {
	manifests, err := readManifests(ctx, evaluator.store, txn)
	if err != nil {
		return nil, err
	}
	revisions := make(map[string]string, len(manifests))
	for name, manifest := range manifests {
		revisions[name] = manifest.Revision
	}
	state := evaluator.state.Load()
	origin, err := encodeOrigin(revisions, evaluator.remote.keptCopies(), state)
	if err != nil {
		return nil, err
	}
	return &view{
		compiler:  evaluator.manager.GetCompiler(),
		manifests: manifests,
		state:     state,
		origin:    origin,
		fault:     evaluator.manifestFault(manifests),
	}, nil
}

// manifestFault is nil where each configured bundle is active and keeps to what it may own.
func (evaluator *Evaluator) manifestFault(manifests map[string]bundleManifest) error {
	for name, expected := range evaluator.settings.Bundles {
		manifest, found := manifests[name]
		if !found {
			return answer.Faultf(answer.Policy, "bundle %q is not active", name)
		}
		if err := checkManifest(name, expected, evaluator.settings.InputSchema, manifest); err != nil {
			return err
		}
	}
	return nil
}

// resultVariable is bound to what a query asks for.
const resultVariable = ast.Var("result")

type queryKey struct {
	path    string
	vouched bool
}

// query is `result = data.<path>`, `with <vouched> as true` where that is given, compiled against this view's policy. Two
// threads may compile the same one; one of the two is kept.
func (current *view) query(path string, vouched ast.Ref) (ast.Body, error) {
	key := queryKey{path, vouched != nil}
	if found, ok := current.queries.Load(key); ok {
		return found.(ast.Body), nil
	}
	ref, err := dataRef(path)
	if err != nil {
		return nil, err
	}
	expression := ast.Equality.Expr(ast.NewTerm(resultVariable), ast.NewTerm(ref))
	if vouched != nil {
		expression = expression.IncludeWith(ast.NewTerm(vouched), ast.BooleanTerm(true))
	}
	compiled, err := current.compiler.QueryCompiler().Compile(ast.NewBody(expression))
	if err != nil {
		return nil, answer.Faultf(answer.Evaluation, "%v", err)
	}
	kept, _ := current.queries.LoadOrStore(key, compiled)
	return kept.(ast.Body), nil
}

// dataRef is a path below data, `flowyml/main/decision`, as a reference; no path is taken for any other Rego.
func dataRef(path string) (ast.Ref, error) {
	ref := ast.DefaultRootRef.Copy()
	for step := range strings.SplitSeq(path, "/") {
		if step == "" {
			return nil, answer.Faultf(answer.Usage, "%q is no path below data", path)
		}
		ref = ref.Append(ast.StringTerm(step))
	}
	return ref, nil
}
