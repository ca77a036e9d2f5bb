package engine

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// ProgramSettings is what a program is loaded from, as `opa eval` loads it. No signature is verified.
type ProgramSettings struct {
	Paths      []string                   `json:"paths"`   // files and folders, as with --data
	Bundles    []string                   `json:"bundles"` // archives and folders, as with --bundle
	Modules    map[string]string          `json:"modules"` // Rego by the name that messages give it
	Data       map[string]json.RawMessage `json:"data"`    // what is below data, by its first key
	Version    int                        `json:"version"` // of Rego: 0 or 1
	Strict     bool                       `json:"strict"`  // whether builtin errors are errors
	AllowHosts []string                   `json:"allow_hosts"`
	DeadlineNS int64                      `json:"deadline_ns"` // of loading
}

// Deadline is the time that loading may take.
func (settings ProgramSettings) Deadline() time.Duration { return time.Duration(settings.DeadlineNS) }

func (settings ProgramSettings) version() ast.RegoVersion {
	if settings.Version == 0 {
		return ast.RegoV0
	}
	return ast.RegoV1
}

// Program is any Rego and any data, asked any query: none of this program's own rules about policy hold for it. It is
// safe for use by many threads at once, also while it is loaded again.
type Program struct {
	settings ProgramSettings
	loaded   atomic.Pointer[loaded]
}

// loaded is what one load left: every query is of one of them, whole.
type loaded struct {
	compiler *ast.Compiler
	store    storage.Store
	mutex    sync.Mutex
	queries  map[string]programQuery
}

type programQuery struct {
	body    ast.Body
	written map[ast.Var]ast.Var // variables that the compiler renamed, to their names as written
}

// mostQueries bounds the compiled queries that are kept: a caller may write values into them.
const mostQueries = 512

// Load loads a program.
func Load(ctx context.Context, settings ProgramSettings) (*Program, error) {
	if err := prepareProcess(0); err != nil {
		return nil, err
	}
	program := &Program{settings: settings}
	return program, program.Reload(ctx)
}

// Reload loads the program again from where it came. Where that fails, what was loaded before goes on.
func (program *Program) Reload(ctx context.Context) error {
	settings := program.settings
	next := &loaded{
		compiler: ast.NewCompiler(),
		store:    inmem.NewWithOpts(inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false)),
		queries:  map[string]programQuery{},
	}
	options := []func(*rego.Rego){
		rego.Query("true"), rego.Compiler(next.compiler), rego.Store(next.store), rego.SkipBundleVerification(true),
		rego.SetRegoVersion(settings.version()),
	}
	if len(settings.Paths) > 0 {
		options = append(options, rego.Load(settings.Paths, nil))
	}
	for _, path := range settings.Bundles {
		options = append(options, rego.LoadBundle(path))
	}
	for _, name := range slices.Sorted(maps.Keys(settings.Modules)) {
		parsing := ast.ParserOptions{RegoVersion: settings.version(), ProcessAnnotation: true}
		module, err := ast.ParseModuleWithOpts(name, settings.Modules[name], parsing)
		if err != nil {
			return programFault(ctx, err, settings.Deadline())
		}
		options = append(options, rego.ParsedModule(module))
	}
	err := storage.Txn(ctx, next.store, storage.WriteParams, func(txn storage.Transaction) error {
		if _, err := rego.New(append(options, rego.Transaction(txn))...).PrepareForEval(ctx); err != nil {
			return programFault(ctx, err, settings.Deadline())
		}
		return next.give(ctx, txn, settings.Data)
	})
	if err != nil {
		return err
	}
	if ctx.Err() != nil { // nobody waits for it any more, and it was said to have failed
		return programFault(ctx, ctx.Err(), settings.Deadline())
	}
	program.loaded.Store(next)
	return nil
}

// give adds data beside what files and bundles hold.
func (next *loaded) give(ctx context.Context, txn storage.Transaction, data map[string]json.RawMessage) error {
	for _, key := range slices.Sorted(maps.Keys(data)) {
		path := storage.Path{key}
		if _, err := next.store.Read(ctx, txn, path); err == nil {
			return answer.Faultf(answer.Start, "data.%s is given, and stands in a file or bundle as well", key)
		}
		value, err := readInput(data[key])
		if err != nil {
			return answer.Faultf(answer.Start, "data.%s is no JSON document: %v", key, err)
		}
		if err := next.store.Write(ctx, txn, storage.AddOp, path, value); err != nil {
			return answer.Faultf(answer.Start, "data.%s: %v", key, err)
		}
	}
	return nil
}

