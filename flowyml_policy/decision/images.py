"""What the images of stacks are, put into the documents that are to be judged.

Rules:
- All images of a batch are examined before any of its stacks is judged, so that one that many stacks name is asked for
  once.
- What keeps an image from being examined is part of its facts, and the policy denies it. A stack is undecided only
  where OPA cannot say what it wants to know.
- Which base images the policy allows is asked of the policy itself, for each batch: a new revision may name others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowyml_policy.decision.results import Call
from flowyml_policy.errors.opa import OpaAnswerInvalid, OpaUndefined
from flowyml_policy.records.policy_input import BasePlatform, PolicyInput
from flowyml_policy.records.record import Json

if TYPE_CHECKING:
    from flowyml_policy.images.inspection import Inspection
    from flowyml_policy.records.protocols import Evaluator

WANTED_PATH = "flowyml/main/wanted"
"""What the policy wants to be told besides the stack: `{"bases": [references]}`."""


class StackImages:
    """Examines the images of documents. Safe from many threads."""

    def __init__(self, inspection: Inspection, evaluator: Evaluator, policies: Json) -> None:
        self._inspection = inspection
        self._evaluator = evaluator
        self._policies = policies

    def complete(self, call: Call, documents: Sequence[PolicyInput]) -> list[PolicyInput]:
        """`documents` with what their images are. Raises OpaError where OPA cannot say which bases it wants."""
        named = [image for document in documents for image in document.images]
        if not named:
            return list(documents)
        examined = iter(self._inspection.examine(named, told=call.told))
        completed = []
        bases: tuple[BasePlatform, ...] | None = None
        for document in documents:
            images = tuple(next(examined) for _ in document.images)
            if call.scans is not None:
                images = tuple(call.scans.added_to(image) for image in images)
            update: dict[str, Any] = {"images": images}
            if any(image.inspected for image in images):
                bases = self._bases() if bases is None else bases
                update["bases"] = bases
            completed.append(document.model_copy(update=update))
        return completed

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._inspection.close()

    def _bases(self) -> tuple[BasePlatform, ...]:
        return self._inspection.bases(self._wanted())

    def _wanted(self) -> list[str]:
        try:
            answer = self._evaluator.query(WANTED_PATH, {"project": {"policies": self._policies}})
        except OpaUndefined:  # a policy that has no such question has no rule that needs the answer
            return []
        bases = answer.get("bases") if isinstance(answer, dict) else None
        if not isinstance(bases, list) or not all(isinstance(reference, str) for reference in bases):
            raise OpaAnswerInvalid(f"what the policy wants (data.{WANTED_PATH}) has not the agreed shape")
        return bases
