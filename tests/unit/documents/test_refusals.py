"""What is refused: each with its place and what to write instead."""

from __future__ import annotations

import pytest

from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.errors.documents import YamlInvalid, YamlTooLarge


def refused(data: bytes, limits: Limits | None = None) -> YamlInvalid:
    with pytest.raises(YamlInvalid) as caught:
        load_documents(data, "f.yaml", limits=limits)
    return caught.value


CASES = {
    "duplicate key": (
        b"a: 1\nb: 2\n'a': 3",
        "3:1",
        "the key 'a' stands twice, first in line 1",
        "keep one of the two",
    ),
    "duplicate key below": (
        b"x:\n  - {b: 1, b: 2}",
        "2:12",
        "the key 'b' stands twice, first in line 2",
        "keep one of the two",
    ),
    "own tag": (
        b"a: !secret x",
        "1:4",
        "tags are not read, and !secret is one",
        "take the tag out; put a value in quotes to make it text",
    ),
    "core tag": (
        b"a: !!str 1",
        "1:4",
        "tags are not read, and !!str is one",
        "take the tag out; put a value in quotes to make it text",
    ),
    "python tag": (
        b"a: !!python/object/apply:os.system [x]",
        "1:4",
        "tags are not read, and !!python/object/apply:os.system is one",
        "take the tag out; put a value in quotes to make it text",
    ),
    "non-specific tag": (
        b"a: ! x",
        "1:4",
        "tags are not read, and ! is one",
        "take the tag out; put a value in quotes to make it text",
    ),
    "secret like a tag": (
        b"a: {db_password: !hunter2 x}",
        "1:18",
        "tags are not read, and what begins with `!` is one",
        "take the tag out; put a value in quotes to make it text",
    ),
    "secret like an alias": (
        b"db_password: *hunter2",
        "1:14",
        "the alias * has no anchor",
        "put the value in quotes if it begins with *",
    ),
    "secret beyond JSON": (
        b"db_password: 99999999999999999999",
        "1:14",
        "the number is none that JSON can carry",
        "put it in quotes if it is meant as text",
    ),
    "tag on a mapping": (
        b"a: !!set {x}",
        "1:4",
        "tags are not read, and !!set is one",
        "take the tag out; put a value in quotes to make it text",
    ),
    "merge key": (
        b"a: &a {x: 1}\nb:\n  <<: *a",
        "3:3",
        "merge keys (`<<`) are not read",
        "write the merged keys out",
    ),
    "number as key": (b"a:\n  1: x", "2:3", "the key 1 is a number, not text", "put it in quotes"),
    "boolean as key": (b"true: x", "1:1", "the key true is a boolean, not text", "put it in quotes"),
    "null as key": (b"~: x", "1:1", "the key ~ is null, not text", "put it in quotes"),
    "no key": (b"?\n: x", "1:2", "a key is missing before the colon", "write the key"),
    "no key in braces": (
        b"{: x}",
        "1:2",
        "a key or value is missing, or begins with a character that YAML reserves",
        "write it, in quotes",
    ),
    "list as key": (
        b"? [a]\n: b",
        "1:3",
        "a key is a list or a mapping",
        "write a key of text, in quotes if it begins with [ or {",
    ),
    "alias as key": (b"a: &x y\n*x : 1", "2:1", "the alias *x stands as a key", "write the key out"),
    "alias without anchor": (
        b"a: *.azurecr.io",
        "1:4",
        "a value begins with *",
        "put the value in quotes",
    ),
    "unknown alias": (
        b"a: *prod",
        "1:4",
        "the alias *prod has no anchor",
        "put the value in quotes if it begins with *",
    ),
    "alias from another document": (
        b"a: &x 1\n---\nb: *x",
        "3:4",
        "the alias *x has no anchor",
        "put the value in quotes if it begins with *",
    ),
    "alias inside itself": (
        b"a: &x\n  - [*x]",
        "2:6",
        "the alias *x stands inside what it refers to",
        "write the value out",
    ),
    "alias inside its second self": (
        b"- &x 1\n- &x [*x]",
        "2:7",
        "the alias *x stands inside what it refers to",
        "write the value out",
    ),
    "old YAML": (
        b"%YAML 1.1\n---\na: 1",
        "1:1",
        "the document asks for an old YAML",
        "take the %YAML directive out",
    ),
    "tag directive": (
        b"%TAG ! tag:x,2000:\n---\na: 1",
        "1:1",
        "the document has a %TAG directive",
        "take the directive out",
    ),
    "tab as indentation": (b"a:\n\tb: 1", "2:1", "a tab indents the line", "indent with spaces"),
    "tab after spaces": (b"a:\n  b: 1\n  \tc: 2", "3:3", "a tab indents the line", "indent with spaces"),
    "shell placeholder in braces": (
        b"a: {image: ${IMAGE}}",
        "1:12",
        "a template's placeholder stands outside quotes",
        "put the value that holds ${ in quotes, or render the template first",
    ),
    "shell placeholder in brackets": (
        b"a: [x, ${IMAGE}:1]",
        "1:8",
        "a template's placeholder stands outside quotes",
        "put the value that holds ${ in quotes, or render the template first",
    ),
    "template placeholder": (
        b"\xc3\xa9: {{ name }}",
        "1:5",
        "a template's placeholder stands where a value should",
        "put it in quotes, or render the file",
    ),
    "template placeholder before text": (
        b"a: {{ name }}-x",
        "1:5",
        "a template's placeholder stands where a value should",
        "put it in quotes, or render the file",
    ),
    "template statement": (
        b"a: 1\n{% if x %}\nb: 2\n{% endif %}",
        "2:1",
        "a template's placeholder stands outside quotes",
        "put the value that holds {% in quotes, or render the template first",
    ),
    "no blank after colon": (
        b"a:\n  name:prod\n  version: x",
        "2:3",
        "no blank follows the colon after 'name'",
        "write `name: ` and then the value",
    ),
    "no blank before a quote": (
        b'a: 1\nversion:"2.1"\nb: 2',
        "2:1",
        "no blank follows the colon after 'version'",
        "write `version: ` and then the value",
    ),
    "colon in a value": (
        b"a: b: c",
        "1:5",
        "a value holds a colon outside quotes",
        "put the value in quotes",
    ),
    "open quote": (
        b'a: "x\nb: 1\n',
        "1:4",
        "a quote is opened here and never closed",
        "close it, and double a quote inside quotes",
    ),
    "open bracket": (
        b"a: [1, 2\nb: 3",
        "1:4",
        "the bracket that opens here is not closed as it should be",
        "close it, or add a comma",
    ),
    "open brace": (
        b"a: {b: 1\n",
        "1:4",
        "the brace that opens here is not closed as it should be",
        "close it, or add a comma",
    ),
    "reserved character": (
        b"a: @x",
        "1:4",
        "a value begins with a character that YAML reserves",
        "put the value in quotes",
    ),
    "text after the end": (
        b"[a] [b]",
        "1:5",
        "text follows where the document has ended",
        "put `---` between documents",
    ),
    "long key": (
        b"k" * 100 + b": 1\n" + b"k" * 100 + b": 2",
        "2:1",
        f"the key '{'k' * 80}...' stands twice, first in line 1",
        "keep one of the two",
    ),
    "unknown escape": (
        b'a: "C:\\path"',
        "1:7",
        "double quotes hold a backslash that begins no escape YAML knows",
        "use single quotes",
    ),
    "escaped surrogate": (
        b'a: "\\ud800"',
        "1:5",
        r"the escape \ud800 is half of a surrogate pair, no character",
        "write the character that is meant, not its escape",
    ),
    "escaped surrogate before another escape": (
        'a: "ü'.encode() + b'x\n  \\ud83d\\u0041"',
        "2:3",
        r"the escape \ud83d is half of a surrogate pair, no character",
        "write the character that is meant, not its escape",
    ),
    "escaped surrogate in a key far to the right": (
        b"{" + b"a" * 500 + b": 1, " + b'"\\U0000DFFF": 1}',
        "1:508",
        r"the escape \U0000DFFF is half of a surrogate pair, no character",
        "write the character that is meant, not its escape",
    ),
    "escape beyond Unicode": (
        b'a: "\\U00110000"',
        "1:5",
        r"the escape \U00110000 is no character of Unicode",
        "write the character that is meant, not its escape",
    ),
    "bad indentation": (
        b"a:\n  b: 1\n c: 2",
        "3:2",
        "the line fits no level above it",
        "line it up with the keys of its level",
    ),
    "key among items": (
        b"- a\nb: c",
        "2:1",
        "a key stands among the items of a list",
        "line it up with the keys of its level",
    ),
    "text after a block mark": (
        b"a: |x\n  y",
        "1:5",
        "nothing may follow | or > in its line",
        "begin the text in the next line",
    ),
    "NUL": (b"a: b\nc: \x00", "2:4", "the character U+0000 may not stand in a file", "take it out"),
    "bell": (b"a: \x07", "1:4", "the character U+0007 may not stand in a file", "take it out"),
    "C1 control": (
        "ab: \x85".encode(),
        "1:5",
        "the character U+0085 may not stand in a file",
        "take it out",
    ),
    "line separator": (
        "a: \u2028".encode(),
        "1:4",
        "the character U+2028 LINE SEPARATOR may not stand in a file",
        "take it out",
    ),
    "byte order mark in the middle": (
        "a: 1\n\ufeffb: 2".encode(),
        "2:1",
        "the character U+FEFF ZERO WIDTH NO-BREAK SPACE may not stand in a file",
        "take it out",
    ),
    "direction override in a comment": (
        "a: 1 # \u202e x".encode(),
        "1:8",
        "the character U+202E RIGHT-TO-LEFT OVERRIDE may not stand in a file",
        "take it out",
    ),
    "direction isolate": (
        "a: \u2066x".encode(),
        "1:4",
        "the character U+2066 LEFT-TO-RIGHT ISOLATE may not stand in a file",
        "take it out",
    ),
    "zero-width space in a key": (
        "a\u200b: 1".encode(),
        "1:1",
        "the key 'a\\u200b' holds U+200B ZERO WIDTH SPACE, which does not show",
        "type the key again",
    ),
    "no-break space in a key": (
        "a\u00a0b: 1".encode(),
        "1:1",
        "the key 'a\\xa0b' holds U+00A0 NO-BREAK SPACE, which does not show",
        "type the key again",
    ),
    "escaped newline in a key": (
        b'"a\\nb": 1',
        "1:1",
        "the key 'a\\nb' holds U+000A, which does not show",
        "type the key again",
    ),
    "escaped NUL in a value": (b'a: "x\\0"', "1:4", "the text holds U+0000", "take the escape out"),
    "escaped override in a value": (
        b'a: "\\u202e"',
        "1:4",
        "the text holds U+202E RIGHT-TO-LEFT OVERRIDE",
        "take the escape out",
    ),
    "UTF-16": ("a: 1".encode("utf-16"), "1:1", "the file is UTF-16 or UTF-32", "save it as UTF-8"),
    "UTF-16 without mark": (
        "a: 1".encode("utf-16-le"),
        "1:1",
        "the file is UTF-16 or UTF-32",
        "save it as UTF-8",
    ),
    "UTF-32": ("a: 1".encode("utf-32-be"), "1:1", "the file is UTF-16 or UTF-32", "save it as UTF-8"),
    "Latin-1": (
        "a: 1\nb: gr\u00fcn".encode("latin-1"),
        "2:6",
        "the byte 0xfc is not UTF-8",
        "save the file as UTF-8 text",
    ),
    "UTF-8 surrogate": (b"a: \xed\xa0\x80", "1:4", "the byte 0xed is not UTF-8", "save the file as UTF-8 text"),
    "binary": (b"\x89PNG\r\n\x1a\n", "1:1", "the byte 0x89 is not UTF-8", "save the file as UTF-8 text"),
}


