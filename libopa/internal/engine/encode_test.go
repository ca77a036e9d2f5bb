package engine

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The encoder must say what OPA's own conversion says, but for the order of keys, which it sorts, and for what
// encoding/json escapes for HTML.
func FuzzEncodeAgreesWithOPA(f *testing.F) {
	for _, seed := range []string{
		`null`, `[true, false]`, `{"b": [1, -2.50, 1e400, 0.1], "a": {}}`, `"\u0000\" \\ é \ud83d\ude00 <&> \u2028"`,
		`{"": "", "\n": [[[]]]}`, `123456789012345678901234567890`, `"\ufffd"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := ast.ValueFromReader(strings.NewReader(text))
		if err != nil {
			t.Skip()
		}
		compare(t, value)
	})
}

func TestEncodeSetsAndKeysThatAreNoStrings(t *testing.T) {
	for _, text := range []string{`{3, 1, 2}`, `set()`, `{"s": {"b", "a", {1}}}`, `{1: "a", [2]: "b", {"c": 3}: true, null: {1}}`} {
		compare(t, ast.MustParseTerm(text).Value)
	}
}

func compare(t *testing.T, value ast.Value) {
	t.Helper()
	found, err := appendValue(nil, value)
	must(t, err)
	converted, err := ast.JSON(value)
	must(t, err)
	wanted, err := json.Marshal(converted)
	must(t, err)
	decoder := json.NewDecoder(bytes.NewReader(found))
	decoder.UseNumber()
	var decoded any
	must(t, decoder.Decode(&decoded))
	again, err := json.Marshal(decoded)
	must(t, err)
	if string(again) != string(wanted) {
		t.Fatalf("found  %s\nwanted %s", found, wanted)
	}
}

func TestEncodeSortsKeysAndEscapesNoMoreThanItMust(t *testing.T) {
	found, err := appendValue(nil, ast.MustParseTerm(`{"b": 1, "a": {"d": "<&>", "\u00e9": {"y", "x"}, "c": "\"\u2028"}}`).Value)
	must(t, err)
	if wanted := "{\"a\":{\"c\":\"\\\"\u2028\",\"d\":\"<&>\",\"é\":[\"x\",\"y\"]},\"b\":1}"; string(found) != wanted {
		t.Fatalf("found  %s\nwanted %s", found, wanted)
	}
}

func TestEncodeRefusesWhatIsNoJSON(t *testing.T) {
	if _, err := appendValue(nil, ast.MustParseRef("data.x")); err == nil {
		t.Fatal("a reference is no JSON")
	}
}
