"""The seam itself, over an evaluator that answers whatever it is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaDeadlineExceeded,
    OpaError,
    OpaEvaluationFailed,
    OpaUnavailable,
)
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.records.result import GlobProblem
from tests.contract.conftest import document

SOUND = {
    "schema_version": 1,
    "allow": True,
    "findings": [],
    "waivers": {"applied": [], "expired": []},
    "rules": ["naming"],
}
BOTH = {"flowyml": "f1", "org": "o1"}


class Scripted(OpaEvaluator):
    """Answers what it was made with, or raises it."""

    name = "scripted"

    def __init__(self, answer: bytes | Exception) -> None:
        self._answer = answer
        self.closings = 0
        super().__init__(bundles=BOTH, version="1.0.0")

    def _query(self, path: str | None, document: bytes) -> bytes:
        del path, document
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def _check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        del patterns
        if isinstance(self._answer, Exception):
            raise self._answer
        return ()

    def _close(self) -> None:
        self.closings += 1
        if isinstance(self._answer, Exception):
            raise self._answer


def answer(result: Any, bundles: Any = BOTH, **more: Any) -> bytes:
    return json.dumps({"result": result, "bundles": bundles, **more}).encode()


def test_judge_an_answer_of_every_configured_bundle_is_taken() -> None:
    decision, evaluation = Scripted(answer(SOUND, {**BOTH, "project": "p1"})).judge(document())
    assert decision.allowed
    assert evaluation.bundles == {**BOTH, "project": "p1"}
    assert (evaluation.evaluator.name, evaluation.evaluator.version) == ("scripted", "1.0.0")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"<html>",
        answer(SOUND)[:-1],
        answer(SOUND)[:40],
        answer(SOUND) + b"x",
        b"\xff" + answer(SOUND),
        answer(SOUND, {"flowyml": "f1"}),
        answer(SOUND, {}),
        answer(SOUND, {"flowyml": "f1", "org": None}),
        answer(SOUND, []),
        answer(SOUND, more=1),
        json.dumps({"result": SOUND}).encode(),
        json.dumps({"bundles": BOTH}).encode(),
        answer(None),
    ],
)
def test_judge_an_answer_that_is_not_whole_fails_closed(raw: bytes) -> None:
    with pytest.raises(OpaAnswerInvalid):
        Scripted(raw).judge(document())


@pytest.mark.parametrize("raw", [b"", answer(1, {"flowyml": "f1"}), json.dumps({"bundles": BOTH}).encode()])
def test_query_an_answer_that_is_not_whole_fails_closed(raw: bytes) -> None:
    with pytest.raises(OpaAnswerInvalid):
        Scripted(raw).query("flowyml/main/catalogue", {})


def test_judge_names_the_bundle_that_did_not_judge() -> None:
    with pytest.raises(OpaAnswerInvalid) as raised:
        Scripted(answer(SOUND, {"flowyml": "f1"})).judge(document())
    assert raised.value.message == "OPA answered without the bundle org"


@pytest.mark.parametrize("error", [RuntimeError("odd"), ValueError("x"), MemoryError(), OSError(5, "io")])
def test_foreign_errors_leave_as_opa_errors_with_their_cause(error: Exception) -> None:
    evaluator = Scripted(error)
    for call in (
        lambda: evaluator.judge(document()),
        lambda: evaluator.evaluate(document()),
        lambda: evaluator.query("x", {}),
        lambda: evaluator.check_globs(["*"]),
        evaluator.close,
    ):
        with pytest.raises(OpaEvaluationFailed) as raised:
            call()
        assert raised.value.__cause__ is error


def test_opa_errors_leave_as_they_are() -> None:
    error = OpaDeadlineExceeded("late")
    with pytest.raises(OpaError) as raised:
        Scripted(error).judge(document())
    assert raised.value is error


def test_interruption_by_the_user_is_not_caught() -> None:
    class Interrupted(Scripted):
        def _query(self, path: str | None, document: bytes) -> bytes:
            del path, document
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(b"").judge(document())


def test_query_of_what_is_no_json_fails_closed() -> None:
    with pytest.raises(OpaEvaluationFailed):
        Scripted(answer(1)).query("x", {"n": float("nan")})


def test_context_manager_closes_once() -> None:
    with Scripted(answer(SOUND)) as evaluator:
        evaluator.close()
    assert evaluator.closings == 1
    with pytest.raises(OpaUnavailable):
        evaluator.judge(document())
