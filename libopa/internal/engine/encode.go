package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// encodeOrigin is `"bundles":{...},"copies":{...},"state":N`, without the copies where there are none.
func encodeOrigin(revisions, copies map[string]string, state uint64) ([]byte, error) {
	bundles, err := json.Marshal(revisions)
	if err != nil {
		return nil, err
	}
	if len(copies) == 0 {
		return fmt.Appendf(nil, `"bundles":%s,"state":%d`, bundles, state), nil
	}
	kept, err := json.Marshal(copies)
	return fmt.Appendf(nil, `"bundles":%s,"copies":%s,"state":%d`, bundles, kept, state), err
}

// encodeAnswer is {"ok":{"result":...,"bundles":{...},"state":N}}, ended by encodeOrigin. Sets become arrays in OPA's order, keys are sorted, so
// equal results are equal bytes.
func encodeAnswer(result ast.Value, origin []byte) ([]byte, error) {
	encoded := make([]byte, 0, 1024)
	encoded = append(encoded, `{"ok":{"result":`...)
	encoded, err := appendValue(encoded, result)
	if err != nil {
		return nil, err
	}
	encoded = append(encoded, ',')
	encoded = append(encoded, origin...)
	return append(encoded, `}}`...), nil
}

func appendValue(encoded []byte, value ast.Value) ([]byte, error) {
	switch value := value.(type) {
	case ast.Null:
		return append(encoded, "null"...), nil
	case ast.Boolean:
		if value {
			return append(encoded, "true"...), nil
		}
		return append(encoded, "false"...), nil
	case ast.Number:
		return append(encoded, value...), nil
	case ast.String:
		return appendString(encoded, string(value)), nil
	case *ast.Array:
		return appendTerms(encoded, value.Len(), value.Elem)
	case ast.Set:
		members := value.Slice()
		return appendTerms(encoded, len(members), func(index int) *ast.Term { return members[index] })
	case ast.Object:
		return appendObject(encoded, value)
	default:
		return nil, fmt.Errorf("a result of type %s is no JSON", ast.ValueName(value))
	}
}

func appendTerms(encoded []byte, length int, at func(int) *ast.Term) ([]byte, error) {
	encoded = append(encoded, '[')
	var err error
	for index := range length {
		if index > 0 {
			encoded = append(encoded, ',')
		}
		if encoded, err = appendValue(encoded, at(index).Value); err != nil {
			return nil, err
		}
	}
	return append(encoded, ']'), nil
}

func appendObject(encoded []byte, object ast.Object) ([]byte, error) {
	type member struct {
		key   string
		value ast.Value
	}
	members := make([]member, 0, object.Len())
	err := object.Iter(func(key, value *ast.Term) error {
		name, ok := key.Value.(ast.String)
		if !ok { // as OPA does: a key that is no string stands as its own JSON text
			text, err := appendValue(nil, key.Value)
			if err != nil {
				return err
			}
			name = ast.String(text)
		}
		members = append(members, member{string(name), value.Value})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b member) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	encoded = append(encoded, '{')
	for index, member := range members {
		if index > 0 {
			encoded = append(encoded, ',')
		}
		encoded = append(appendString(encoded, member.key), ':')
		if encoded, err = appendValue(encoded, member.value); err != nil {
			return nil, err
		}
	}
	return append(encoded, '}'), nil
}

// appendString quotes plain ASCII itself and leaves everything else to jsontext, which writes U+FFFD for what is no UTF-8.
func appendString(encoded []byte, text string) []byte {
	for index := range len(text) {
		if character := text[index]; character < ' ' || character == '"' || character == '\\' || character >= utf8.RuneSelf {
			encoded, _ = jsontext.AppendQuote(encoded, text)
			return encoded
		}
	}
	encoded = append(encoded, '"')
	encoded = append(encoded, text...)
	return append(encoded, '"')
}
