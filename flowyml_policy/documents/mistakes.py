"""What an author most likely meant where YAML's parser stopped: the common mistakes, in their own words."""

from __future__ import annotations

import re
import sys
from typing import Any, Final, NamedTuple

_PLACEHOLDER = re.compile(r"\{\{|\{%|\$\{")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_TAB_INDENT = re.compile(r" *\t[\t ]*")
_NO_BLANK_AFTER_COLON = re.compile(r"\s*(?:- +)?([A-Za-z_][\w.-]*):(?=[^\s:/])(?!.*: )")
_TWO_COLONS = re.compile(r"\s*(?:- +)?[^\s:#]+:\s+[^\s\"'\[{#&*!|>].*:(?:\s|$)")
_LINE_END = re.compile("\r\n|\r|\n")
_SHORT: Final = 80
_LONGEST_LINE: Final = 400  # beyond it the patterns above are not tried: some cost the square of a line's length

_NO_CHARACTER: Final = "invalid Unicode character escape code"  # libyaml's, which stops behind the letter
_NO_CONTENT: Final = "a key or value is missing, or begins with a character that YAML reserves"
_MEANINGS: Final = (  # words of PyYAML's message, what they mean, what to do, whether the place is where it began
    ("escape", "double quotes hold a backslash that begins no escape YAML knows", "use single quotes", False),
    ("quoted scalar", "a quote is opened here and never closed", "close it, and double a quote inside quotes", True),
    ("expected node content", _NO_CONTENT, "write it, in quotes", False),
    ("<document start>", "text follows where the document has ended", "put `---` between documents", False),
    ("flow sequence", "the bracket that opens here is not closed as it should be", "close it, or add a comma", True),
    ("flow mapping", "the brace that opens here is not closed as it should be", "close it, or add a comma", True),
    ("scanning an alias", "a value begins with *", "put the value in quotes", True),
    ("scanning an anchor", "a value begins with &", "put the value in quotes", True),
    ("scanning a block scalar", "nothing may follow | or > in its line", "begin the text in the next line", False),
    ("cannot start any token", "a value begins with a character that YAML reserves", "put the value in quotes", False),
    ("block collection", "a key stands among the items of a list", "line it up with the keys of its level", False),
    ("block mapping", "the line fits no level above it", "line it up with the keys of its level", False),
    ("mapping values", "the line fits no level above it", "line it up with the keys of its level", False),
    ("undefined tag handle", "a value begins with !", "put the value in quotes", True),
    ("scanning a tag", "a value begins with !", "put the value in quotes", True),
)


class Mistake(NamedTuple):
    """What is wrong and how to write it, with line and column from 0."""

    problem: str
    fix: str
    line: int
    column: int


def placeholder_at(text: str, index: int) -> bool:
    """Whether the flow collection that begins before or at `index` is a template's `{{ ... }}`."""
    return text.startswith("{{", index - 1) or text.startswith("{{", index)


def explain_syntax(error: Exception, text: str) -> Mistake:
    """The mistake behind what PyYAML raised (any exception: it promises none in particular)."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Mistake(f"the file is not YAML: {_first_line(error)}", "write it again as YAML 1.2", 0, 0)
    context_mark = getattr(error, "context_mark", None) or mark
    lines = [line[:_LONGEST_LINE] for line in _LINE_END.split(text)]
    nearby = _nearby(lines, context_mark.line, mark.line)
    return (
        _merge_conflict(lines)
        or _no_character(error, text, mark)
        or _tab(nearby)
        or _placeholder(lines, nearby)
        or _missing_blank(lines, nearby)
        or _two_colons(lines, mark)
        or _by_message(error, mark, context_mark)
    )


def _merge_conflict(lines: list[str]) -> Mistake | None:
    """What git writes around the two sides of a change that it could not join."""
    begun = next((number for number, line in enumerate(lines) if line.startswith("<<<<<<< ")), None)
    if begun is None or not any(line.startswith(">>>>>>> ") for line in lines[begun:]):
        return None
    return Mistake("a merge conflict is not resolved", "keep one of its sides, and take its marks out", begun, 0)


def _nearby(lines: list[str], first: int, last: int) -> list[tuple[int, str]]:
    """The lines that may hold the mistake, nearest first: the parser's own, the one before it, the context's."""
    last = min(last, len(lines) - 1)
    before = next((number for number in range(last - 1, -1, -1) if lines[number].strip()), last)
    return [(number, lines[number]) for number in dict.fromkeys((last, before, min(first, last)))]


def _no_character(error: Exception, text: str, mark: Any) -> Mistake | None:
    """An escape with a code that no character has. In single quotes it would mean something else."""
    if _NO_CHARACTER not in str(getattr(error, "problem", None)):
        return None
    letter = text[mark.index - 1]
    code = text[mark.index : mark.index + (4 if letter == "u" else 8)]
    surrogate = int(code, 16) <= sys.maxunicode
    what = "half of a surrogate pair, no character" if surrogate else "no character of Unicode"
    fix = "write the character that is meant, not its escape"
    return Mistake(f"the escape \\{letter}{code} is {what}", fix, mark.line, mark.column - 2)


def _tab(nearby: list[tuple[int, str]]) -> Mistake | None:
    for number, line in nearby:
        if _TAB_INDENT.match(line):
            return Mistake("a tab indents the line", "indent with spaces", number, line.index("\t"))
    return None


def _placeholder(lines: list[str], nearby: list[tuple[int, str]]) -> Mistake | None:
    for number, _ in nearby:
        found = _PLACEHOLDER.search(_unquoted(lines[number]))
        if found:
            fix = f"put the value that holds {found.group()} in quotes, or render the template first"
            return Mistake("a template's placeholder stands outside quotes", fix, number, found.start())
    return None


def _missing_blank(lines: list[str], nearby: list[tuple[int, str]]) -> Mistake | None:
    for number, _ in nearby:
        found = _NO_BLANK_AFTER_COLON.match(_unquoted(lines[number], keep="x"))
        if found:
            key = found.group(1)
            problem = f"no blank follows the colon after {key!r}"
            return Mistake(problem, f"write `{key}: ` and then the value", number, found.start(1))
    return None


def _two_colons(lines: list[str], mark: Any) -> Mistake | None:
    line = lines[mark.line] if mark.line < len(lines) else ""
    if _TWO_COLONS.match(_unquoted(line)):
        return Mistake("a value holds a colon outside quotes", "put the value in quotes", mark.line, mark.column)
    return None


def _by_message(error: Exception, mark: Any, context_mark: Any) -> Mistake:
    message = f"{getattr(error, 'problem', None) or _first_line(error)} {getattr(error, 'context', None) or ''}".strip()
    for words, problem, fix, at_context in _MEANINGS:
        if words in message:
            at = context_mark if at_context else mark
            return Mistake(problem, fix, at.line, at.column)
    fix = "correct the line, or put its value in quotes"
    return Mistake(f"the file is not YAML: {message[:_SHORT]}", fix, mark.line, mark.column)


def _unquoted(line: str, *, keep: str = " ") -> str:
    """`line` with comments and the contents of quotes replaced, at its full length."""
    line = _QUOTED.sub(lambda found: keep * len(found.group()), line)
    return _COMMENT.sub(lambda found: " " * len(found.group()), line)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHORT]
