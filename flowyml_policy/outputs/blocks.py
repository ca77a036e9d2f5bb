"""A few lines about one thing, as every screen for people shows it: a headline, a place, what is wrong, the fix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.terminal import Look, Screen, columns, printable

if TYPE_CHECKING:
    from flowyml_policy.records.policy_input import Source
    from flowyml_policy.records.result import ErrorReport, LocatedFinding, StackName

_LOOKS: Final[dict[str, Look]] = {
    "UNDECIDED": {"fg": "white", "bg": "red", "bold": True},
    "BROKEN": {"fg": "white", "bg": "red", "bold": True},
    "DENIED": {"fg": "red", "bold": True},
    "REFUSED": {"fg": "red", "bold": True},
    "CHANGED": {"fg": "red", "bold": True},
    "UNCHECKED": {"fg": "white", "bg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "allowed": {"fg": "green"},
    "registered": {"fg": "green"},
    "retired": {"fg": "green"},
    "pinned": {"fg": "green"},
    "built": {"fg": "green"},
    "made": {"fg": "green"},
    "signed": {"fg": "green"},
    "pushed": {"fg": "green"},
    "pulled": {"fg": "green"},
    "would register": {"fg": "green"},
    "unchanged": {"dim": True},
    "ok": {"fg": "green"},
}


def word(screen: Screen, name: str, text: str | None = None) -> str:
    """`text`, or `name` itself, in the looks that `name` has on every screen."""
    return screen.style(name if text is None else text, **_LOOKS[name])


def led_by(screen: Screen, name: str, line: str) -> str:
    """`line`, which begins with the word `name`, with that word in its looks."""
    return word(screen, name) + line.removeprefix(name)


def title(stack: StackName, source: Source) -> str:
    """A stack's name and version as far as they are known; what has no name is called by where it came from."""
    name = stack.name or source.uri
    return printable(f"{name} {stack.version}" if stack.version else name)


def title_row(name: str, stack: StackName, source: Source) -> tuple[str, str, str]:
    """The cells of a line about one stack: a word, its title, where it came from."""
    return name, title(stack, source), printable(source.uri) if stack.name else ""


def place(finding: LocatedFinding, source: Source) -> str:
    """Where a finding is: `file:line:column`, or where the stack came from."""
    return printable(str(finding.location) if finding.location else source.uri)


def in_file_order(findings: Iterable[LocatedFinding]) -> list[LocatedFinding]:
    """Denials before warnings, each from the top of the file to its end."""
    return sorted(findings, key=_order)


def _order(finding: LocatedFinding) -> tuple[bool, str, int, int, str]:
    found = finding.location
    where = ("", 0, 0) if found is None else (found.file, found.line, found.column)
    return not finding.denies, *where, finding.code


def finding_lines(screen: Screen, finding: LocatedFinding, source: Source) -> list[str]:
    """One finding: its place and code, its message, its fix."""
    where, code = place(finding, source), printable(finding.code)
    kind = "" if finding.denies else " (warning)"
    styled = word(screen, "DENIED" if finding.denies else "warning", code) + kind
    fits = 4 + columns(where) + columns(code) + len(kind) <= screen.width
    return [
        *([f"  {where}  {styled}"] if fits else [f"  {where}", f"    {styled}"]),
        *screen.wrap(printable(finding.message), indent=4),
        *fix_lines(screen, finding.fix),
    ]


def error_lines(screen: Screen, error: ErrorReport) -> list[str]:
    """Why there is no decision: its code, its message, what to do."""
    return [
        f"  {word(screen, 'DENIED', printable(error.code))}",
        *screen.prose(error.message, indent=4),
        *fix_lines(screen, error.advice),
    ]


def diff_lines(screen: Screen, diff: str, *, indent: int = 0) -> list[str]:
    """A unified diff, a line for each of its lines, never wrapped."""
    looks: dict[str, Look] = {"+": {"fg": "green"}, "-": {"fg": "red"}, "@": {"fg": "cyan"}}
    return [
        " " * indent + screen.style(printable(line), **looks.get(line[:1], {})) if line else ""
        for line in diff.splitlines()
    ]


def fix_lines(screen: Screen, fix: str) -> list[str]:
    """What to do, if anything is known."""
    return screen.wrap(printable(fix), indent=4, first="fix: ") if fix else []
