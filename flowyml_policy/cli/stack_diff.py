"""`stack diff`: what differs between two stacks."""

from __future__ import annotations

import sys

import click

from flowyml_policy.cli.options import format_option, project_option, standard_input, tell_hidden
from flowyml_policy.cli.tree import Command
from flowyml_policy.outputs.screen import Screen


@click.command(
    cls=Command,
    examples=[
        "{prog} stack diff prod-gpu-large@2.0.0 prod-gpu-large",
        "{prog} stack diff prod-gpu-large stacks/prod-gpu-large.yaml",
        "{prog} stack diff - stacks/prod-gpu-large.yaml < old.yaml",
    ],
)
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@format_option("table", "json")
@project_option
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, output_format: str, project: str | None) -> None:
    """Show what differs between two stacks.

    A and B are each a path, - for standard input, a name or an address, as `stack show` takes them.

    Exit: 0 they are the same, 1 they differ, 2 a path does not exist, 3 one could not be resolved.
    """
    from flowyml_policy.cli import lifecycle_screens  # noqa: PLC0415
    from flowyml_policy.comparison import compared  # noqa: PLC0415  loads pydantic
    from flowyml_policy.stack_resolver import StackResolver  # noqa: PLC0415

    with StackResolver(project) as resolver:
        tell_hidden((old, new), resolver.settings)
        comparison = compared(resolver, old, new, stdin=standard_input((old, new)))
    lifecycle_screens.DIFF[output_format](Screen.of(sys.stdout), comparison)
    ctx.exit(comparison.exit_code)
