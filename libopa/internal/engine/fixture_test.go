package engine

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

const (
	mainRego = `package flowyml.main

decision := {"seen": input.n, "rules": rules}

rules := {name | data.flowyml.rules[name].findings}
`
	ruleRego = `package flowyml.rules.even

findings contains {"code": "even.odd"} if input.n % 2 == 1
`
)

type files map[string]string

func manifest(revision string, roots ...string) string {
	encoded, _ := json.Marshal(map[string]any{"revision": revision, "roots": roots, "rego_version": 1})
	return string(encoded)
}

// shipped is a small policy with one rule, and whatever else is given.
func shipped(more files) files {
	policy := files{".manifest": manifest("f1", "flowyml"), "main.rego": mainRego, "even.rego": ruleRego}
	maps.Copy(policy, more)
	return policy
}

// archive packs a bundle into a new file.
func archive(t *testing.T, content files) string {
	t.Helper()
	return pack(t, filepath.Join(t.TempDir(), "bundle.tar.gz"), content)
}

func pack(t *testing.T, path string, content files) string {
	t.Helper()
	file, err := os.CreateTemp(filepath.Dir(path), "bundle")
	must(t, err)
	zipped := gzip.NewWriter(file)
	packed := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		must(t, packed.WriteHeader(&tar.Header{Name: name, Size: int64(len(content[name])), Mode: 0o644}))
		_, err := packed.Write([]byte(content[name]))
		must(t, err)
	}
	must(t, packed.Close())
	must(t, zipped.Close())
	must(t, file.Close())
	must(t, os.Rename(file.Name(), path))
	return path
}

// settings loads each bundle from its file; every bundle may own the root of its name.
func settings(bundles map[string]string) Settings {
	sources, expected := map[string]any{}, map[string]Expected{}
	for name, path := range bundles {
		sources[name] = map[string]any{"resource": "file://" + path}
		expected[name] = Expected{Roots: []string{name}}
	}
	return Settings{
		Config:      map[string]any{"bundles": sources},
		Bundles:     expected,
		InputSchema: 1,
		Decision:    "flowyml/main/decision",
		DeadlineNS:  int64(20 * time.Second),
	}
}

func started(t *testing.T, given Settings) *Evaluator {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), given.Deadline())
	defer cancel()
	evaluator, _, err := Start(ctx, given)
	must(t, err)
	t.Cleanup(func() { evaluator.Stop(context.Background()) })
	return evaluator
}

// startFault starts what must not start, and demands that it says so long before the deadline.
func startFault(t *testing.T, given Settings) *answer.Fault {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), given.Deadline())
	defer cancel()
	evaluator, _, err := Start(ctx, given)
	if err == nil {
		evaluator.Stop(context.Background())
		t.Fatal("it started")
	}
	if ctx.Err() != nil {
		t.Fatalf("it gave up at the deadline only: %v", err)
	}
	return faultOf(t, err)
}

func faultOf(t *testing.T, err error) *answer.Fault {
	t.Helper()
	var fault *answer.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("%v has no code", err)
	}
	return fault
}

// given is an answer of Decide, taken apart.
type given struct {
	OK *struct {
		Result  any               `json:"result"`
		Bundles map[string]string `json:"bundles"`
	} `json:"ok"`
	Error *answer.Fault `json:"error"`
}

// decide asks for the decision, or for what stands at a path.
func decide(t *testing.T, evaluator *Evaluator, path, input string) given {
	t.Helper()
	var encoded []byte
	if path == "" {
		encoded = evaluator.Decide([]byte(input), 10*time.Second)
	} else {
		encoded = evaluator.Query(path, []byte(input), 10*time.Second)
	}
	var parsed given
	must(t, json.Unmarshal(encoded, &parsed))
	return parsed
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustEqual(t *testing.T, found, wanted any) {
	t.Helper()
	left, err := json.Marshal(found)
	must(t, err)
	right, err := json.Marshal(wanted)
	must(t, err)
	if string(left) != string(right) {
		t.Fatalf("found %s\nwanted %s", left, right)
	}
}
