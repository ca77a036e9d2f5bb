// Command libopa is the C interface of the library: OPA's SDK and OPA's command line for a host process.
//
// Every function but release answers a NUL-terminated JSON text, {"ok": value} or {"error": {"code", "message"}},
// that the caller owns and gives back with release. Deadlines are nanoseconds from now. Every function may be
// called from any thread, and none after a fork without exec.
package main

// #include <stdlib.h>
// #include <stdint.h>
import "C"

import (
	"context"
	"encoding/json"
	"runtime"
	"time"
	"unsafe"

	opa "github.com/open-policy-agent/opa/v1/version"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
	"github.com/flowyml/flowyml-policy/libopa/internal/command"
	"github.com/flowyml/flowyml-policy/libopa/internal/engine"
	"github.com/flowyml/flowyml-policy/libopa/internal/rego"
)

// version is set when the library is linked: that of the Python package that it belongs to.
var version = "unversioned"

func main() {}

// flowyml_opa_version answers {"library", "opa", "go"}.
//
//export flowyml_opa_version
func flowyml_opa_version() (text *C.char) {
	defer recovered(&text)
	return given(answer.OK(map[string]string{"library": version, "opa": opa.Version, "go": runtime.Version()}))
}

// flowyml_opa_start starts an evaluator with engine.Settings and answers engine.Started.
//
//export flowyml_opa_start
func flowyml_opa_start(settings *C.char, length C.size_t) (text *C.char) {
	defer recovered(&text)
	var parsed engine.Settings
	if err := json.Unmarshal(taken(settings, length), &parsed); err != nil {
		return given(answer.Error(answer.Faultf(answer.Usage, "the settings are no JSON object: %v", err)))
	}
	return given(answer.Run(parsed.Deadline(), func(ctx context.Context) (any, error) {
		evaluator, started, err := engine.Start(ctx, parsed)
		if err != nil {
			return nil, err
		}
		started.Handle = engine.Open(evaluator)
		return started, nil
	}))
}

// flowyml_opa_decide evaluates what stands at path, or the decision where path is null, on input: {"result", "bundles"}.
// An empty path is none.
//
//export flowyml_opa_decide
func flowyml_opa_decide(handle C.uint64_t, path *C.char, input *C.char, length C.size_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	evaluator, err := engine.Get(uint64(handle))
	if err != nil {
		return given(answer.Error(err))
	}
	document, within := borrowed(input, length), time.Duration(deadline)
	if path == nil {
		return given(evaluator.Decide(document, within))
	}
	return given(evaluator.Query(C.GoString(path), document, within))
}

// flowyml_opa_status answers engine.Status.
//
//export flowyml_opa_status
func flowyml_opa_status(handle C.uint64_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), func(ctx context.Context) (any, error) {
		evaluator, err := engine.Get(uint64(handle))
		if err != nil {
			return nil, err
		}
		return evaluator.Status(ctx)
	}))
}

// flowyml_opa_describe answers engine.Started of what is loaded now.
//
//export flowyml_opa_describe
func flowyml_opa_describe(handle C.uint64_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), func(ctx context.Context) (any, error) {
		evaluator, err := engine.Get(uint64(handle))
		if err != nil {
			return nil, err
		}
		return evaluator.Describe(ctx)
	}))
}

// flowyml_opa_stop ends an evaluator and answers null; stopping twice is fine.
//
//export flowyml_opa_stop
func flowyml_opa_stop(handle C.uint64_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), func(ctx context.Context) (any, error) {
		if evaluator := engine.Close(uint64(handle)); evaluator != nil {
			evaluator.Stop(ctx)
		}
		return nil, nil
	}))
}

// flowyml_opa_check_globs takes a JSON array of patterns and answers those that glob.match refuses.
//
//export flowyml_opa_check_globs
func flowyml_opa_check_globs(patterns *C.char, length C.size_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), withStrings(taken(patterns, length),
		func(ctx context.Context, parsed []string) (any, error) { return rego.CheckGlobs(ctx, parsed) })))
}

// flowyml_opa_inspect takes a JSON array of file names and answers rego.Inspection.
//
//export flowyml_opa_inspect
func flowyml_opa_inspect(files *C.char, length C.size_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), withStrings(taken(files, length),
		func(ctx context.Context, parsed []string) (any, error) { return rego.Inspect(ctx, parsed) })))
}

