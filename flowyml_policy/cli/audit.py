"""`flowyml-policy audit`: what was decided, and whether the record of it is whole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from flowyml_policy.cli.options import format_option, project_option, tell_of_settings
from flowyml_policy.cli.root import Group
from flowyml_policy.outputs.screens import audit as audit_screens
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flowyml_policy.audit.reading import StoredDecision
    from flowyml_policy.audit.store import AuditStore
    from flowyml_policy.decision.verification import ProjectVerification
    from flowyml_policy.records.received import ReceivedDecision
    from flowyml_policy.settings.settings import Settings

LATEST: Final = 20

_server_option = click.option(
    "--server-data", metavar="DIR", help="Read a server's folder: what its clients reported, and what it decided."
)


@click.group(cls=Group, help="See what was decided, and check that the record is whole.")
def audit() -> None:
    """The group; its commands do the work."""


@audit.command(
    "list",
    short_help="List the latest decisions, newest first.",
    examples=[
        "{prog} audit list",
        "{prog} audit list --stack prod-gpu-large --limit 5",
        "{prog} audit list --format json",
        "{prog} audit list --server-data /var/lib/flowyml-policy",
    ],
)
@format_option("table", "json")
@click.option("--stack", metavar="NAME", help="Only decisions on this stack.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=LATEST, show_default=True, help="At most so many, the newest."
)
@project_option
@_server_option
def list_decisions(
    output_format: str, stack: str | None, limit: int, project: str | None, server_data: str | None
) -> None:
    """List the latest decisions, newest first; of a server, those of its clients too."""
    if server_data is not None:
        _list_of_server(server_data, project, output_format, stack=stack, limit=limit)
        return
    with _store(project) as store:
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
@_server_option
def show(decision_id: str, output_format: str, project: str | None, server_data: str | None) -> None:
    """Show one decision whole: what was asked, by whom, which policy judged, what it found.

    ID stands in `audit list`. The document that was judged is part of --format json.
    """
    from flowyml_policy.errors.root import UsageError

    screen = Screen.of(sys.stdout)
    with _store(project, server_data) as store:
        decision = store.decision(decision_id)
        events = store.get_events(decision_id=decision_id)
    if decision is not None:
        audit_screens.SHOW[output_format](screen, decision, events)
        return
    received = [] if server_data is None else _received(store.path, decision_id)
    if not received:
        raise UsageError(
            f"the audit holds no decision {decision_id}: {store.path}", advice="`flowyml-policy audit list` shows them"
        )
    from flowyml_policy.outputs.screens import received as received_screens

    received_screens.SHOW[output_format](screen, received)


@audit.command(
    short_help="Check that no row of the audit was edited.",
    examples=["{prog} audit verify", "{prog} audit verify --project ../fraud --format json"],
)
@format_option("table", "json")
@project_option
@_server_option
@click.pass_context
def verify(ctx: click.Context, output_format: str, project: str | None, server_data: str | None) -> None:
    """Check that no row was edited: every hash, decision, finding, and what is registered in the same file.

    Of a server's folder, what its clients reported is checked too.

    Exit: 0 all in order, 1 something was changed, 3 the file cannot be read.
    """
    from flowyml_policy.decision.verification import verify_project

    verification: ProjectVerification
    if server_data is None:
        settings = _settings(project)
        path = settings.audit_path
        with _opened(path) as store:
            verification = verify_project(store, in_one_file=settings.policy.registry.url is None)
    else:
        from flowyml_policy.server.received import verify_server

        path = _server_file(server_data, project)
        verification = verify_server(path)
    audit_screens.VERIFY[output_format](Screen.of(sys.stdout), verification, path)
    ctx.exit(verification.exit_code)


def _list_of_server(
    server_data: str, project: str | None, output_format: str, *, stack: str | None, limit: int
) -> None:
    """List what clients reported to a server, and what it decided itself, newest first."""
    from contextlib import closing, suppress

    from flowyml_policy.errors.audit import AuditUnreadable
    from flowyml_policy.outputs.screens import received as received_screens
    from flowyml_policy.server.received import ReceivedStore

    path = _server_file(server_data, project)
    with closing(ReceivedStore(path)) as reports, _opened(path) as store:
        received = reports.latest(stack, limit + 1)
        own: list[StoredDecision] = []
        with suppress(AuditUnreadable):  # it decided nothing yet; what else there is would have been told above
            own = store.decisions(stack_name=stack, limit=limit + 1)
    received_screens.LIST[output_format](Screen.of(sys.stdout), own, received, limit=limit)


def _received(path: Path, decision_id: str) -> list[ReceivedDecision]:
    from contextlib import closing

    from flowyml_policy.server.received import ReceivedStore

    with closing(ReceivedStore(path)) as reports:
        return reports.with_id(decision_id)


def _server_file(server_data: str, project: str | None) -> Path:
    """The file in a server's folder. Raises UsageError where a project is named too, ServerUnreadable."""
    from pathlib import Path

    from flowyml_policy.errors.root import UsageError
    from flowyml_policy.server.received import server_file

    if project is not None:
        raise UsageError("--project and --server-data name two audits", advice="name one of them")
    return server_file(Path(server_data))


def _settings(project: str | None) -> Settings:
    from pathlib import Path

    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    tell_of_settings(settings)
    return settings


def _store(project: str | None, server_data: str | None = None) -> AbstractContextManager[AuditStore]:
    """The audit of the project, or of the server in a folder."""
    return _opened(_settings(project).audit_path if server_data is None else _server_file(server_data, project))


def _opened(path: Path) -> AbstractContextManager[AuditStore]:
    from flowyml_policy.audit.store import AuditStore

    return AuditStore(path)
