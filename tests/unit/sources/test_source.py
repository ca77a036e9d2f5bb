"""The seam: what every source's paths and errors keep to."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.sources import SourceError, SourceRefused, SourceTooLarge, SourceUnreadable
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.sources.source import (
    DefinitionSource,
    FetchDeadline,
    FetchRules,
    Revision,
    SourceLimits,
    check_path,
    provenance_of,
)


class Failing(Revision):
    """A revision whose every hook raises `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(SourceLimits())
        self._error = error

    def provenance(self, path: str, data: bytes) -> Provenance:
        return provenance_of(data, path, kind="object", uri="failing", pinned=False)

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        raise self._error

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        raise self._error

    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        raise self._error


class FailingSource(DefinitionSource):
    """A source that cannot be fetched."""

    kind = "object"
    uri = "failing"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def _fetch(self) -> Revision:
        raise self._error


class Listing(Failing):
    """A revision of empty files with the given names."""

    def __init__(self, *paths: str, files: int = 10, size: int = 10) -> None:
        super().__init__(ValueError())
        self.limits = SourceLimits(files=files, file_size=size)
        self._paths = paths

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        assert not folder
        assert recursive
        return list(self._paths)

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        return {path: b"#" * len(path) for path in paths}


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        ValueError("x"),
        KeyError("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
        NotCanonical("x"),
        SourceRefused("x"),
    ],
)
def test_seam_any_error_of_a_hook_comes_out_as_a_source_error(error: Exception) -> None:
    revision = Failing(error)
    for call in (
        lambda: revision.read("a.yaml"),
        revision.list_paths,
        lambda: revision.holds("a"),
        lambda: FailingSource(error).fetch(),
    ):
        with pytest.raises(SourceError) as raised:
            call()
        expected = type(error) if isinstance(error, SourceError) else SourceUnreadable
        assert type(raised.value) is expected
        assert raised.value is error or raised.value.__cause__ is error


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../a",
        "a/../../b",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\nb",
        "a\x00b",
        "a" * 1001,
        "a/\u202eb.yaml",
        f"a/{chr(0xD800)}.yaml",
    ],
)
def test_seam_path_that_could_lead_out_is_refused(path: str) -> None:
    for call in (lambda: Failing(ValueError()).read(path), lambda: Failing(ValueError()).holds(path)):
        with pytest.raises(SourceRefused) as raised:
            call()
        assert raised.value.message.isprintable()


@given(st.text(alphabet="ab./\\~\n-* ", min_size=1, max_size=12))
def test_seam_path_that_is_taken_stays_inside(path: str) -> None:
    try:
        check_path(path)
    except SourceRefused:
        return
    assert posixpath.normpath(posixpath.join("/root", path)) == f"/root/{path}"


def test_seam_lists_definitions_alone_and_sorted() -> None:
    revision = Listing("b.yml", "a.YAML", "c.json", ".hidden.yaml", "d/.git/e.yaml", "flowyml.yaml", "x/flowyml.yaml")
    assert revision.list_paths() == ["a.YAML", "b.yml"]


def test_seam_more_files_than_are_listed_fails_closed() -> None:
    names = [f"{number}.yaml" for number in range(4)]
    assert Listing(*names, files=4).list_paths() == names
    with pytest.raises(SourceTooLarge):
        Listing(*names, files=3).list_paths()
    with pytest.raises(SourceTooLarge):
        Listing(files=3).read_many(names)


def test_seam_listed_name_that_hides_something_fails_closed() -> None:
    with pytest.raises(SourceRefused):
        Listing("a\u200b\u202e.yaml").list_paths()


def test_seam_file_larger_than_the_limit_fails_closed() -> None:
    assert Listing(size=6).read("a.yaml") == b"######"
    with pytest.raises(SourceTooLarge):
        Listing(size=5).read("a.yaml")


def test_seam_reads_each_file_once_and_nothing_for_nothing() -> None:
    assert Listing(size=6, files=1).read_many(["a.yaml", "a.yaml"]) == {"a.yaml": b"######"}
    assert Failing(ValueError()).read_many([]) == {}


def test_deadline_that_is_over_says_what_took_so_long() -> None:
    with pytest.raises(SourceError) as raised:
        FetchDeadline(0, "https://host/x").remaining()
    assert raised.value.message == "no complete answer within 0 s: https://host/x"
    assert 0 < FetchDeadline(30, "x").remaining() <= 30


def test_rules_ask_servers_unless_told_otherwise() -> None:
    assert FetchRules() == FetchRules(SourceLimits(), frozenset(), offline=False)


@pytest.mark.parametrize(("value", "offline"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_rules_are_offline_where_the_environment_asks_for_it(value: str | None, *, offline: bool) -> None:
    environ = {} if value is None else {"FLOWYML_POLICY_OFFLINE": value}
    rules = FetchRules(SourceLimits(timeout=2), frozenset({"host"}))
    assert rules.as_asked(environ) == replace(rules, offline=offline)
    assert FetchRules(offline=True).as_asked(environ) == FetchRules(offline=True)


@pytest.mark.parametrize("value", ["yes", "true", " 1", "2"])
def test_rules_for_an_environment_that_asks_unclearly_are_a_usage_error(value: str) -> None:
    with pytest.raises(UsageError) as raised:
        FetchRules().as_asked({"FLOWYML_POLICY_OFFLINE": value})
    assert str(raised.value) == f"FLOWYML_POLICY_OFFLINE is {value!r}; set it to 1 to ask no server, or unset it"
