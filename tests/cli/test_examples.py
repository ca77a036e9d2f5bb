"""Every example gets the decision that its first line says it must get."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

REPOSITORY: Final = Path(__file__).parents[2]
PROJECTS: Final = ("", "examples/required-image-labels")
SHOWN: Final = (
    "images_inspected.required",
    "images_registry.not_allowed",
    "images_registry.reference",
    "labels.required",
    "labels.value",
    "naming.allowed_stacks",
    "naming.safe",
    "version.missing",
    "version.semantic",
)


def expectations(project: str) -> dict[str, list[str]]:
    """By file: the outcome, then the codes that deny."""
    files = sorted((REPOSITORY / project / "stacks").glob("*.yaml"))
    return {f"stacks/{file.name}": expectation(file) for file in files}


def expectation(file: Path) -> list[str]:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    match = re.fullmatch(r"# Expect: (allow|deny(?: [a-z_]+\.[a-z_]+)+)", first)
    assert match, f"the first line of {file} does not say what the example must get"
    return match.group(1).split()


@pytest.mark.parametrize("project", PROJECTS)
def test_examples_get_the_decision_that_they_must_get(program: Any, project: str) -> None:
    source = REPOSITORY / project
    shutil.copytree(source / "stacks", program.here / "stacks")
    shutil.copy(source / "flowyml.yaml", program.here)
    ran = program.run("stack", "validate", "stacks", "--format", "json")
    got = {
        result["source"]["uri"]: [
            result["outcome"],
            *(finding["code"] for finding in result["findings"] if finding["severity"] == "deny"),
        ]
        for result in json.loads(ran.stdout)["results"]
    }
    assert got == expectations(project)
    assert ran.exit_code == 1


def test_examples_show_every_denial_that_a_definition_can_earn() -> None:
    shown = {code for project in PROJECTS for _, *codes in expectations(project).values() for code in codes}
    assert sorted(shown) == list(SHOWN)


def test_examples_are_of_many_clouds_and_kinds() -> None:
    backends = set()
    for file in (REPOSITORY / "stacks").glob("*.yaml"):
        backends.update(re.findall(r"^    backend: (\w+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert backends == {"aws", "azureml", "databricks", "gcp", "kubernetes", "local", "ray"}


def test_example_of_the_guide_is_allowed_and_another_is_denied(examples: Any) -> None:
    assert examples.run("stack", "validate", "stacks/prod-gpu-large.yaml").exit_code == 0
    assert examples.run("stack", "validate", "stacks/prod-gpu-dockerhub.yaml").exit_code == 1
