"""The difference between two definitions as people read it: a unified diff of their YAML, without their secrets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from flowyml_policy.definitions import definition_yaml
from flowyml_policy.errors import NotCanonical
from flowyml_policy.mask import mask_value
from flowyml_policy.records.record import Json

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
    shown = mask_value(dict(document))[0]
    try:
        return definition_yaml(shown).splitlines()
    except NotCanonical:
        return [repr(shown)]
