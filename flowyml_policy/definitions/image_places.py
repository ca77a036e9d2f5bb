"""Where images are named in what is free of form: what a deployer is told, what a live object says of itself.

Rules:
- A key that names an image says so of all below it: of a text, of each text of a list or mapping.
- A mapping of parts (`repository`, `tag`) is one image, which tools put together each in its own way; so are parts that
  stand side by side (`imageRepository`, `imageTag`). Neither can be judged, and neither is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Json, KeyPath

_IMAGE_KEY_ENDS: Final = tuple(
    f"image{end}" for end in ("", "s", "uri", "uris", "url", "urls", "ref", "refs", "reference")
)
_PART_KEYS: Final = ("repository", "repo", "newname", "name", "registry", "newtag", "tag", "digest", "sha", "sha256")
"""What an image written in parts is known by, the best name for it first; `name` alone says nothing of parts."""

_PART_NAMES: Final = 5
"""How many of them, from the first on, name the image."""

_FLAT_PART: Final = re.compile(f"(.*image)(?:{'|'.join((*_PART_KEYS, 'version'))})")
"""A part that stands beside the others rather than in a mapping of its own: `imageRepository`, `servingImageTag`."""

_IN_PARTS: Final = "it is written in parts, which cannot be judged"


class NamedImage(NamedTuple):
    """A place that names an image; `problem` says why nothing can be made of the reference."""

    path: KeyPath
    ref: str
    problem: str | None = None


def images_in(value: Json, at: KeyPath) -> Iterator[NamedImage]:
    """The images that `value`, which stands at `at`, names at whatever depth its reader let through, in its order."""
    waiting: list[tuple[Json, KeyPath, bool]] = [(value, at, False)]
    while waiting:
        node, path, is_image = waiting.pop()
        if isinstance(node, dict):
            parts = _parts(node) if is_image else None
            if parts is not None:
                yield NamedImage(path, parts, _IN_PARTS)
            below = is_image and parts is None
            for key, flat in _flat_parts(node):
                yield NamedImage((*path, key), flat, _IN_PARTS)
            waiting += [(item, (*path, key), below or names_image(key)) for key, item in node.items()][::-1]
        elif isinstance(node, list | tuple):
            waiting += [(item, (*path, i), is_image) for i, item in enumerate(node)][::-1]
        elif is_image and isinstance(node, str):
            yield NamedImage(path, node)


def names_image(key: str) -> bool:
    """Whether what stands under `key` is an image, or several."""
    return _folded(key).endswith(_IMAGE_KEY_ENDS)


def names_part(key: str) -> bool:
    """Whether what stands under `key` is a part of an image whose other parts stand beside it."""
    return _FLAT_PART.fullmatch(_folded(key)) is not None


def _folded(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "")


def _parts(node: dict[str, Json]) -> str | None:
    """What to call the image that `node` writes in parts, masked; null where it has none of the parts."""
    said = {_folded(key): item for key, item in node.items()}
    return _called(said) if any(key in said for key in _PART_KEYS if key != "name") else None


def _flat_parts(node: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """For each image that keys of `node` write in parts: the key that says most of it, and what to call it."""
    images: dict[str, dict[str, tuple[str, Json]]] = {}
    for key, item in node.items():
        part = _FLAT_PART.fullmatch(_folded(key))
        if part is not None and item is not None:
            images.setdefault(part[1], {})[_folded(key).removeprefix(part[1])] = (key, item)
    for parts in images.values():
        key, _ = next((parts[part] for part in _PART_KEYS if part in parts), next(iter(parts.values())))
        yield key, _called({part: item for part, (_, item) in parts.items()})


def _called(parts: dict[str, Json]) -> str:
    ref = next((item for item in map(parts.get, _PART_KEYS[:_PART_NAMES]) if item and isinstance(item, str)), "?")
    tag = parts.get("newtag") or parts.get("tag")
    return mask(f"{ref}:{tag}" if tag and isinstance(tag, str | int) else ref)
