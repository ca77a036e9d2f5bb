"""`flowyml-policy doctor`: whether this installation can decide here, and who decides."""

from __future__ import annotations

import sys

import click

from flowyml_policy.cli.options import format_option, project_option
from flowyml_policy.cli.root import Command
from flowyml_policy.outputs.terminal import Screen


@click.command(cls=Command, examples=["{prog} doctor", "{prog} doctor --project ../fraud"])
@format_option("table", "json")
@project_option
@click.pass_context
def doctor(ctx: click.Context, output_format: str, project: str | None) -> None:
    """Check the installation and the settings, line by line.

    Each line says ok, or what to do. Nothing is judged and nothing is written. Exit: 0 all ok, 3 otherwise.
    """
    from flowyml_policy.cli import doctor_checks

    checks = doctor_checks.examine(project)
    all_ok = doctor_checks.SCREENS[output_format](Screen.of(sys.stdout), checks)
    ctx.exit(0 if all_ok else 3)
