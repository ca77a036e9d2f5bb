"""Options, and what becomes of arguments, that several commands share; written once so that they read alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

STDIN: Final = "-"


def format_option(*formats: str) -> Callable[[F], F]:
    """`--format`, the first of `formats` being the default; the parameter is `output_format`."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="For people, or for programs.",
    )


def project_option(command: F) -> F:
    """`--project`: the folder that holds flowyml.yaml."""
    return click.option(
        "--project",
        metavar="DIR",
        help="The folder of flowyml.yaml.  [default: found upwards from here]",
    )(command)


def policy_option(command: F) -> F:
    """`--policy`: folders of rules for this one call; the parameter is `rules`."""
    return click.option(
        "--policy", "rules", metavar="DIR", multiple=True, help="Add the rules in this folder; repeatable."
    )(command)


def audit_list(ctx: click.Context, project: str | None) -> str:
    """The command that shows what was just recorded."""
    where = f" --project {project}" if project else ""
    return f"{ctx.find_root().command_path} audit list{where}"


def standard_input(named: Collection[str]) -> bytes | None:
    """Standard input, if it is among what is named; no more of it than the reader of definitions may take."""
    if STDIN not in named:
        return None
    from flowyml_policy.strict_yaml import Limits  # noqa: PLC0415  loads yaml

    return b"" if sys.stdin is None else sys.stdin.buffer.read(Limits().size + 1)
