package engine

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// analysis is what the compiled policy of a view says of all decisions to come.
type analysis struct {
	mentioned *mentioned // what policy can look at in an input
	constants constants  // the documents that no input can change
}

// analyse looks at every rule once. What is vouched for is taken as true in some decisions and not in others, so that no
// constant may depend on it.
func analyse(compiler *ast.Compiler, vouched ast.Ref) *analysis {
	inputs := &mentioned{}
	varying := map[*ast.Rule]bool{}
	for _, module := range compiler.Modules {
		ast.WalkRules(module, func(rule *ast.Rule) bool {
			varying[rule] = varies(rule, inputs)
			return false
		})
	}
	if vouched != nil {
		for _, rule := range compiler.GetRules(vouched) {
			varying[rule] = true
		}
	}
	sorted, ok := compiler.Graph.Sort() // what a rule depends on stands before it
	if !ok {                            // which no compiled policy has
		return &analysis{mentioned: inputs}
	}
	for _, node := range sorted {
		for needed := range compiler.Graph.Dependencies(node) {
			if varying[needed.(*ast.Rule)] {
				varying[node.(*ast.Rule)] = true
			}
		}
	}
	return &analysis{mentioned: inputs, constants: constantsBelow(compiler.RuleTree, varying)}
}

// varies says whether the rule itself looks at the input, or asks a builtin that may answer anew each time. What it
// looks at is added to inputs.
func varies(rule *ast.Rule, inputs *mentioned) (found bool) {
	visitor := ast.NewGenericVisitor(func(visited any) bool {
		ref, ok := visited.(ast.Ref)
		if !ok {
			return false
		}
		switch head := ref[0]; {
		case head.Equal(ast.InputRootDocument):
			inputs.add(ref)
			found = true
		case !head.Equal(ast.DefaultRootDocument) && isVolatile(ref.String()):
			found = true
		}
		return false
	})
	visitor.Walk(rule.Head)
	visitor.Walk(rule.Body)
	return found
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
