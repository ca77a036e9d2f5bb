"""Why a version is not registered: it is taken, or was retired. The same words for every registry."""

from __future__ import annotations

from flowyml_policy.errors import VersionRetired, VersionTaken
from flowyml_policy.records import NewStack, RegisteredStack
from flowyml_policy.registry.difference import difference


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
