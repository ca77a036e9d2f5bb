"""What differs between two bundles: rules, levels, data, and what the manifests say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flowyml_policy.bundles.inspection import Inspection, inspect_bundle
from flowyml_policy.records.record import Json


class Change(NamedTuple):
    """One thing that differs: its name, and its value in both bundles; None where it is not there."""

    name: str
    old: Json
    new: Json


@dataclass(frozen=True)
class Difference:
    """What differs between the bundles `old` and `new`.

    `added`, `removed` and `changed` are packages, rules and what they share. The revision is no difference of its own.
    """

    old: Inspection
    new: Inspection
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    levels: tuple[Change, ...]
    data: tuple[Change, ...]
    manifest: tuple[Change, ...]

    @property
    def exit_code(self) -> int:
        parts = (self.added, self.removed, self.changed, self.levels, self.data, self.manifest)
        return 1 if any(parts) else 0


def compare_bundles(old: Path, new: Path) -> Difference:
    """Compare two bundles. Raises UsageError, BundleUnreadable, OpaUnavailable."""
    before, after = inspect_bundle(old), inspect_bundle(new)
    packages = tuple(_changes(before.packages, after.packages))
    return Difference(
        old=before,
        new=after,
        added=tuple(one.name for one in packages if one.old is None),
        removed=tuple(one.name for one in packages if one.new is None),
        changed=tuple(one.name for one in packages if one.old is not None and one.new is not None),
        levels=tuple(_changes(before.levels, after.levels)),
        data=tuple(_changes(before.data, after.data)),
        manifest=tuple(_changes(_stated(before), _stated(after))),
    )


def _stated(bundle: Inspection) -> dict[str, Json]:
    """What a manifest says beside the revision."""
    stated: dict[str, Json] = {"roots": list(bundle.roots)}
    for key in ("sequence", "expires", "input_schema"):
        if getattr(bundle, key) is not None:
            stated[key] = getattr(bundle, key)
    return {**stated, **{f"metadata.{key}": value for key, value in bundle.metadata.items()}}


def _changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    absent = object()
    for name in sorted({*old, *new}):
        before, after = old.get(name, absent), new.get(name, absent)
        if before != after or type(before) is not type(after):
            yield Change(name, None if before is absent else before, None if after is absent else after)
