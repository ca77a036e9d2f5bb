"""The platform's say: what its file sets, no project can set again.

Rules:
- A leaf is a key that holds a value rather than a section of its own. A list or a free mapping, such as
  `policy.opa.config`, is one value: two owners never share it.
- The same leaf in both files is an error that names both places, also when both say the same.
- Whoever sets the `url` of a server says everything of it: a project that could add its own certificates or token
  would choose whose answers are believed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.records.record import KeyPath
from flowyml_policy.settings.types import Section

_Section = TypeVar("_Section", bound=Section)


def set_leaves(section: Section, under: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every leaf that a file sets in `section`, which stands at `under`."""
    for name in sorted(section.model_fields_set):
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from set_leaves(value, (*under, name))
        else:
            yield (*under, name)


def conflicts(
    platform: Section, platform_document: Document, project: Section, document: Document
) -> list[SettingsProblem]:
    """What the project's `policy` sets although the platform's does, in the project's terms."""
    owned = set(set_leaves(platform, ("policy",)))
    found = []
    for path in set_leaves(project, ("policy",)):
        url = (*path[:-1], "url")
        if path in owned:
            what = f"is set by the platform ({platform_document.key_location(path)}) and again"
        elif url in owned:
            where = platform_document.key_location(url)
            what = f"belongs to `{dotted(url)}`, which is set by the platform ({where})"
        else:
            continue
        location = document.key_location(path)
        found.append(SettingsProblem(f"`{dotted(path)}` {what}", location=location, fix="take it out of the project"))
    return found


def merged(platform: _Section, project: _Section) -> _Section:
    """`project` with everything that `platform` sets put in."""
    update: dict[str, Any] = {}
    for name in platform.model_fields_set:
        ours, theirs = getattr(platform, name), getattr(project, name)
        update[name] = merged(ours, theirs) if isinstance(ours, Section) else ours
    return project.model_copy(update=update)
