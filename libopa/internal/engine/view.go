package engine

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

type bundleManifest = bundle.Manifest

// view is what one state of the store means for decisions: the compiled policy, the bundles it came from, and the
// queries prepared on it so far.
type view struct {
	compiler  *ast.Compiler
	manifests map[string]bundleManifest
	revisions json.RawMessage // bundle name to revision, as every answer carries it
	fault     error           // why this state may not decide
	queries   sync.Map        // question to *rego.PreparedEvalQuery
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
	encoded, err := json.Marshal(revisions)
	if err != nil {
		return nil, err
	}
	return &view{
		compiler:  evaluator.manager.GetCompiler(),
		manifests: manifests,
		revisions: encoded,
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

// prepared is the query for what is asked, on this view's policy. Two threads may prepare the same one; one of the two is
// kept.
func (evaluator *Evaluator) prepared(
	ctx context.Context, txn storage.Transaction, current *view, asked question,
) (*rego.PreparedEvalQuery, error) {
	if found, ok := current.queries.Load(asked); ok {
		return found.(*rego.PreparedEvalQuery), nil
	}
	query, err := asked.query()
	if err != nil {
		return nil, err
	}
	fresh, err := rego.New(
		rego.ParsedQuery(query),
		rego.Compiler(current.compiler),
		rego.Store(evaluator.store),
		rego.Transaction(txn),
		rego.Runtime(evaluator.manager.Info),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, answer.Faultf(answer.Evaluation, "%v", err)
	}
	kept, _ := current.queries.LoadOrStore(asked, &fresh)
	return kept.(*rego.PreparedEvalQuery), nil
}

// question is `data.<path>`, or `data.<path> with data.<vouched> as true`. Policy checks the shape of its input, which is
// a quarter of a small decision; who hands over nothing but documents that it validated vouches for that rule.
type question struct{ path, vouched string }

func (asked question) query() (ast.Body, error) {
	ref, err := dataRef(asked.path)
	if err != nil {
		return nil, err
	}
	expression := ast.NewExpr(ref)
	if asked.vouched == "" {
		return ast.NewBody(expression), nil
	}
	target, err := dataRef(asked.vouched)
	if err != nil {
		return nil, err
	}
	return ast.NewBody(expression.IncludeWith(target, ast.BooleanTerm(true))), nil
}

// dataRef is a path below data, `flowyml/main/decision`, as a reference; no path is taken for any other Rego.
func dataRef(path string) (*ast.Term, error) {
	ref := ast.DefaultRootRef.Copy()
	for step := range strings.SplitSeq(path, "/") {
		if step == "" {
			return nil, answer.Faultf(answer.Usage, "%q is no path below data", path)
		}
		ref = ref.Append(ast.StringTerm(step))
	}
	return ast.NewTerm(ref), nil
}
