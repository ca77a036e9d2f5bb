"""`stack show`: its formats say the same, and what it prints is read back as the same stack."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
import yaml

from flowyml_policy import StackDefinition

WIDE: Final = """\
apiVersion: flowyml.io/v1
kind: Stack
metadata: {name: wide, version: "1.0.0", owner: ml}
spec: {backend: aws, compute: {region: eu-west-1, maxInstances: 2}, policies: {maxRuntimeMinutes: 5}}
"""
NARROW: Final = """\
apiVersion: flowyml.io/v1
kind: Stack
metadata: {name: narrow, version: "1.0.0"}
spec: {backend: aws}
"""


def test_show_yaml_is_read_back_as_the_same_stack(examples: Any) -> None:
    for file in sorted((examples.here / "stacks").glob("*.yaml")):
        ran = examples.run("stack", "show", f"stacks/{file.name}", "--format", "yaml")
        if ran.exit_code:
            continue
        assert StackDefinition.from_yaml(ran.stdout) == StackDefinition.from_file(file)


@pytest.mark.parametrize("schema", [(), ("--schema", "flowyml.io/v1")])
def test_show_prints_flowymls_own_schema_back(program: Any, schema: tuple[str, ...]) -> None:
    (program.here / "wide.yaml").write_text(WIDE)
    ran = program.run("stack", "show", "wide.yaml", "--format", "yaml", *schema)
    assert (ran.exit_code, yaml.safe_load(ran.stdout)) == (0, yaml.safe_load(WIDE))


def test_show_in_a_schema_that_is_too_narrow_prints_nothing_fails_closed(program: Any) -> None:
    (program.here / "wide.yaml").write_text(WIDE)
    ran = program.run("stack", "show", "wide.yaml", "--format", "yaml", "--schema", "flowyml/v1")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr.startswith("error: stack 'wide' cannot be written as flowyml/v1: ")


def test_show_of_what_both_schemas_can_say_changes_between_them(program: Any) -> None:
    (program.here / "narrow.yaml").write_text(NARROW)
    ran = program.run("stack", "show", "narrow.yaml", "--format", "yaml", "--schema", "flowyml/v1")
    assert StackDefinition.from_yaml(ran.stdout) == StackDefinition.from_yaml(NARROW)
    (program.here / "back.yaml").write_text(ran.stdout)
    back = program.run("stack", "show", "back.yaml", "--format", "yaml", "--schema", "flowyml.io/v1")
    assert yaml.safe_load(back.stdout) == yaml.safe_load(NARROW)


def test_show_json_is_one_document_with_all_that_is_known(examples: Any) -> None:
    ran = examples.run("stack", "show", "--environment", "production", "--format", "json", "--explain")
    shown = json.loads(ran.stdout)
    definition = StackDefinition.from_file(examples.here / "stacks" / "prod-gpu-large.yaml")
    explanation = shown.pop("explanation")
    assert shown == {
        "version": 1,
        "stack": {"name": "prod-gpu-large", "version": "2.1.0"},
        "reference": "prod-gpu-large",
        "step": "env",
        "environment": "production",
        "provenance": {
            "kind": "local",
            "uri": "stacks/prod-gpu-large.yaml",
            "ref": None,
            "full_ref": None,
            "commit": None,
            "path": "prod-gpu-large.yaml",
            "digest": definition.source.digest,
            "pinned": False,
            "fetched_at": None,
        },
        "definition_digest": definition.digest,
        "lock": None,
        "definition": definition.document,
    }
    assert [step["verdict"] for step in explanation["steps"]] == ["not set", "chosen", *["not asked"] * 4]
    assert explanation["error"] is None


def test_show_json_of_a_broken_step_says_which_and_exits_3(examples: Any) -> None:
    ran = examples.run("stack", "show", "--format", "json", "--explain", environ={"FLOWYML_STACK": "prod-gpu-larg"})
    shown = json.loads(ran.stdout)
    assert (ran.exit_code, shown["version"], shown["stack"]) == (3, 1, None)
    assert shown["explanation"]["error"]["code"] == "stack_not_found"
    assert [step["name"] for step in shown["explanation"]["steps"] if step["verdict"] == "broken"] == ["FLOWYML_STACK"]


def test_show_of_nothing_is_the_built_in_stack_and_says_why(program: Any) -> None:
    ran = program.run("stack", "show")
    assert (ran.exit_code, ran.stdout.splitlines()[:3]) == (
        0,
        ["local", "named        local, since nothing names another", "source       builtin builtin:local"],
    )


def test_show_records_nothing(examples: Any) -> None:
    assert examples.run("stack", "show", "prod-gpu-large").exit_code == 0
    assert not (examples.here / ".flowyml").exists()
