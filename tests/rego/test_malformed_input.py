"""Input that no builder of ours would make is denied by the policy itself, whoever asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest

from flowyml_policy.opa.embedded import EmbeddedEvaluator

Change: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]

DECISION = "flowyml/main/decision"


def denied_as(answer: Any) -> list[str]:
    """The codes of an answer that denies."""
    assert answer["allow"] is False
    return [finding["code"] for finding in answer["findings"]]


@pytest.mark.parametrize("document", [None, True, 0, "", [], {}, {"stack": {}}, {"schema_version": 1}])
def test_document_that_is_no_policy_input_fails_closed(shipped: EmbeddedEvaluator, document: Any) -> None:
    assert denied_as(shipped.query(DECISION, document)) == ["main.invalid_input"]


def test_every_key_that_is_missing_is_denied_or_of_no_consequence(shipped: EmbeddedEvaluator, change: Change) -> None:
    unused = {"operation", "evaluated_at", "hypothetical", "authority", "actor", "lock", "run"}
    document = change({"stack/version": None})
    for key in document:
        partial = {name: value for name, value in document.items() if name != key}
        expected = ["version.missing"] if key in unused else ["main.invalid_input"]
        assert denied_as(shipped.query(DECISION, partial)) == expected, key


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_input_of_another_schema_version_fails_closed(
    shipped: EmbeddedEvaluator, change: Change, version: object
) -> None:
    assert denied_as(shipped.query(DECISION, change({"schema_version": version}))) == ["main.invalid_input"]


@pytest.mark.parametrize("value", [None, True, 1, "text", [], {}, [None], [{}], {"a": None}])
@pytest.mark.parametrize(
    "path",
    [
        "stack/name",
        "stack/version",
        "stack/labels",
        "source/kind",
        "environments",
        "project/policies",
        "project/policies/allowed_stacks",
        "project/policies/required_labels",
        "project/policies/image_policy",
        "project/policies/levels",
        "project/policies/rule_data",
        "images",
        "images/0/ref",
        "images/0/registry",
        "images/0/paths",
        "images/0/inspected",
    ],
)
def test_value_of_any_type_anywhere_gets_an_answer_and_never_an_unearned_allow(
    shipped: EmbeddedEvaluator, change: Change, path: str, value: object
) -> None:
    """The stack lacks a version, so that only a value that the schema permits may leave it at that denial."""
    values = {"stack/version": None, path: value}
    answer = shipped.query(DECISION, change(values))
    if path == "stack/version" and isinstance(value, str):
        assert denied_as(answer) == ["version.semantic"]
    else:
        assert denied_as(answer)