@pytest.mark.parametrize("case", CASES)
def test_load_documents_of_refused_text_says_where_what_and_how(case: str) -> None:
    data, place, problem, fix = CASES[case]
    error = refused(data)

    assert (str(error.location), error.problem, error.fix) == (f"f.yaml:{place}", problem, fix)
    assert str(error) == f"f.yaml:{place}: {problem}; {fix}"
    assert type(error) is YamlInvalid


def test_load_documents_of_nothing_gives_no_document() -> None:
    assert load_documents(b"", "f") == []
    assert load_documents(b"\n# only a comment\n", "f") == []
    assert load_documents(b"\xef\xbb\xbf", "f") == []


def test_load_documents_of_yaml_1_2_directive_reads() -> None:
    [document] = load_documents(b"%YAML 1.2\n---\na: yes\n", "f")

    assert document.value == {"a": "yes"}


def test_load_documents_of_quoted_merge_key_is_a_key() -> None:
    [document] = load_documents(b'"<<": 1', "f")

    assert document.value == {"<<": 1}


def test_load_documents_of_visible_foreign_letters_reads() -> None:
    [document] = load_documents("größe: שלום 😀\nключ: '日本'\n".encode(), "f")

    assert document.value == {"größe": "שלום 😀", "ключ": "日本"}


