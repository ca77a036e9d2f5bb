"""`stack list`: what is registered."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from flowyml_policy.cli.options import format_option, project_option
from flowyml_policy.cli.tree import Command
from flowyml_policy.outputs.screen import Screen

if TYPE_CHECKING:
    from flowyml_policy.records import StackRegistry


@click.command(
    "list",
    cls=Command,
    short_help="List registered stacks, and what was last decided on them.",
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

    wanted = _labels(labels)
    with opened_registry(project) as registry:
        stacks = registry.list(labels=wanted or None, all_versions=all_versions)
        nothing = "" if stacks else _nothing(registry, wanted)
    lifecycle_screens.LIST[output_format](Screen.of(sys.stdout), stacks, nothing)


def _nothing(registry: StackRegistry, labels: Mapping[str, str]) -> str:
    """Why no stack is listed."""
    if registry.list(labels=labels or None, all_versions=True):
        return "no stack is in use; --all-versions shows those that are retired"
    if labels and registry.list(all_versions=True):
        return f"no registered stack matches {', '.join(f'{key}={value}' for key, value in labels.items())}"
    return "no stack is registered"


def _labels(texts: Iterable[str]) -> dict[str, str]:
    """What the labels of a stack must be. Raises UsageError for what is none, and for one that must be two things."""
    from flowyml_policy.errors import UsageError  # noqa: PLC0415

    wanted: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"{text!r} is no label with its value", advice="write --label team=ml-platform")
        if wanted.setdefault(key, value) != value:
            raise UsageError(f"no label {key!r} has two values", advice=f"write --label {key}=... once")
    return wanted
