"""What `stack list`, `stack retire` and `stack diff` print, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.blocks import diff_lines, word
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.decision.comparison import Comparison
    from flowyml_policy.decision.registrar import Recorded
    from flowyml_policy.records.registry import ListedStack

LONGEST: Final = 200
"""Stacks that are shown in blocks; more are plain columns, one line each."""

_DIGEST: Final = len("sha256:") + 12
_MARGIN: Final = 9
_OUTCOMES: Final = {"allow": "allowed", "deny": "DENIED", "error": "UNDECIDED"}


def _list_table(screen: Screen, stacks: Sequence[ListedStack], nothing: str) -> None:
    """One block or line for each stack; `nothing` where there is none."""
    if len(stacks) > LONGEST:
        for line in screen.table(_cells(stack) for stack in stacks):
            screen.line(line)
    else:
        for stack in stacks:
            screen.line(screen.style(printable(f"{stack.name} {stack.version}"), bold=True))
            for name, value in _facts(stack):
                for line in screen.wrap(printable(value), indent=2, first=f"{name:<{_MARGIN}}"):
                    screen.line(line)
    if stacks:
        screen.line()
    names = len({stack.name for stack in stacks})
    versions = "" if len(stacks) == names else f", {plural(len(stacks), 'version')}"
    screen.line(f"{plural(names, 'stack')}{versions}" if stacks else printable(nothing))


def _facts(stack: ListedStack) -> Iterator[tuple[str, str]]:
    if stack.labels:
        yield "labels", _labels(stack)
    yield "source", f"{stack.source.kind} {stack.source.uri}" + (f" at {stack.source.ref}" if stack.source.ref else "")
    yield "digest", stack.digest
    last = stack.last_decision
    yield "decided", "not known" if last is None else f"{_OUTCOMES[last.outcome]}, {_instant(last.at)}"
    yield "applied", f"by {stack.applied_by}, {_instant(stack.applied_at)}"
    if stack.retired is not None:
        reason = f": {stack.retired.reason}" if stack.retired.reason else ""
        yield "retired", f"by {stack.retired.by}, {_instant(stack.retired.at)}{reason}"


def _cells(stack: ListedStack) -> tuple[str, ...]:
    last = stack.last_decision
    return (
        printable(stack.name),
        printable(stack.version),
        "" if last is None else _OUTCOMES[last.outcome],
        stack.applied_at[:10],
        printable(stack.applied_by),
        stack.digest[:_DIGEST],
        "retired" if stack.retired else "",
        printable(_labels(stack)),
        printable(stack.source.uri),
    )


def _labels(stack: ListedStack) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(stack.labels.items()))


def _instant(at: str) -> str:
    return f"{at[:10]} {at[11:19]} UTC"


def _list_json(screen: Screen, stacks: Sequence[ListedStack], _nothing: str) -> None:
    screen.stream.write('{"version": 1, "stacks": [')
    screen.stream.write(",".join(f"\n{stack.model_dump_json()}" for stack in stacks))
    screen.stream.write("\n]}\n")


def _retired_table(screen: Screen, retired: Recorded) -> None:
    stack = retired.stack
    title = screen.style(printable(f"{stack.name} {stack.version}"), bold=True)
    if retired.changed:
        screen.line(f"{word(screen, 'retired')}  {title}")
        return
    screen.line(f"{word(screen, 'unchanged')}  {title}")
    if stack.retired is not None:
        reason = f": {stack.retired.reason}" if stack.retired.reason else ""
        said = [f"retired already by {stack.retired.by}, {_instant(stack.retired.at)}{reason}"]
        said += ["the audit did not say so, and does now"] * retired.made_good
        for line in chain.from_iterable(screen.wrap(printable(one), indent=4) for one in said):
            screen.line(line)


def _retired_json(screen: Screen, retired: Recorded) -> None:
    stack = retired.stack.model_dump(mode="json", exclude={"document"})
    print_json(screen, {"changed": retired.changed, "made_good": retired.made_good, "stack": stack})


def _diff_table(screen: Screen, comparison: Comparison) -> None:
    if not comparison.diff:
        screen.line(f"the same: {comparison.new_digest}")
    for line in diff_lines(screen, comparison.diff):
        screen.line(line)


def _diff_json(screen: Screen, comparison: Comparison) -> None:
    print_json(screen, {"same": comparison.exit_code == 0, **comparison.model_dump(mode="json")})


LIST: Final[dict[str, Callable[[Screen, Sequence[ListedStack], str], None]]] = {
    "table": _list_table,
    "json": _list_json,
}
RETIRED: Final[dict[str, Callable[[Screen, Recorded], None]]] = {"table": _retired_table, "json": _retired_json}
DIFF: Final[dict[str, Callable[[Screen, Comparison], None]]] = {"table": _diff_table, "json": _diff_json}
