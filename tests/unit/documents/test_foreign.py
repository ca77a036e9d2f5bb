"""Known files of other programs are called what they are."""

from __future__ import annotations

import pytest

from flowyml_policy.documents.reader import load_documents
from flowyml_policy.errors.documents import YamlInvalid

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 120\n"
CONFLICT = b"a:\n<<<<<<< HEAD\n  b: 1\n=======\n  b: 2\n>>>>>>> main\n"


@pytest.mark.parametrize("end", [b"---\n", b"---\n# end\n", b"---\n---\n...\n"])
def test_load_documents_empty_ones_at_the_end_are_nothing(end: bytes) -> None:
    assert [document.value for document in load_documents(b"a: 1\n" + end, "f")] == [{"a": 1}]


def test_load_documents_null_and_an_empty_one_between_are_documents() -> None:
    assert [document.value for document in load_documents(b"a: 1\n---\nnull\n", "f")] == [{"a": 1}, None]
    assert [document.value for document in load_documents(b"a: 1\n---\n---\nb: 2\n", "f")] == [{"a": 1}, None, {"b": 2}]


@pytest.mark.parametrize(
    ("data", "problem", "line"),
    [
        (POINTER, "the file is a Git LFS pointer, and what it points to is not here", 1),
        (CONFLICT, "a merge conflict is not resolved", 2),
    ],
)
def test_load_documents_foreign_file_is_named(data: bytes, problem: str, line: int) -> None:
    with pytest.raises(YamlInvalid) as caught:
        load_documents(data, "f")
    assert (caught.value.problem, caught.value.location.line) == (problem, line)
