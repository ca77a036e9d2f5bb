package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Rule is one thing that stands below data.<root>.rules, a rule of the compiled policy or a base document; or a rule
// that has the name of what rules export, and stands elsewhere.
type Rule struct {
	Path     []string `json:"path"`     // without data: ["flowyml", "rules", "naming", "findings"]
	Kind     string   `json:"kind"`     // "set", "value", "function" or "data"
	Location string   `json:"location"` // file:line; empty for data
}

// Describe lists what is loaded now, as a start does.
func (evaluator *Evaluator) Describe(ctx context.Context) (Started, error) {
	return evaluator.describe(ctx)
}

// describe lists what is loaded, what stands at the depth of the rules, and what only seems to be one, so that the
// caller can check that everything there is a rule by the conventions.
func (evaluator *Evaluator) describe(ctx context.Context) (Started, error) {
	started := Started{
		Bundles: map[string]string{}, Rules: []Rule{}, Metadata: map[string]map[string]any{}, Copies: evaluator.remote.keptCopies(),
	}
	err := evaluator.read(ctx, func(txn storage.Transaction, current *view) error {
		if current.fault != nil {
			return current.fault
		}
		for name, manifest := range current.manifests {
			started.Bundles[name] = manifest.Revision
			started.Metadata[name] = manifest.Metadata
		}
		started.State = current.state
		started.Rules = compiledRules(current.compiler, evaluator.bundleNames())
		for _, root := range evaluator.policyRoots() {
			data, err := baseRules(ctx, evaluator.store, txn, root)
			if err != nil {
				return err
			}
			started.Rules = append(started.Rules, data...)
		}
		return nil
	})
	return started, err
}

func (evaluator *Evaluator) policyRoots() []string {
	var roots []string
	for _, name := range evaluator.bundleNames() {
		for _, root := range evaluator.settings.Bundles[name].Roots {
			if !strings.Contains(root, "/") && !slices.Contains(roots, root) {
				roots = append(roots, root)
			}
		}
	}
	return roots
}

func compiledRules(compiler *ast.Compiler, bundles []string) []Rule {
	found := map[string]Rule{}
	for id, module := range compiler.Modules {
		file := fileInBundle(id, bundles)
		for _, rule := range module.Rules {
			path := groundPath(rule.Ref())
			if len(path) < 2 || (path[1] != "rules" && path[len(path)-1] != "findings") {
				continue
			}
			key, _ := json.Marshal(path)
			one := Rule{Path: path, Kind: ruleKind(rule), Location: fmt.Sprintf("%s:%d", file, rule.Location.Row)}
			if known, seen := found[string(key)]; !seen || one.Location < known.Location {
				found[string(key)] = one
			}
		}
	}
	rules := make([]Rule, 0, len(found))
	for _, rule := range found {
		rules = append(rules, rule)
	}
	slices.SortFunc(rules, func(a, b Rule) int { return slices.Compare(a.Path, b.Path) })
	return rules
}

// fileInBundle is a module's file as its bundle names it. OPA's own locations have the bundle's name before it or not,
// depending on which bundle was loaded first; the ids of modules always have.
func fileInBundle(id string, bundles []string) string {
	for _, name := range bundles {
		if file, found := strings.CutPrefix(id, name+"/"); found {
			return file
		}
	}
	return id
}

// groundPath is the constant part of a rule's reference, without data.
func groundPath(ref ast.Ref) []string {
	var path []string
	for _, term := range ref[1:] {
		step, ok := term.Value.(ast.String)
		if !ok {
			break
		}
		path = append(path, string(step))
	}
	return path
}

func ruleKind(rule *ast.Rule) string {
	switch {
	case len(rule.Head.Args) > 0:
		return "function"
	case rule.Head.RuleKind() == ast.MultiValue:
		return "set"
	default:
		return "value"
	}
}

// baseRules lists base documents that stand where rules belong. A root that is no mapping is refused: everything that
// is looked for in it would be missing, and its rules and levels with it.
func baseRules(ctx context.Context, store storage.Store, txn storage.Transaction, root string) ([]Rule, error) {
	whole, err := store.Read(ctx, txn, storage.Path{root})
	if storage.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	base, ok := whole.(ast.Object)
	if !ok {
		return nil, answer.Faultf(answer.Policy, "data.%s is no mapping, so nothing of it would be read", root)
	}
	found := base.Get(ast.StringTerm("rules"))
	if found == nil {
		return nil, nil
	}
	value := found.Value
	rules := []Rule{{Path: []string{root, "rules"}, Kind: "data"}}
	if object, ok := value.(ast.Object); ok {
		rules = nil
		for _, key := range object.Keys() {
			if name, ok := key.Value.(ast.String); ok {
				rules = append(rules, Rule{Path: []string{root, "rules", string(name)}, Kind: "data"})
			}
		}
	}
	return rules, nil
}
