package engine

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

var inputs = []string{
	`null`, `true`, ` [ ] `, `{}`, `"\u0000\" \\ é \ud83d\ude00 \/ \u2028"`, `[1, -2.50, 1e400, 0.1, -0, 123456789012345678901234567890]`,
	`{"a": {"b": [{"c": null}, {}]}, "é\n": [[], [""]], "n": 7}`,
	`{"stack": {"name": "n", "labels": {"a": "b"}, "spec": {"compute": {"n": [1, {"x": 2e3}]}}, "document": {"k": "s", "m": {}, "l": []}}}`,
	`{"stack": null}`, `{"stack": {"spec": null, "document": [{}]}}`, `{"stack": {"spec": {}}, "x": {"stack": {"spec": {"a": 1}}}}`,
}

// Whatever it accepts, it reads as OPA's own reader does; what that one refuses, it refuses.
func FuzzReadInputAgreesWithOPA(f *testing.F) {
	for _, seed := range inputs {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, err := readInput([]byte(text))
		if err != nil {
			return
		}
		wanted, err := ast.ValueFromReader(strings.NewReader(text))
		must(t, err)
		if found.Compare(wanted) != 0 || wanted.Compare(found) != 0 {
			t.Fatalf("found  %v\nwanted %v", found, wanted)
		}
	})
}

func TestReadInputAcceptsEveryKindOfValue(t *testing.T) {
	for _, text := range inputs {
		found, err := readInput([]byte(text))
		must(t, err)
		wanted, err := ast.ValueFromReader(strings.NewReader(text))
		must(t, err)
		if found.Compare(wanted) != 0 || found.Hash() != wanted.Hash() {
			t.Fatalf("found  %v\nwanted %v", found, wanted)
		}
	}
}

func TestReadInputRefusesWhatIsNoSingleDocument(t *testing.T) {
	for _, text := range []string{
		``, ` `, `{`, `{"a"`, `{"a":`, `{"a": 1`, `[1`, `[1,]`, `{"a": 1,}`, `{} {}`, `1 2`, `nul`, `"`, `01`, `+1`, `NaN`, `{1: 2}`,
		`{"a": 1, "a": 2}`, `{"stack": {"spec": {"x": 1, "x": 2}}}`, `{"stack": {"spec": {"x": {"y": 1, "y": 1}}}}`, `{"stack": {"spec": {"x": [}}}`,
		"\"\xff\"", `"\ud800"`, "{\"\xff\": 1}", "{\"stack\": {\"document\": {\"a\": \"\xff\"}}}", "\xef\xbb\xbf{}", "[1]\x00",
		`[9e999999999]`, strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
	} {
		if found, err := readInput([]byte(text)); err == nil {
			t.Errorf("%.60q was read as %.60v", text, found)
		}
	}
}

// A reader is used again, also after a failure, and keeps nothing of an earlier document.
func TestReadInputOnManyThreadsKeepsDocumentsApart(t *testing.T) {
	var reading sync.WaitGroup
	for range 8 {
		reading.Go(func() {
			for range 300 {
				for _, text := range inputs {
					_, _ = readInput([]byte(text[:len(text)/2]))
					encoded := []byte(text)
					found, err := readInput(encoded)
					if err != nil {
						t.Error(err)
						return
					}
					shown := found.String()
					copy(encoded, bytes.Repeat([]byte("#"), len(encoded)))
					if wanted, err := ast.ValueFromReader(strings.NewReader(text)); err != nil || wanted.String() != shown {
						t.Errorf("found  %v\nwanted %v", shown, wanted)
						return
					}
				}
			}
		})
	}
	reading.Wait()
}
