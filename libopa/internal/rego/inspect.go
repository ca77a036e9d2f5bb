// Package rego answers questions about policy text and patterns that need no evaluator.
package rego

import (
	"context"
	"errors"
	"os"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Module is one Rego file: its package and, in file order, its rules.
type Module struct {
	File    string   `json:"file"`
	Package []string `json:"package"` // without data
	Line    int      `json:"line"`    // of the package
	Rules   []Rule   `json:"rules"`
}

// Rule is one body of a rule. Annotations is its own METADATA block, null where it has none.
type Rule struct {
	Name        string           `json:"name"`
	Line        int              `json:"line"`
	Annotations *ast.Annotations `json:"annotations"`
}

// Problem is a file that is no Rego: OPA's first reason and its place.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

// Inspection is what Inspect finds: the modules, and the files that are none.
type Inspection struct {
	Modules  []Module  `json:"modules"`
	Problems []Problem `json:"problems"`
}

// Inspect parses files, with their annotations, without compiling or evaluating anything.
func Inspect(ctx context.Context, files []string) (Inspection, error) {
	found := Inspection{Modules: []Module{}, Problems: []Problem{}}
	for _, file := range files {
		if ctx.Err() != nil {
			return found, answer.Faultf(answer.Deadline, "%s was not read in time", file)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			found.Problems = append(found.Problems, Problem{File: file, Message: err.Error()})
			continue
		}
		options := ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1}
		module, err := ast.ParseModuleWithOpts(file, string(text), options)
		if err != nil {
			found.Problems = append(found.Problems, problem(file, err))
			continue
		}
		found.Modules = append(found.Modules, describe(file, module))
	}
	return found, nil
}

// problem is the first of OPA's reasons.
func problem(file string, err error) Problem {
	var several ast.Errors
	var first *ast.Error
	if errors.As(err, &several) && len(several) > 0 {
		first = several[0]
	} else if !errors.As(err, &first) {
		return Problem{File: file, Message: err.Error()}
	}
	found := Problem{File: file, Message: first.Code + ": " + first.Message}
	if first.Location != nil {
		found.Line = first.Location.Row
	}
	return found
}

func describe(file string, module *ast.Module) Module {
	described := Module{File: file, Package: []string{}, Rules: []Rule{}}
	if module.Package.Location != nil {
		described.Line = module.Package.Location.Row
	}
	for _, term := range module.Package.Path[1:] {
		if step, ok := term.Value.(ast.String); ok {
			described.Package = append(described.Package, string(step))
		}
	}
	for _, rule := range module.Rules {
		described.Rules = append(described.Rules, Rule{
			Name:        rule.Head.Ref().GroundPrefix().String(),
			Line:        rule.Location.Row,
			Annotations: own(rule),
		})
	}
	return described
}

// own is the annotation block of this body alone: a block with the scope of a document or package speaks of more.
func own(rule *ast.Rule) *ast.Annotations {
	for _, annotations := range rule.Annotations {
		if annotations.Scope == "rule" {
			return annotations
		}
	}
	return nil
}
