"""Who a client is, by the labels that OPA's plugins and embedded engines post."""

from __future__ import annotations

from typing import Final

from flowyml_policy.records.record import Json

_APPLICATIONS: Final = ("app", "application", "service", "name")
_HOSTS: Final = ("host", "hostname", "node", "pod")
LONGEST: Final = 200
"""Characters of a name or an id that is kept to look for; the event itself holds all of it."""


def client_id(labels: Json) -> str | None:
    """The id that a client gives itself. OPA makes a new one at each start, whatever its configuration says."""
    return _text(labels, ("id",))


def client_name(labels: Json, otherwise: str) -> str:
    """A name for people: `app@host`, as far as the labels say; else `otherwise`, the name of the token."""
    found = [text for text in (_text(labels, _APPLICATIONS), _text(labels, _HOSTS)) if text]
    return "@".join(found) or otherwise


def is_placed(labels: Json) -> bool:
    """Whether the labels say which program on which machine this is, so that it is known when it is started anew."""
    return _text(labels, _APPLICATIONS) is not None and _text(labels, _HOSTS) is not None


def _text(labels: Json, keys: tuple[str, ...]) -> str | None:
    if isinstance(labels, dict):
        for key in keys:
            found = labels.get(key)
            if isinstance(found, str) and found:
                return found[:LONGEST]
    return None