// Revisions are the revisions of the bundles, by the places that they were loaded from.
func (program *Program) Revisions(ctx context.Context) (map[string]string, error) {
	revisions := map[string]string{}
	current := program.loaded.Load()
	err := storage.Txn(ctx, current.store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		manifests, err := readManifests(ctx, current.store, txn)
		for name, manifest := range manifests {
			revisions[name] = manifest.Revision
		}
		return err
	})
	return revisions, err
}

// Query answers every solution of a query: {"ok": [{variable: value}]}. A nil input is none, so that rules find it
// undefined. It runs on the calling thread.
func (program *Program) Query(text string, input []byte, deadline time.Duration) (encoded []byte) {
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
	ctx, stop := context.WithTimeout(context.Background(), deadline)
	defer stop()
	encoded, err := program.solutions(withAllowedHosts(ctx, program.settings.AllowHosts), text, input, cancel)
	if err != nil {
		return answer.Error(decideFault(ctx, err, deadline, cancel.Cancelled()))
	}
	return encoded
}

func (program *Program) solutions(ctx context.Context, text string, input []byte, cancel topdown.Cancel) ([]byte, error) {
	current := program.loaded.Load()
	query, err := current.query(text, program.settings.version())
	if err != nil {
		return nil, err
	}
	asked := topdown.NewQuery(query.body).
		WithCompiler(current.compiler).
		WithStore(current.store).
		WithStrictBuiltinErrors(program.settings.Strict).
		WithCancel(cancel).
		WithMetrics(metrics.NoOp())
	if input != nil {
		value, err := readInput(input)
		if err != nil {
			return nil, answer.Faultf(answer.Input, "the input is no JSON document: %v", err)
		}
		asked = asked.WithInput(ast.NewTerm(value))
	}
	encoded := []byte(`{"ok":[`)
	err = storage.Txn(ctx, current.store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		return asked.WithTransaction(txn).Iter(ctx, func(found topdown.QueryResult) error {
			if encoded[len(encoded)-1] != '[' {
				encoded = append(encoded, ',')
			}
			var err error
			encoded, err = appendValue(encoded, query.solution(found))
			return err
		})
	})
	return append(encoded, `]}`...), err
}

// solution is one solution by the names of the variables as written; those that the compiler made up are left out.
func (query programQuery) solution(found topdown.QueryResult) ast.Object {
	solution := ast.NewObject()
	for name, value := range found {
		if written, renamed := query.written[name]; renamed {
			name = written
		}
		if !name.IsGenerated() && !name.IsWildcard() {
			solution.Insert(ast.StringTerm(string(name)), value)
		}
	}
	return solution
}

func (current *loaded) query(text string, version ast.RegoVersion) (programQuery, error) {
	current.mutex.Lock()
	defer current.mutex.Unlock() // the compiler of queries may not be used by two threads
	if query, known := current.queries[text]; known {
		return query, nil
	}
	body, err := ast.ParseBodyWithOpts(text, ast.ParserOptions{RegoVersion: version})
	if err != nil {
		return programQuery{}, answer.Faultf(answer.Evaluation, "the query is no Rego: %v", err)
	}
	compiler := current.compiler.QueryCompiler()
	if body, err = compiler.Compile(body); err != nil {
		return programQuery{}, answer.Faultf(answer.Evaluation, "the query does not compile: %v", err)
	}
	if len(current.queries) >= mostQueries {
		clear(current.queries)
	}
	query := programQuery{body, compiler.RewrittenVars()}
	current.queries[text] = query
	return query, nil
}

// programFault tells files that are no Rego from those that are not there.
func programFault(ctx context.Context, err error, deadline time.Duration) error {
	var compiling ast.Errors
	var loading loader.Errors
	switch {
	case ctx.Err() != nil:
		return answer.Faultf(answer.Deadline, "the policy was not loaded within %v", deadline)
	case errors.As(err, &compiling):
		return answer.Faultf(answer.Rego, "%v", compiling)
	case errors.As(err, &loading) && slices.ContainsFunc(loading, isRegoError):
		return answer.Faultf(answer.Rego, "%v", loading)
	default:
		return answer.Faultf(answer.Start, "%v", err)
	}
}

func isRegoError(err error) bool {
	var one *ast.Error
	var several ast.Errors
	return errors.As(err, &one) || errors.As(err, &several)
}

var programs sync.Map // handle to *Program

// OpenProgram gives a program a handle.
func OpenProgram(program *Program) uint64 {
	handle := handles.Add(1)
	programs.Store(handle, program)
	return handle
}

// GetProgram is the program of an open handle.
func GetProgram(handle uint64) (*Program, error) {
	if found, ok := programs.Load(handle); ok {
		return found.(*Program), nil
	}
	return nil, answer.Faultf(answer.Closed, "the program %d is not open", handle)
}

// CloseProgram forgets a program; queries that are under way finish.
func CloseProgram(handle uint64) {
	programs.Delete(handle)
}
