"""The shipped policy as this program runs it, and the samples that lie beside its rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import pytest

from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import PolicyInput

REGO: Final = Path(__file__).resolve().parents[2] / "rego"
INPUT: Final = REGO / "flowyml" / "main" / "samples" / "input.json"

Judge: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any] | None], Decision]


class Change(Protocol):
    """The input that every sample changes, with other values in place of its own, by path (`stack/name`)."""

    def __call__(self, values: Mapping[str, Any], /) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def change() -> Change:
    text = INPUT.read_text(encoding="utf-8")

    def changed(values: Mapping[str, Any], /) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(text)
        for path, value in values.items():
            place: Any = document
            *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
            for key in parents:
                place = place[key]
            assert isinstance(last, int) or last in place, f"{path} is not in {INPUT.name}"
            place[last] = value
        return document

    return changed


@pytest.fixture(scope="session")
def shipped() -> Iterator[EmbeddedEvaluator]:
    """The policy as it ships."""
    with EmbeddedEvaluator() as evaluator:
        yield evaluator


@pytest.fixture
def judge(shipped: EmbeddedEvaluator, tmp_path: Path) -> Judge:
    """Judges an input by the policy as it ships, with a company's data beside it where there is any."""

    def judged(document: Mapping[str, Any], company: Mapping[str, Any] | None) -> Decision:
        asked = PolicyInput.model_validate_json(json.dumps(document))
        if company is None:
            return shipped.evaluate(asked)
        (tmp_path / ".manifest").write_text(json.dumps({"roots": ["org"], "revision": "samples"}), encoding="utf-8")
        (tmp_path / "data.json").write_text(json.dumps({"org": company}), encoding="utf-8")
        bundles = {"flowyml": {"resource": "shipped"}, "org": {"resource": tmp_path.as_uri()}}
        with EmbeddedEvaluator(config={"bundles": bundles}) as evaluator:
            return evaluator.evaluate(asked)

    return judged
