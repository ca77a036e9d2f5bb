"""The schemas of company data say the same as the rules that read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jsonschema
import pytest

from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.decision import Decision
from tests.rego.conftest import REGO

SCHEMAS = REGO / "schemas"
RULES = sorted(path.name for path in (REGO / "flowyml" / "rules").iterdir())

Change: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
Judge: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any] | None], Decision]

LISTS: list[Any] = [None, [], ["a"], ["a", "b"], "a", 1, True, {}, [1], [None], [""], [" "], ["a", ["b"]]]
DEMANDS: list[Any] = [["a=b"], ["a=b=c"], ["=b"], ["a="], [" a"], ["a "], ["a b=c d"], ["a= b"], ["a=b "]]
ENTRIES: list[Any] = [
    ["gcr.io"],
    ["gcr.io/a/b"],
    ["gcr.io/*"],
    ["gcr.io/a/**"],
    ["*.azurecr.io"],
    ["localhost"],
    ["localhost:5000/a"],
    ["[::1]:5000"],
    ["gcr.io/A"],
    ["gcr.io/a:1"],
    ["https://gcr.io"],
    ["*"],
    ["team/a"],
    ["gcr.io//a"],
    ["gcr.io/a/***"],
    ["a@gcr.io"],
    ["index.docker.io/library/"],
    ["gcr.io/a__b/c.d/e--f"],
]
SCALARS: list[Any] = [None, True, False, 0, -1, 1, 0.5, 1.5, 10**12, "1", "true", [], [1], {}]
VALUES: dict[str, list[Any]] = {
    "naming": [{"allowed_stacks": value} for value in [*LISTS, ["prod-*"]]],
    "labels": [{"required": value} for value in LISTS + DEMANDS],
    "images_inspected": [{"required_labels": value} for value in LISTS + DEMANDS],
    "images_labels": [{"required_labels": value} for value in LISTS + DEMANDS],
    "images_pinned": [{"required": value} for value in SCALARS],
    "images_tag": [
        *({"denied": value} for value in [*LISTS, ["*-rc*"]]),
        *({"mutable": value} for value in [*LISTS, ["v1.0-rc_1"], ["a b"], [":a"], ["-a"]]),
    ],
    "images_user": [],
    "images_age": [{key: value} for key in ("max_age_seconds", "old_seconds") for value in SCALARS],
    "images_size": [{"max_bytes": value} for value in SCALARS],
    "images_base": [
        {"allowed": value}
        for value in [
            *LISTS,
            ["python:3.11"],
            ["python"],
            ["gcr.io/a/b_c:1", f"gcr.io/a@sha256:{'0' * 64}"],
            [f"localhost:5000/a:1@sha256:{'0' * 64}"],
            ["gcr.io/a@sha256:0"],
            ["gcr.io/A:1"],
            ["https://gcr.io/a:1"],
            ["a:1 "],
        ]
    ],
    "images_platform": [
        {"required": value}
        for value in [
            *LISTS,
            {"gcp": []},
            {"gcp": None},
            {"gcp": ["linux/amd64", "linux/arm/v7"]},
            {"gcp": ["amd64"]},
            {"gcp": ["linux/AMD64"]},
            {"gcp": "linux/amd64"},
            {"": ["linux/amd64"]},
            {"a b": ["linux/amd64"]},
        ]
    ],
    "images_lock": [],
    "images_built": [],
    "images_signature": [],
    "images_vulnerabilities": [
        *({"severity": value} for value in [*SCALARS, "high", "unknown", "High", "highest"]),
        *({"max_age_seconds": value} for value in SCALARS),
        *({"required": value} for value in SCALARS),
        *({"ignore": value} for value in [*LISTS, {"CVE-1": {}}, {"CVE-1": "2027-01-31"}]),
        *(
            {"ignore": {"CVE-1": {"expires": expires, "reason": reason}}}
            for expires in [
                "2027-01-31",
                "2027-01-31T23:59:59Z",
                "2027-02-32",
                "27-01-31",
                "2027-01-31T24:00:00Z",
                None,
            ]
            for reason in ["not reachable", " ", None]
        ),
        {"ignore": {"CVE-1": {"expires": "2027-01-31", "reason": "not reachable", "by": "ann"}}},
        {"ignore": {" ": {"expires": "2027-01-31", "reason": "not reachable"}}},
    ],
    "images_registry": [{"allowed_registries": value} for value in LISTS + ENTRIES],
    "version": [],
    "source": [],
}
ODD: list[Any] = [{}, {"unknown": []}, [], "text", None, 1]
CASES = [(rule, value) for rule in RULES for value in VALUES[rule] + ODD]


def schema(*place: str) -> Any:
    return json.loads(SCHEMAS.joinpath(*place).with_suffix(".json").read_text(encoding="utf-8"))


def permitted(document: Any, *place: str) -> bool:
    return jsonschema.Draft202012Validator(schema(*place)).is_valid(document)


def test_every_schema_is_one() -> None:
    for path in sorted(SCHEMAS.rglob("*.json")):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_every_rule_has_a_schema_of_its_data_and_no_other_has() -> None:
    assert sorted(path.stem for path in (SCHEMAS / "rule_data").iterdir()) == RULES


def test_shipped_data_names_every_key_that_a_rule_reads() -> None:
    shipped = json.loads((REGO / "flowyml" / "rule_data" / "data.json").read_text(encoding="utf-8"))

    assert {rule: set(data) for rule, data in shipped.items()} == {
        rule: set(schema("rule_data", rule)["properties"]) for rule in RULES if schema("rule_data", rule)["properties"]
    }
    assert [rule for rule, data in shipped.items() if not permitted(data, "rule_data", rule)] == []


@pytest.mark.parametrize(("rule", "value"), CASES, ids=json.dumps)
def test_schema_permits_rule_data_just_where_the_rule_reads_it(
    shipped: EmbeddedEvaluator, change: Change, rule: str, value: object
) -> None:
    """Project data takes the same way through the rule as company data, and needs no bundle of its own."""
    answer = shipped.query("flowyml/main/decision", change({"project/policies/rule_data": {rule: value}}))

    refused = f"{rule}.rule_data" in {finding["code"] for finding in answer["findings"]}
    assert refused == (not permitted(value, "rule_data", rule))


@pytest.mark.parametrize("rule", RULES)
def test_company_data_that_the_schema_refuses_is_denied(change: Change, judge: Judge, rule: str) -> None:
    decision = judge(change({"images": []}), {"rule_data": {rule: {"unknown": []}}})

    assert {finding.code for finding in decision.denials} == {f"{rule}.rule_data"}


@pytest.mark.parametrize(
    "levels",
    [
        {},
        {"version.missing": "disabled"},
        {"version.missing": "off"},
        {"version.missing": None},
        {"main.levels": "hard"},
        [],
        "hard",
        None,
    ],
)
def test_schema_permits_levels_just_where_main_reads_them(change: Change, judge: Judge, levels: object) -> None:
    decision = judge(change({}), {"levels": levels})

    assert ("main.levels" in {finding.code for finding in decision.findings}) == (
        not permitted(levels, "org", "levels")
    )


@pytest.mark.parametrize(
    "environments",
    [
        {},
        {"production": {}},
        {"production": {"builtin": "deny"}, "dev": {"builtin": "allow"}},
        {"production": {"builtin": "no"}},
        {"production": {"builtin": None}},
        {"production": {"built_in": "deny"}},
        {"production": "deny"},
        ["production"],
        "production",
        None,
    ],
)
def test_schema_permits_environments_just_where_the_rule_reads_them(
    change: Change, judge: Judge, environments: object
) -> None:
    decision = judge(change({}), {"environments": environments})

    codes = {finding.code for finding in decision.findings}
    assert ("source.rule_data" in codes) == (not permitted(environments, "org", "environments"))


@pytest.mark.parametrize(
    "company",
    [
        {},
        {"environments": {}, "levels": {}, "rule_data": {}},
        {"rules_data": {}},
        {"levels": {}, "waivers": {}},
        {"packs": {}},
        {"": {}},
    ],
)
def test_schema_permits_company_data_just_where_main_reads_it(
    change: Change, judge: Judge, company: dict[str, object]
) -> None:
    decision = judge(change({}), company)

    assert ("main.company" in {finding.code for finding in decision.denials}) == (not permitted(company, "org"))
