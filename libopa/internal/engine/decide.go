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
		run := evaluation{evaluator, ctx, txn, current, cancel}
		result, err := run.decide(path, vouched, input)
		if err == nil {
			encoded, err = encodeAnswer(result, current.origin)
		}
		return err
	})
	if err != nil {
		return answer.Error(decideFault(ctx, err, deadline, cancel.Cancelled()))
	}
	return encoded
}

// evaluation is one decision in the making: within a transaction, on the view that belongs to it, until it is cancelled.
type evaluation struct {
	*Evaluator
	ctx     context.Context
	txn     storage.Transaction
	current *view
	cancel  topdown.Cancel
}

// decide gives what stands at a path, on an input. Policy checks the shape of its input, which is a quarter of a small
// decision; who hands over nothing but documents that it validated vouches for a rule, which is then taken as true.
func (run evaluation) decide(path string, vouched ast.Ref, encoded []byte) (ast.Value, error) {
	if run.current.fault != nil {
		return nil, run.current.fault
	}
	if err := run.remote.stale(); err != nil {
		return nil, err
	}
	query, err := run.current.query(path, vouched)
	if err != nil {
		return nil, err
	}
	input, err := readInput(encoded)
	if err != nil {
		return nil, answer.Faultf(answer.Input, "the input is no JSON document: %v", err)
	}
	result, err := run.evaluate(query, ast.NewTerm(input))
	if err != nil {
		return nil, err
	}
	if result == nil {
		return nil, answer.Faultf(answer.Undefined, "data.%s is undefined", strings.ReplaceAll(path, "/", "."))
	}
	return result.Value, nil
}

// evaluate asks OPA's evaluator itself: the layers above it (the rego package, the SDK) would add a fifth. The result
// is nil where there is none.
func (run evaluation) evaluate(query ast.Body, input *ast.Term) (result *ast.Term, err error) {
	err = topdown.NewQuery(query).
		WithCompiler(run.current.compiler).
		WithStore(run.store).
		WithTransaction(run.txn).
		WithRuntime(run.manager.Info).
		WithInput(input).
		WithStrictBuiltinErrors(true).
		WithCancel(run.cancel).
		WithMetrics(metrics.NoOp()).
		Iter(run.ctx, func(found topdown.QueryResult) error {
			result = found[resultVariable]
			return nil
		})
	return result, err
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
