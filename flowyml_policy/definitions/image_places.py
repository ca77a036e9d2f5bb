"""Where images are named in what is free of form: what a deployer is told, what a live object says of itself.

Rules:
- A key that names an image says so of all below it: of a text, of each text of a list or mapping.
- A key is read by its letters alone: `image`, `Image URI`, `image.uri` and `image_1` name one.
- So does the name of a pair (`name: IMAGE, value: ...`), a flag before its argument (`--image ...`) and what stands
  before `=` in a text.
- Any other text is looked at word by word: what reads as a reference with a host and a tag or digest is taken for an
  image, and said to be a guess. An address with a scheme is none, but for docker:// and oci://.
- A mapping of parts (`repository`, `tag`) is one image, which tools put together each in its own way; so are parts that
  stand side by side (`imageRepository`, `imageTag`). Neither can be judged, and neither is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Json, KeyPath
from flowyml_policy.references.image import parse_reference

_IMAGE_KEY_ENDS: Final = tuple(
    f"image{end}" for end in ("", "s", "uri", "uris", "url", "urls", "ref", "refs", "reference")
)
_PART_KEYS: Final = ("repository", "repo", "newname", "name", "registry", "newtag", "tag", "digest", "sha")
"""What an image written in parts is known by, the best name for it first; `name` alone says nothing of parts."""

_PART_NAMES: Final = 5
"""How many of them, from the first on, name the image."""

_FLAT_PART: Final = re.compile(f"(.*image)(?:{'|'.join((*_PART_KEYS, 'version'))})")
"""A part that stands beside the others rather than in a mapping of its own: `imageRepository`, `servingImageTag`."""

_PAIR_NAMES: Final = frozenset({"name", "key", "variable", "var"})
_PAIR_VALUES: Final = frozenset({"value", "val", "default"})
_NO_LETTERS: Final = re.compile("[^a-z]+")
_WORD_ENDS: Final = re.compile(r"[\s,;'\"`()\[\]{}|<>]+")
_IMAGE_SCHEMES: Final = re.compile("(?:docker|oci)://")
_IN_PARTS: Final = "it is written in parts, which cannot be judged"


class NamedImage(NamedTuple):
    """A place that names an image; `problem` says why nothing can be made of the reference.

    `is_guessed`: nothing says that it is one but its look.
    """

    path: KeyPath
    ref: str
    problem: str | None = None
    is_guessed: bool = False


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
            named = paired_key(node)
            waiting += [(item, (*path, key), below or key == named or names_image(key)) for key, item in node.items()][
                ::-1
            ]
        elif isinstance(node, list | tuple):
            flagged = [False, *(is_flag(item) for item in node)]
            waiting += [(item, (*path, i), is_image or flagged[i]) for i, item in enumerate(node)][::-1]
        elif is_image and isinstance(node, str):
            yield NamedImage(path, node)
        elif isinstance(node, str):
            yield from (NamedImage(path, ref, is_guessed=guessed) for ref, guessed in _in_text(node))


@lru_cache(maxsize=4096)
def names_image(key: str) -> bool:
    """Whether what stands under `key` is an image, or several."""
    return _folded(key).endswith(_IMAGE_KEY_ENDS)


@lru_cache(maxsize=4096)
def names_part(key: str) -> bool:
    """Whether what stands under `key` is a part of an image whose other parts stand beside it."""
    return _FLAT_PART.fullmatch(_folded(key)) is not None


def paired_key(node: Mapping[str, object]) -> str | None:
    """The key whose value is an image because the pair's name says so: `value` of `{name: IMAGE, value: x}`."""
    said = {_folded(key): key for key in node}
    names = (node[said[key]] for key in _PAIR_NAMES & said.keys())
    if not any(isinstance(name, str) and names_image(name) for name in names):
        return None
    return next((said[key] for key in sorted(_PAIR_VALUES & said.keys())), None)


def is_flag(word: object) -> bool:
    """Whether the next argument is an image: `--image`, `-image`."""
    return isinstance(word, str) and word.startswith("-") and "=" not in word and names_image(word)


def tells_of_image(text: str) -> bool:
    """Whether a text that stands under no key of an image names one, or says that what stands beside it is one."""
    return names_image(text) or next(_in_text(text), None) is not None


def _in_text(text: str) -> Iterator[tuple[str, bool]]:
    """The images that a text names, each with whether that is a guess."""
    for word in _WORD_ENDS.split(text):
        key, sign, value = word.partition("=")
        if sign and value and names_image(key):
            yield value, False
            continue
        candidate = _IMAGE_SCHEMES.sub("", value if sign else word, count=1).rstrip(".")
        if "/" in candidate and _is_exact(candidate):
            yield candidate, True


def _is_exact(text: str) -> bool:
    """Whether `text` is a reference with a host and a tag or digest."""
    try:
        reference = parse_reference(text)
    except ReferenceInvalid:
        return False
    first = text.partition("/")[0]
    has_host = first == "localhost" or (not {".", ":"}.isdisjoint(first) and not first.replace(".", "").isdecimal())
    return has_host and (reference.tag is not None or reference.digest is not None)


def _folded(key: str) -> str:
    return _NO_LETTERS.sub("", key.casefold())


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
