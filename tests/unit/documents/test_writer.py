"""What is written is read back as the same value, by the strict reader; and it is quoted no more than it needs."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from flowyml_policy.documents.characters import hidden_in_value, unseen_in_key
from flowyml_policy.documents.reader import load_documents
from flowyml_policy.documents.writer import write_yaml
from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.records.record import Json

AMBIGUOUS = [
    *("on", "Off", "yes", "n", "y", "true", "True", "null", "~", "", "NULL", "1.0", "2.1", "3.10", "0o7", "0x1F"),
    *("017", "1e3", "1_000", "190:20:30", "2026-11-23", ".5", "5.", "+1", "-", "-.inf", ".nan", "<<", "=", "9" * 30),
    *("1e999", "- a", "a: b", "a #b", "#a", "*a", "&a", "!a", "%a", "@a", "`a", "[a", "{a", "a]", " a", "a ", "\t"),
    *("a\nb", "\n", "a\r\nb", "'", '"', "\\", "${X}", "{{ x }}", "---", "...", "? a", "|", ">", "é😀", "x" * 300),
]

texts = st.one_of(
    st.sampled_from(AMBIGUOUS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda text: not hidden_in_value(text)),
)
keys = texts.filter(lambda text: not unseen_in_key(text))
numbers = st.one_of(st.integers(1 - 2**53, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


def read_back(text: str) -> Json:
    (document,) = load_documents(text.encode(), "written")
    return document.value


@given(values)
@example({"a" * 1200: {"b: c" * 400: "x"}})
@example({"a": ["on", "1.0", "0o7", "2.1"], "on": {"": []}, "<<": {}})
def test_write_yaml_any_value_is_read_back_equal(value: Json) -> None:
    assert read_back(write_yaml(value)) == value


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_write_yaml_ambiguous_text_is_the_same_text_to_readers_of_both_versions(text: str) -> None:
    written = write_yaml({"label": text, text: "x"} if not unseen_in_key(text) else {"label": text})
    assert read_back(written)["label"] == text
    assert yaml.safe_load(written)["label"] == text


def test_write_yaml_is_readable() -> None:
    shared = ["a", "b"]
    value = {"name": "prod-gpu", "labels": {"approved": "true", "team": "ml-é"}, "version": "2.1", "n": 4, "x": None}
    value |= {"lists": [shared, shared], "uri": "abfs://a@b/c", "empty": {}, "text": "a b\nc"}
    assert write_yaml(value) == (
        "name: prod-gpu\n"
        "labels:\n"
        '  approved: "true"\n'
        "  team: ml-é\n"
        'version: "2.1"\n'
        "n: 4\n"
        "x: null\n"
        "lists:\n"
        "  - - a\n"
        "    - b\n"
        "  - - a\n"
        "    - b\n"
        "uri: abfs://a@b/c\n"
        "empty: {}\n"
        'text: "a b\\nc"\n'
    )


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**53, {1: "a"}, {"a": {1, 2}}, "\ud800", object()])
def test_write_yaml_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        write_yaml(value)