# Bounds


def test_load_documents_of_a_file_beyond_the_size_is_refused_unread() -> None:
    error = refused(b"\xff" * 10_000_000)

    assert isinstance(error, YamlTooLarge)
    assert str(error) == "f.yaml:1:1: the file is larger than 1,048,576 bytes; split it into several files"


def test_load_documents_at_the_size_is_read() -> None:
    limits = Limits(size=10)

    assert load_documents(b"a: 1234567", "f", limits=limits)[0].value == {"a": 1234567}
    assert refused(b"a: 12345678", limits).problem == "the file is larger than 10 bytes"


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "[" * 65 + "]" * 65])
def test_load_documents_of_deep_nesting_is_refused(text: str) -> None:
    error = refused(text.encode())

    assert isinstance(error, YamlTooLarge)
    assert error.problem == "the document is more than 64 levels deep"
    assert error.fix == "split it, or make it smaller"


def test_load_documents_at_the_depth_is_read() -> None:
    [document] = load_documents(b"[" * 64 + b"]" * 64, "f")
    value, depth = document.value, 0
    while value != []:
        [value], depth = value, depth + 1

    assert depth == 63


def test_load_documents_of_depth_through_aliases_is_refused() -> None:
    lines = ["a0: &a0 []"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100)]
    error = refused("\n".join(lines).encode())

    assert isinstance(error, YamlTooLarge)
    assert str(error.location) == "f.yaml:64:12"
    assert error.problem == "the document is more than 64 levels deep"


