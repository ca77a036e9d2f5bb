"""Demands for labels: `name` asks for a label that is not blank, `name=value` for that value.

A selector's operators, as Kubernetes, Docker and queries have them, are refused: here they would be part of a name or
of a value that no label has, and the author of a stack would be told to write them into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from flowyml_policy.references.url import BadValue, shown, text

_OPERATOR: Final = re.compile(r"[!<>~^$*?(){}\[\]|&;\"'`\\]")
_IN: Final = re.compile(r"\s*(?P<name>[^\s!(]+)\s+(?:not\s*)?in\s*\((?P<values>[^)]*)\)?", re.IGNORECASE)
_LIST: Final = re.compile(
    r",(?!\s)|,\s+(?:[a-z0-9._/-]*[a-z0-9]\s*(?:,|$)|[^\s=]+=)"  # a comma, and what reads as a demand behind it
    r"|[;&|]+\s*[^\s=]+=|\s[^\s=]+="
)
"""What parts demands; the comma of `Acme, Inc.` does not, nor the `&` of an address."""
_ONE: Final = "write the label's name alone, as `team`, or with the one value that it must have, as `approved=true`"


def label_demand(value: str) -> str:
    """`value`, which must be a label's name, or its name and the value that it must have. Raises BadValue."""
    text(value)
    name, equals, wanted = value.partition("=")
    for what, fix in _problems(value, name, equals, wanted):
        hidden = shown(value) != repr(value)
        raise BadValue(f"{what}: {shown(value)}", _ONE if hidden else fix)
    return value


def _problems(value: str, name: str, equals: str, wanted: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a demand and what to write, the best explanation first."""
    if not name.strip():
        yield "names no label", "write the label's name, as `team`, or `approved=true`"
    if "${" in value or "{{" in value:
        yield "holds a template's placeholder", "write what the placeholder stands for"
    yield from _selectors(value, name, wanted)
    if equals and (name != name.strip() or wanted != wanted.strip()) and wanted.strip():
        yield "has blanks around '='", f"write {name.strip()}={wanted.strip()}"
    if equals and not wanted:
        yield "asks for no value", f"write {name} alone, which asks for any value, or {name}=value"
    if re.search(r"\s", name):
        yield "names a label with a blank in it", "write one label in each entry: [approved=true, team]"


def _selectors(value: str, name: str, wanted: str) -> Iterator[tuple[str, str]]:
    """What a selector or another language would read in `value`."""
    among = _IN.fullmatch(value)
    if among:
        values = [one.strip() for one in among["values"].split(",")]
        single = len(values) == 1 and values[0] and "not" not in value.lower()
        fix = f"write {among['name']}={values[0]}" if single else f"{_ONE}; a rule of your own can ask for more"
        yield "is a selector with `in`, and one value can be asked for", fix
    key, colon, said = name.partition(":")
    if colon:
        fix = f"write {key.strip()}={said.strip()}" if key.strip() and said.strip() and wanted == "" else _ONE
        yield "is written with `:`", fix
    if "," in name or _LIST.search(wanted.replace("&", "") if "://" in wanted else wanted):
        parts = [part for part in re.split(r"[,;&|\s]+", value) if part]
        are_demands = not {"and", "or"} & {part.lower() for part in parts} and ("=" in parts[-1] or "=" not in parts[0])
        own = f": [{', '.join(parts)}]" if are_demands else ""
        yield "is a list in one string", f"write each label as an entry of its own, with one value{own}"
    if value.startswith("!") or name.endswith("!"):
        yield "asks with `!` that a label is absent or other, which cannot be asked for", _ONE
    if wanted.strip() == "*":
        yield "asks for any value with `*`", f"write {name.strip()} alone"
    if wanted.startswith("="):
        yield "has one `=` too many", f"write {name.strip()}={wanted.strip('= ')}"
    operator = _OPERATOR.search(name)
    if operator:
        yield f"names a label with `{operator[0]}` in it", _ONE
    if re.search(r"^[!<>~^\"'(\[{]|[*|\\]|[$\"']$|&&", wanted) or not _is_closed(wanted):
        yield "asks for a value with an operator, and values are compared as they are", _ONE


def _is_closed(wanted: str) -> bool:
    """Whether a bracket at the end of `wanted` has its other half, as in `ACME (ML)`."""
    halves = {")": "(", "]": "[", "}": "{"}
    return wanted[-1:] not in halves or halves[wanted[-1]] in wanted


def contradicts(one: str, other: str) -> bool:
    """Whether no label meets both of two demands: they ask for two values of one name."""
    (name, _, wanted), (other_name, _, other_wanted) = one.partition("="), other.partition("=")
    return name == other_name and bool(wanted) and bool(other_wanted) and wanted != other_wanted
