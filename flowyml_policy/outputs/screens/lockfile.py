"""What `stack lock` and `stack verify` print, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.blocks import error_lines, word
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.resolution.pinning import Change, LockReport, Unchecked, Verified


def _locked_table(screen: Screen, locked: LockReport) -> None:
    _lines(screen, _unchecked_lines(screen, locked.unchecked))
    _lines(screen, _change_lines(screen, locked.changes, "pinned"))
    path = _shown(locked.path)
    if locked.unchecked:
        screen.line(f"nothing was written: {plural(len(locked.unchecked), 'name')} could not be resolved")
    else:
        said = word(screen, "pinned") if locked.written else word(screen, "unchanged")
        screen.line(f"{said}  {plural(len(locked.lockfile.stacks), 'stack')} in {path}")


def _verified_table(screen: Screen, verified: Verified) -> None:
    _lines(screen, _unchecked_lines(screen, verified.unchecked))
    _lines(screen, _change_lines(screen, verified.changes, "CHANGED"))
    path = _shown(verified.path)
    if verified.exit_code == 0:
        screen.line(f"{word(screen, 'ok')}  {plural(verified.checked, 'stack')} as pinned in {path}")
        return
    names = len({(change.kind, change.name) for change in verified.changes})
    parts = [f"{names:,} changed"] if names else []
    parts += [f"{len(verified.unchecked):,} could not be checked"] if verified.unchecked else []
    screen.line(f"{', '.join(parts)}, against {path}")
    if verified.changes:
        for line in screen.wrap("fix: if the changes are meant, run `flowyml-policy stack lock` and commit the file"):
            screen.line(line)


def _change_lines(screen: Screen, changes: Sequence[Change], name: str) -> Iterator[str]:
    """Each thing that changed, where it is pinned at, and each part with what was pinned and found."""
    for number, (thing, found) in enumerate(groupby(changes, key=lambda change: (change.kind, change.name))):
        parts = list(found)
        title = screen.style(printable(" ".join(thing)), bold=True)
        if number and any(part.what is not None for part in parts):
            yield ""
        ref = parts[0].ref
        yield f"{word(screen, name)}  {title}" + (printable(f"  ({ref} of {parts[0].uri})") if ref else "")
        for part in parts:
            if part.what is not None:
                yield f"  {printable(part.what)}"
            yield from _sides(screen, part, 2 if part.what is None else 4)


def _sides(screen: Screen, change: Change, indent: int) -> Iterator[str]:
    for sign, value, colour in (("-", change.pinned, "red"), ("+", change.found, "green")):
        if value is not None:
            yield " " * indent + screen.style(f"{sign} {printable(value)}", fg=colour)


def _unchecked_lines(screen: Screen, unchecked: Sequence[Unchecked]) -> Iterator[str]:
    for number, one in enumerate(unchecked):
        if number:
            yield ""
        environments = f"  (environment {', '.join(one.environments)})" if one.environments else ""
        name = screen.style(printable(one.name), bold=True)
        yield f"{word(screen, 'UNCHECKED')}  {name}{printable(environments)}"
        yield from error_lines(screen, one.error)


def _shown(path: str) -> str:
    """The lockfile as somebody in the working directory would call it."""
    try:
        return printable(str(Path(path).relative_to(Path.cwd())))
    except (OSError, ValueError):
        return printable(path)


def _lines(screen: Screen, lines: Iterator[str]) -> None:
    """`lines`, and an empty one below them where there are any."""
    any_line = False
    for line in lines:
        screen.line(line)
        any_line = True
    if any_line:
        screen.line()


def _locked_json(screen: Screen, locked: LockReport) -> None:
    print_json(screen, locked.model_dump(mode="json", exclude={"lockfile"}))


def _verified_json(screen: Screen, verified: Verified) -> None:
    print_json(screen, {"ok": verified.exit_code == 0, **verified.model_dump(mode="json")})


LOCKED: Final[dict[str, Callable[[Screen, LockReport], None]]] = {"table": _locked_table, "json": _locked_json}
VERIFIED: Final[dict[str, Callable[[Screen, Verified], None]]] = {"table": _verified_table, "json": _verified_json}
