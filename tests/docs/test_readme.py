"""Every command and every program of the README does what the README says it does.

A `console` block is one session in a copy of the example project: `$` lines are typed, the lines after one are all
that is then seen, whatever the times and ids; a line of `...` stands for any lines. A `python` block is one program,
whose `#>` comments are what it prints; one that imports FlowyML runs in its environment. A `bash` block holds commands
of `make`, run in the checkout.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.pycache import COMPILED

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGES = re.compile(
    r"\b\d{4}-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{64}\b"
)
END_OF_OUTPUT = "-- end of output --"


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the README that it starts at."""

    language: str
    text: str
    line: int


def readme_blocks() -> list[Block]:
    text = README.read_text("utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in FENCE.finditer(text)]


# pytest names no public type for what `param` makes
def blocks_of(language: str, *, of_flowyml: bool = False) -> list[pytest.param]:  # type: ignore[valid-type]
    return [
        pytest.param(block, id=f"line {block.line}")
        for block in readme_blocks()
        if block.language == language and ("from flowyml import" in block.text) is of_flowyml
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example project, without an audit."""
    shutil.copy(ROOT / "flowyml.yaml", tmp_path)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    return tmp_path


def reader_environment(home: Path) -> dict[str, str]:
    """What somebody who follows the README has: this environment's programs, and no settings of their own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "COLUMNS": "80", "LC_ALL": "C.UTF-8", **COMPILED}


def session_steps(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what is seen after it."""
    steps = [part.partition("\n") for part in re.split(r"^\$ ", text, flags=re.MULTILINE)]
    assert steps[0][0] == "", "a console block starts with a command"
    return [(command, seen) for command, _, seen in steps[1:]]


def matches(expected: str, seen: str) -> bool:
    lines = [CHANGES.sub("#", line) for line in expected.splitlines(keepends=True)]
    pattern = "".join("(.*\n)*" if line == "...\n" else re.escape(line) for line in lines)
    return re.fullmatch(pattern, CHANGES.sub("#", seen)) is not None


def test_readme_languages_are_those_that_are_tested() -> None:
    assert {block.language for block in readme_blocks()} == {"bash", "console", "python"}


@pytest.mark.parametrize("block", blocks_of("console"))
def test_readme_console_session_shows_what_is_seen(block: Block, project: Path) -> None:
    steps = session_steps(block.text)
    script = "".join(f"{command}\n(exit_code=$?; echo '{END_OF_OUTPUT}'; exit $exit_code)\n" for command, _ in steps)
    answer = subprocess.run(
        ["bash"],
        input=script,
        cwd=project,
        env=reader_environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seen = answer.stdout.split(f"{END_OF_OUTPUT}\n")
    assert seen.pop() == ""
    for (command, expected), output in zip(steps, seen, strict=True):
        assert matches(expected, output), f"$ {command}\n{output}"


def said_by(block: Block, project: Path, *python: str | Path) -> list[str]:
    """The lines that a program prints."""
    answer = subprocess.run(
        [*python, "-c", block.text],
        cwd=project,
        env=reader_environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


@pytest.mark.parametrize("block", blocks_of("python"))
def test_readme_program_prints_what_it_says(block: Block, project: Path) -> None:
    assert said_by(block, project, sys.executable, "-W", "error") == re.findall(r"#> (.*)$", block.text, re.MULTILINE)


@pytest.mark.flowyml
@pytest.mark.parametrize("block", blocks_of("python", of_flowyml=True))
def test_readme_pipeline_prints_what_it_says(block: Block, project: Path, flowyml_python: Path) -> None:
    assert said_by(block, project, flowyml_python) == re.findall(r"#> (.*)$", block.text, re.MULTILINE)


@pytest.mark.parametrize("block", blocks_of("bash"))
def test_readme_make_target_works(block: Block) -> None:
    for line in block.text.splitlines():
        program, target = shlex.split(line, comments=True)
        assert program == "make"
        # `make test` is what runs this very test: here it is only resolved.
        # What is installed stays as it is meanwhile.
        options = ["--old-file=.venv/installed", *(["--dry-run"] if target == "test" else [])]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
        answer = subprocess.run(
            ["make", *options, target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("expected", "seen", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
        ("allowed  09:51:47  prod\n", "allowed  10:00:00  prod\n", True),
        ("allowed  09:51:47  prod\n", "DENIED  09:51:47  prod\n", False),
        ("a\n...\nc\n", "a\nb\nb\nc\n", True),
        ("a\n...\n", "b\na\n", False),
    ],
)
def test_matches_differs_only_in_times_ids_and_left_out_lines(expected: str, seen: str, *, same: bool) -> None:
    assert matches(expected, seen) == same
