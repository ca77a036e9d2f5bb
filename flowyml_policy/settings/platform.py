"""The platform's say: what its file sets or keeps for itself, no project can set again.

Rules:
- A leaf is a key that holds a value rather than a section of its own. A list or a free mapping, such as
  `policy.opa.config`, is one value: two owners never share it.
- The same leaf in both files is an error that names both places, also when both say the same.
- How decisions are made, how images are read, which registry holds the stacks and who is sent the audit is the
  platform's whether it says so or not: where its file is silent, the default holds, and a project cannot set it.
- What can only make a project's own decisions stricter stays with it: a shorter `deadline` or `start_timeout`, a
  stricter `enforce`, `images.concurrency`, `images.inspect: off`.
- Whoever sets the `url` of a server says everything of it: a project that could add its own certificates or token
  would choose whose answers are believed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.records.record import KeyPath
from flowyml_policy.settings.types import Section

_Section = TypeVar("_Section", bound=Section)

DEADLINES: Final[frozenset[KeyPath]] = frozenset({("policy", "opa", "deadline"), ("policy", "opa", "start_timeout")})
ENFORCE: Final[KeyPath] = ("policy", "enforce")
TIGHTENED: Final = DEADLINES | {ENFORCE}
"""What a project may set beside the platform, as long as it is stricter."""

_KEPT: Final[tuple[KeyPath, ...]] = (
    ("policy", "opa"),
    ("policy", "images"),
    ("policy", "registry"),
    ("policy", "audit", "report_to"),
    ("policy", "run_locally"),
)
_CONCURRENCY: Final[KeyPath] = ("policy", "images", "concurrency")
_INSPECT: Final[KeyPath] = ("policy", "images", "inspect")
_STRICTNESS: Final = ("none", "observe", "block")


def set_leaves(section: Section, under: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every leaf that a file sets in `section`, which stands at `under`."""
    for name in sorted(section.model_fields_set):
        value = getattr(section, name)
        if _has_leaves(value):
            yield from set_leaves(value, (*under, name))
        else:
            yield (*under, name)


def _has_leaves(value: Any) -> bool:
    return isinstance(value, Section) and not value.IS_ONE_VALUE


def conflicts(
    platform: Section, platform_document: Document, project: Section, document: Document
) -> list[SettingsProblem]:
    """What the project's `policy` sets although it is the platform's, in the project's terms."""
    owned = set(set_leaves(platform, ("policy",)))
    found = []
    for path in set_leaves(project, ("policy",)):
        url = (*path[:-1], "url")
        fix = "take it out of the project"
        if path in TIGHTENED:
            if _is_stricter(path, platform, project, is_set=path in owned):
                continue
            how, fix = _only_stricter(path)
            what = f"{how} than {_said_by(platform, platform_document, path, is_set=path in owned)}"
        elif path in owned:
            what = f"is set by the platform ({platform_document.key_location(path)}) and again"
        elif url in owned:
            where = platform_document.key_location(url)
            what = f"belongs to `{dotted(url)}`, which is set by the platform ({where})"
        elif _is_kept(path, _value(project, path)):
            what = f"is the platform's to set, and its settings leave the default ({platform_document.location().file})"
        else:
            continue
        location = document.key_location(path)
        found.append(SettingsProblem(f"`{dotted(path)}` {what}", location=location, fix=fix))
    return found


def merged(platform: _Section, project: _Section, under: KeyPath = ("policy",)) -> _Section:
    """`project` with everything that `platform` sets put in, but for what the project sets stricter."""
    update: dict[str, Any] = {}
    for name in platform.model_fields_set:
        ours, theirs = getattr(platform, name), getattr(project, name)
        path = (*under, name)
        if path in TIGHTENED and name in project.model_fields_set:
            continue
        update[name] = merged(ours, theirs, path) if _has_leaves(ours) else ours
    return project.model_copy(update=update)


def _is_kept(path: KeyPath, value: Any) -> bool:
    """Whether the leaf at `path` is the platform's although its file does not set it, for the project's `value`."""
    if path == _CONCURRENCY or (path == _INSPECT and value == "off"):
        return False
    return any(path[: len(kept)] == kept for kept in _KEPT)


def _is_stricter(path: KeyPath, platform: Section, project: Section, *, is_set: bool) -> bool:
    """Whether the project is stricter than the platform's value; a default may also be repeated."""
    ours, theirs = _value(platform, path), _value(project, path)
    if ours == theirs:
        return not is_set
    if path == ENFORCE:
        return _STRICTNESS.index(theirs) > _STRICTNESS.index(ours)
    return bool(theirs < ours)


def _only_stricter(path: KeyPath) -> tuple[str, str]:
    if path == ENFORCE:
        return "must be stricter", "take it out of the project, or write observe or block where that is stricter"
    return "must be shorter", "take it out of the project, or write a shorter time"


def _said_by(platform: Section, document: Document, path: KeyPath, *, is_set: bool) -> str:
    """The platform's value of `path` and where it comes from."""
    value = _value(platform, path)
    shown = value if isinstance(value, str) else f"{value:g}s"
    if is_set:
        return f"the platform's {shown} ({document.key_location(path)})"
    return f"{shown}, the default that the platform's settings leave ({document.location().file})"


def _value(section: Section, path: KeyPath) -> Any:
    """The value at `path` of the section `policy`."""
    value: Any = section
    for step in path[1:]:
        value = getattr(value, str(step))
    return value