// flowyml_opa_load loads engine.ProgramSettings and answers {"handle"}.
//
//export flowyml_opa_load
func flowyml_opa_load(settings *C.char, length C.size_t) (text *C.char) {
	defer recovered(&text)
	var parsed engine.ProgramSettings
	if err := json.Unmarshal(taken(settings, length), &parsed); err != nil {
		return given(answer.Error(answer.Faultf(answer.Usage, "the settings are no JSON object: %v", err)))
	}
	return given(answer.Run(parsed.Deadline(), func(ctx context.Context) (any, error) {
		program, err := engine.Load(ctx, parsed)
		if err != nil {
			return nil, err
		}
		return map[string]uint64{"handle": engine.OpenProgram(program)}, nil
	}))
}

// flowyml_opa_query answers every solution of a query of a program: [{variable: value}]. A null input is none.
//
//export flowyml_opa_query
func flowyml_opa_query(handle C.uint64_t, query *C.char, input *C.char, length C.size_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	program, err := engine.GetProgram(uint64(handle))
	if err != nil {
		return given(answer.Error(err))
	}
	var document []byte
	if input != nil {
		document = borrowed(input, length)
	}
	return given(program.Query(C.GoString(query), document, time.Duration(deadline)))
}

// flowyml_opa_reload loads a program again, or leaves it as it is; it answers null.
//
//export flowyml_opa_reload
func flowyml_opa_reload(handle C.uint64_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), withProgram(handle, func(ctx context.Context, program *engine.Program) (any, error) {
		return nil, program.Reload(ctx)
	})))
}

// flowyml_opa_revisions answers the revisions of a program's bundles.
//
//export flowyml_opa_revisions
func flowyml_opa_revisions(handle C.uint64_t, deadline C.int64_t) (text *C.char) {
	defer recovered(&text)
	return given(answer.Run(time.Duration(deadline), withProgram(handle, func(ctx context.Context, program *engine.Program) (any, error) {
		return program.Revisions(ctx)
	})))
}

// flowyml_opa_close forgets a program and answers null; twice is fine.
//
//export flowyml_opa_close
func flowyml_opa_close(handle C.uint64_t) (text *C.char) {
	defer recovered(&text)
	engine.CloseProgram(uint64(handle))
	return given(answer.OK(nil))
}

// flowyml_opa_command runs OPA's command line on a JSON array of arguments and answers its exit code. It has no
// deadline: `opa run` serves until it is told to stop.
//
//export flowyml_opa_command
func flowyml_opa_command(arguments *C.char, length C.size_t) (text *C.char) {
	defer recovered(&text)
	var argv []string
	if err := json.Unmarshal(taken(arguments, length), &argv); err != nil {
		return given(answer.Error(answer.Faultf(answer.Usage, "the arguments are no JSON array of strings: %v", err)))
	}
	return given(answer.OK(command.Run(argv)))
}

// flowyml_opa_release frees an answer.
//
//export flowyml_opa_release
func flowyml_opa_release(text *C.char) {
	C.free(unsafe.Pointer(text))
}

// recovered makes an answer of a panic; it is deferred by every function.
func recovered(text **C.char) {
	if value := recover(); value != nil {
		*text = given(answer.Error(answer.Recovered(value)))
	}
}

func withProgram(
	handle C.uint64_t, work func(context.Context, *engine.Program) (any, error),
) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		program, err := engine.GetProgram(uint64(handle))
		if err != nil {
			return nil, err
		}
		return work(ctx, program)
	}
}

func withStrings(encoded []byte, work func(context.Context, []string) (any, error)) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		var parsed []string
		if err := json.Unmarshal(encoded, &parsed); err != nil {
			return nil, answer.Faultf(answer.Usage, "the argument is no JSON array of strings: %v", err)
		}
		return work(ctx, parsed)
	}
}

// given copies an answer into memory that the caller frees.
func given(encoded []byte) *C.char {
	size := C.size_t(len(encoded))
	text := C.malloc(size + 1) // cgo's malloc never gives nil
	copied := unsafe.Slice((*byte)(text), len(encoded)+1)
	copy(copied, encoded)
	copied[len(encoded)] = 0
	return (*C.char)(text)
}

// taken copies the caller's bytes, for work that may outlive the call.
func taken(text *C.char, length C.size_t) []byte {
	return append([]byte{}, borrowed(text, length)...)
}

// borrowed is the caller's bytes themselves, valid during the call only.
func borrowed(text *C.char, length C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(text)), int(length))
}
