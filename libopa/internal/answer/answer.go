// Package answer is the one shape in which the library speaks: {"ok": value} or {"error": {"code", "message"}}.
//
// Rules of this package:
//   - An answer is always complete JSON, whatever happened: an answer that cannot be encoded becomes an error.
//   - Codes are stable; the Python side chooses its exception by them. Messages carry OPA's own words.
//   - Run turns a panic and an overrun deadline into errors, so that no export can take the process down or hang.
package answer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// Codes of the errors that leave the library.
const (
	Usage      = "usage"       // the call itself is malformed
	Closed     = "closed"      // the handle is not, or no longer, open
	Start      = "start"       // OPA could not start or could not activate a bundle
	Policy     = "policy"      // a bundle or rule file breaks a rule of this program
	RolledBack = "rolled_back" // a bundle is older than one that was seen before
	Expired    = "expired"     // a bundle is past the time that it states
	Stale      = "stale"       // a bundle's server was not reached for too long
	Rego       = "rego"        // a file of policy does not parse or compile
	Input      = "input"       // the input is not one JSON document
	Undefined  = "undefined"   // the query has no value
	Deadline   = "deadline"    // the call took longer than it may
	Evaluation = "evaluation"  // OPA gave up: a builtin failed, rules conflict, a builtin is refused
	Panic      = "panic"       // a fault of OPA or of this library
)

// Fault is an error with the code that leaves the library. Detail, where present, is a value for machines.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

func (fault *Fault) Error() string { return fault.Message }

// Faultf makes a Fault with a formatted message.
func Faultf(code, format string, arguments ...any) *Fault {
	return &Fault{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// OK is the answer that carries value.
func OK(value any) []byte {
	encoded, err := json.Marshal(map[string]any{"ok": value})
	if err != nil {
		return Error(Faultf(Panic, "the answer is no JSON: %v", err))
	}
	return encoded
}

// Error is the answer that carries err; an error without a code of its own is a Panic, a fault of the library.
func Error(err error) []byte {
	var fault *Fault
	if !errors.As(err, &fault) {
		fault = Faultf(Panic, "%v", err)
	}
	encoded, failure := json.Marshal(map[string]any{"error": fault})
	if failure != nil {
		return []byte(`{"error":{"code":"panic","message":"the error is no JSON"}}`)
	}
	return encoded
}

// Recovered is the Fault for what recover() returned, with the place of the panic.
func Recovered(value any) *Fault {
	return Faultf(Panic, "panic: %v at %s", value, panicPlace(string(debug.Stack())))
}

// Run calls work with a context that ends after deadline and gives its answer. Work that overruns the deadline
// and does not look at its context is left behind: the caller gets its answer in time.
func Run(deadline time.Duration, work func(context.Context) (any, error)) []byte {
	if deadline <= 0 {
		return Error(Faultf(Usage, "a deadline above zero is required"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	done := make(chan []byte, 1)
	go func() {
		defer cancel()
		defer func() {
			if value := recover(); value != nil {
				done <- Error(Recovered(value))
			}
		}()
		value, err := work(ctx)
		if err != nil {
			done <- Error(err)
			return
		}
		done <- OK(value)
	}()
	select {
	case encoded := <-done:
		return encoded
	case <-ctx.Done():
	}
	select {
	case encoded := <-done: // work that ends at its deadline knows best why
		return encoded
	case <-time.After(grace):
		return Error(Faultf(Deadline, "no answer within %v", deadline))
	}
}

const grace = 100 * time.Millisecond

// panicPlace is the function that panicked: the frame after the last one of the runtime's panic machinery.
func panicPlace(stack string) string {
	lines := strings.Split(stack, "\n")
	for index, line := range lines {
		if strings.HasPrefix(line, "panic(") && index+2 < len(lines) {
			return strings.TrimSpace(lines[index+2])
		}
	}
	return "an unknown place"
}
