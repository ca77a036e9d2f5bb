"""Files that are known to hold no stacks: named or in a folder, they are passed over with a note."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

LARGE: Final = "stacks/prod-gpu-large.yaml"
INDEX: Final = (
    "apiVersion: flowyml.io/v1\nkind: StackRegistry\nmetadata: {name: all}\nstacks: [{name: a, path: a.yaml}]\n"
)
SETTINGS_NOTE: Final = "note: flowyml.yaml is a settings file, and was not judged\n"
LOCK_NOTE: Final = "note: flowyml.lock is a lockfile, and was not judged\n"
INDEX_NOTE: Final = "note: stacks/registry.yaml:1:1 is FlowyML's own index of stacks, and was not judged\n"


@pytest.fixture(autouse=True)
def _files(examples: Any) -> None:
    (examples.here / "flowyml.lock").write_text("version: 2\nstacks: {}\n")
    (examples.here / "stacks" / "registry.yaml").write_text(INDEX)


@pytest.mark.parametrize(
    ("named", "notes"),
    [
        (["flowyml.yaml"], SETTINGS_NOTE),
        (["flowyml.yaml", "flowyml.lock"], SETTINGS_NOTE + LOCK_NOTE),
        (["stacks/registry.yaml"], INDEX_NOTE),
    ],
)
@pytest.mark.parametrize("command", ["validate", "apply"])
def test_nothing_but_what_is_passed_over_is_fine(examples: Any, command: str, named: list[str], notes: str) -> None:
    ran = examples.run("stack", command, *named, "--format", "json")
    assert (ran.exit_code, ran.stderr) == (0, notes)
    said = json.loads(ran.stdout)
    assert said["results"] == []
    if command == "validate":
        assert said["summary"] == {"stacks": 0, "allowed": 0, "denied": 0, "errors": 0, "warnings": 0}


def test_stacks_beside_what_is_passed_over_are_judged(examples: Any) -> None:
    alone = examples.run("stack", "validate", LARGE)
    ran = examples.run("stack", "validate", "flowyml.yaml", LARGE, "flowyml.lock")
    assert (ran.exit_code, ran.stderr) == (alone.exit_code, SETTINGS_NOTE + LOCK_NOTE)
    assert ran.stdout.splitlines()[-1] == alone.stdout.splitlines()[-1]


def test_index_in_a_folder_is_passed_over(examples: Any) -> None:
    ran = examples.run("stack", "validate", "stacks")
    assert ran.stderr == INDEX_NOTE
    assert "registry.yaml" not in ran.stdout


def test_index_does_not_stand_in_the_way_of_a_stack_of_its_name(examples: Any) -> None:
    index = INDEX.replace("{name: all}", "{name: prod-gpu-large, version: 2.1.0}")
    (examples.here / "flowyml.lock").unlink()
    without = examples.run("stack", "show", "prod-gpu-large")
    (examples.here / "stacks" / "registry.yaml").write_text(index)
    ran = examples.run("stack", "show", "prod-gpu-large")
    assert (ran.exit_code, ran.stdout) == (0, without.stdout)


def test_index_that_is_to_be_shown_is_no_stack(examples: Any) -> None:
    ran = examples.run("stack", "show", "stacks/registry.yaml")
    assert ran.exit_code == 3
    assert ran.stderr.startswith("error: no stack definition is there: ")


def test_folder_with_an_index_alone_fails_closed(examples: Any) -> None:
    (examples.here / "only").mkdir()
    (examples.here / "only" / "registry.yaml").write_text(INDEX)
    ran = examples.run("stack", "validate", "only")
    assert ran.exit_code == 3
    assert "no stack is in the folder only" in ran.stdout


def test_stack_called_as_settings_are_is_judged(examples: Any) -> None:
    """A definition is not let through by its file's name."""
    (examples.here / "other").mkdir()
    (examples.here / "other" / "flowyml.yaml").write_text((examples.here / LARGE).read_text())
    ran = examples.run("stack", "validate", "other/flowyml.yaml", "--format", "json")
    assert json.loads(ran.stdout)["summary"]["stacks"] == 1


def test_index_with_a_spec_is_judged_fails_closed(examples: Any) -> None:
    (examples.here / "stacks" / "registry.yaml").write_text(f"{INDEX}spec: {{}}\n")
    ran = examples.run("stack", "validate", "stacks/registry.yaml")
    assert (ran.exit_code, ran.stderr) == (1, "")


def test_json_beside_yaml_is_told_of(examples: Any) -> None:
    (examples.here / "stacks" / "prod.json").write_text("{}")
    (examples.here / "stacks" / "registry.yaml").unlink()
    ran = examples.run("stack", "validate", "stacks")
    assert ran.stderr == (
        "note: of a folder only *.yaml and *.yml are read, and not stacks/prod.json; "
        "name such a file to have it judged\n"
    )


@pytest.mark.parametrize("name", ["flowyml.yaml", "flowyml.lock"])
@pytest.mark.parametrize("written", ["flow", "indented", "utf-16", "unreadable"])
def test_stack_under_such_a_name_is_judged(examples: Any, name: str, written: str) -> None:
    text = (examples.here / LARGE).read_text("utf-8")
    data = {
        "flow": json.dumps({"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": {"name": "x"}}).encode(),
        "indented": "".join(f"  {line}\n" for line in text.splitlines()).encode(),
        "utf-16": text.encode("utf-16"),
        "unreadable": b"apiVersion: [",
    }[written]
    (examples.here / "sub").mkdir()
    (examples.here / "sub" / name).write_bytes(data)
    ran = examples.run("stack", "validate", f"sub/{name}", "--format", "json")
    assert json.loads(ran.stdout)["summary"]["stacks"] == 1
    assert ran.stderr == ""
