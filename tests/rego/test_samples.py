"""Every sample beside a rule gets, from OPA as this program runs it, exactly the decision written in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import pytest

from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import PolicyInput, policy_input_schema
from tests.rego.conftest import REGO

POLICY = REGO / "flowyml"
SAMPLES = sorted(path for path in POLICY.rglob("samples/*.json") if path.name != "input.json")

Change: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
Judge: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any] | None], Decision]


def codes(rule: Path) -> set[str]:
    """The codes of one rule, by the catalogue."""
    entries = json.loads((POLICY / "catalogue" / "data.json").read_text(encoding="utf-8"))["codes"]
    return {code for code, entry in entries.items() if entry["rule"] == rule.name}


def reported(sample: Path) -> set[str]:
    content = json.loads(sample.read_text(encoding="utf-8"))
    return {finding["code"] for finding in content["decision"]["findings"]}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_sample_gets_its_decision(sample: Path, change: Change, judge: Judge) -> None:
    content = json.loads(sample.read_text(encoding="utf-8"))

    decision = judge(change(content["changes"]), content.get("org"))

    assert json.loads(decision.model_dump_json()) == content["decision"]
    assert decision.allow == sample.name.startswith("allow_")
    assert content.keys() <= {"title", "changes", "org", "decision"}


@pytest.mark.parametrize("rule", sorted((POLICY / "rules").iterdir()), ids=lambda path: path.name)
def test_rule_has_samples_of_an_allow_and_of_every_code(rule: Path) -> None:
    samples = sorted((rule / "samples").glob("*.json"))

    assert any(sample.name.startswith("allow_") for sample in samples)
    assert codes(rule) <= set().union(*map(reported, samples))


def test_input_of_the_samples_is_a_policy_input(change: Change) -> None:
    document = change({})

    assert json.loads(PolicyInput.model_validate_json(json.dumps(document)).model_dump_json()) == document
    jsonschema.Draft202012Validator(policy_input_schema()).validate(document)
