"""What programs read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.outputs.results import open_output, show
from flowyml_policy.outputs.terminal import Screen
from flowyml_policy.records.result import ErrorReport, Result, Summary


def written(results: Iterator[Result]) -> str:
    stream = io.StringIO()
    show(results, open_output("json", Screen(stream)))
    return stream.getvalue()


def test_json_of_all_outcomes_is_the_agreed_document(result: Any, finding: Any, timeout: Callable[[], Any]) -> None:
    document = json.loads(
        written(
            iter(
                [
                    result("prod"),
                    result("payments", "deny", [finding("naming.allowed")]),
                    result("slow", "error", error=timeout()),
                ]
            )
        )
    )
    assert list(document) == ["version", "results", "summary"]
    assert document["version"] == 1
    assert document["summary"] == {"stacks": 3, "allowed": 1, "denied": 1, "errors": 1, "warnings": 0}
    assert document["results"][1] == {
        "stack": {"name": "payments", "version": "1.0.0"},
        "source": {
            "kind": "local",
            "uri": "stacks/payments.yaml",
            "ref": None,
            "commit": None,
            "digest": None,
            "pinned": False,
        },
        "outcome": "deny",
        "decision_id": "id-of-payments",
        "authority": "project",
        "environments": [],
        "hypothetical": False,
        "bundles": {"flowyml": "r1"},
        "evaluator": None,
        "findings": [
            {
                "code": "naming.allowed",
                "severity": "deny",
                "enforcement": "hard",
                "subject": "payments",
                "message": "what naming.allowed says of this stack is a sentence that needs more than one line of"
                " 80 columns",
                "fix": "do what naming.allowed asks for",
                "path": ["metadata", "name"],
                "location": {"file": "stacks/payments.yaml", "line": 4, "column": 9},
                "waiver": None,
                "override": None,
                "effective_on": None,
            }
        ],
        "images": [],
        "judged_images": {},
        "error": None,
    }
    assert [one["error"] for one in document["results"]] == [None, None, timeout().model_dump()]


def test_json_of_no_results_is_a_whole_document() -> None:
    assert json.loads(written(iter([]))) == {
        "version": 1,
        "results": [],
        "summary": {"stacks": 0, "allowed": 0, "denied": 0, "errors": 0, "warnings": 0},
    }


def test_json_streams_each_result_before_the_next_is_judged(result: Any) -> None:
    stream = io.StringIO()
    seen: list[int] = []

    def judged() -> Iterator[Result]:
        for name in ("a", "b", "c"):
            seen.append(stream.getvalue().count('"outcome"'))
            yield result(name)

    summary = show(judged(), open_output("json", Screen(stream)))
    assert seen == [0, 1, 2]
    assert summary == Summary(stacks=3, allowed=3)


def test_json_of_a_run_that_breaks_off_is_no_document_fails_closed(result: Any) -> None:
    stream = io.StringIO()

    def judged() -> Iterator[Result]:
        yield result("a")
        raise AuditUnwritable("the disk is full")

    with pytest.raises(AuditUnwritable):
        show(judged(), open_output("json", Screen(stream)))
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


def test_json_that_fails_before_its_first_result_writes_nothing() -> None:
    stream = io.StringIO()

    def judge() -> Result:
        raise AuditUnwritable("the disk is full")

    with pytest.raises(AuditUnwritable):
        show((judge() for _ in "one"), open_output("json", Screen(stream)))
    assert stream.getvalue() == ""


def test_json_is_utf8_on_a_stream_of_another_encoding(result: Any) -> None:
    bytes_written = io.BytesIO()
    stream = io.TextIOWrapper(bytes_written, encoding="ascii", errors="backslashreplace")
    report = ErrorReport(code="x", message="größer als 日本", advice="")
    show(iter([result("prod", "error", error=report)]), open_output("json", Screen(stream)))
    stream.flush()
    assert json.loads(bytes_written.getvalue().decode())["results"][0]["error"]["message"] == "größer als 日本"
