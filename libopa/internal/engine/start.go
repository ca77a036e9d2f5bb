package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/hooks"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/plugins/bundle"
	"github.com/open-policy-agent/opa/v1/sdk"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Started is what a start answers: what is loaded, and what stands at the depth of the rules.
type Started struct {
	Handle  uint64            `json:"handle"`
	Bundles map[string]string `json:"bundles"`
	Rules   []Rule            `json:"rules"`
}

// Start loads every bundle and gives the evaluator. It returns as soon as every bundle is active, or as soon as
// it is certain that one will not be.
func Start(ctx context.Context, settings Settings) (*Evaluator, Started, error) {
	evaluator := newEvaluator(settings)
	started, err := evaluator.start(ctx)
	if err != nil {
		evaluator.Stop(context.WithoutCancel(ctx))
		return nil, Started{}, err
	}
	return evaluator, started, nil
}

func (evaluator *Evaluator) start(ctx context.Context) (Started, error) {
	if err := prepareProcess(evaluator.settings.Board); err != nil {
		return Started{}, err
	}
	if len(evaluator.settings.Bundles) == 0 {
		return Started{}, answer.Faultf(answer.Policy, "no bundle is configured")
	}
	if evaluator.settings.Vouched != "" {
		vouched, err := dataRef(evaluator.settings.Vouched)
		if err != nil {
			return Started{}, err
		}
		evaluator.vouched = vouched
	}
	config, err := json.Marshal(evaluator.settings.Config)
	if err != nil {
		return Started{}, answer.Faultf(answer.Usage, "the configuration is no JSON: %v", err)
	}
	if err := evaluator.forgetViewOnCommit(ctx); err != nil {
		return Started{}, err
	}
	ready := make(chan struct{})
	evaluator.opa, err = sdk.New(context.WithoutCancel(ctx), sdk.Options{
		ID:            "flowyml-policy",
		Config:        bytes.NewReader(config),
		Logger:        page{journal: evaluator.journal},
		ConsoleLogger: page{journal: evaluator.journal},
		Store:         evaluator.store,
		Ready:         ready,
		RegoVersion:   ast.RegoV1,
		Hooks:         hooks.New(evaluator),
		ManagerOpts:   []func(*plugins.Manager){func(manager *plugins.Manager) { evaluator.manager = manager }},
	})
	if err != nil {
		return Started{}, answer.Faultf(answer.Start, "OPA does not accept its configuration: %v", err)
	}
	if err := evaluator.awaitBundles(ctx, ready); err != nil {
		return Started{}, err
	}
	return evaluator.describe(ctx)
}

// gcPercent lets garbage pile up to four times what is live before it is collected: little is live here, and both a
// start and a decision are a fifth faster than with Go's own 100. GOGC in the environment has the last word.
const gcPercent = 400

var prepared struct {
	sync.Once
	err error
}

// prepareProcess does what is done once for the whole library, before the first evaluator: the first one's board is
// that of the process.
func prepareProcess(descriptor int) error {
	prepared.Do(func() {
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
		guardBuiltins()
		if descriptor != 0 {
			var memory board
			if memory, prepared.err = openBoard(descriptor); prepared.err == nil {
				memory.watchBuiltins()
			}
		}
	})
	return prepared.err
}

// awaitBundles returns nil when all bundles are active, and an error when one cannot become active.
func (evaluator *Evaluator) awaitBundles(ctx context.Context, ready <-chan struct{}) error {
	retried := map[string]int{} // by bundle, how many bundles were active when it was last loaded again
	for {
		if err := evaluator.refusal(); err != nil {
			return err
		}
		select {
		case <-ready:
			return evaluator.refusal()
		case <-ctx.Done():
			return evaluator.overdue()
		case <-evaluator.journal.changed:
			if err := evaluator.settle(ctx, retried); err != nil {
				return err
			}
		}
	}
}

// refusal is the reason why a manifest seen so far may not be loaded.
func (evaluator *Evaluator) refusal() error {
	for _, name := range evaluator.bundleNames() {
		if reason, found := evaluator.refused.Load(name); found {
			return reason.(error)
		}
	}
	return nil
}

// settle decides what a failed bundle means. A local one is read once by OPA: it fails for good, unless its policy
// does not compile and others came in since, on whose functions it may rest; then it is loaded again. A remote one
// is loaded again by OPA itself.
func (evaluator *Evaluator) settle(ctx context.Context, retried map[string]int) error {
	active, err := evaluator.activeBundles(ctx)
	if err != nil {
		return err
	}
	var waiting []string
	for _, name := range evaluator.bundleNames() {
		reason, attempts := evaluator.journal.failure(name)
		switch {
		case active[name] || !evaluator.isLocal(name):
			continue
		case attempts == 0:
			waiting = append(waiting, name)
		case !isCompileError(reason):
			return loadFault(name, reason)
		}
	}
	if len(waiting) > 0 {
		return nil
	}
	for _, name := range evaluator.bundleNames() {
		if reason, attempts := evaluator.journal.failure(name); !active[name] && evaluator.isLocal(name) && attempts > 0 {
			if last, again := retried[name]; len(active) == 0 || (again && last == len(active)) {
				return loadFault(name, reason)
			}
			retried[name] = len(active)
			evaluator.loadAgain(ctx, name)
			return nil
		}
	}
	return nil
}

func (evaluator *Evaluator) loadAgain(ctx context.Context, name string) {
	loader := bundle.Lookup(evaluator.manager).Loaders()[name]
	if loader == nil {
		return
	}
	_ = loader.Trigger(context.WithoutCancel(ctx)) // the journal hears how it ends
	evaluator.journal.notify()
}

// overdue says why the bundles are not active although the deadline has passed.
func (evaluator *Evaluator) overdue() error {
	for _, name := range evaluator.bundleNames() {
		if reason, _ := evaluator.journal.failure(name); reason != nil {
			fault := loadFault(name, reason)
			fault.Message += fmt.Sprintf(" (given up after %v)", evaluator.settings.Deadline())
			return fault
		}
	}
	return answer.Faultf(answer.Start, "the bundles are not active after %v", evaluator.settings.Deadline())
}

func (evaluator *Evaluator) bundleNames() []string {
	return slices.Sorted(maps.Keys(evaluator.settings.Bundles))
}

func (evaluator *Evaluator) activeBundles(ctx context.Context) (map[string]bool, error) {
	active := map[string]bool{}
	err := evaluator.read(ctx, func(_ storage.Transaction, current *view) error {
		for name := range current.manifests {
			active[name] = true
		}
		return nil
	})
	return active, err
}

// isLocal says whether OPA reads the bundle from a file or folder, which it does once.
func (evaluator *Evaluator) isLocal(name string) bool {
	bundles, _ := evaluator.settings.Config["bundles"].(map[string]any)
	source, _ := bundles[name].(map[string]any)
	resource, _ := source["resource"].(string)
	return strings.HasPrefix(resource, "file:")
}

func isCompileError(err error) bool {
	var compileErrors ast.Errors
	if !errors.As(err, &compileErrors) {
		return false
	}
	return !slices.ContainsFunc(compileErrors, func(one *ast.Error) bool { return one.Code == ast.ParseErr })
}

func loadFault(name string, reason error) *answer.Fault {
	code := answer.Start
	if regoErrors := (ast.Errors)(nil); errors.As(reason, &regoErrors) {
		code = answer.Rego
	}
	return answer.Faultf(code, "bundle %q does not load: %v", name, reason)
}
