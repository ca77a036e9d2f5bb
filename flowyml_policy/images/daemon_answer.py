"""What a daemon says of an image, read strictly and masked.

Rules:
- `Id` is never looked at: it is the configuration's digest, the manifest's or the index's, by how the daemon stores.
- A digest of the repository proves that an image was pulled from there, or pushed, only where Docker keeps images by
  their configuration. Docker that keeps them by their manifests (`Descriptor`), and podman, give such a digest to
  whatever was tagged here; of Docker, from API 1.53 on, `Identity` says where an image was pulled from. Where nothing
  proves it, an image by its tag is one that only this daemon knows. One by its digest proves itself.
- From API 1.52 on whatever an image does not set is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from flowyml_policy.errors.images import ImageInvalid
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.mask.text import mask
from flowyml_policy.records.policy_input import PlatformFacts
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import ImageReference, parse_reference

_IDENTITY_SINCE: Final = (1, 53)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_UNSET: Final = "0001-01-01T00:00:00"
"""How Go writes an instant that nobody set."""
_INDEXES: Final = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
_MANIFESTS: Final = frozenset(
    {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
)


class DaemonVersion(NamedTuple):
    """What a daemon says of itself: its API's version, and whether it is Docker."""

    api: tuple[int, int]
    is_docker: bool


class DaemonAnswer:
    """The JSON object that `GET /images/NAME/json` gave for `reference`. Reading it raises ImageInvalid."""

    def __init__(self, reference: ImageReference, found: Json, version: DaemonVersion) -> None:
        if not isinstance(found, dict):
            raise ImageInvalid(f"what the daemon says of {reference} is no JSON object")
        self.reference = reference
        self._found: Mapping[str, Json] = found
        self._version = version

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
        """The one platform that the daemon speaks of."""
        config, layers = self._section("Config"), self._section("RootFS")
        architecture, system = self._text(self._found, "Architecture"), self._text(self._found, "Os")
        if architecture is None or system is None:
            raise self._invalid("it names no platform")
        variant = self._text(self._found, "Variant")
        stored, kind = self._stored()
        return PlatformFacts(
            platform="/".join(part for part in (system, architecture, variant) if part),
            digest=stored if kind == "manifest" else None,
            labels=self._labels(config),
            user=self._text(config, "User"),
            created=self._created(),
            size=self._size(),
            architecture=architecture,
            os=system,
            ports=tuple(sorted(map(mask, self._mapping(config, "ExposedPorts")))),
            entrypoint=tuple(map(mask, self._texts(config, "Entrypoint"))),
            env=tuple(dict.fromkeys(mask(one.partition("=")[0]) for one in self._texts(config, "Env"))),
            diff_ids=self._diff_ids(layers),
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
        return digest, "index" if media_type in _INDEXES else "manifest" if media_type in _MANIFESTS else None

    def _references(self, key: str) -> Iterator[ImageReference]:
        return _parsed(self._texts(self._found, key))

    def _created(self) -> str | None:
        created = self._text(self._found, "Created")
        if created is None or created.startswith(_UNSET) or not _INSTANT.fullmatch(created):
            return None
        return created

    def _size(self) -> int | None:
        size = self._found.get("Size")
        return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None

    def _labels(self, config: Mapping[str, Json]) -> dict[str, str]:
        labels = self._mapping(config, "Labels")
        if not all(isinstance(value, str) for value in labels.values()):
            raise self._invalid("a label is no text")
        return {mask(name): mask(value) for name, value in labels.items()}

    def _diff_ids(self, layers: Mapping[str, Json]) -> tuple[str, ...]:
        found = tuple(self._texts(layers, "Layers"))
        if not all(map(_DIGEST.fullmatch, found)):
            raise self._invalid("a layer has no sha256 digest")
        return found

    def _section(self, key: str) -> Mapping[str, Json]:
        return self._mapping(self._found, key)

    def _mapping(self, of: Mapping[str, Json], key: str) -> Mapping[str, Json]:
        found = of.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._invalid(f"`{key}` is no object")
        return found

    def _text(self, of: Mapping[str, Json], key: str) -> str | None:
        found = of.get(key)
        if found is not None and not isinstance(found, str):
            raise self._invalid(f"`{key}` is no text")
        return mask(found) if found else None

    def _texts(self, of: Mapping[str, Json], key: str) -> list[str]:
        found = of.get(key)
        if found is None:
            return []
        found = [found] if isinstance(found, str) else found
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self._invalid(f"`{key}` is no list of texts")
        return found

    def _invalid(self, why: str) -> ImageInvalid:
        return ImageInvalid(f"what the daemon says of {self.reference} cannot be read: {why}")


def _parsed(texts: list[Json]) -> Iterator[ImageReference]:
    """The references among `texts`; a daemon writes `<none>:<none>` for an image that lost its tag."""
    return (found for found in map(_reference, texts) if found is not None)


def _reference(text: Json) -> ImageReference | None:
    try:
        return parse_reference(text)
    except ReferenceInvalid:
        return None
