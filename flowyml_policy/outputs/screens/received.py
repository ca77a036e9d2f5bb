"""What the audit commands print of a server: decisions that its clients reported, beside its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flowyml_policy.outputs.blocks import led_by, word
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.screens.audit import LONG, OUTCOMES
from flowyml_policy.outputs.terminal import Screen, plural, printable
from flowyml_policy.records.received import ReceivedDecision

if TYPE_CHECKING:
    from flowyml_policy.audit.reading import StoredDecision

ITSELF: Final = "this server"
NEITHER: Final = "answered"
"""An answer that says neither allow nor deny."""


class _Row(NamedTuple):
    """A line of a list: the instant at which this server knew of it, and what is shown."""

    at: str
    outcome: str
    id: str
    client: str
    stack: str


def _newest(
    own: Sequence[StoredDecision], received: Sequence[ReceivedDecision], limit: int
) -> tuple[list[StoredDecision | ReceivedDecision], bool]:
    """The newest of both, and whether there are more."""
    instants: list[tuple[str, int, StoredDecision | ReceivedDecision]] = [
        *((one.at, one.seq, one) for one in own),
        *((one.received_at, one.number, one) for one in received),
    ]
    instants.sort(key=lambda found: found[:2], reverse=True)
    return [one for *_, one in instants[:limit]], len(instants) > limit


def _row(one: StoredDecision | ReceivedDecision) -> _Row:
    outcome = NEITHER if one.outcome is None else OUTCOMES[one.outcome]
    name = one.stack.name
    if isinstance(one, ReceivedDecision):
        what = name or one.path or one.note or ""
        return _Row(one.received_at, outcome, printable(one.decision_id or "no id"), printable(one.client), what)
    return _Row(one.at, outcome, one.decision_id, ITSELF, name or one.source.uri)


def _list_table(
    screen: Screen, own: Sequence[StoredDecision], received: Sequence[ReceivedDecision], *, limit: int
) -> None:
    """A heading for each day; the time, the outcome, the id, the client and the stack of each decision."""
    newest, more = _newest(own, received, limit)
    for day, of_day in groupby(map(_row, newest), key=lambda row: row.at[:10]):
        screen.line(screen.style(f"{day} (UTC)", bold=True))
        rows = [(row.outcome, row.at[11:19], row.id, row.client, printable(row.stack)) for row in of_day]
        for (outcome, *_), line in zip(rows, screen.table(rows), strict=True):
            screen.line(led_by(screen, outcome, line) if outcome != NEITHER else line)
        screen.line()
    if not newest:
        screen.line("no decisions")
    elif more:
        screen.line(f"the newest {plural(len(newest), 'decision')}; --limit N shows more")
    else:
        screen.line(plural(len(newest), "decision"))


def _list_json(
    screen: Screen, own: Sequence[StoredDecision], received: Sequence[ReceivedDecision], *, limit: int
) -> None:
    newest, more = _newest(own, received, limit)
    shown: dict[str, Any] = {"decisions": [], "received": [], "more": more}
    for one in newest:
        key = "received" if isinstance(one, ReceivedDecision) else "decisions"
        shown[key].append(one.model_dump(mode="json", exclude={*LONG, "event"}))
    print_json(screen, shown)


def _show_table(screen: Screen, received: Sequence[ReceivedDecision]) -> None:
    for position, one in enumerate(received):
        if position:
            screen.line()
        outcome = NEITHER if one.outcome is None else OUTCOMES[one.outcome]
        name = _title(one)
        screen.line(f"{word(screen, outcome) if one.outcome else outcome}  {screen.style(printable(name), bold=True)}")
        for label, value in _facts(one):
            for line in screen.wrap(printable(value), first=f"{label:<12}"):
                screen.line(line)


def _title(one: ReceivedDecision) -> str:
    if one.stack.name is None:
        return one.path or "no stack"
    return one.stack.name if one.stack.version is None else f"{one.stack.name} {one.stack.version}"


def _facts(one: ReceivedDecision) -> Iterator[tuple[str, str]]:
    """What the server knows of a decision that was reported."""
    yield "decision", one.decision_id or "no id"
    if one.batch_decision_id is not None:
        yield "batch", one.batch_decision_id
    yield "client", one.client if one.client_id is None else f"{one.client}, id {one.client_id}"
    yield "token", one.token if one.partition is None else f"{one.token}, partition {one.partition}"
    yield "at", one.at or "it does not say"
    yield "received", f"{one.received_at[:10]} {one.received_at[11:19]} UTC, as event {one.number}"
    if one.path is not None:
        yield "path", one.path
    for name, revision in one.bundles.items():
        yield "policy", f"{name} {revision}"
    if one.error is not None:
        yield "error", one.error
    if one.conflict:
        yield "conflict", "an event with this id and other content came before it"
    if one.note is not None:
        yield "note", one.note


def _show_json(screen: Screen, received: Sequence[ReceivedDecision]) -> None:
    rows = [{**one.model_dump(mode="json"), "event": json.loads(one.event)} for one in received]
    print_json(screen, {"received": rows})


LIST: Final = {"table": _list_table, "json": _list_json}
SHOW: Final[dict[str, Callable[[Screen, Sequence[ReceivedDecision]], None]]] = {
    "table": _show_table,
    "json": _show_json,
}
