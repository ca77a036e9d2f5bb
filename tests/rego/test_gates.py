"""The gates on the policy let through what is good, and notice what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Gates(Protocol):
    """Runs a script of a copy of the project's policy."""

    def __call__(self, script: str, *arguments: str) -> tuple[int, str]: ...


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the gates look at."""
    ignore = shutil.ignore_patterns("__pycache__", "samples")
    for name in ("rego", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "rules.md", tmp_path / "docs")
    return tmp_path


@pytest.fixture
def gates(copy: Path) -> Gates:
    def run(script: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(copy / "scripts" / script), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return done.returncode, done.stdout + done.stderr

    return run


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def append(text: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")

    return change


def test_gates_let_the_policy_through(gates: Gates) -> None:
    code, said = gates("rego_gates.py", "--fast")

    assert (code, "fail" in said) == (0, False), said


def test_compiler_finds_a_mistyped_path_of_the_input(copy: Path, gates: Gates) -> None:
    replace(
        copy / "rego/flowyml/rules/version/version.rego", "input.stack.version == null", "input.stack.versoin == null"
    )

    code, said = gates("rego_gates.py", "--only", "compiles strictly")

    assert code == 1
    assert "undefined ref: input.stack.versoin" in said


FAULTS: dict[str, tuple[str, str, Callable[[Path], None], str]] = {
    "unformatted": ("formatted", "lib/stack/stack.rego", append("\n\n\n_unused  :=  1\n"), "fail  formatted"),
    "untested": (
        "coverage",
        "lib/stack/stack.rego",
        append('\nodd if input.stack.name == "odd"\n'),
        "stack.rego:15: no test reaches it",
    ),
    "failing": (
        "tests",
        "lib/stack/stack_test.rego",
        append("\ntest_failing if {\n\tbuiltin with input as {}\n}\n"),
        "flowyml.lib.stack.test_failing",
    ),
    "strict": (
        "tests",
        "lib/stack/stack_test.rego",
        append("\n_one if count(input) == 1\n\ntest_builtin_error if {\n\tnot _one with input as 7\n}\n"),
        "count: operand 1 must be one of {array, object, set, string} but got number",
    ),
    "no block": (
        "conventions",
        "rules/version/version.rego",
        lambda file: replace(file, "#   code: version.missing\n", "#   code: version.absent\n"),
        "the code version.missing has no METADATA block on the body that reports it",
    ),
    "stale": (
        "catalogue",
        "rules/version/version.rego",
        lambda file: replace(file, "# title: The stack has a version\n", "# title: A version is there\n"),
        "docs/rules.md is out of date",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_gates_notice_a_fault(copy: Path, gates: Gates, fault: str) -> None:
    gate, file, change, expected = FAULTS[fault]
    change(copy / "rego" / "flowyml" / file)

    code, said = gates("rego_gates.py", "--only", gate)

    assert code == 1
    assert expected in said


def test_gates_notice_an_old_schema_of_the_input(copy: Path, gates: Gates) -> None:
    replace(copy / "rego/schemas/input.json", '"title": "PolicyInput"', '"title": "Other"')

    code, said = gates("rego_gates.py", "--only", "schema of the input")

    assert code == 1
    assert "rego/schemas/input.json is out of date" in said


def test_mutants_notice_a_condition_that_no_test_needs(copy: Path, gates: Gates) -> None:
    replace(
        copy / "rego/flowyml/rules/source/source.rego",
        "\tsome environment in input.environments\n",
        "\tsome environment in input.environments\n\tenvironment != `never`\n",
    )

    code, said = gates("rego_mutants.py", "rules/source")

    assert code == 1
    assert said == "rego/flowyml/rules/source/source.rego:25: environment != `never`: no test needs it\n"


def test_mutants_do_not_take_a_missing_opa_for_a_failing_test(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPA", f"{sys.executable} -c 'raise SystemExit(2)'")

    code, said = gates("rego_mutants.py", "rules/source")

    assert code == 1
    assert "OpaFailed" in said
