package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Decide evaluates the decision on input. It runs on the calling thread: handing a call over to another one costs as
// much as a small policy.
func (evaluator *Evaluator) Decide(input []byte, deadline time.Duration) []byte {
	return evaluator.answer(evaluator.settings.Decision, evaluator.vouched, input, deadline)
}

// Query evaluates what stands at path on input, and takes nothing as true.
func (evaluator *Evaluator) Query(path string, input []byte, deadline time.Duration) []byte {
	return evaluator.answer(path, nil, input, deadline)
}

func (evaluator *Evaluator) answer(path string, vouched ast.Ref, input []byte, deadline time.Duration) (encoded []byte) {
	defer func() {
		if value := recover(); value != nil {
			encoded = answer.Error(answer.Recovered(value))
		}
	}()
	if deadline <= 0 {
		return answer.Error(answer.Faultf(answer.Usage, "a deadline above zero is required"))
	}
	cancel := topdown.NewCancel()
	defer time.AfterFunc(deadline, cancel.Cancel).Stop()
	ctx := context.Background()
	if hosts := evaluator.settings.AllowHosts; len(hosts) > 0 { // else policy reaches nothing that would wait
		limited, stop := context.WithTimeout(ctx, deadline)
		defer stop()
		ctx = withAllowedHosts(limited, hosts)
	}
	err := evaluator.read(ctx, func(txn storage.Transaction, current *view) error {
		result, err := evaluator.evaluate(ctx, txn, current, asked{path, vouched, input, cancel})
		if err == nil {
			encoded, err = encodeAnswer(result, current.revisions)
		}
		return err
	})
	if err != nil {
		return answer.Error(decideFault(ctx, err, deadline, cancel.Cancelled()))
	}
	return encoded
}

// asked is one question: what stands at a path, on an input, until it is cancelled. Policy checks the shape of its
// input, which is a quarter of a small decision; who hands over nothing but documents that it validated vouches for the
// rule at vouched, which is then taken as true.
type asked struct {
	path    string
	vouched ast.Ref
	input   []byte
	cancel  topdown.Cancel
}

// evaluate asks OPA's evaluator itself: the layers above it (the rego package, the SDK) would add a tenth.
func (evaluator *Evaluator) evaluate(
	ctx context.Context, txn storage.Transaction, current *view, question asked,
) (result ast.Value, err error) {
	if current.fault != nil {
		return nil, current.fault
	}
	query, err := current.query(question.path, question.vouched)
	if err != nil {
		return nil, err
	}
	policy := current.analysis()
	input, err := readInput(question.input, policy.mentioned)
	if err != nil {
		return nil, answer.Faultf(answer.Input, "the input is no JSON document: %v", err)
	}
	docs := newDocuments(policy.constants, len(query[0].With))
	defer docs.release()
	err = topdown.NewQuery(query).
		WithCompiler(current.compiler).
		WithStore(evaluator.store).
		WithTransaction(txn).
		WithRuntime(evaluator.manager.Info).
		WithInput(ast.NewTerm(input)).
		WithVirtualCache(docs).
		WithStrictBuiltinErrors(true).
		WithCancel(question.cancel).
		WithMetrics(metrics.NoOp()).
		Iter(ctx, func(found topdown.QueryResult) error {
			result = found[resultVariable].Value
			return nil
		})
	if err != nil {
		return nil, err
	}
	docs.publish()
	if result == nil {
		return nil, answer.Faultf(answer.Undefined, "data.%s is undefined", strings.ReplaceAll(question.path, "/", "."))
	}
	return result, nil
}

// decideFault gives OPA's error the code that leaves the library.
func decideFault(ctx context.Context, err error, deadline time.Duration, cancelled bool) error {
	var fault *answer.Fault
	switch {
	case errors.As(err, &fault):
		return fault
	case cancelled, ctx.Err() != nil:
		return answer.Faultf(answer.Deadline, "no decision within %v", deadline)
	default:
		return answer.Faultf(answer.Evaluation, "%v", err)
	}
}
