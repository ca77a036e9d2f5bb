package engine

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

func TestBoardSaysWhichCallBeganLast(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "board")
	must(t, err)
	must(t, file.Truncate(boardSize))
	memory, err := openBoard(int(file.Fd()))
	must(t, err)
	called := false
	original := func(topdown.BuiltinContext, []*ast.Term, func(*ast.Term) error) error {
		called = true
		return nil
	}
	watched := memory.watched("regex.match", original)
	for _, place := range []*ast.Location{{File: strings.Repeat("x", 2*boardSize), Row: 1}, nil, {File: "a/b.rego", Row: 70000}} {
		must(t, watched(topdown.BuiltinContext{Location: place}, nil, nil))
	}

	written, err := os.ReadFile(file.Name())
	must(t, err)
	if row := binary.BigEndian.Uint32(written); !called || row != 70000 {
		t.Errorf("row %d", row)
	}
	if text := string(written[4:27]); text != "\x00\x0bregex.match\x00\x08a/b.rego" {
		t.Errorf("%q", text)
	}
}

func TestBoardThatIsNoMemoryIsRefused(t *testing.T) {
	if _, err := openBoard(-1); err == nil {
		t.Error("mapped")
	}
}
