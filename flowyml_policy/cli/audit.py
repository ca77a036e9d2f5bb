"""`flowyml-policy audit`: what was decided, and whether the record of it is whole."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from flowyml_policy.cli.options import format_option, project_option, tell_of_settings
from flowyml_policy.cli.root import Group
from flowyml_policy.outputs.screens import audit as audit_screens
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowyml_policy.audit.store import AuditStore
    from flowyml_policy.settings.settings import Settings

LATEST: Final = 20


@click.group(cls=Group, help="See what was decided, and check that the record is whole.")
def audit() -> None:
    """The group; its commands do the work."""


@audit.command(
    "list",
    examples=[
        "{prog} audit list",
        "{prog} audit list --stack prod-gpu-large --limit 5",
        "{prog} audit list --format json",
    ],
)
@format_option("table", "json")
@click.option("--stack", metavar="NAME", help="Only decisions on this stack.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=LATEST, show_default=True, help="At most so many, the newest."
)
@project_option
def list_decisions(output_format: str, stack: str | None, limit: int, project: str | None) -> None:
    """List the latest decisions, newest first."""
    with _store(_settings(project)) as store:
        found = store.decisions(stack_name=stack, limit=limit + 1)
    render = audit_screens.LIST[output_format]
    render(Screen.of(sys.stdout), found[:limit], more=len(found) > limit)


@audit.command(
    short_help="Show one decision whole.",
    examples=["{prog} audit show 0b6f3c0e-8d4a-4f6e-9a53-5d1c5d0f7c11", "{prog} audit show ID --format json"],
)
@click.argument("decision_id", metavar="ID")
@format_option("table", "json")
@project_option
def show(decision_id: str, output_format: str, project: str | None) -> None:
    """Show one decision whole: what was asked, by whom, which policy judged, what it found.

    ID stands in `audit list`. The document that was judged is part of --format json.
    """
    from flowyml_policy.errors.root import UsageError

    with _store(_settings(project)) as store:
        decision = store.decision(decision_id)
        events = store.get_events(decision_id=decision_id)
    if decision is None:
        raise UsageError(
            f"the audit holds no decision {decision_id}: {store.path}", advice="`flowyml-policy audit list` shows them"
        )
    audit_screens.SHOW[output_format](Screen.of(sys.stdout), decision, events)


@audit.command(
    short_help="Check that no row of the audit was edited.",
    examples=["{prog} audit verify", "{prog} audit verify --project ../fraud --format json"],
)
@format_option("table", "json")
@project_option
@click.pass_context
def verify(ctx: click.Context, output_format: str, project: str | None) -> None:
    """Check that no row was edited: every hash, decision, finding, and what is registered in the same file.

    Exit: 0 all in order, 1 something was changed, 3 the file cannot be read.
    """
    from flowyml_policy.decision.verification import verify_project

    settings = _settings(project)
    with _store(settings) as store:
        verification = verify_project(store, in_one_file=settings.policy.registry.url is None)
    audit_screens.VERIFY[output_format](Screen.of(sys.stdout), verification, store.path)
    ctx.exit(verification.exit_code)


def _settings(project: str | None) -> Settings:
    from pathlib import Path

    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    tell_of_settings(settings)
    return settings


@contextmanager
def _store(settings: Settings) -> Iterator[AuditStore]:
    """The audit of the project."""
    from flowyml_policy.audit.store import AuditStore

    with AuditStore(settings.audit_path) as store:
        yield store
