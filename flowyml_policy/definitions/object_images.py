"""The images that a live object names, wherever among its attributes they stand.

What a component says of itself (`to_dict`) leaves out much: a Docker configuration that was attached to it, the
environment of Azure ML. So its attributes are looked through, its class's too, and what holds configuration below
them: mappings, lists, dataclasses, models, and whatever else names an image itself. Of all that, the branches that
name images are kept, and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from pathlib import PurePath
from types import FunctionType, MemberDescriptorType
from typing import Any, Final, cast

from flowyml_policy.definitions.image_places import (
    images_in,
    is_flag,
    names_image,
    names_part,
    paired_key,
    tells_of_image,
)
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import parse_reference

DEEPEST: Final = 12
MOST: Final = 100_000

_WRAPPED: Final = "_external_component"
"""Where FlowyML's bridges keep the component of another framework."""
_ENVIRONMENT: Final = "environment"
"""Azure ML's key for what a job runs in, which FlowyML puts a Docker image into as well."""
_BASE: Final = "base_image"
"""FlowyML builds on it, but only where no image is named."""


def naming_images(value: object, *, without: frozenset[str] = frozenset()) -> Json:
    """The branches of `value` that name images, as JSON; null where there are none. Attributes `without` are left out.

    Raises UsageError for what is too large or nested too deeply to be looked through.
    """
    return _Search().attributes(value, without)


def naming_images_in(said: object) -> Json:
    """The same of what an object said of itself."""
    return _Search().branch(said, 0, is_image=False)


def references_in(said: Json) -> set[str]:
    """The images that are found in `said` where a definition holds it, but for guesses."""
    return {named.ref for named in images_in(said, ()) if not named.is_guessed}


class _Search:
    """One look through one object; what leads back to itself is looked at once."""

    def __init__(self) -> None:
        self._within: set[int] = set()
        self._looked_at = 0

    def attributes(self, value: object, without: frozenset[str]) -> Json:
        said = {name: item for name, item in _attributes(value) if name not in without}
        return self._mapping(said, 0, is_image=False)

    def branch(self, value: object, depth: int, *, is_image: bool) -> Json:
        if value is None or isinstance(value, bool | float | bytes | type) or inspect.isroutine(value):
            return None
        if isinstance(value, str | int | PurePath):
            return _scalar(value) if is_image or (isinstance(value, str) and tells_of_image(value)) else None
        if id(value) in self._within:
            return None
        self._looked_at += 1
        if depth > DEEPEST or self._looked_at > MOST:
            raise UsageError(
                f"an object of class {type(value).__qualname__} is nested too deeply, or too large, to be looked "
                "through for images",
                advice="name the stack's definition instead",
            )
        self._within.add(id(value))
        try:
            return self._inside(value, depth, is_image=is_image)
        finally:
            self._within.discard(id(value))

    def _inside(self, value: object, depth: int, *, is_image: bool) -> Json:
        if isinstance(value, Mapping):
            return self._mapping({str(key): item for key, item in value.items()}, depth, is_image=is_image)
        if isinstance(value, list | tuple | set | frozenset):
            items = []
            before: object = None
            for item in value:
                items.append(self.branch(item, depth + 1, is_image=is_image or is_flag(before)))
                before = item
            return [item for item in items if item is not None] or None
        if not is_image and not _is_configuration(value):
            return None
        found = self._mapping(dict(_attributes(value)), depth, is_image=is_image)
        return f"<{type(value).__qualname__}>" if is_image and found is None else found

    def _mapping(self, said: Mapping[str, object], depth: int, *, is_image: bool) -> Json:
        is_named = bool(said.get("image"))
        named = paired_key(said)
        found: dict[str, Json] = {}
        for key, item in said.items():
            if key == _BASE and is_named:
                continue
            below = is_image or key == named or names_image(key) or names_part(key)
            branch = self.branch(item, depth + 1, is_image=below)
            if key == _ENVIRONMENT and isinstance(item, str) and _has_registry(item):
                branch = {"image": item}
            if key == _WRAPPED and branch is None:
                branch = self.attributes(item, frozenset())
            if branch is not None:
                found[key] = branch
        return found or None


def _attributes(value: object) -> Iterator[tuple[str, Any]]:
    """The attributes of `value` that hold data, its class's too; of what is computed, what is named as an image."""
    own: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    yield from own.items()
    for name, static in _of_class(type(value)):
        if name in own:
            continue
        if isinstance(static, MemberDescriptorType):
            yield name, getattr(value, name, None)
        else:
            yield name, getattr(value, name) if hasattr(static, "__get__") else static


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    """The attributes of a class that hold data, or are computed and named as an image, as they stand there."""
    static: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):  # a tenth of the time of inspect.getattr_static
        static.update(vars(parent))
    for name in sorted(static):
        found = static[name]
        is_data = isinstance(found, MemberDescriptorType) or not hasattr(found, "__get__")
        is_computed = names_image(name) and not isinstance(found, FunctionType | classmethod | staticmethod)
        if not name.startswith("__") and (is_data or is_computed):
            yield name, found


def _is_configuration(value: object) -> bool:
    """Whether `value` is looked into; clients, engines and the like are not."""
    if is_dataclass(value) or hasattr(type(value), "model_fields") or callable(getattr(value, "to_dict", None)):
        return True
    names = getattr(value, "__dict__", {})
    return any(names_image(name) or names_part(name) for name in names) or _is_of_configuration(
        cast("Any", type(value))
    )


@lru_cache(maxsize=1024)
def _is_of_configuration(kind: type) -> bool:
    """Whether a class names an image."""
    return any(names_image(name) or names_part(name) for name, _ in _of_class(kind))


def _scalar(value: str | int | PurePath) -> Json:
    return value.as_posix() if isinstance(value, PurePath) else value or None


def _has_registry(text: str) -> bool:
    """Whether `text` is an image's reference that names its registry, as the name of no environment does."""
    try:
        reference = parse_reference(text)
    except ReferenceInvalid:
        return False
    return text.startswith(f"{reference.registry}/")
