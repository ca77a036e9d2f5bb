"""Input that no builder of ours would make is denied by the policy itself, whoever asks it.

An evaluator, which takes nothing but validated PolicyInputs, vouches for their shape where this policy judges.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyml_policy.errors.opa import OpaEvaluationFailed
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.shipped import DECISION_PATH, SHAPE_PATH
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import PolicyInput, Source
from tests.rego.conftest import REGO

Change: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]

TEXTS = st.text(max_size=12)
GLOBS = st.none() | st.lists(st.text("ab-.0*?", max_size=6), max_size=3)
LISTS = st.none() | st.lists(TEXTS | st.sampled_from(["gcr.io", "team=x", "*.azurecr.io"]), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=6,
)
NAMED = st.fixed_dictionaries({"registry": st.sampled_from(["docker.io", "gcr.io"]) | TEXTS, "repository": TEXTS})
INSTANTS = st.sampled_from(
    ["2026-11-23T09:00:00Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9+23:59"]
)
PLATFORMS = st.fixed_dictionaries(
    {
        "platform": TEXTS,
        "labels": st.dictionaries(TEXTS | st.just("team"), TEXTS, max_size=2),
        "user": st.none() | TEXTS | st.sampled_from(["root", "0:0", "1000"]),
        "created": st.none() | TEXTS | INSTANTS,
        "size": st.none() | st.integers(0, 2**60),
        "diff_ids": st.lists(TEXTS, max_size=2),
    }
)
SIGNATURES = st.fixed_dictionaries(
    {
        "key": st.none() | st.sampled_from(["a", "b"]),
        "form": st.just("bundle"),
        "digest": st.none(),
        "ok": st.booleans(),
        "reason": st.none() | TEXTS,
        "problem": st.sampled_from(["invalid", "keyless", "unknown", None]),
    }
)
SCANS = st.fixed_dictionaries(
    {
        "tool": TEXTS,
        "db_at": st.none() | TEXTS | INSTANTS,
        "findings": st.lists(
            st.fixed_dictionaries(
                {
                    "id": TEXTS,
                    "severity": TEXTS | st.just("high"),
                    "package": TEXTS,
                    "fixed_in": st.none() | TEXTS,
                }
            ),
            max_size=2,
        ),
        "digests": st.lists(TEXTS, max_size=2),
        "signed": st.booleans(),
        "signed_digests": st.lists(TEXTS, max_size=2),
    }
)
SECTIONS = st.sampled_from(["runtime", "compute", "deployment", "instance"])
IMAGES = st.builds(
    lambda named, known: {**known, **named},
    NAMED | st.just({"registry": None, "repository": None}),
    st.fixed_dictionaries(
        {
            "ref": TEXTS,
            "tag": st.none() | TEXTS,
            "digest": st.none() | TEXTS,
            "paths": st.lists(st.lists(TEXTS | st.integers(0, 9), max_size=3), max_size=2),
            "inspected": st.booleans(),
            "via": st.sampled_from(["daemon", "registry", "off", None]),
            "error": st.none() | st.fixed_dictionaries({"code": TEXTS, "message": TEXTS}),
            "platforms": st.lists(PLATFORMS, max_size=2),
            "certainty": st.sampled_from(["named", "guessed"]),
            "endpoint": st.none() | TEXTS,
            "signing": st.just([]) | st.just([{"entry": "gcr.io", "need": 1, "keys": [{"id": "a", "name": "a.pub"}]}]),
            "signatures": st.lists(SIGNATURES, max_size=2),
            "scan": st.none() | SCANS,
            "scan_problem": st.none() | TEXTS,
        }
    ),
)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "environments": st.lists(TEXTS, max_size=2),
        "stack/name": TEXTS,
        "stack/version": st.none() | TEXTS | st.just("1.2.3"),
        "stack/labels": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "stack/spec": st.dictionaries(
            TEXTS | SECTIONS,
            st.dictionaries(TEXTS | st.sampled_from(["dockerfile", "backend", "auto_build"]), JSON, max_size=2),
            max_size=2,
        ),
        "source/kind": st.sampled_from(get_args(Source.model_fields["kind"].annotation)),
        "project/policies/allowed_stacks": GLOBS,
        "project/policies/required_labels": LISTS,
        "project/policies/image_policy/allowed_registries": LISTS,
        "project/policies/image_policy/required_labels": LISTS,
        "project/policies/image_policy/allowed_bases": LISTS,
        "project/policies/image_policy/deny_tags": GLOBS,
        "project/policies/image_policy/max_age_seconds": st.none() | st.integers(0, 2**60),
        "project/policies/image_policy/require_digest": st.none() | st.booleans(),
        "evaluated_at": INSTANTS | TEXTS,
        "project/policies/levels": st.dictionaries(
            TEXTS | st.just("version.missing"), st.sampled_from(["advisory", "soft", "hard", "disabled"]), max_size=2
        ),
        "project/policies/rule_data": st.dictionaries(
            TEXTS
            | st.sampled_from(
                ["labels", "images_age", "images_size", "images_base", "images_platform", "images_vulnerabilities"]
            ),
            st.dictionaries(
                TEXTS
                | st.sampled_from(
                    ["required", "max_age_seconds", "old_seconds", "max_bytes", "allowed", "severity", "ignore"]
                ),
                JSON,
                max_size=2,
            ),
            max_size=2,
        ),
        "images": st.lists(IMAGES, max_size=2),
        "bases": st.lists(
            st.fixed_dictionaries(
                {"ref": TEXTS, "digest": st.none(), "platform": TEXTS, "diff_ids": st.lists(TEXTS, max_size=2)}
            ),
            max_size=2,
        ),
        "lock": st.none()
        | st.fixed_dictionaries(
            {
                "definition_digest": st.just(f"sha256:{'0' * 64}"),
                "images": st.dictionaries(TEXTS, TEXTS, max_size=2),
            }
        ),
        "run": st.none()
        | st.fixed_dictionaries(
            {
                "pipeline": TEXTS,
                "docker_config": st.none() | st.dictionaries(TEXTS | st.just("image"), JSON, max_size=2),
            }
        ),
    },
)


def denied_as(answer: Any) -> list[str]:
    """The codes of an answer that denies."""
    assert answer["allow"] is False
    return [finding["code"] for finding in answer["findings"]]


@pytest.mark.parametrize("document", [None, True, 0, "", [], {}, {"stack": {}}, {"schema_version": 1}])
def test_document_that_is_no_policy_input_fails_closed(shipped: EmbeddedEvaluator, document: Any) -> None:
    assert denied_as(shipped.query(DECISION_PATH, document)) == ["main.invalid_input"]


def test_every_key_that_is_missing_is_denied_or_of_no_consequence(shipped: EmbeddedEvaluator, change: Change) -> None:
    unused = {"operation", "hypothetical", "authority", "actor", "run"}
    document = change({"stack/version": None})
    for key in document:
        partial = {name: value for name, value in document.items() if name != key}
        expected = ["version.missing"] if key in unused else ["main.invalid_input"]
        assert denied_as(shipped.query(DECISION_PATH, partial)) == expected, key


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_input_of_another_schema_version_fails_closed(
    shipped: EmbeddedEvaluator, change: Change, version: object
) -> None:
    assert denied_as(shipped.query(DECISION_PATH, change({"schema_version": version}))) == ["main.invalid_input"]


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
        "images/0/platforms",
        "images/0/platforms/0/labels",
        "images/0/platforms/0/created",
        "images/0/platforms/0/user",
        "images/0/signing",
        "project/policies/image_policy/max_age_seconds",
        "project/policies/image_policy/deny_tags",
        "evaluated_at",
        "bases",
        "lock",
    ],
)
def test_value_of_any_type_anywhere_gets_an_answer_and_never_an_unearned_allow(
    shipped: EmbeddedEvaluator, change: Change, path: str, value: object
) -> None:
    """The stack lacks a version, so that only a value that the schema permits may leave it at that denial."""
    values = {"stack/version": None, path: value}
    answer = shipped.query(DECISION_PATH, change(values))
    if path == "stack/version" and isinstance(value, str):
        assert denied_as(answer) == ["version.semantic"]
    else:
        assert denied_as(answer)


@settings(max_examples=200)
@given(values=VALUES)
def test_every_policy_input_has_the_shape_and_gets_the_decision_of_one_that_is_checked(
    shipped: EmbeddedEvaluator, change: Change, values: dict[str, Any]
) -> None:
    document = PolicyInput.model_validate_json(json.dumps(change(values)))
    sent = json.loads(document.encoded)
    assert shipped.query(SHAPE_PATH, sent) is True
    checked = Decision.model_validate_json(json.dumps(shipped.query(DECISION_PATH, sent)))
    assert shipped.evaluate(document) == checked


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda document: document.stack.labels.update(team=1), id="label"),
        pytest.param(lambda document: document.stack.spec.update(runtime=[]), id="spec"),
        pytest.param(lambda document: document.project.policies.rule_data.update(labels=[]), id="rule-data"),
    ],
)
def test_policy_input_that_was_spoilt_after_it_was_made_fails_closed(
    shipped: EmbeddedEvaluator, change: Change, spoil: Callable[[PolicyInput], None]
) -> None:
    document = PolicyInput.model_validate_json(json.dumps(change({})))
    spoil(document)
    with pytest.raises(OpaEvaluationFailed, match="serializ"):
        shipped.evaluate(document)


@pytest.mark.parametrize("path", ["", "\0flowyml/main/decision", f"{DECISION_PATH}\0", "/", f"/{DECISION_PATH}"])
@pytest.mark.parametrize("document", [None, {}])
def test_no_path_is_not_the_decision_fails_closed(shipped: EmbeddedEvaluator, path: str, document: object) -> None:
    with pytest.raises(OpaEvaluationFailed, match="no path below data"):
        shipped.query(path, document)


def test_policy_that_asks_for_more_than_this_program_validates_fails_closed(change: Change, tmp_path: Path) -> None:
    """A company may serve a newer `flowyml` than the one that is installed here."""
    newer = tmp_path / "flowyml"
    shutil.copytree(REGO / "flowyml", newer / "flowyml")
    (newer / ".manifest").write_text(json.dumps({"roots": ["flowyml"], "revision": "newer"}), encoding="utf-8")
    shape = newer / "flowyml" / "lib" / "shape" / "shape.rego"
    asked = "is_array(input.environments)"
    text = shape.read_text(encoding="utf-8")
    shape.write_text(text.replace(asked, f"{asked}\n\tis_array(input.stack.licences)"), encoding="utf-8")
    document = PolicyInput.model_validate_json(json.dumps(change({})))
    with EmbeddedEvaluator(config={"bundles": {"flowyml": {"resource": newer.as_uri()}}}) as evaluator:
        decision = evaluator.evaluate(document)
    assert not decision.allowed
    assert [finding.code for finding in decision.findings] == ["main.invalid_input"]


@pytest.mark.parametrize("deep", [False, True])
def test_copy_with_other_values_is_judged_by_them(shipped: EmbeddedEvaluator, change: Change, *, deep: bool) -> None:
    document = PolicyInput.model_validate_json(json.dumps(change({})))
    assert shipped.evaluate(document).allowed
    unnamed = document.stack.model_copy(update={"name": "no plain name"})
    assert not shipped.evaluate(document.model_copy(update={"stack": unnamed}, deep=deep)).allowed
