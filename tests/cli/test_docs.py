"""The command reference says what the commands say, and each command shows how it is used."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest

from flowyml_policy.cli import PROG_NAME
from flowyml_policy.cli.root import ExampleCommand, Root, root

REPOSITORY: Final = Path(__file__).parents[2]


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, click.Context(found, parent=context, info_name=name))


TREE: Final = list(commands(root, click.Context(root, info_name=PROG_NAME)))
LEAVES: Final = [(command, context) for command, context in TREE if not isinstance(command, click.Group)]


def paths(tree: list[tuple[click.Command, click.Context]]) -> list[str]:
    return [context.command_path for _, context in tree]


GROUPS: Final = [context for command, context in TREE if isinstance(command, click.Group)]


@pytest.mark.parametrize("context", GROUPS, ids=lambda context: context.command_path)
def test_group_says_of_each_command_what_fits_on_its_line(program: Any, context: click.Context) -> None:
    shown = program.run(*context.command_path.split()[1:], "--help").stdout
    assert [line for line in shown.splitlines() if line.startswith("  ") and line.endswith("...")] == []


@pytest.mark.parametrize("path", ["", "stack", "stack show", "audit show", "doctor"])
def test_reference_shows_what_help_prints(program: Any, path: str) -> None:
    shown = program.run(*path.split(), "--help").stdout
    assert f"```text\n{shown.rstrip()}\n```\n" in (REPOSITORY / "docs" / "cli.md").read_text()


def test_tree_has_the_agreed_commands() -> None:
    assert paths(LEAVES) == [
        "flowyml-policy stack list",
        "flowyml-policy stack show",
        "flowyml-policy stack validate",
        "flowyml-policy stack apply",
        "flowyml-policy stack retire",
        "flowyml-policy stack lock",
        "flowyml-policy stack verify",
        "flowyml-policy stack diff",
        "flowyml-policy policy list",
        "flowyml-policy bundle build",
        "flowyml-policy bundle inspect",
        "flowyml-policy bundle diff",
        "flowyml-policy bundle keygen",
        "flowyml-policy bundle sign",
        "flowyml-policy bundle verify",
        "flowyml-policy bundle push",
        "flowyml-policy bundle pull",
        "flowyml-policy bundle rollback",
        "flowyml-policy server run",
        "flowyml-policy server status",
        "flowyml-policy server token new",
        "flowyml-policy server token list",
        "flowyml-policy server token revoke",
        "flowyml-policy audit list",
        "flowyml-policy audit show",
        "flowyml-policy audit verify",
        "flowyml-policy image inspect",
        "flowyml-policy image cache list",
        "flowyml-policy image cache clear",
        "flowyml-policy schema",
        "flowyml-policy opa",
        "flowyml-policy doctor",
    ]


def test_reference_is_what_the_commands_say() -> None:
    script = REPOSITORY / "scripts" / "cli_reference.py"
    checked = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("path", paths(TREE))
def test_reference_documents_the_command(path: str) -> None:
    headings = [
        line.lstrip("# ") for line in (REPOSITORY / "docs" / "cli.md").read_text().splitlines() if line.startswith("##")
    ]
    assert path in headings


@pytest.mark.parametrize(("command", "context"), TREE, ids=paths(TREE))
def test_command_explains_itself_and_its_options(command: click.Command, context: click.Context) -> None:
    assert command.help
    assert [
        param.name for param in command.get_params(context) if isinstance(param, click.Option) and not param.help
    ] == []


@pytest.mark.parametrize(("command", "context"), LEAVES, ids=paths(LEAVES))
def test_command_has_examples_that_it_would_accept(command: click.Command, context: click.Context) -> None:
    assert isinstance(command, ExampleCommand)
    assert command.examples
    for example in command.examples:
        words = shlex.split(example.format(prog=PROG_NAME).replace(" < ", "\n").replace(" > ", "\n").splitlines()[0])
        path = context.command_path.split()
        assert words[: len(path)] == path
        command.make_context(context.info_name, words[len(path) :], parent=context.parent)


def test_table_of_the_root_says_what_the_commands_say() -> None:
    assert isinstance(root, Root)
    context = click.Context(root)
    assert {name: line for name, (_, line) in root.table.items()} == {
        name: command.help.partition("\n")[0]
        for name in root.table
        if (command := root.get_command(context, name)) is not None and command.help
    }
