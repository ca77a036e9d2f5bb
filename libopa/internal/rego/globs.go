package rego

import (
	"context"

	"github.com/gobwas/glob"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// GlobProblem is a pattern that glob.match refuses, and why.
type GlobProblem struct {
	Pattern string `json:"pattern"`
	Reason  string `json:"reason"`
}

// CheckGlobs compiles each pattern as OPA's glob.match does with delimiters null, and lists those that it refuses.
// glob.match itself would be undefined for them, and its cache may answer for a pattern that it never compiled.
func CheckGlobs(ctx context.Context, patterns []string) ([]GlobProblem, error) {
	problems := []GlobProblem{}
	for _, pattern := range patterns {
		if ctx.Err() != nil {
			return nil, answer.Faultf(answer.Deadline, "the patterns were not compiled in time")
		}
		if _, err := glob.Compile(pattern); err != nil {
			problems = append(problems, GlobProblem{pattern, err.Error()})
		}
	}
	return problems, nil
}
