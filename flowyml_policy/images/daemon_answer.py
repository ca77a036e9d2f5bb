"""What a daemon says of an image, read as strictly as what a registry says.

Rules:
- `Id` is never looked at: it is the configuration's digest, the manifest's or the index's, by how the daemon stores.
- A digest of the repository proves that an image was pulled from there, or pushed, only where Docker keeps images by
  their configuration. Docker that keeps them by their manifests (`Descriptor`), and podman, give such a digest to
  whatever was tagged here; of Docker, from API 1.53 on, `Identity` says where an image was pulled from. Where nothing
  proves it, an image by its tag is one that only this daemon knows. One by its digest proves itself.
- From API 1.52 on whatever an image does not set is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from flowyml_policy.errors.images import ImageInvalid, ImageTooLarge
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.images.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    IndexEntry,
    platform_facts,
)
from flowyml_policy.records.policy_input import PlatformFacts
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import ImageReference, parse_reference

_IDENTITY_SINCE: Final = (1, 53)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NO_DIGEST: Final = f"sha256:{'0' * 64}"
"""In place of the manifest's, which a daemon need not know."""
_SETTINGS: Final = ("Labels", "User", "ExposedPorts", "Entrypoint", "Env")
_KINDS: Final[Mapping[Json, Literal["index", "manifest"]]] = {
    OCI_INDEX: "index",
    DOCKER_LIST: "index",
    OCI_MANIFEST: "manifest",
    DOCKER_MANIFEST: "manifest",
}


class DaemonVersion(NamedTuple):
    """What a daemon says of itself: its API's version, and whether it is Docker."""

    api: tuple[int, int]
    is_docker: bool


class DaemonAnswer:
    """The JSON object that `GET /images/NAME/json` gave for `reference`. Reading it raises ImageInvalid."""

    def __init__(self, reference: ImageReference, found: Json, version: DaemonVersion) -> None:
        if not isinstance(found, dict):
            raise ImageInvalid(f"what the daemon says of {reference} cannot be read: it is no JSON object")
        self.reference = reference
        self._found: Mapping[str, Json] = found
        self._version = version
        self._begin = f"what the daemon says of {reference} cannot be read"

    def names_it(self) -> bool:
        """Whether the answer is about the image that was asked for, not one that the daemon took for it."""
        if self.reference.digest is not None:
            return self.reference.digest in self._own_digests()
        return any(
            (found.name, found.tag) == (self.reference.name, self.reference.effective_tag)
            for found in self._references("RepoTags")
        )

    def repo_digests(self) -> tuple[str, ...]:
        """Every digest that the image has in any repository, as `repository@sha256:...`."""
        return tuple(f"{one.name}@{one.digest}" for one in self._references("RepoDigests") if one.digest is not None)

    def digest(self) -> str | None:
        """The digest that the image has in its own repository; None where only this daemon is known to have it."""
        digests = self._own_digests()
        if self.reference.digest is not None or not self._was_pulled():
            return self.reference.digest if self.reference.digest in digests else None
        return next((one for one in (self._stored()[0], *digests) if one in digests), None)

    def kind(self) -> Literal["index", "manifest"] | None:
        """What the digest is of, where the daemon says it."""
        stored, kind = self._stored()
        return kind if stored is not None and stored == self.digest() else None

    def platform(self) -> PlatformFacts:
        """The one platform that the daemon speaks of, read as a configuration in a registry is."""
        config, layers = self._section("Config"), self._texts(self._section("RootFS"), "Layers")
        document = {
            "architecture": self._found.get("Architecture"),
            "os": self._found.get("Os"),
            "variant": self._found.get("Variant"),
            "created": self._found.get("Created") or None,
            "config": {name: config.get(name) for name in _SETTINGS},
            "rootfs": {"diff_ids": layers},
        }
        manifest = ImageManifest(config="", layers=len(layers), size=0, base=None)
        try:
            facts = platform_facts(manifest, json.dumps(document).encode(), IndexEntry(_NO_DIGEST, None))
        except (ImageInvalid, ImageTooLarge) as error:
            raise type(error)(f"{self._begin}: {error.message}", advice=error.advice) from error
        stored, kind = self._stored()
        size = self._found.get("Size")
        is_size = type(size) is int and size >= 0
        return facts.model_copy(
            update={"digest": stored if kind == "manifest" else None, "size": size if is_size else None}
        )

    def _own_digests(self) -> list[str]:
        return [
            one.digest
            for one in self._references("RepoDigests")
            if one.name == self.reference.name and one.digest is not None
        ]

    def _was_pulled(self) -> bool:
        """Whether it is proven to have come from its repository, or to have been pushed there."""
        if not self._version.is_docker:
            return False
        if "Descriptor" not in self._found:
            return True
        if self._version.api < _IDENTITY_SINCE:
            return False
        pulls = self._section("Identity").get("Pull")
        places = [one.get("Repository") for one in pulls if isinstance(one, dict)] if isinstance(pulls, list) else []
        return any(found.name == self.reference.name for found in _parsed(places))

    def _stored(self) -> tuple[str | None, Literal["index", "manifest"] | None]:
        """The digest of what the daemon keeps the image by, and what that is."""
        descriptor = self._section("Descriptor")
        digest, media_type = descriptor.get("digest"), descriptor.get("mediaType")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            return None, None
        return digest, _KINDS.get(media_type) if isinstance(media_type, str) else None

    def _references(self, key: str) -> Iterator[ImageReference]:
        return _parsed(self._texts(self._found, key))

    def _section(self, key: str) -> Mapping[str, Json]:
        return self._mapping(self._found, key)

    def _mapping(self, of: Mapping[str, Json], key: str) -> Mapping[str, Json]:
        found = of.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._invalid(f"`{key}` is no object")
        return found

    def _texts(self, of: Mapping[str, Json], key: str) -> list[str]:
        found = of.get(key)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self._invalid(f"`{key}` is no list of texts")
        return found

    def _invalid(self, why: str) -> ImageInvalid:
        return ImageInvalid(f"{self._begin}: {why}")


def _parsed(texts: list[Json]) -> Iterator[ImageReference]:
    """The references among `texts`; a daemon writes `<none>:<none>` for an image that lost its tag."""
    return (found for found in map(_reference, texts) if found is not None)


def _reference(text: Json) -> ImageReference | None:
    try:
        return parse_reference(text)
    except ReferenceInvalid:
        return None
