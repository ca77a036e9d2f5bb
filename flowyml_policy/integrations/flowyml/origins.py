"""What live stacks were made of, for as long as they stay what they were then."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.root import FlowymlPolicyError


class Origin(NamedTuple):
    """What a live stack was made of, and the digest of what it was then. `reference` is what named the definition.

    `is_built`: it was built here, and so carries what a run is to be told.
    """

    definition: StackDefinition
    facts: str
    reference: str | None = None
    is_built: bool = True


_origins: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()


def keep_origin(live: Any, definition: StackDefinition, *, is_built: bool = True) -> None:
    """Keep that `live`, as it is now, was made of `definition`."""
    _origins[live] = Origin(definition, facts_of(live), is_built=is_built)


def name_origin(live: Any, reference: str | None) -> str:
    """Keep what named the definition of `live`, which was made just now; return the digest of what it is."""
    _origins[live] = _origins[live]._replace(reference=reference)
    return _origins[live].facts


def origin_of(live: Any, facts: str) -> Origin | None:
    """What `live`, of which `facts` are the digest, was made of; null where it was changed since, or nobody knows."""
    try:
        origin = _origins.get(live)
    except TypeError:  # no weak reference can be made to it
        return None
    return origin if origin is not None and origin.facts == facts else None


def facts_of(live: Any) -> str:
    """The digest of what can be read off a live stack; empty for none."""
    if live is None:
        return ""
    try:
        return definition_of(live).digest
    except FlowymlPolicyError:
        return f"unreadable:{id(live)}"
