"""The seam of every evaluator: what is public is final, catches everything, and checks what it lets out.

Rules:
- Only OpaError leaves leave, with the cause chained.
- An answer counts only if it has the whole shape of a decision and carries a revision of every bundle that
  must have judged. It is parsed once, from the bytes that OPA gave.
- A subclass writes the private hooks and nothing else; it joins the contract suite in tests/contract.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter_ns
from typing import ClassVar, Final, TypeVar, final

from pydantic import Field, ValidationError
from typing_extensions import Self

from flowyml_policy.errors.opa import OpaAnswerInvalid, OpaError, OpaEvaluationFailed, OpaUnavailable
from flowyml_policy.opa.bundle_files import read_json
from flowyml_policy.opa.shipped import DECISION_PATH
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.records.record import Json, Record
from flowyml_policy.records.result import Evaluation, EvaluatorName, GlobProblem

_NO_JSON_ADVICE: Final = (
    "hand over a policy input as it was recorded; `flowyml-policy audit verify` looks at the record"
)


class _Answer(Record):
    """What OPA answers: a value, with the revision of every bundle that was active in that evaluation.

    `version` is that of the OPA, where each answer says it; `copies` are the bundles that are kept copies, because
    their server could not be reached, with the instant when each was last known to be the newest; `state` is the
    number of what was loaded.
    """

    result: Json
    bundles: dict[str, str]
    copies: dict[str, str] = Field(default_factory=dict)
    state: int = 0
    version: str | None = None


class _DecisionAnswer(_Answer):
    """The answer to the question for a decision."""

    result: Decision


_AnyAnswer = TypeVar("_AnyAnswer", bound=_Answer)


class OpaEvaluator(ABC):
    """Judges policy inputs by OPA. Safe from many threads; a context manager that closes itself.

    `bundles` names every bundle whose revision each answer must carry, `require_revision` those whose revision must be
    this very one.
    """

    name: ClassVar[str]

    def __init__(
        self, *, bundles: Collection[str], version: str, require_revision: Mapping[str, str] | None = None
    ) -> None:
        self._required = dict(require_revision or {})
        self._bundles = frozenset(bundles).union(self._required)
        self._title = EvaluatorName(name=self.name, version=version)
        self._closed = False
        _DecisionAnswer.model_rebuild()  # here, and not by several threads at once

    @property
    def opa_version(self) -> str:
        """The version of the OPA that judged when this was made."""
        return self._title.version

    @final
    def judge(self, document: PolicyInput) -> tuple[Decision, Evaluation]:
        """Decide on `document`, and say how. Raises only OpaError, and never returns a decision it could not check."""
        # Written out, not shared with `query`: after an evaluation each Python call is a cold one.
        self._require_open()
        try:
            encoded = document.encoded
            started = perf_counter_ns()
            raw = self._query(None, encoded)
            duration = perf_counter_ns() - started
            answer = self._checked(_DecisionAnswer, raw)
        except OpaError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        return answer.result, self._evaluation(answer, duration)

    @final
    def judge_recorded(self, encoded: bytes) -> tuple[Decision, Evaluation]:
        """Decide on a policy input as it was recorded, or as anybody wrote it. Raises only OpaError.

        Nothing is taken for granted of it: policy checks its shape, and denies what has another. What is no JSON, or
        not the same JSON to each OPA, as where a key stands twice, gets no decision.
        """
        with self._only_opa_errors():
            _require_json(encoded)
            started = perf_counter_ns()
            raw = self._query(DECISION_PATH, encoded)
            duration = perf_counter_ns() - started
            answer = self._checked(_DecisionAnswer, raw)
            return answer.result, self._evaluation(answer, duration)

    @final
    def evaluate(self, document: PolicyInput) -> Decision:
        """As `judge`, the decision alone."""
        return self.judge(document)[0]

    @final
    def query(self, path: str, document: Json) -> Json:
        """The value at `path` (`flowyml/main/catalogue`) for `document`. Raises only OpaError."""
        with self._only_opa_errors():
            raw = self._query(path, json.dumps(document, allow_nan=False).encode())
            return self._checked(_Answer, raw).result

    @final
    def check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        """Those of `patterns` that `glob.match` with delimiters null refuses, in their order. Raises only OpaError."""
        with self._only_opa_errors():
            return self._check_globs(patterns)

    @final
    def close(self) -> None:
        """Release everything; later calls raise OpaUnavailable. Closing twice is fine. Raises only OpaError."""
        if self._closed:
            return
        with self._only_opa_errors():
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _query(self, path: str | None, document: bytes) -> bytes:
        """Ask OPA for `path`, or for the decision: JSON `{"result": ..., "bundles": {name: revision}}`."""

    @abstractmethod
    def _check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        """Ask OPA which patterns it refuses."""

    @abstractmethod
    def _close(self) -> None:
        """Release what the subclass holds. Called once."""

    def _remote(self) -> frozenset[str]:
        """The bundles that a server gives."""
        return frozenset()

    @contextmanager
    def _only_opa_errors(self) -> Iterator[None]:
        self._require_open()
        try:
            yield
        except OpaError:
            raise
        except Exception as error:
            raise self._failure(error) from error

    def _evaluation(self, answer: _Answer, duration: int) -> Evaluation:
        given = self._remote()
        remote = {name: revision for name, revision in answer.bundles.items() if name in given}
        return Evaluation(answer.bundles, self._titled(answer), duration, remote, answer.copies)

    def _titled(self, answer: _Answer) -> EvaluatorName:
        """Who answered: of the version that the answer says, where each says it."""
        return self._title if answer.version is None else EvaluatorName(name=self.name, version=answer.version)

    def _require_open(self) -> None:
        if self._closed:
            raise OpaUnavailable(f"the {self.name} evaluator is closed", advice="make a new PolicyEngine")

    def _failure(self, error: Exception) -> OpaEvaluationFailed:
        return OpaEvaluationFailed(
            f"the {self.name} evaluator failed: {type(error).__name__}: {error}",
            advice="run the command again with --debug and report what it prints",
        )

    def _checked(self, shape: type[_AnyAnswer], raw: bytes) -> _AnyAnswer:
        try:
            answer = shape.model_validate_json(raw)
        except ValidationError as error:
            raise OpaAnswerInvalid(f"OPA's answer has not the agreed shape: {_first_problem(error)}") from error
        missing = self._bundles.difference(answer.bundles)
        if missing:
            raise OpaAnswerInvalid(f"OPA answered without the bundle {', '.join(sorted(missing))}")
        for name, revision in self._required.items():
            if answer.bundles[name] != revision:
                raise OpaAnswerInvalid(
                    f"bundle {name} is at revision {answer.bundles[name]}, and policy.opa.require_revision demands"
                    f" {revision}",
                    advice="activate the revision that is demanded, or correct policy.opa.require_revision",
                )
        return answer


def _require_json(encoded: bytes) -> None:
    try:
        value = read_json(encoded.decode())
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair becomes another character in an OPA
    except (ValueError, RecursionError) as error:
        raise OpaEvaluationFailed(f"the input is no JSON document: {error}", advice=_NO_JSON_ADVICE) from error


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(step) for step in problems[0]["loc"]) or "the answer"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{place}: {problems[0]['msg']}{more}"
