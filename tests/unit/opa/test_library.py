from __future__ import annotations

import _ctypes
import json
from pathlib import Path

import pytest

from flowyml_policy.errors.opa import OpaEvaluationFailed, OpaStartFailed, OpaUnavailable, OpaUndefined
from flowyml_policy.opa.library import Library, load
from flowyml_policy.version import VERSION
from tests.contract.conftest import policy, write

SECOND = 1_000_000_000


def settings(folder: Path) -> dict[str, object]:
    return {
        "config": {"bundles": {"flowyml": {"resource": folder.as_uri()}}},
        "bundles": {"flowyml": {"roots": ["flowyml"]}},
        "input_schema": 1,
        "decision": "flowyml/main/decision",
        "deadline_ns": 10 * SECOND,
    }


def test_load_twice_gives_one_library() -> None:
    assert load() is load()
    assert load().versions["library"] == VERSION


def test_opa_version_is_that_of_the_module_file() -> None:
    module = Path(__file__).parents[3] / "libopa" / "go.mod"
    assert f"github.com/open-policy-agent/opa v{load().opa_version}\n" in module.read_text()


def test_load_a_library_that_is_another_is_unavailable() -> None:
    with pytest.raises(OpaUnavailable, match="cannot be loaded"):
        Library(Path(_ctypes.__file__))


def test_library_starts_decides_tells_and_stops(tmp_path: Path) -> None:
    library = load()
    folder = write(tmp_path, {**policy(), "more.rego": "package flowyml.more\n\nanswer := input.n + 1\n"})
    started = library.start(settings(folder))
    handle = started["handle"]
    assert started["bundles"] == {"flowyml": "f1"}
    assert [rule["path"] for rule in started["rules"]] == [["flowyml", "rules", "naming", "findings"]]
    answer = json.loads(library.decide(handle, b"flowyml/more/answer", b'{"n": 1}', SECOND))
    assert answer == {"result": 2, "bundles": {"flowyml": "f1"}, "state": started["state"]}
    assert library.describe(handle, SECOND)["state"] == started["state"]
    with pytest.raises(OpaUndefined):
        library.decide(handle, None, b"{}", SECOND)
    assert library.status(handle, SECOND) == {"bundles": {"flowyml": "f1"}, "failures": {}}
    library.stop(handle, SECOND)
    library.stop(handle, SECOND)
    for call in (lambda: library.decide(handle, None, b"{}", SECOND), lambda: library.status(handle, SECOND)):
        with pytest.raises(OpaUnavailable, match="is not open"):
            call()


@pytest.mark.parametrize("document", [b"", b"{", b"\xff", b"[" * 20_000])
def test_decide_input_that_is_no_json_fails_closed(tmp_path: Path, document: bytes) -> None:
    library = load()
    handle = library.start(settings(write(tmp_path, policy())))["handle"]
    try:
        with pytest.raises(OpaEvaluationFailed, match="the input is no JSON document"):
            library.decide(handle, None, document, SECOND)
    finally:
        library.stop(handle, SECOND)


def test_start_within_no_time_fails_closed(tmp_path: Path) -> None:
    with pytest.raises(OpaEvaluationFailed, match="a deadline above zero is required"):
        load().start({**settings(write(tmp_path, policy())), "deadline_ns": 0})


def test_start_with_the_reason_of_opa_fails_closed(tmp_path: Path) -> None:
    with pytest.raises(OpaStartFailed, match="no such file or directory"):
        load().start(settings(tmp_path / "none"))


def test_check_globs_and_inspect_refuse_what_is_no_list_of_texts() -> None:
    with pytest.raises(OpaEvaluationFailed, match="no JSON array of strings"):
        load().check_globs([1], SECOND)  # type: ignore[list-item]  # the very mistake under test