def test_load_documents_of_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    error = refused("\n".join(lines).encode())

    assert isinstance(error, YamlTooLarge)
    assert error.problem == "the document holds more than 100,000 values, aliases written out"
    assert error.location.line == 5


def test_load_documents_of_a_long_text_repeated_by_aliases_is_refused() -> None:
    text = "a: &a " + "x" * 500_000 + "\nb: [" + "*a, " * 100 + "]"
    error = refused(text.encode())

    assert isinstance(error, YamlTooLarge)
    assert error.location.line == 2


def test_load_documents_of_a_merge_bomb_is_refused_at_its_first_merge_key() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30)]
    error = refused("\n".join(lines).encode())

    assert str(error.location) == "f.yaml:2:10"
    assert error.problem == "merge keys (`<<`) are not read"


def test_load_documents_counts_the_nodes_of_each_document_alone() -> None:
    limits = Limits(nodes=4)

    assert len(load_documents(b"[a, b, c]\n---\n[a, b, c]", "f", limits=limits)) == 2
    assert refused(b"[a, b, c, d]", limits).location.column == 11
    assert refused(b"&a [a, b]\n---\n[[&x c], *x, *x]", limits).location.line == 3


def test_load_documents_of_too_many_values_is_refused() -> None:
    error = refused(b"[" + b"a," * 200_000 + b"]")

    assert isinstance(error, YamlTooLarge)
    assert error.location.column == 200_000


def test_load_documents_of_too_many_documents_is_refused() -> None:
    error = refused(b"---\n" * 20_000)

    assert isinstance(error, YamlTooLarge)
    assert str(error.location) == "f.yaml:10001:1"
    assert error.problem == "the file holds more than 10,000 documents"
