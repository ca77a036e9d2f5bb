"""Where keys and values stand, as their author counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.reader import load_documents
from flowyml_policy.records.record import Location

TEXT = """\
# é comment
kind: Stack

spec:
  compute: {size: "é", nodes: 2}
  images:
    - one
    - {name: two}
  version: 3.10
  empty:
"""


@pytest.fixture(name="document")
def _document() -> Document:
    [document] = load_documents(TEXT.encode(), "dir/f.yaml")
    return document


@pytest.mark.parametrize(
    ("path", "value_at", "key_at"),
    [
        ((), "2:1", "2:1"),
        (("kind",), "2:7", "2:1"),
        (("spec",), "4:1", "4:1"),
        (("spec", "compute"), "5:3", "5:3"),
        (("spec", "compute", "size"), "5:19", "5:13"),
        (("spec", "compute", "nodes"), "5:31", "5:24"),
        (("spec", "images"), "6:3", "6:3"),
        (("spec", "images", 0), "7:7", "7:7"),
        (("spec", "images", 1), "8:7", "8:7"),
        (("spec", "images", 1, "name"), "8:14", "8:8"),
        (("spec", "version"), "9:12", "9:3"),
        (("spec", "empty"), "10:9", "10:3"),
    ],
)
def test_location_of_what_is_there_is_its_place(
    document: Document, path: tuple[str | int, ...], value_at: str, key_at: str
) -> None:
    assert str(document.location(path)) == f"dir/f.yaml:{value_at}"
    assert str(document.key_location(path)) == f"dir/f.yaml:{key_at}"


@pytest.mark.parametrize(
    ("path", "at"),
    [
        (("metadata", "name"), (2, 1)),
        (("spec", "runtime"), (4, 1)),
        (("spec", "compute", "backend"), (5, 3)),
        (("spec", "images", 2), (6, 3)),
        (("spec", "images", -1), (6, 3)),
        (("spec", "images", "name"), (6, 3)),
        (("kind", "x", 0), (2, 7)),
    ],
)
def test_location_of_what_is_missing_is_its_nearest_parent(
    document: Document, path: tuple[str | int, ...], at: tuple[int, int]
) -> None:
    assert document.location(path) == Location(file="dir/f.yaml", line=at[0], column=at[1])


@pytest.mark.parametrize(
    ("path", "written"), [(("spec", "version"), "3.10"), (("spec", "compute", "nodes"), "2"), (("spec", "empty"), "")]
)
def test_written_is_the_author_s_own_spelling(document: Document, path: tuple[str | int, ...], written: str) -> None:
    assert document.written(path) == written


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_location_counts_every_line_end(line_end: str) -> None:
    text = line_end.join(["a: 1", "b:", "  c: 2.50"])
    [document] = load_documents(text.encode(), "f")

    assert document.location(("b", "c")) == Location(file="f", line=3, column=6)
    assert document.written(("b", "c")) == "2.50"


def test_location_after_a_byte_order_mark_does_not_count_it() -> None:
    [document] = load_documents(b"\xef\xbb\xbfa: 1", "f")

    assert document.value == {"a": 1}
    assert document.location(("a",)) == Location(file="f", line=1, column=4)


def test_location_of_an_alias_is_its_own_and_below_it_the_anchor_s() -> None:
    [document] = load_documents(b"base: &b {x: 1}\nuse:\n  - *b\n", "f")

    assert document.value == {"base": {"x": 1}, "use": [{"x": 1}]}
    assert document.location(("use", 0)) == Location(file="f", line=3, column=5)
    assert document.location(("use", 0, "x")) == Location(file="f", line=1, column=14)


def test_documents_of_one_file_keep_the_file_s_lines() -> None:
    documents = load_documents(b"a: 1\n---\nb: 2\n---\n# nothing\n", "f")

    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}]
    assert str(documents[1].location(("b",))) == "f:3:4"


def test_file_name_that_is_no_utf8_is_written_out() -> None:
    [document] = load_documents(b"a: 1", "bad\udcff.yaml")

    assert document.location().file == "bad\\udcff.yaml"


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int, int]]:
    """Every scalar value of PyYAML's own node tree, with its place counted from 1."""
    if isinstance(node, yaml.ScalarNode):
        yield path, node.start_mark.line + 1, node.start_mark.column + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from places(item, (*path, index))
    else:
        for key, item in node.value:
            yield from places(item, (*path, key.value))


words = st.text("abcdé\n: -#'\"{}[],&*", max_size=8)
trees = st.recursive(
    words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words.filter(str.isalpha), inner, max_size=3)
)


@given(trees, st.sampled_from([True, False, None]), st.sampled_from(['"', "'", None]))
def test_locations_are_those_of_pyyaml_s_composer(tree: object, flow: bool | None, style: str | None) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, default_style=style, allow_unicode=True)
    [document] = load_documents(text.encode(), "f")

    assert document.value == tree
    for path, line, column in places(yaml.compose(text, Loader=yaml.SafeLoader)):
        assert document.location(path) == Location(file="f", line=line, column=column)
