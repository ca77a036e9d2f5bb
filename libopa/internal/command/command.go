// Package command runs OPA's own command line inside this process.
package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/open-policy-agent/opa/cmd"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// exitPanic is what a Go program exits with when it panics.
const exitPanic = 2

// Run executes `opa argv...` and gives OPA's exit code. It writes to the process's streams, and some commands end
// the process themselves. The command tree is made anew for each run, because flags keep their values.
func Run(argv []string) (exit int) {
	defer func() {
		if value := recover(); value != nil {
			fmt.Fprintln(os.Stderr, answer.Recovered(value))
			exit = exitPanic
		}
	}()
	root := cmd.Command(nil, "OPA")
	root.SetArgs(argv)
	return exitCode(root.Execute())
}

// exitCode follows OPA's own main: an ExitError names its code, any other error is 1.
func exitCode(err error) int {
	var stated *cmd.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &stated):
		return stated.Exit
	default:
		return 1
	}
}
