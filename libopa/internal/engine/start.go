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
	Handle   uint64                    `json:"handle"`
	Bundles  map[string]string         `json:"bundles"`
	Metadata map[string]map[string]any `json:"metadata"` // of each bundle's manifest
	Copies   map[string]string         `json:"copies"`   // kept copies that serve, and when each was last the newest
	State    uint64                    `json:"state"`    // the number of what is loaded, which every answer carries
	Rules    []Rule                    `json:"rules"`
}

// Start loads every bundle and gives the evaluator. It returns as soon as every bundle is active, or as soon as
// it is certain that one will not be.
func Start(ctx context.Context, settings Settings) (*Evaluator, Started, error) {
	evaluator := newEvaluator(settings)
	started, err := evaluator.start(ctx)
	if err != nil {
		go evaluator.Stop(context.WithoutCancel(ctx)) // to wait for it could take the time that telling the reason needs
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
		guardTransport()
		if descriptor != 0 {
			var memory board
			if memory, prepared.err = openBoard(descriptor); prepared.err == nil {
				memory.watchBuiltins()
			}
		}
	})
	return prepared.err
}

// awaitBundles returns nil when all bundles are active, and of each remote one the server was asked; and an error when
// one cannot become active. Where a server did not answer, a kept copy serves.
func (evaluator *Evaluator) awaitBundles(ctx context.Context, ready <-chan struct{}) error {
	retried := map[string]int{} // by bundle, how many bundles were active when it was last loaded again
	var active bool
	for {
		if active && evaluator.areSettled() {
			return nil
		}
		select {
		case <-ready:
			ready, active = nil, true
		case <-ctx.Done():
			return evaluator.overdue(ctx, active)
		case <-evaluator.journal.changed:
			if err := evaluator.settle(ctx, retried); err != nil {
				return err
			}
		}
	}
}

func (evaluator *Evaluator) areSettled() bool {
	for _, name := range evaluator.bundleNames() {
		reason, _ := evaluator.journal.failure(name)
		if !evaluator.remote.isSettled(name, reason != nil) {
			return false
		}
	}
	return true
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

// overdue says why the bundles are not active although the deadline has passed; nil where kept copies serve.
func (evaluator *Evaluator) overdue(ctx context.Context, active bool) error {
	if active && evaluator.areServed() {
		return nil
	}
	old := evaluator.remote.oldCopies()
	for _, name := range evaluator.bundleNames() {
		if reason, _ := evaluator.journal.failure(name); reason != nil {
			fault := loadFault(name, reason)
			fault.Message += fmt.Sprintf(" (given up after %v)", evaluator.settings.Deadline())
			if kept, found := old[name]; found {
				fault.Message += "; " + evaluator.remote.ageText(name, kept)
			}
			return fault
		}
	}
	waiting := evaluator.inactive(ctx)
	return answer.Faultf(answer.Start, "the bundles are not active after %v%s", evaluator.settings.Deadline(), waiting)
}

// areServed says whether each remote bundle was confirmed or has a copy, where a server did not answer at all.
func (evaluator *Evaluator) areServed() bool {
	for _, name := range evaluator.bundleNames() {
		if !evaluator.remote.isSettled(name, true) {
			return false
		}
	}
	return true
}

// inactive names the bundles that did not come, for the end of a sentence.
func (evaluator *Evaluator) inactive(ctx context.Context) string {
	active, err := evaluator.activeBundles(context.WithoutCancel(ctx))
	if err != nil {
		return ""
	}
	names := slices.DeleteFunc(evaluator.bundleNames(), func(name string) bool { return active[name] })
	if len(names) == 0 {
		return ""
	}
	return ": nothing came of " + listed(names)
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
	var fault *answer.Fault
	if errors.As(reason, &fault) { // a fault of ours, which OPA hands on
		return answer.Faultf(fault.Code, "%s", fault.Message)
	}
	code := answer.Start
	if regoErrors := (ast.Errors)(nil); errors.As(reason, &regoErrors) {
		code = answer.Rego
	}
	return answer.Faultf(code, "bundle %q does not load: %v", name, reason)
}
