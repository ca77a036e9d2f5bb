"""Screens as people see them, kept in golden/ for a terminal of 80 columns, colours included, and for a pipe.

`cat` one of golden/*.terminal.txt to see it. How they are kept anew: see conftest.py.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

GOLDEN: Final = Path(__file__).parent / "golden"
REPOSITORY: Final = Path(__file__).parents[2]

SCREENS: Final = {
    "help": ("--help",),
    "help-validate": ("stack", "validate", "--help"),
    "validate": ("stack", "validate", "stacks"),
    "validate-allowed": ("stack", "validate", "stacks/prod-gpu-large.yaml"),
    "validate-allowed-silently": ("stack", "validate", "stacks/dev-laptop.yaml"),
    "validate-denied": ("stack", "validate", "stacks/prod-gpu-dockerhub.yaml"),
    "validate-warning-refused": ("stack", "validate", "stacks/staging-ray.yaml", "--fail-on", "warn"),
    "validate-mixed": ("stack", "validate", "stacks/prod-gpu-large.yaml", "more"),
    "validate-json": (
        "stack",
        "validate",
        "stacks/prod-gpu-large.yaml",
        "stacks/staging-orphan.yaml",
        "--format",
        "json",
    ),
    "show": ("stack", "show", "prod-gpu-large"),
    "show-yaml": ("stack", "show", "dev-laptop", "--format", "yaml"),
    "show-explain": ("stack", "show", "--environment", "production", "--explain"),
    "show-explain-yaml": ("stack", "show", "--explain", "--format", "yaml"),
    "show-explain-broken": ("stack", "show", "prod-gpu-larg", "--explain"),
    "doctor": ("doctor",),
    "policy-list": ("policy", "list"),
    "wrong-command": ("stack", "validat"),
    "unknown-environment": ("stack", "validate", "stacks", "--environment", "prodution"),
}
RECORDED: Final = {
    "audit-list": ("audit", "list", "--limit", "6"),
    "audit-verify": ("audit", "verify"),
}
SHOWN: Final = {"audit-show": "staging-orphan", "audit-show-allowed": "dev-laptop", "audit-show-invalid": "next"}


@pytest.fixture
def project(examples: Any) -> Any:
    """The example project and, in `more`, definitions that are wrong."""
    shutil.copytree(
        Path(__file__).parent / "cases" / "batch-with-everything" / "files" / "stacks", examples.here / "more"
    )
    return examples


def bare(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def compare(project: Any, kept: Any, name: str, args: tuple[str, ...]) -> None:
    """Both screens are as kept; but for colours, and what changes with each run, they are one."""
    piped = project.run(*args)
    kept(GOLDEN / f"{name}.pipe.txt", str(piped))
    terminal = project.on_terminal(*args)
    kept(GOLDEN / f"{name}.terminal.txt", str(terminal))
    said = str(piped).replace("--- stderr\n", "")
    assert bare(str(terminal)).replace("--- stderr\n", "") == said


@pytest.mark.parametrize(("name", "args"), SCREENS.items(), ids=SCREENS)
def test_screen_is_as_kept(project: Any, kept: Any, name: str, args: tuple[str, ...]) -> None:
    compare(project, kept, name, args)


@pytest.mark.parametrize(("name", "args"), RECORDED.items(), ids=RECORDED)
def test_screen_of_the_audit_is_as_kept(project: Any, kept: Any, name: str, args: tuple[str, ...]) -> None:
    project.run("stack", "validate", "stacks", "more")
    compare(project, kept, name, args)


@pytest.mark.parametrize(("name", "stack"), SHOWN.items(), ids=SHOWN)
def test_screen_of_one_decision_is_as_kept(project: Any, kept: Any, name: str, stack: str) -> None:
    project.run("stack", "validate", "stacks", "more")
    listed = json.loads(project.run("audit", "list", "--stack", stack, "--format", "json").stdout)
    compare(project, kept, name, ("audit", "show", listed["decisions"][0]["decision_id"]))


def test_screen_with_no_color_is_that_of_a_pipe(project: Any) -> None:
    args = SCREENS["validate"]
    assert project.on_terminal(*args, environ={"NO_COLOR": "1"}).stdout == project.run(*args).stdout


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_screen_fits_the_terminal_but_for_what_must_stay_whole(project: Any, columns: int) -> None:
    shown = bare(project.on_terminal("stack", "validate", "stacks", columns=columns).stdout)
    for line in shown.splitlines():
        assert len(line) <= columns or len(line.split()) <= 2 or line.startswith("allowed"), line
