"""JSON is read as JSON reads it: a pair of escapes is one character, half of one is none."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.documents import reader
from flowyml_policy.documents.reader import load_documents
from flowyml_policy.errors.documents import YamlInvalid

ROCKET = "\N{ROCKET}"
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(min_codepoint=0x1F300)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ROCKET]), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("parser", ["_Parser", "_PureParser"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "risk \\ud83d\\ude80"}', {"a": f"risk {ROCKET}"}),
        ('{"\\uD83D\\uDE80": 1}', {ROCKET: 1}),
        ('"\\ud83d\\ude80\\ud83d\\ude80"', ROCKET * 2),
        ('"\\\\ud83d\\\\ude80"', "\\ud83d\\ude80"),
        ('"\\\\\\ud83d\\ude80"', f"\\{ROCKET}"),
        ("'\\ud83d\\ude80'", "\\ud83d\\ude80"),
        ("a: \\ud83d\\ude80 b", {"a": "\\ud83d\\ude80 b"}),
        ("|-\n  \\ud83d\\ude80", "\\ud83d\\ude80"),
    ],
)
def test_load_documents_pair_of_escapes_is_one_character(
    monkeypatch: pytest.MonkeyPatch, parser: str, text: str, value: Any
) -> None:
    monkeypatch.setattr(reader, "PARSER", getattr(reader, parser))
    (document,) = load_documents(text.encode(), "f.json")
    assert document.value == value


@pytest.mark.parametrize("text", ['"\\ud83d"', '"\\ude80\\ud83d"', '"\\ud83d x\\ude80"', '"\\ud83d\\ud83d\\ude80"'])
def test_load_documents_half_of_a_pair_is_refused(text: str) -> None:
    with pytest.raises(YamlInvalid, match="half of a surrogate pair"):
        load_documents(text.encode(), "f.json")


def test_load_documents_columns_behind_a_pair_are_as_written() -> None:
    text = '{"a": "\\ud83d\\ude80", "b": 10,\n "\\ud83d\\ude80": "\\ud83d\\ude80", "c": 1.10}'
    (document,) = load_documents(text.encode(), "f.json")
    lines = text.splitlines()
    place = document.location(("c",))
    assert document.location(("b",)).column == lines[0].index("10") + 1
    assert (place.line, place.column) == (2, lines[1].index("1.10") + 1)
    assert (document.written(("b",)), document.written(("c",))) == ("10", "1.10")


def test_load_documents_error_behind_a_pair_is_at_its_column() -> None:
    text = '{"a": "\\ud83d\\ude80", "b": "\\ud83d"}'
    with pytest.raises(YamlInvalid) as caught:
        load_documents(text.encode(), "f.json")
    assert caught.value.location.column == text.rindex("\\ud83d") + 1


@given(values)
def test_load_documents_of_json_is_what_json_reads(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent="\t"), json.dumps(value, indent=1)):
        (document,) = load_documents(text.encode(), "f.json")
        assert document.value == json.loads(text)


@pytest.mark.parametrize("text", ["# {pairs}\n{items}", "- '{pairs}'\n{items}"], ids=["comment", "quoted"])
def test_load_documents_time_does_not_multiply_with_pairs(text: str) -> None:
    full = text.format(pairs=r"\ud83d\ude80" * 16_000, items="- item\n" * 16_000).encode()
    started = time.process_time()
    (document,) = load_documents(full, "many.yaml")
    assert time.process_time() - started < 4  # 8 s where every item walks all pairs, 0.1 s where none does
    assert document.value[-1] == "item"
