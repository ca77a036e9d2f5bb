package engine

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// maxNames bounds the keys that a reader remembers.
const maxNames = 1024

var errTrailing = errors.New("something follows the document")

var inputReaders = sync.Pool{New: func() any {
	return &inputReader{decoder: jsontext.NewDecoder(&bytes.Reader{}), names: map[string]*ast.Term{}}
}}

// inputReader makes OPA's values of a JSON document, without the detour through Go's own and with each known key
// made once: reading is a large part of a small decision.
type inputReader struct {
	text    string // the document; plain strings are parts of it
	source  bytes.Reader
	decoder *jsontext.Decoder
	names   map[string]*ast.Term // keys that were met before

	// What belongs to the objects and arrays that are open, innermost last.
	keys   []*ast.Term
	values []ast.Value
	pairs  [][2]*ast.Term
}

// readInput reads one JSON document (RFC 8259). A key given twice and invalid UTF-8 are errors.
func readInput(encoded []byte) (ast.Value, error) {
	reader := inputReaders.Get().(*inputReader)
	value, err := reader.read(encoded)
	if err == nil { // after an error it is in no state to be used again
		inputReaders.Put(reader)
	}
	return value, err
}

func (reader *inputReader) read(encoded []byte) (ast.Value, error) {
	reader.text = string(encoded)
	reader.source.Reset(encoded)
	reader.decoder.Reset(&reader.source)
	value, err := reader.value()
	if err != nil {
		return nil, err
	}
	switch _, err := reader.decoder.ReadToken(); {
	case err == nil:
		return nil, errTrailing
	case err != io.EOF:
		return nil, err
	}
	return value, nil
}

func (reader *inputReader) value() (ast.Value, error) {
	switch reader.decoder.PeekKind() {
	case '{':
		return reader.object()
	case '[':
		return reader.array()
	}
	raw, err := reader.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	switch raw.Kind() {
	case '"':
		text, err := reader.unquoted(raw)
		return ast.InternedValueOr(text, func(text string) ast.Value { return ast.String(text) }), err
	case '0':
		text := reader.textOf(raw)
		if small := ast.InternedIntNumberTermFromString(text); small != nil {
			return small.Value, nil
		}
		return ast.NumberChecked(text)
	case 'n':
		return ast.NullValue, nil
	default:
		return ast.InternedValue(raw.Kind() == 't'), nil
	}
}

func (reader *inputReader) object() (ast.Value, error) {
	if _, err := reader.decoder.ReadToken(); err != nil {
		return nil, err
	}
	keys, values, pairs := len(reader.keys), len(reader.values), len(reader.pairs)
	for reader.decoder.PeekKind() != '}' {
		name, err := reader.name()
		if err != nil {
			return nil, err
		}
		value, err := reader.value()
		if err != nil {
			return nil, err
		}
		reader.keys, reader.values = append(reader.keys, reader.key(name)), append(reader.values, value)
	}
	terms := make([]ast.Term, len(reader.values)-values)
	for index, value := range reader.values[values:] {
		terms[index].Value = value
		reader.pairs = append(reader.pairs, ast.Item(reader.keys[keys+index], &terms[index]))
	}
	object := ast.NewObject(reader.pairs[pairs:]...)
	reader.keys, reader.values, reader.pairs = reader.keys[:keys], reader.values[:values], reader.pairs[:pairs]
	_, err := reader.decoder.ReadToken()
	return object, err
}

func (reader *inputReader) array() (ast.Value, error) {
	if _, err := reader.decoder.ReadToken(); err != nil {
		return nil, err
	}
	values := len(reader.values)
	for reader.decoder.PeekKind() != ']' {
		value, err := reader.value()
		if err != nil {
			return nil, err
		}
		reader.values = append(reader.values, value)
	}
	terms := make([]ast.Term, len(reader.values)-values)
	elements := make([]*ast.Term, len(terms))
	for index, value := range reader.values[values:] {
		terms[index].Value = value
		elements[index] = &terms[index]
	}
	reader.values = reader.values[:values]
	_, err := reader.decoder.ReadToken()
	return ast.NewArray(elements...), err
}

// name reads the name of a member of an object.
func (reader *inputReader) name() (string, error) {
	raw, err := reader.decoder.ReadValue()
	if err != nil {
		return "", err
	}
	return reader.unquoted(raw)
}

// key is the term of a name, the same for every member of that name.
func (reader *inputReader) key(name string) *ast.Term {
	if known, ok := reader.names[name]; ok {
		return known
	}
	name = strings.Clone(name) // outlives the document
	key := ast.StringTerm(name)
	if len(reader.names) < maxNames {
		reader.names[name] = key
	}
	return key
}

// unquoted is the text of a JSON string.
func (reader *inputReader) unquoted(raw jsontext.Value) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		text := reader.textOf(raw)
		return text[1 : len(text)-1], nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	return string(text), err
}

// textOf is the part of the document that was just read.
func (reader *inputReader) textOf(raw jsontext.Value) string {
	end := int(reader.decoder.InputOffset())
	return reader.text[end-len(raw) : end]
}
