"""A definition written back as YAML, the same text for equal definitions, and the lines in which two differ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from flowyml_policy.definitions.model import KNOWN_KEYS
from flowyml_policy.documents.writer import write_yaml
from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.record import Json


def definition_yaml(document: Mapping[str, Json]) -> str:
    """`document`, a definition's keys in schema A's spelling, as YAML that is read back as an equal definition.

    Keys stand in the schema's order; labels, and keys that this version does not know, in the alphabet's after them.
    A definition that no file could hold (made from a mapping with characters that do not show) is written with them.
    """
    return write_yaml(_ordered(document, ()))


def _ordered(value: Json, path: tuple[str, ...]) -> Json:
    if isinstance(value, Mapping):
        known = {key: place for place, key in enumerate(KNOWN_KEYS.get(path, ()))}
        keys = sorted(value, key=lambda key: (known.get(key, len(known)), str(key)))
        return {key: _ordered(value[key], (*path, key)) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item, (*path, "")) for item in value]
    return value


_MOST_COMPARED: Final = 4000
_MOST_SHOWN: Final = 400


def difference(old: Mapping[str, Json], new: Mapping[str, Json], *, old_name: str, new_name: str) -> str:
    """What would turn `old` into `new`, a line for each; empty where they are equal.

    Long ones are cut, which the last line says. Where all that differs is masked, or lies beyond what is compared, a
    line says so.
    """
    before, after = _lines(old), _lines(new)
    cut = max(len(before), len(after)) > _MOST_COMPARED
    found = difflib.unified_diff(before[:_MOST_COMPARED], after[:_MOST_COMPARED], old_name, new_name, lineterm="", n=3)
    lines = list(found)
    if not lines:
        if old == new:
            return ""
        why = f"after line {_MOST_COMPARED}" if cut else "in secrets, which are not shown, or in kinds of values"
        return f"--- {old_name}\n+++ {new_name}\n(they differ {why})\n"
    if len(lines) > _MOST_SHOWN:
        lines = [*lines[:_MOST_SHOWN], f"({len(lines) - _MOST_SHOWN} more lines)"]
    return "\n".join(lines) + "\n"


def _lines(document: Mapping[str, Json]) -> list[str]:
    shown = mask_value(dict(document))
    try:
        return definition_yaml(shown).splitlines()
    except NotCanonical:
        return [repr(shown)]
