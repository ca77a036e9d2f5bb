package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// analysis is what the compiled policy of a view says of all decisions to come.
type analysis struct {
	mentioned *mentioned // what policy can look at in an input
	constants constants  // the documents that no input can change
}

// analyse looks at every rule. What is vouched for is taken as true in some decisions and not in others, so that no
// constant may depend on it.
func analyse(compiler *ast.Compiler, vouched ast.Ref) *analysis {
	inputs := &mentioned{}
	varying := map[*ast.Rule]bool{}
	dependents := map[*ast.Rule][]*ast.Rule{}
	below := rulesBelow(compiler)
	if vouched != nil {
		for _, rule := range below(vouched) {
			varying[rule] = true
		}
	}
	for _, module := range compiler.Modules {
		ast.WalkRules(module, func(rule *ast.Rule) bool {
			walkRefs(rule, func(ref ast.Ref) {
				switch head := ref[0]; {
				case head.Equal(ast.InputRootDocument):
					inputs.add(ref)
					varying[rule] = true
				case head.Equal(ast.DefaultRootDocument):
					prefix := ref.ConstantPrefix()
					if vouched != nil && (prefix.HasPrefix(vouched) || vouched.HasPrefix(prefix)) {
						varying[rule] = true
					}
					for _, needed := range below(prefix) {
						dependents[needed] = append(dependents[needed], rule)
					}
				case isVolatile(ref.String()):
					varying[rule] = true
				}
			})
			return false
		})
	}
	for waiting := slices.Collect(maps.Keys(varying)); len(waiting) > 0; {
		rule := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		for _, dependent := range dependents[rule] {
			if !varying[dependent] {
				varying[dependent] = true
				waiting = append(waiting, dependent)
			}
		}
	}
	return &analysis{mentioned: inputs, constants: constantsBelow(compiler.RuleTree, varying)}
}

// rulesBelow gives, for a path of names, every rule that evaluation may come by on the way there and below. OPA's graph
// of rules knows fewer: it leaves out rules whose references cannot meet the one that is asked, which run all the same.
func rulesBelow(compiler *ast.Compiler) func(ast.Ref) []*ast.Rule {
	known := map[string][]*ast.Rule{}
	return func(prefix ast.Ref) []*ast.Rule {
		name := prefix.String()
		rules, found := known[name]
		if !found {
			for _, rule := range compiler.GetRules(prefix) {
				for ; rule != nil; rule = rule.Else {
					rules = append(rules, rule)
				}
			}
			known[name] = rules
		}
		return rules
	}
}

func walkRefs(rule *ast.Rule, visit func(ast.Ref)) {
	visitor := ast.NewGenericVisitor(func(visited any) bool {
		if ref, ok := visited.(ast.Ref); ok {
			visit(ref)
		}
		return false
	})
	visitor.Walk(rule.Head)
	visitor.Walk(rule.Body)
}

// isVolatile says whether a builtin may answer differently in another decision. OPA does not mark those that hold
// certificates against the clock.
func isVolatile(name string) bool {
	builtin, found := ast.BuiltinMap[name]
	return found && (builtin.IsNondeterministic() || strings.HasPrefix(name, "crypto.x509."))
}

// mentioned is a part of the input as policy mentions it: the whole of it, or some of its keys. What no rule mentions
// cannot be seen by one, so that it need not be made into values: `input.stack.document` alone is a third of an input.
type mentioned struct {
	whole bool
	keys  map[string]*mentioned
}

var everything = &mentioned{whole: true}

// add takes in a reference that begins with `input`: what its leading names lead to, and all that is below.
func (part *mentioned) add(ref ast.Ref) {
	for _, step := range ref[1:] {
		name, ok := step.Value.(ast.String)
		if !ok || part.whole {
			break
		}
		if part.keys == nil {
			part.keys = map[string]*mentioned{}
		}
		if part.keys[string(name)] == nil {
			part.keys[string(name)] = &mentioned{}
		}
		part = part.keys[string(name)]
	}
	part.whole = true
}

// below is what is mentioned of the value of a key, nil for nothing.
func (part *mentioned) below(key string) *mentioned {
	if part.whole {
		return part
	}
	return part.keys[key]
}
