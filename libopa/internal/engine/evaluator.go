// Package engine holds evaluators: OPA's SDK for the distribution of bundles, and OPA's evaluator on its compiler
// and store for the decisions.
//
// Rules of this package:
//   - Each decision runs in one read transaction, and the revisions it answers with are those of that transaction.
//   - A bundle that breaks a rule of this program, or is missing, makes every decision an error, also after a reload.
//   - Undefined is an error, builtin errors are errors, and policy cannot reach out of the process. It can keep its
//     thread, and fill the memory, by one call: what is not trusted with this process is judged in another one.
//   - Nothing is written to the process's streams.
package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/hooks"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/sdk"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Settings is what an evaluator is started with.
type Settings struct {
	Config      map[string]any      `json:"config"`       // OPA's own configuration
	Bundles     map[string]Expected `json:"bundles"`      // every bundle of Config, and what it may own
	InputSchema int                 `json:"input_schema"` // schema version of the inputs to come
	Decision    string              `json:"decision"`     // the path of the decision
	Vouched     string              `json:"vouched"`      // a rule that a decision takes as true; see evaluation.decide
	AllowHosts  []string            `json:"allow_hosts"`  // hosts that policy may reach; none by default
	DeadlineNS  int64               `json:"deadline_ns"`  // of the start
	MaxAgeNS    int64               `json:"max_age_ns"`   // how long a remote bundle may be unconfirmed; 0 for ever
	Board       int                 `json:"board"`        // descriptor of the board that calls are told on; 0 for none
}

// Deadline is the time that the start may take.
func (settings Settings) Deadline() time.Duration { return time.Duration(settings.DeadlineNS) }

// states counts what was ever loaded, by all evaluators: who asks one after the other is told that it is another state.
var states atomic.Uint64

// Evaluator is one started OPA. It is safe for use by many threads at once.
type Evaluator struct {
	settings Settings
	vouched  ast.Ref // settings.Vouched, nil for none
	opa      *sdk.OPA
	manager  *plugins.Manager
	store    *gate
	journal  *journal
	remote   *remote
	state    atomic.Uint64        // the number of what the store holds
	view     atomic.Pointer[view] // what the last commit left; nil until it is looked at
}

func newEvaluator(settings Settings) *Evaluator {
	known := newRemote(settings)
	// Values as OPA evaluates them: base documents need no conversion in every decision.
	store := inmem.NewWithOpts(inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	return &Evaluator{
		settings: settings,
		store:    &gate{Store: store, activated: known.activated},
		journal:  newJournal(known),
		remote:   known,
	}
}

var _ hooks.BundlePreActivateHook = (*Evaluator)(nil)

// OnBundlePreActivate looks at a manifest before its bundle goes into the store: within the transaction, whose commit
// then fails where the bundle may not be loaded.
func (evaluator *Evaluator) OnBundlePreActivate(_ context.Context, name string, manifest bundleManifest) error {
	err := checkManifest(name, evaluator.settings.Bundles[name], evaluator.settings.InputSchema, manifest)
	if err == nil {
		err = evaluator.remote.refuse(name, manifest)
	}
	evaluator.store.incoming = &incoming{name, manifest, err}
	return err
}

// forgetViewOnCommit makes each commit, of policy or of data, drop the view. The trigger runs while no read
// transaction is open, so a view never outlives what it was read from.
func (evaluator *Evaluator) forgetViewOnCommit(ctx context.Context) error {
	return storage.Txn(ctx, evaluator.store, storage.WriteParams, func(txn storage.Transaction) error {
		_, err := evaluator.store.Register(ctx, txn, storage.TriggerConfig{
			SkipDataConversion: true,
			OnCommit: func(context.Context, storage.Transaction, storage.TriggerEvent) {
				evaluator.state.Store(states.Add(1))
				evaluator.view.Store(nil)
			},
		})
		return err
	})
}

// read runs work in one read transaction with the view that belongs to it.
func (evaluator *Evaluator) read(ctx context.Context, work func(storage.Transaction, *view) error) error {
	txn, err := evaluator.store.NewTransaction(ctx)
	if err != nil {
		return err
	}
	defer evaluator.store.Abort(ctx, txn)
	current := evaluator.view.Load()
	if current == nil {
		if current, err = evaluator.newView(ctx, txn); err != nil {
			return err
		}
		evaluator.view.Store(current)
	}
	return work(txn, current)
}

// Stop ends OPA's background work. Decisions that are under way finish.
func (evaluator *Evaluator) Stop(ctx context.Context) {
	if evaluator.opa != nil {
		evaluator.opa.Stop(ctx)
	}
}

// Status is what is loaded now, and why anything is not.
type Status struct {
	Bundles  map[string]string `json:"bundles"`  // active bundles to their revisions
	Failures map[string]string `json:"failures"` // bundles to the error of their last attempt
}

// Status reads what is loaded now.
func (evaluator *Evaluator) Status(ctx context.Context) (Status, error) {
	status := Status{Bundles: map[string]string{}, Failures: map[string]string{}}
	err := evaluator.read(ctx, func(_ storage.Transaction, current *view) error {
		for name, manifest := range current.manifests {
			status.Bundles[name] = manifest.Revision
		}
		return nil
	})
	for name := range evaluator.settings.Bundles {
		if reason, _ := evaluator.journal.failure(name); reason != nil {
			status.Failures[name] = reason.Error()
		}
	}
	return status, err
}

var (
	evaluators sync.Map // handle to *Evaluator
	handles    atomic.Uint64
)

// Open gives the evaluator a handle.
func Open(evaluator *Evaluator) uint64 {
	handle := handles.Add(1)
	evaluators.Store(handle, evaluator)
	return handle
}

// Get is the evaluator of an open handle.
func Get(handle uint64) (*Evaluator, error) {
	if found, ok := evaluators.Load(handle); ok {
		return found.(*Evaluator), nil
	}
	return nil, answer.Faultf(answer.Closed, "evaluator %d is not open", handle)
}

// Close takes the handle out of use and gives the evaluator that it stood for, nil if it was closed already.
func Close(handle uint64) *Evaluator {
	if found, ok := evaluators.LoadAndDelete(handle); ok {
		return found.(*Evaluator)
	}
	return nil
}
