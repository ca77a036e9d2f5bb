"""`stack list`: what is registered."""

from __future__ import annotations

import sys

import click

from flowyml_policy.cli.options import format_option, project_option
from flowyml_policy.cli.tree import Command
from flowyml_policy.outputs.screen import Screen


@click.command(
    "list",
    cls=Command,
    examples=[
        "{prog} stack list",
        "{prog} stack list --all-versions --label team=ml-platform",
        "{prog} stack list --format json",
    ],
)
@format_option("table", "json")
@click.option("--all-versions", is_flag=True, help="Every version, retired ones too, instead of the one in use.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="Only stacks with this label; repeatable.")
@project_option
def list_stacks(output_format: str, all_versions: bool, labels: tuple[str, ...], project: str | None) -> None:  # noqa: FBT001  click calls it so
    """List registered stacks: labels, source, digest, last decision, who applied it and when."""
    from flowyml_policy.cli import lifecycle_screens  # noqa: PLC0415
    from flowyml_policy.cli.open_parts import opened_registry  # noqa: PLC0415  loads pydantic

    wanted = dict(_label(label) for label in labels)
    with opened_registry(project) as registry:
        stacks = registry.list(labels=wanted or None, all_versions=all_versions)
        filtered = bool(wanted) and not stacks and bool(registry.list(all_versions=True))
    nothing = f"no registered stack matches {', '.join(labels)}" if filtered else "no stack is registered"
    lifecycle_screens.LIST[output_format](Screen.of(sys.stdout), stacks, nothing)


def _label(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        from flowyml_policy.errors import UsageError  # noqa: PLC0415

        raise UsageError(f"{text!r} is no label with its value", advice="write --label team=ml-platform")
    return key, value
