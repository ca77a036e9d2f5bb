"""Options that several commands share, written once so that they read alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


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
