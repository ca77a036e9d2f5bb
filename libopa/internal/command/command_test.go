package command

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRunGivesTheExitCodesOfOPA(t *testing.T) {
	silence(t)
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	failing := write("failing_test.rego", "package p\n\ntest_no if false\n")
	passing := write("passing_test.rego", "package p\n\ntest_yes if true\n")
	unformatted := write("unformatted.rego", "package   p\n")
	broken := write("broken.rego", "package p\n\nx :=\n")
	cases := []struct {
		exit int
		argv []string
	}{
		{0, []string{"version"}},
		{0, []string{"test", passing}},
		{2, []string{"test", failing}},
		{1, []string{"test", broken}},
		{0, []string{"fmt", "--list", passing}},
		{2, []string{"fmt", "--fail", "--list", unformatted}},
		{1, []string{"check", broken}},
		{0, []string{"eval", "1 == 1"}},
		{1, []string{"eval", "--fail", "data.nothing"}},
		{2, []string{"eval", "1 ="}},
		{1, []string{"no-such-command"}},
		{1, []string{"eval", "--no-such-flag"}},
		{0, []string{"eval", "data.nothing"}}, // a flag of an earlier run does not stay
	}
	for _, tried := range cases {
		if exit := Run(tried.argv); exit != tried.exit {
			t.Errorf("opa %v: exit %d, wanted %d", tried.argv, exit, tried.exit)
		}
	}
}

// silence keeps what OPA prints out of the test's own output.
func silence(t *testing.T) {
	t.Helper()
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, errors := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = nowhere, nowhere
	t.Cleanup(func() {
		os.Stdout, os.Stderr = out, errors
		_ = nowhere.Close()
	})
}
