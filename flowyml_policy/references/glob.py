"""Globs that mean the same to OPA as to the tools of their author, each of which some name matches.

Rules:
- A glob is made of plain characters, `*` (any characters), `?` (one), `[abc]`, `[a-z]` and `{a,b}`.
- What some tools read in another way is refused, though OPA may compile it: negation, `**`, escapes, nested or empty
  alternatives, several ranges in one class, anchors and whatever else is a regular expression.
- A character that no name holds is refused, as is a glob that only names that are too long would match: a list with
  such a pattern says one thing and does another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from flowyml_policy.references.url import BadValue, shown, text

LONGEST_NAME: Final = 128

_CLASS: Final = r"\[(?:-?[A-Za-z0-9._]+|[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9])\]"
_EXAMPLE: Final = "write a glob such as prod-*, dev-[ab]* or {prod,staging}-gpu"


class GlobGrammar:
    """The globs of names that hold letters, digits, `.`, `_`, `-` and `others`, and are at most `longest` long."""

    def __init__(self, names: str, *, others: str = "", longest: int | None = None) -> None:
        plain = rf"(?:[A-Za-z0-9._{others}*?-]|{_CLASS})"
        self.pattern: Final = rf"^(?:{plain}|\{{{plain}+(?:,{plain}+)+\}})+$"
        self._names = names
        self._longest = longest
        self._whole = re.compile(self.pattern, re.ASCII)
        self._foreign = re.compile(rf"[^A-Za-z0-9._{others}*?{{}},\[\]-]", re.ASCII)

    def checked(self, value: str) -> str:
        """`value`, which must be a glob that some name matches. Raises BadValue."""
        text(value)
        for what, fix in self._problems(value):
            raise BadValue(f"{what}: {shown(value)}", fix)
        return value

    def _problems(self, value: str) -> Iterator[tuple[str, str]]:
        """What is wrong with `value` and what to write, the best explanation first."""
        yield from _meant_otherwise(value)
        yield from _malformed(value)
        outside = re.sub(r"\{[^{}]*\}", "", value)
        if re.search(r"[,;|]", outside):
            yield "is a list in one string", "write each glob as an entry of its own: [prod-*, dev-*]"
        if re.search(r"\s", value):
            yield f"holds a blank, which no {self._names} does", "take it out; write each glob as an entry of its own"
        foreign = self._foreign.search(value)
        if foreign:
            yield f"holds {shown(foreign[0])}, which no {self._names} does", f"take it out; {_EXAMPLE}"
        if self._whole.fullmatch(value) is None:
            yield "is no glob that can be read in one way", _EXAMPLE
        if self._longest is not None and _shortest(value) > self._longest:
            what = f"matches no {self._names}: none is longer than {self._longest} characters"
            yield what, "write a shorter glob"


def glob_regex(value: str) -> re.Pattern[str]:
    """What matches whole the names that `value`, a glob of these rules, matches."""
    written = {"*": ".*", "?": ".", "{": "(?:", ",": "|", "}": ")"}
    parts = re.findall(r"\[[^\]]*\]|.", value, re.DOTALL)
    return re.compile(
        "".join(part if len(part) > 1 else written.get(part, re.escape(part)) for part in parts), re.DOTALL
    )


def _meant_otherwise(value: str) -> Iterator[tuple[str, str]]:
    """What means something in other languages of patterns, and nothing or another thing here."""
    if value.startswith("!"):
        yield "begins with `!`, which keeps nothing out here", "list what is allowed, and leave this entry out"
    if re.search(r"\[[!^]", value):
        yield "holds a negated class, which tools read differently", "list the characters that may stand there: [abc]"
    if "\\" in value:
        yield "holds a backslash, and nothing is escaped here", f"take it out; {_EXAMPLE}"
    if re.search(r"[$%]?\{\{|\$\{", value):
        yield "holds a template's placeholder", "write what the placeholder stands for"
    if re.search(r"[\^$()+]|(?:^|[-_\]])\.[*?]", value):
        plain = value.removeprefix("^").removesuffix("$").replace(".*", "*")
        fix = f"write {plain}" if re.fullmatch(r"[A-Za-z0-9._*?-]+", plain) and "**" not in plain else _EXAMPLE
        yield "is a regular expression, not a glob", fix
    if "**" in value:
        yield "holds `**`", f"write {re.sub(r'[*]{2,}', '*', value)}: one `*` stands for any characters"


def _malformed(value: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the brackets of `value`."""
    for inside in re.findall(r"\[([^\]]*)\]", value):
        low, dash, high = inside.partition("-")
        if len(low) == len(high) == 1 and low > high:
            yield "holds a class whose range runs backwards", f"write [{high}-{low}]"
        if not inside:
            yield "holds an empty class, which matches nothing", "write the characters that may stand there: [abc]"
        if dash and not re.fullmatch(_CLASS, f"[{inside}]"):
            fix = "write one range, as [a-z]; several as {[a-z],[0-9]}; a `-` of its own first, as [-_]"
            yield "holds a class that tools read differently", fix
    if re.search(r"\{[^}]*\{", value):
        yield "holds alternatives within alternatives", "write them as one list: {a,b,c}"
    if re.search(r"\{,|,,|,\}|\{\}", value):
        yield "holds an empty alternative", "write two entries, one with it and one without"
    if re.search(r"\{[^,{}]*\}", value):
        yield "holds a single alternative, which tools read differently", "write it without `{}`, or several: {a,b}"
    without = re.sub(r"\{[^{}]*\}", "", re.sub(r"\[[^\[\]]*\]", "", value))
    if re.search(r"[\[\]{}]", without):
        yield "holds a bracket without its other half", f"close it, or take it out; {_EXAMPLE}"


def _shortest(value: str) -> int:
    """How many characters the shortest name has that matches `value`, a glob."""
    characters = re.sub(r"\[[^\]]*\]", "?", value).replace("*", "")
    alternatives = re.findall(r"\{([^{}]*)\}", characters)
    outside = re.sub(r"\{[^{}]*\}", "", characters)
    return len(outside) + sum(min(len(one) for one in choice.split(",")) for choice in alternatives)


STACK_NAMES: Final = GlobGrammar("name of a stack", longest=LONGEST_NAME)
IMAGE_NAMES: Final = GlobGrammar("image's name", others="/:@")
TAG_NAMES: Final = GlobGrammar("tag", longest=LONGEST_NAME)
