package engine

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A board is memory that this process shares with the one that asks it. On it stands which call of a builtin began
// last, so that the rule can be named when this process had to be ended, or ended itself: then nobody is left to ask.
// It reads: row (4 bytes, big endian, 0 for nothing), then the builtin and the file, each after its length (2 bytes).
type board []byte

const boardSize = 4096

// openBoard maps the board that has this file descriptor.
func openBoard(descriptor int) (board, error) {
	memory, err := syscall.Mmap(descriptor, 0, boardSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("the board cannot be mapped: %w", err)
	}
	return memory, nil
}

// watchBuiltins makes every builtin say on the board that it was called, and where. Like guardBuiltins it runs before
// anything is evaluated, and after it, so that what is refused is named as well.
func (memory board) watchBuiltins() {
	for _, builtin := range ast.Builtins {
		if original := topdown.GetBuiltin(builtin.Name); original != nil {
			topdown.RegisterBuiltinFunc(builtin.Name, memory.watched(builtin.Name, original))
		}
	}
}

func (memory board) watched(name string, original topdown.BuiltinFunc) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		if bctx.Location != nil {
			memory.write(name, bctx.Location)
		}
		return original(bctx, operands, iter)
	}
}

// write takes no lock: one question is asked at a time by whoever reads the board.
func (memory board) write(name string, place *ast.Location) {
	end := 4
	for _, text := range [2]string{name, place.File} {
		text = text[:min(len(text), boardSize/2-4)]
		binary.BigEndian.PutUint16(memory[end:], uint16(len(text)))
		end += 2 + copy(memory[end+2:], text)
	}
	binary.BigEndian.PutUint32(memory, uint32(place.Row))
}
