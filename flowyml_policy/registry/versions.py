"""Which of a stack's versions is meant, and which are shown: the same for every registry. No I/O."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Final, NamedTuple

from flowyml_policy.definitions.text import difference
from flowyml_policy.errors.registry import StackUnknown, VersionRetired, VersionTaken, VersionUnknown
from flowyml_policy.records.registry import NewStack, RegisteredStack, Retirement
from flowyml_policy.references.version import Wanted, highest, parse_version, precedence

_NEAR: Final = 3
_SHOWN: Final = 10
_LONGEST: Final = 128


class VersionChoice(NamedTuple):
    """A registered version as far as choosing looks at it."""

    name: str
    version: str
    retired: Retirement | None


def choose(name: str, wanted: str | None, candidates: Sequence[VersionChoice], where: str, *, retired: bool) -> str:
    """The version that is meant, of `candidates`, which are all of one name and at least one.

    Raises VersionMalformed, VersionUnknown or VersionRetired; `where` is how messages call the registry.
    """
    wish = None if wanted is None else Wanted.parse(wanted)
    in_use = [one.version for one in candidates if one.retired is None]
    if wish is not None and wish.is_exact:
        exact = {one.version: one for one in candidates if wish.accepts(parse_version(one.version))}
        for one in exact.values():
            if one.retired is not None and not retired:
                raise _retired(one, one.retired, in_use, where)
            return one.version
    found = highest(in_use, wish)
    if found is None:
        raise _unknown(name, wanted, in_use, where)
    return found


def unknown_stack(name: str, names: Iterable[str], where: str) -> StackUnknown:
    """The error for a name that a registry of `names` does not have."""
    near = difflib.get_close_matches(name[:_LONGEST], list(names), n=_NEAR)
    return StackUnknown(f"no stack {name[:_LONGEST]!a} is registered: {where}", near=near)


def matches(name: str, pattern: str) -> bool:
    """Whether `name` is `pattern`, in which `*` stands for any text and `?` for any character."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def by_precedence(candidates: Iterable[VersionChoice]) -> list[VersionChoice]:
    """By name, the highest version first."""
    ordered = sorted(candidates, key=lambda one: precedence(parse_version(one.version)), reverse=True)
    return sorted(ordered, key=lambda one: one.name)


def newest_of_each(ordered: Iterable[VersionChoice]) -> list[VersionChoice]:
    """Of candidates in order, what each bare name means; where it means none, its highest pre-release in use."""
    chosen = []
    for _, group in groupby(ordered, key=lambda one: one.name):
        in_use = [one for one in group if one.retired is None]
        released = (one for one in in_use if not parse_version(one.version).prerelease)
        found = next(released, in_use[0] if in_use else None)
        if found is not None:
            chosen.append(found)
    return chosen


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    """Whether `labels` holds all of `wanted`."""
    return wanted is None or wanted.items() <= labels.items()


def _retired(one: VersionChoice, how: Retirement, in_use: Sequence[str], where: str) -> VersionRetired:
    reason = f" ({how.reason})" if how.reason else ""
    newest = highest(in_use)
    advice = f"use {one.name}@{newest}" if newest else "`flowyml-policy stack list --all-versions` shows its history"
    return VersionRetired(
        f"{one.name}@{one.version} was retired by {how.by} at {how.at}{reason}: {where}", advice=advice
    )


def _unknown(name: str, wanted: str | None, in_use: Sequence[str], where: str) -> VersionUnknown:
    newest_first = sorted(in_use, key=lambda text: precedence(parse_version(text)), reverse=True)[:_SHOWN]
    if wanted is not None:
        return VersionUnknown(f"stack {name!r} has no version {wanted} in use: {where}", versions=newest_first)
    what = f"stack {name!r} has no release in use: {where}"
    if not newest_first:
        return VersionUnknown(what, advice="every version of it was retired; register a new one")
    return VersionUnknown(
        what, versions=newest_first, advice=f"name the pre-release that is meant: {name}@{newest_first[0]}"
    )


def taken(there: RegisteredStack, stack: NewStack, where: str) -> VersionTaken:
    """The error for `stack`, under whose version something else is registered."""
    name = f"{there.name}@{there.version}"
    diff = difference(
        there.document,
        stack.document,
        old_name=f"{name} (registered by {there.applied_by} at {there.applied_at})",
        new_name=f"{stack.name}@{stack.version} ({stack.source.uri})",
    )
    return VersionTaken(f"{name} is registered with other content: {where}", registered=there, diff=diff)


def retired_already(there: RegisteredStack, where: str) -> VersionRetired:
    """The error for a stack whose version was retired."""
    how = "" if there.retired is None else f" by {there.retired.by} at {there.retired.at}"
    return VersionRetired(
        f"{there.name}@{there.version} was retired{how}: {where}", advice="register it under a new metadata.version"
    )
