"""What the audit commands print: each answer for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.blocks import error_lines, finding_lines, in_file_order, led_by, title, word
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural, printable

if TYPE_CHECKING:
    from pathlib import Path

    from flowyml_policy.audit.reading import StoredDecision
    from flowyml_policy.decision.verification import ProjectVerification
    from flowyml_policy.records.events import Event

OUTCOMES: Final = {"allow": "allowed", "deny": "DENIED", "error": "UNDECIDED"}
LONG: Final = {"input", "decision"}
"""What only `audit show` prints."""


def _list_table(screen: Screen, decisions: Sequence[StoredDecision], *, more: bool) -> None:
    """A heading for each day; the time, the outcome, the id and the stack of each decision."""
    for day, of_day in groupby(decisions, key=lambda decision: decision.at[:10]):
        screen.line(screen.style(f"{day} (UTC)", bold=True))
        rows = [
            (
                OUTCOMES[decision.outcome],
                decision.at[11:19],
                decision.decision_id,
                printable(decision.stack.name or decision.source.uri),
            )
            for decision in of_day
        ]
        for (outcome, *_), line in zip(rows, screen.table(rows), strict=True):
            screen.line(led_by(screen, outcome, line))
        screen.line()
    if not decisions:
        screen.line("no decisions")
    elif more:
        screen.line(f"the newest {plural(len(decisions), 'decision')}; --limit N shows more")
    else:
        screen.line(plural(len(decisions), "decision"))


def _list_json(screen: Screen, decisions: Sequence[StoredDecision], *, more: bool) -> None:
    rows = [decision.model_dump(mode="json", exclude=LONG) for decision in decisions]
    print_json(screen, {"decisions": rows, "more": more})


def _show_table(screen: Screen, decision: StoredDecision, events: Sequence[Event]) -> None:
    outcome = OUTCOMES[decision.outcome]
    screen.line(f"{word(screen, outcome)}  {screen.style(title(decision.stack, decision.source), bold=True)}")
    if decision.error is not None:
        for line in error_lines(screen, decision.error):
            screen.line(line)
    for finding in in_file_order(decision.findings):
        for line in finding_lines(screen, finding, decision.source):
            screen.line(line)
    screen.line()
    for name, value in _facts(decision, events):
        for line in screen.wrap(printable(value), first=f"{name:<12}"):
            screen.line(line)


def _facts(decision: StoredDecision, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """What the audit knows of a decision, beside what was found."""
    yield "decision", decision.decision_id
    yield "at", f"{decision.at[:10]} {decision.at[11:19]} UTC"
    yield "by", f"{decision.actor}, authority {decision.authority}"
    yield "asked", decision.operation + "".join(f", environment {name}" for name in decision.environments)
    yield "source", f"{decision.source.kind} {decision.source.uri}"
    if decision.source.digest:
        yield "file", decision.source.digest
    if decision.definition_digest:
        yield "definition", decision.definition_digest
    if decision.evaluator is None:
        yield "evaluator", "none: OPA was not asked"
    else:
        yield "evaluator", f"{decision.evaluator.name}, OPA {decision.evaluator.version}"
        yield "took", f"{decision.duration_ns / 1e6:.3f} ms"
    for name, revision in decision.bundles.items():
        yield "policy", f"{name} {revision}"
    yield "events", ", ".join(f"{event.seq} {event.type}" for event in reversed(events))


def _show_json(screen: Screen, decision: StoredDecision, events: Sequence[Event]) -> None:
    shown = {
        "decision": decision.model_dump(mode="json"),
        "events": [event.model_dump(mode="json") for event in events],
    }
    print_json(screen, shown)


def _verify_table(screen: Screen, verification: ProjectVerification, file: Path) -> None:
    counts = ", ".join(plural(count, noun) for count, noun in verification.counts)
    if verification.problem is None:
        screen.line(f"{word(screen, 'ok')}  {printable(str(file))}: {counts}")
        for unfinished in verification.unfinished:
            for line in screen.wrap(printable(unfinished), indent=4):
                screen.line(line)
        notes = verification.limits
    else:
        screen.line(f"{word(screen, 'BROKEN')}  {printable(str(file))}")
        for line in screen.wrap(printable(str(verification.problem)), indent=4):
            screen.line(line)
        notes = f"up to there all is in order: {counts}; keep the file as evidence"
    for line in screen.wrap(notes, indent=4):
        screen.line(line)


def _verify_json(screen: Screen, verification: ProjectVerification, file: Path) -> None:
    print_json(screen, {"file": str(file), "ok": verification.ok, **verification.model_dump(mode="json")})


LIST: Final = {
    "table": _list_table,
    "json": _list_json,
}
SHOW: Final[dict[str, Callable[[Screen, StoredDecision, Sequence[Event]], None]]] = {
    "table": _show_table,
    "json": _show_json,
}
VERIFY: Final[dict[str, Callable[[Screen, ProjectVerification, Path], None]]] = {
    "table": _verify_table,
    "json": _verify_json,
}
