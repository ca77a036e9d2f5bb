package rego

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

func TestInspectTellsPackageRulesAndTheirOwnBlocks(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rule := write("rule.rego", `# METADATA
# title: The package
package project.rules.size

# METADATA
# title: Too large
# related_resources:
#   - ref: https://example.com/size
#     description: Why
# custom:
#   code: size.large
findings contains 1 if input.large

findings contains 2 if input.huge

helper.deep := 3
`)
	broken := write("broken.rego", "package p\n\nx := :=\n")
	empty := write("empty.rego", "")
	missing := filepath.Join(folder, "missing.rego")
	found, err := Inspect(context.Background(), []string{rule, broken, empty, missing})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Modules) != 1 || len(found.Problems) != 3 {
		t.Fatalf("%+v", found)
	}
	module := found.Modules[0]
	if module.File != rule || strings.Join(module.Package, ".") != "project.rules.size" || module.Line != 3 {
		t.Fatalf("%+v", module)
	}
	block, _ := json.Marshal(module.Rules[0].Annotations.Custom)
	if module.Rules[0].Name != "findings" || module.Rules[0].Line != 12 || string(block) != `{"code":"size.large"}` {
		t.Fatalf("%+v", module.Rules[0])
	}
	if module.Rules[1].Annotations != nil || module.Rules[1].Line != 14 || module.Rules[2].Name != "helper.deep" {
		t.Fatalf("%+v", module.Rules)
	}
	for index, wanted := range []Problem{{broken, 3, "rego_parse_error"}, {empty, 0, "rego_parse_error: empty module"}, {missing, 0, "no such file"}} {
		problem := found.Problems[index]
		if problem.File != wanted.File || problem.Line != wanted.Line || !strings.Contains(problem.Message, wanted.Message) {
			t.Errorf("%+v", problem)
		}
	}
}

// CheckGlobs must refuse exactly what glob.match itself refuses.
func TestCheckGlobsAgreesWithGlobMatch(t *testing.T) {
	match := topdown.GetBuiltin(ast.GlobMatch.Name)
	for _, pattern := range []string{
		"", "a*", "**", "[a-z]*", "[abc]", "[!a]", "{a,b}", `\*`, "prod-gpu-*", "?", "é*",
		"[a-z0-9]", "[", "[]", "{a", "{a,{b}", "a]", "[z-a]", `\`, "[a-", "{}", "}",
	} {
		problems, err := CheckGlobs(context.Background(), []string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		operands := []*ast.Term{ast.StringTerm(pattern), ast.NullTerm(), ast.StringTerm("x")}
		refused := match(topdown.BuiltinContext{}, operands, func(*ast.Term) error { return nil }) != nil
		if refused != (len(problems) == 1) {
			t.Errorf("%q: glob.match refuses it: %v, CheckGlobs: %v", pattern, refused, problems)
		}
		if refused && (problems[0].Pattern != pattern || problems[0].Reason == "") {
			t.Errorf("%q: %+v", pattern, problems[0])
		}
	}
}
