"""`stack apply` and `stack retire`: what may be run by name, and what no longer may."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from flowyml_policy.cli.options import (
    closing_notes,
    format_option,
    policy_option,
    project_option,
    standard_input,
    tell_hidden,
)
from flowyml_policy.cli.tree import Command
from flowyml_policy.outputs.applied import open_applied_output
from flowyml_policy.outputs.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowyml_policy.lifecycle import Applied
    from flowyml_policy.outputs.applied import AppliedOutput


class Seconds(click.FloatRange):
    """A time in seconds: a number that is one, and has an end."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds. Fails for what is no number, and for nan and inf, which the range lets pass."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return seconds


timeout_option = click.option(
    "--timeout",
    metavar="SECONDS",
    type=Seconds(min=0),
    default=30,
    show_default=True,
    help="How long to wait for the lock of a stack.",
)


@click.command(
    cls=Command,
    examples=[
        "{prog} stack apply stacks/prod-gpu-large.yaml",
        "{prog} stack apply stacks/ --dry-run",
        "{prog} stack apply github://my-org/ml-stacks@v2.1.0#prod-gpu-large",
    ],
)
@click.argument("named", metavar="PATH|STACK...", nargs=-1, required=True)
@format_option("table", "json")
@click.option("--environment", metavar="NAME", help="Judge as for this environment of flowyml.yaml.")
@click.option("--dry-run", is_flag=True, help="Judge, show what would change, and register nothing.")
@timeout_option
@project_option
@policy_option
@click.pass_context
def apply(
    ctx: click.Context,
    named: tuple[str, ...],
    output_format: str,
    environment: str | None,
    dry_run: bool,  # noqa: FBT001  click calls it so
    timeout: float,
    project: str | None,
    rules: tuple[str, ...],
) -> None:
    """Judge stacks, and register those that are allowed.

    PATH is a file, a folder or - for standard input; STACK a name or an address, told apart as `stack validate`
    does. What is registered under a name and a version never changes: the same again changes nothing, other
    content is refused.

    Exit: 0 all are registered, 1 one is denied or refused, 2 a path does not exist, 3 one could not be decided
    or registered.
    """
    from flowyml_policy.opa import shipped  # noqa: PLC0415  OPA starts while pydantic and the rest are loaded

    shipped.start_early()
    from flowyml_policy.lifecycle import StackLifecycle  # noqa: PLC0415

    with StackLifecycle.from_project(project, rules=rules) as life:
        notes = closing_notes(ctx, project, life.engine.settings)
        output = open_applied_output(output_format, Screen.of(sys.stdout), notes=notes)
        tell_hidden(named, life.engine.settings)
        applied = life.apply(
            named, environment=environment, stdin=standard_input(named), dry_run=dry_run, timeout=timeout
        )
        ctx.exit(_shown(applied, output))


def _shown(applied: Iterator[Applied], output: AppliedOutput) -> int:
    """Show everything as it comes; the worst exit code of all, that of an undecided stack where there is none."""
    codes = set()
    try:
        for one in applied:
            output.add(one)
            codes.add(one.exit_code)
    except BaseException:
        output.end(complete=False)
        raise
    output.end(complete=True)
    return max(codes, default=3)


@click.command(
    cls=Command,
    examples=["{prog} stack retire prod-gpu-large@2.1.0 --reason 'superseded by 2.2.0'"],
)
@click.argument("reference", metavar="NAME@VERSION")
@format_option("table", "json")
@click.option("--reason", default="", help="Why; it is recorded, and told to whoever asks for the version.")
@timeout_option
@project_option
def retire(reference: str, output_format: str, reason: str, timeout: float, project: str | None) -> None:
    """Take a registered version out of use; its history stays.

    Nothing resolves to it any more, and nothing can be registered in its place. Exit: 0 it is out of use, 2 no exact
    version was named, 3 it is not registered, or could not be retired.
    """
    from flowyml_policy.cli import lifecycle_screens  # noqa: PLC0415
    from flowyml_policy.lifecycle import StackLifecycle  # noqa: PLC0415
    from flowyml_policy.named_stacks import exact_version  # noqa: PLC0415

    name, version = exact_version(reference)
    with StackLifecycle.from_project(project) as life:
        retired = life.retire(name, version, reason=reason, timeout=timeout)
    lifecycle_screens.RETIRED[output_format](Screen.of(sys.stdout), retired)
