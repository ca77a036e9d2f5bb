"""`flowyml-policy policy`: what the loaded policy checks."""

from __future__ import annotations

import json
import sys

import click

from flowyml_policy.cli.options import format_option, policy_option, project_option, tell_of_settings
from flowyml_policy.cli.root import Group
from flowyml_policy.outputs.screens.catalogue import catalogue_lines
from flowyml_policy.outputs.terminal import Screen


@click.group(cls=Group, help="See what the loaded policy checks.")
def policy() -> None:
    """The group; its commands do the work."""


@policy.command("list", examples=["{prog} policy list", "{prog} policy list --policy ./policy --format json"])
@format_option("table", "json")
@project_option
@policy_option
@click.pass_context
def list_codes(ctx: click.Context, output_format: str, project: str | None, rules: tuple[str, ...]) -> None:
    """List every code that the policy can find, with its level in force.

    hard denies, and only a waiver excuses it; soft denies, and can be overridden; advisory warns;
    disabled is off.
    """
    from flowyml_policy.decision.engine import PolicyEngine

    with PolicyEngine.from_project(project, rules=rules) as engine:
        tell_of_settings(engine.settings)
        entries = engine.catalogue()
    if output_format == "json":
        click.echo(json.dumps({"version": 1, "codes": [entry.model_dump(mode="json") for entry in entries]}, indent=2))
    else:
        screen = Screen.of(sys.stdout)
        for line in catalogue_lines(entries, screen):
            screen.line(line)
    ctx.exit(0)
