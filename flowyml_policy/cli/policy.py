"""`flowyml-policy policy`: what the loaded policy checks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click

from flowyml_policy.cli.options import format_option, policy_option, project_option
from flowyml_policy.cli.tree import Group
from flowyml_policy.outputs.screen import Screen, columns, pad, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.records import CatalogueEntry

_LOOKS: Final[dict[str, dict[str, bool | str]]] = {
    "hard": {"fg": "red"},
    "soft": {"fg": "magenta"},
    "advisory": {"fg": "yellow"},
    "disabled": {"dim": True},
}


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
    from flowyml_policy.policy_engine import PolicyEngine  # noqa: PLC0415  loads pydantic and OPA

    with PolicyEngine.from_project(project, rules=rules) as engine:
        entries = engine.catalogue()
    if output_format == "json":
        click.echo(json.dumps({"version": 1, "codes": [entry.model_dump(mode="json") for entry in entries]}, indent=2))
    else:
        screen = Screen.of(sys.stdout)
        for line in _table(entries, screen):
            screen.line(line)
    ctx.exit(0)


def _table(entries: Iterable[CatalogueEntry], screen: Screen) -> Iterator[str]:
    """A heading for each rule, a line for each of its codes, the count last."""
    ordered = sorted(entries, key=lambda entry: (entry.root, entry.rule, entry.code))
    width = max((columns(entry.code) for entry in ordered), default=0)
    for (root, rule), codes in groupby(ordered, key=lambda entry: (entry.root, entry.rule)):
        yield f"{screen.style(printable(rule), bold=True)}  {screen.style(root, dim=True)}"
        for entry in codes:
            yield from _code(entry, screen, width)
        yield ""
    yield f"{plural(len(ordered), 'code')} in {plural(len({(e.root, e.rule) for e in ordered}), 'rule')}"


def _code(entry: CatalogueEntry, screen: Screen, width: int) -> Iterator[str]:
    level = screen.style(pad(entry.enforcement, len("advisory")), **_LOOKS[entry.enforcement])
    title = screen.wrap(printable(entry.title), indent=2 + len("advisory") + 2 + width + 2)
    yield f"  {level}  {pad(printable(entry.code), width)}  {title[0].lstrip()}"
    yield from title[1:]
