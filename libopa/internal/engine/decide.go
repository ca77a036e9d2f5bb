package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Decide evaluates the decision on input. It runs on the calling thread: handing a call over to another one costs as
// much as a small policy.
func (evaluator *Evaluator) Decide(input []byte, deadline time.Duration) []byte {
	settings := evaluator.settings
	return evaluator.answer(question{path: settings.Decision, vouched: settings.Vouched}, input, deadline)
}

// Query evaluates what stands at path on input, and takes nothing as true.
func (evaluator *Evaluator) Query(path string, input []byte, deadline time.Duration) []byte {
	return evaluator.answer(question{path: path}, input, deadline)
}

func (evaluator *Evaluator) answer(asked question, input []byte, deadline time.Duration) (encoded []byte) {
	defer func() {
		if value := recover(); value != nil {
			encoded = answer.Error(answer.Recovered(value))
		}
	}()
	if deadline <= 0 {
		return answer.Error(answer.Faultf(answer.Usage, "a deadline above zero is required"))
	}
	ctx, stop := context.WithTimeout(context.Background(), deadline)
	defer stop()
	encoded, err := evaluator.decide(ctx, asked, input)
	if err != nil {
		return answer.Error(decideFault(ctx, err, deadline))
	}
	return encoded
}

func (evaluator *Evaluator) decide(ctx context.Context, asked question, input []byte) ([]byte, error) {
	document, err := readInput(input)
	if err != nil {
		return nil, answer.Faultf(answer.Input, "the input is no JSON document: %v", err)
	}
	if len(evaluator.settings.AllowHosts) > 0 {
		ctx = withAllowedHosts(ctx, evaluator.settings.AllowHosts)
	}
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	var encoded []byte
	err = evaluator.read(ctx, func(txn storage.Transaction, current *view) error {
		if current.fault != nil {
			return current.fault
		}
		prepared, err := evaluator.prepared(ctx, txn, current, asked)
		if err != nil {
			return err
		}
		results, err := prepared.Eval(ctx,
			rego.EvalParsedInput(document),
			rego.EvalTransaction(txn),
			rego.EvalExternalCancel(cancel),
			rego.EvalGenerateJSON(keepTerm),
			rego.EvalMetrics(metrics.NoOp()),
		)
		if err != nil {
			return err
		}
		if len(results) == 0 {
			return answer.Faultf(answer.Undefined, "data.%s is undefined", strings.ReplaceAll(asked.path, "/", "."))
		}
		encoded, err = encodeAnswer(results[0].Expressions[0].Value.(*ast.Term).Value, current.revisions)
		return err
	})
	return encoded, err
}

// keepTerm leaves the result as OPA computed it: it is encoded once, without a detour through Go's own values.
func keepTerm(term *ast.Term, _ *rego.EvalContext) (any, error) { return term, nil }

// decideFault gives OPA's error the code that leaves the library.
func decideFault(ctx context.Context, err error, deadline time.Duration) error {
	var fault *answer.Fault
	switch {
	case errors.As(err, &fault):
		return fault
	case topdown.IsCancel(err), ctx.Err() != nil:
		return answer.Faultf(answer.Deadline, "no decision within %v", deadline)
	default:
		return answer.Faultf(answer.Evaluation, "%v", err)
	}
}
