"""Every command that takes a path or a reference reads its argument by one rule, and says where a word is both."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

LARGE: Final = "stacks/prod-gpu-large.yaml"
NAME: Final = "prod-gpu-large"
COMMANDS: Final = (
    ("stack", "validate"),
    ("stack", "apply", "--dry-run"),
    ("stack", "show"),
    ("stack", "diff", LARGE),
)


def ids(command: tuple[str, ...]) -> str:
    return command[1]


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_word_that_is_a_path_and_a_stack_is_the_path(examples: Any, command: tuple[str, ...]) -> None:
    examples.run("stack", "apply", LARGE)
    folder = examples.here / NAME
    folder.mkdir()
    text = (examples.here / "stacks" / "prod-batch-aws.yaml").read_text()
    (folder / "one.yaml").write_text(text)
    ran = examples.run(*command, NAME)
    assert ran.stderr == ""
    assert "prod-batch-aws" in ran.stdout
    named = examples.run(*command, f"registry://{NAME}")
    assert (named.stderr, "prod-batch-aws" in named.stdout) == ("", False)


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
@pytest.mark.parametrize("path", ["nothing.yaml", "stacks/nothing"])
def test_path_that_does_not_exist_exits_2(examples: Any, command: tuple[str, ...], path: str) -> None:
    ran = examples.run(*command, path)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == f"error: there is no such file or folder: {path}; name an existing path\n"


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
@pytest.mark.parametrize("named", ["closed/one.yaml", "file://./closed/one.yaml"])
def test_path_that_cannot_be_reached_is_undecided_for_that_reason(
    examples: Any, command: tuple[str, ...], named: str
) -> None:
    folder = examples.here / "closed"
    folder.mkdir()
    (folder / "one.yaml").write_bytes((examples.here / LARGE).read_bytes())
    folder.chmod(0)
    ran = examples.run(*command, named)
    said = " ".join((ran.stdout + ran.stderr).split())
    assert ran.exit_code == 3
    assert "closed/one.yaml: Permission denied" in said
    assert "check that the file exists and that this user may read it" in said


@pytest.mark.parametrize("command", COMMANDS[:2], ids=ids)
def test_malformed_reference_is_undecided_beside_the_others(examples: Any, command: tuple[str, ...]) -> None:
    ran = examples.run(*command, LARGE, "a b", "", "stacks/prod-gpu-unapproved.yaml", "--format", "json")
    results = json.loads(ran.stdout)["results"]
    assert (ran.exit_code, ran.stderr) == (3, "")
    assert [(one["outcome"], one["source"]["uri"], (one["error"] or {}).get("code")) for one in results] == [
        ("allow", LARGE, None),
        ("error", "a b", "reference_malformed"),
        ("error", "no name", "reference_malformed"),
        ("deny", "stacks/prod-gpu-unapproved.yaml", None),
    ]
    recorded = json.loads(examples.run("audit", "list", "--format", "json").stdout)["decisions"]
    assert {one["decision_id"] for one in recorded} == {one["decision_id"] for one in results}


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_dash_is_standard_input(examples: Any, command: tuple[str, ...]) -> None:
    piped = (examples.here / LARGE).read_bytes()
    ran = examples.run(*command, "-", stdin=piped)
    assert (ran.exit_code, ran.stderr) == (0, "")


def test_show_explains_standard_input_as_what_was_named(examples: Any) -> None:
    ran = examples.run("stack", "show", "-", "--explain", stdin=(examples.here / LARGE).read_bytes())
    assert ran.stdout.splitlines()[0] == "1. argument        chosen     -"


def test_diff_takes_standard_input_on_both_sides(examples: Any) -> None:
    ran = examples.run("stack", "diff", "-", "-", stdin=(examples.here / LARGE).read_bytes())
    assert (ran.exit_code, ran.stdout.startswith("the same: sha256:")) == (0, True)


@pytest.mark.parametrize(("command", "code"), [(("stack", "show", "-"), 1), (("stack", "diff", "-", LARGE), 3)])
def test_standard_input_that_is_no_stack_is_an_error(examples: Any, command: tuple[str, ...], code: int) -> None:
    ran = examples.run(*command, stdin=b"a: b\n")
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert "the document is no stack definition" in ran.stderr
