"""A definition written back as YAML, the same text for equal definitions."""

from __future__ import annotations

from collections.abc import Mapping

from flowyml_policy.definitions.model import KNOWN_KEYS
from flowyml_policy.records.record import Json
from flowyml_policy.strict_yaml import write_yaml


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
