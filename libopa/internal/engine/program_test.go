package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

func program(t *testing.T, settings ProgramSettings) *Program {
	t.Helper()
	settings.Version = 1
	loaded, err := Load(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestProgramAnswersEverySolution(t *testing.T) {
	asked := program(t, ProgramSettings{
		Modules: map[string]string{"a.rego": "package a\n\np contains x if some x in input.xs\n\nq := opa.runtime()"},
		Data:    map[string]json.RawMessage{"users": json.RawMessage(`{"ada": 36, "bob": 1e2}`)},
	})
	for query, want := range map[string]string{
		`data.users[name] = age`:           `{"ok":[{"age":36,"name":"ada"},{"age":1e2,"name":"bob"}]}`,
		`x := data.a.p`:                    `{"ok":[{"x":[1,2]}]}`,
		`data.users[_] > 50`:               `{"ok":[{}]}`,
		`data.users.eve`:                   `{"ok":[]}`,
		`some n, a in data.users; a == 36`: `{"ok":[{"a":36,"n":"ada"}]}`,
	} {
		if found := string(asked.Query(query, []byte(`{"xs": [2, 1]}`), time.Second)); found != want {
			t.Errorf("%s: %s, want %s", query, found, want)
		}
	}
	for query, reason := range map[string]string{
		"x = ": "the query is no Rego", "x = f(1)": "does not compile", "data.a.q": "opa.runtime is refused",
	} {
		if found := string(asked.Query(query, nil, time.Second)); !strings.Contains(found, reason) {
			t.Errorf("%s: %s, want %s", query, found, reason)
		}
	}
}

func TestProgramThatDoesNotLoadAgainGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.rego")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("package a\n\nx := 1")
	asked := program(t, ProgramSettings{Paths: []string{file}})
	expect := func(want string) {
		t.Helper()
		if found := string(asked.Query("x = data.a.x", nil, time.Second)); found != `{"ok":[{"x":`+want+`}]}` {
			t.Errorf("%s, want %s", found, want)
		}
	}
	write("package a\n\nx :=")
	var fault *answer.Fault
	if err := asked.Reload(t.Context()); !errors.As(err, &fault) || fault.Code != answer.Rego {
		t.Errorf("%v, want an error of Rego", err)
	}
	expect("1")
	write("package a\n\nx := 2")
	if err := asked.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	expect("2")
	late, stop := context.WithCancel(t.Context())
	stop()
	write("package a\n\nx := 3")
	if err := asked.Reload(late); err == nil {
		t.Error("a load that nobody waits for counts")
	}
	expect("2")
}

func TestProgramGivenDataTwiceIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte(`{"users": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(t.Context(), ProgramSettings{
		Paths: []string{file}, Data: map[string]json.RawMessage{"users": json.RawMessage(`{}`)},
	})
	if err == nil || !strings.Contains(err.Error(), "data.users is given") {
		t.Errorf("%v", err)
	}
}
