"""The life of a stack as whole processes: what is said, what exits how, and what is then there.

Screens are kept in golden/ as conftest.py tells; those that change nothing are kept for a terminal too.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.conftest import Program, copy_examples

GOLDEN: Final = Path(__file__).parent / "golden"
LARGE: Final = "stacks/prod-gpu-large.yaml"


def bare(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def edit(project: Any, path: str, old: str, new: str) -> None:
    file = project.here / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: Any) -> Path:
    """The examples: two stacks registered, one of them in two versions of which the older is retired, all pinned."""
    examples = Program(tmp_path_factory.mktemp("life") / "project")
    examples.here.mkdir()
    copy_examples(examples.here)
    assert examples.run("stack", "apply", LARGE, "stacks/staging-kubernetes.yaml").exit_code == 0
    edit(examples, LARGE, "max_nodes: 4", "max_nodes: 8")
    edit(examples, LARGE, "2.1.0", "2.2.0")
    assert examples.run("stack", "apply", LARGE).exit_code == 0
    assert examples.run("stack", "retire", "prod-gpu-large@2.1.0", "--reason", "superseded").exit_code == 0
    assert examples.run("stack", "lock").exit_code == 0
    return examples.here


@pytest.fixture
def living(program: Any, lived: Path) -> Any:
    """The program in a copy of that project."""
    shutil.copytree(lived, program.here, dirs_exist_ok=True)
    return program


SCREENS: Final = {
    "list": ("stack", "list"),
    "list-all": ("stack", "list", "--all-versions", "--label", "environment=production"),
    "apply-unchanged": ("stack", "apply", LARGE),
    "apply-taken": (
        "stack",
        "apply",
        "changed.yaml",
        "stacks/prod-gpu-dockerhub.yaml",
        "stacks/staging-kubernetes.yaml",
    ),
    "apply-dry-run": ("stack", "apply", "next.yaml", "stacks/prod-batch-aws.yaml", "--dry-run"),
    "retire-again": ("stack", "retire", "prod-gpu-large@2.1.0"),
    "retire-no-version": ("stack", "retire", "prod-gpu-large"),
    "retire-unknown": ("stack", "retire", "prod-gpu-larg@2.1.0"),
    "diff-same": ("stack", "diff", "prod-gpu-large", LARGE),
    "diff": ("stack", "diff", "changed.yaml", "prod-gpu-large"),
    "diff-unresolved": ("stack", "diff", "prod-gpu-large", "prod-gpu-larg"),
    "diff-invalid": ("stack", "diff", "prod-gpu-large", "invalid.yaml"),
    "lock-unchanged": ("stack", "lock"),
    "verify": ("stack", "verify"),
}


@pytest.mark.parametrize(("name", "args"), SCREENS.items(), ids=SCREENS)
def test_screen_is_as_kept(living: Any, kept: Any, name: str, args: tuple[str, ...]) -> None:
    text = (living.here / LARGE).read_text()
    (living.here / "changed.yaml").write_text(text.replace("max_nodes: 8", "max_nodes: 16"))
    (living.here / "next.yaml").write_text(text.replace("max_nodes: 8", "max_nodes: 16").replace("2.2.0", "3.0.0"))
    (living.here / "invalid.yaml").write_text("kind: nothing\n")
    piped = living.run(*args)
    kept(GOLDEN / f"life-{name}.pipe.txt", str(piped))
    terminal = living.on_terminal(*args)
    kept(GOLDEN / f"life-{name}.terminal.txt", str(terminal))
    said = str(piped).replace("--- stderr\n", "")
    assert bare(str(terminal)).replace("--- stderr\n", "") == said
    assert living.run("audit", "verify").exit_code == 0


def test_life_of_a_stack_is_told_as_kept(examples: Any, kept: Any) -> None:
    told = []

    def run(*args: str) -> None:
        told.append(f"$ {' '.join(args)}\n{examples.run(*args)}")

    run("stack", "list")
    run("stack", "apply", LARGE, "stacks/staging-kubernetes.yaml", "stacks/prod-gpu-dockerhub.yaml")
    run("stack", "lock")
    run("stack", "verify")
    edit(examples, LARGE, "max_nodes: 4", "max_nodes: 8")
    run("stack", "apply", LARGE)
    edit(examples, LARGE, "2.1.0", "2.2.0")
    run("stack", "apply", LARGE)
    edit(examples, "stacks/staging-kubernetes.yaml", "version: ", "version: 1")
    run("stack", "verify")
    run("stack", "lock")
    run("stack", "retire", "prod-gpu-large@2.1.0", "--reason", "superseded by 2.2.0")
    (examples.here / "stacks" / "staging-kubernetes.yaml").unlink()
    run("stack", "verify")
    kept(GOLDEN / "life.txt", "\n".join(told))


def test_lockfile_is_as_kept(living: Any, kept: Any) -> None:
    text = (living.here / "flowyml.lock").read_text()
    steady = re.sub(r"[0-9a-f]{64}", "0" * 64, re.sub(r"(?<=\+)[0-9a-f]{16}", "0" * 16, text))
    kept(GOLDEN / "life.lock.txt", steady)


COMMANDS: Final = (
    ("stack", "list"),
    ("stack", "apply", LARGE),
    ("stack", "apply", "next.yaml", "--dry-run"),
    ("stack", "retire", "prod-gpu-large@2.1.0"),
    ("stack", "diff", "prod-gpu-large", LARGE),
    ("stack", "lock"),
    ("stack", "verify"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_with_json_prints_one_document_of_version_1(living: Any, command: tuple[str, ...]) -> None:
    (living.here / "next.yaml").write_text((living.here / LARGE).read_text().replace("2.2.0", "3.0.0"))
    ran = living.run(*command, "--format", "json")
    assert json.loads(ran.stdout)["version"] == 1
    assert (ran.exit_code, ran.stderr) == (0, "")


def test_apply_in_json_has_what_validate_says_and_the_registration(living: Any) -> None:
    edit(living, LARGE, "max_nodes: 8", "max_nodes: 16")
    ran = living.run("stack", "apply", LARGE, "stacks/prod-gpu-dockerhub.yaml", "--format", "json")
    document = json.loads(ran.stdout)
    taken, denied = document["results"]
    assert ran.exit_code == 1
    assert (taken["outcome"], taken["registration"]["status"], taken["registration"]["error"]["code"]) == (
        "allow",
        "refused",
        "version_taken",
    )
    assert "-    max_nodes: 8\n+    max_nodes: 16\n" in taken["registration"]["diff"]
    assert denied["registration"] == {
        "status": "denied",
        "registered": None,
        "diff": "",
        "made_good": False,
        "error": None,
    }
    assert document["summary"] == {
        "stacks": 2, "registered": 0, "unchanged": 0, "would_register": 0, "denied": 1, "refused": 1, "undecided": 0,
        "warnings": 5,
    }  # fmt: skip


def test_apply_of_a_retired_version_is_refused(living: Any) -> None:
    edit(living, LARGE, "max_nodes: 8", "max_nodes: 4")
    edit(living, LARGE, "2.2.0", "2.1.0")
    ran = living.run("stack", "apply", LARGE)
    assert ran.exit_code == 1
    assert ran.stdout.startswith("REFUSED  prod-gpu-large 2.1.0\n  version_retired\n")


def test_list_beyond_two_hundred_is_plain_columns(examples: Any) -> None:
    text = (examples.here / "stacks" / "dev-laptop.yaml").read_text()
    many = examples.here / "many"
    many.mkdir()
    for number in range(201):
        (many / f"{number}.yaml").write_text(text.replace("dev-laptop", f"dev-{number:03}"))
    applied = examples.run("stack", "apply", "many")
    assert applied.exit_code == 0
    assert applied.stdout.splitlines()[-1] == "201 stacks: 201 registered"
    lines = examples.run("stack", "list").stdout.splitlines()
    assert (len(lines), lines[-2:]) == (203, ["", "201 stacks"])
    assert lines[7].split()[:3] == ["dev-007", "1.0.0", "allowed"]


def test_apply_of_standard_input_registers_it(examples: Any) -> None:
    data = (examples.here / "stacks" / "dev-laptop.yaml").read_bytes()
    assert examples.run("stack", "apply", "-", stdin=data).exit_code == 0
    assert examples.run("stack", "list").stdout.startswith("dev-laptop 1.0.0\n")


def test_apply_of_a_reference_registers_what_it_means(examples: Any) -> None:
    ran = examples.run("stack", "apply", "file://./stacks/dev-laptop.yaml", "--format", "json")
    (result,) = json.loads(ran.stdout)["results"]
    assert (ran.exit_code, result["registration"]["status"]) == (0, "registered")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("stack", "apply"), 2),
        (("stack", "apply", "absent.yaml"), 2),
        (("stack", "apply", LARGE, "--timeout", "-1"), 2),
        (("stack", "apply", LARGE, "--environment", "prodution"), 3),
        (("stack", "list", "--label", "team"), 2),
        (("stack", "retire", "prod-gpu-large@^2"), 2),
        (("stack", "diff", LARGE), 2),
        (("stack", "verify"), 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_command_that_cannot_be_done_says_why_and_exits_so(examples: Any, args: tuple[str, ...], code: int) -> None:
    ran = examples.run(*args)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.startswith("error: ")


def test_flowymls_own_lockfile_is_explained_and_left_alone(examples: Any) -> None:
    file = examples.here / "flowyml.lock"
    file.write_text("apiVersion: flowyml.io/v1\nkind: StackLock\nproject: default\nresolvedStacks: {}\n")
    before = file.read_bytes()
    for command in ("lock", "verify"):
        ran = examples.run("stack", command)
        assert (ran.exit_code, ran.stdout) == (3, "")
        assert "the file is a lockfile of FlowyML itself, not of flowyml-policy" in ran.stderr
    assert file.read_bytes() == before
