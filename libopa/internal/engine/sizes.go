package engine

import (
	"fmt"
	"math/big"
	"net"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
)

// Limits of what one call of a builtin may make. A number of ten digits is enough for a result that no memory holds,
// and Go ends the process where memory ends: no deadline and no recover() helps.
const (
	maxShift    = 1 << 16 // bits
	maxElements = 1 << 20 // of an array or set
	maxWidth    = 1 << 12 // of one directive of a format
)

// sized are the builtins whose result grows faster than their operands, and what refuses a call of theirs: it answers
// a reason, or an empty text. Operands that a builtin refuses itself are left to it. What the result is unified with
// may follow the operands.
var sized = map[string]func([]*ast.Term) string{
	ast.BitsShiftLeft.Name:    largeShift,
	ast.NumbersRange.Name:     func(operands []*ast.Term) string { return largeRange(operands[0], operands[1], ast.IntNumberTerm(1)) },
	ast.NumbersRangeStep.Name: func(operands []*ast.Term) string { return largeRange(operands[0], operands[1], operands[2]) },
	ast.NetCIDRExpand.Name:    largeNetwork,
	ast.Sprintf.Name:          largeFormat,
	ast.RenderTemplate.Name:   anyTemplate,
}

func limited(name string, original topdown.BuiltinFunc, reason func([]*ast.Term) string) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		if why := reason(operands); why != "" {
			return halt(bctx, name+" is refused: "+why)
		}
		return original(bctx, operands, iter)
	}
}

func largeShift(operands []*ast.Term) string {
	bits, err := builtins.BigIntOperand(operands[1].Value, 2)
	if err != nil || bits.Cmp(big.NewInt(maxShift)) <= 0 {
		return ""
	}
	return fmt.Sprintf("a shift by more than %d bits", maxShift)
}

func largeRange(from, to, by *ast.Term) string {
	var numbers [3]*big.Int
	for index, bound := range []*ast.Term{from, to, by} {
		number, err := builtins.BigIntOperand(bound.Value, index+1)
		if err != nil {
			return ""
		}
		numbers[index] = number
	}
	first, last, step := numbers[0], numbers[1], numbers[2]
	if step.Sign() <= 0 {
		return ""
	}
	elements := new(big.Int).Sub(last, first)
	if elements.Abs(elements).Quo(elements, step).Cmp(big.NewInt(maxElements)) < 0 {
		return ""
	}
	return fmt.Sprintf("more than %d numbers", maxElements)
}

func largeNetwork(operands []*ast.Term) string {
	text, ok := operands[0].Value.(ast.String)
	if !ok {
		return ""
	}
	_, network, err := net.ParseCIDR(string(text))
	if err != nil {
		return ""
	}
	if ones, bits := network.Mask.Size(); 1<<min(bits-ones, 62) <= maxElements {
		return ""
	}
	return fmt.Sprintf("more than %d addresses", maxElements)
}

var tooWide = fmt.Sprintf("a width or precision above %d", maxWidth)

// largeFormat looks at the widths and precisions of a format as package fmt reads them. One that stands among the
// arguments, `*`, is bounded by looking at every number there is.
func largeFormat(operands []*ast.Term) string {
	format, ok := operands[0].Value.(ast.String)
	if !ok {
		return ""
	}
	for index := 0; index < len(format); index++ {
		if format[index] != '%' {
			continue
		}
		number, starred := 0, false
		for index++; index < len(format) && isPartOfDirective(format[index]); index++ {
			switch found := format[index]; {
			case found == '*':
				starred = true
			case found >= '0' && found <= '9':
				if number = min(10*number+int(found-'0'), maxWidth+1); number > maxWidth {
					return tooWide
				}
			default:
				number = 0
			}
		}
		if starred && hasNumberAbove(operands[1], maxWidth) {
			return tooWide
		}
	}
	return ""
}

// isPartOfDirective says whether a byte stands between a % and its verb: flags, numbers, dots, stars, indices.
func isPartOfDirective(found byte) bool {
	switch found {
	case '+', '-', '#', ' ', '.', '*', '[', ']':
		return true
	}
	return found >= '0' && found <= '9'
}

func hasNumberAbove(arguments *ast.Term, limit int64) bool {
	array, ok := arguments.Value.(*ast.Array)
	if !ok {
		return false
	}
	return array.Until(func(one *ast.Term) bool {
		number, ok := one.Value.(ast.Number)
		if !ok {
			return false
		}
		width, small := number.Int64()
		return small && (width > limit || width < -limit)
	})
}

// anyTemplate refuses every template: it may loop and call itself, and nothing can end it at the deadline.
func anyTemplate([]*ast.Term) string {
	return "a template can run without end; use sprintf"
}
