"""What a registry keeps of an image, read from its bytes: an index, a manifest, a configuration.

Rules:
- Nothing is fetched or hashed here; what is no container image that can be read raises ImageInvalid or ImageTooLarge.
- What runs images is written in Go, whose JSON reader takes `user` for `User`, and of two equal keys the last. A
  document that it would read in another way than this module is refused.
- Only what no daemon runs is passed over: entries of an index for the platform unknown/unknown, which are attestations.
  Annotations decide nothing, since whoever pushed the image wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from flowyml_policy.errors.images import ImageInvalid, ImageTooLarge
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.images.json_text import NotJson, read_json
from flowyml_policy.mask.quoted import shown
from flowyml_policy.records.policy_input import BaseFacts, PlatformFacts
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import parse_reference

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

MOST_PLATFORMS: Final = 32
MOST_LAYERS: Final = 512
LARGEST_FACTS: Final = 256 << 10
"""How many characters the labels and the like of one platform may have."""

_INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
_MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+"
_SAY_NOTHING: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
_CONFIGS: Final = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
_NO_LAYERS: Final = {
    "application/vnd.in-toto": "an attestation",
    "application/vnd.dev.cosign.": "a signature of cosign",
    "application/vnd.dev.sigstore.": "a signature of Sigstore",
}
"""What layers are that begin so: such a manifest may have an image's configuration, and is none."""

_BASE_NAME: Final = "org.opencontainers.image.base.name"
_BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_DIFF_ID: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_UNSET: Final = "0001-01-01T00:00:00Z"
"""The instant that Go writes for one that nobody set."""
_YEARS: Final = range(1678, 2262)
"""Those that a count of nanoseconds in 64 bits reaches, which Rego makes of an instant."""
_LARGEST_NUMBER: Final = 2**53 - 1
_USUAL_VARIANTS: Final = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_UNKNOWN: Final = "unknown/unknown"

_INDEX_FIELDS: Final = ("schemaVersion", "mediaType", "manifests")
_MANIFEST_FIELDS: Final = ("schemaVersion", "mediaType", "config", "layers", "annotations", "artifactType")
_DESCRIPTOR_FIELDS: Final = ("mediaType", "digest", "size", "platform", "annotations", "artifactType")
_PLATFORM_FIELDS: Final = ("architecture", "os", "variant")
_CONFIG_FIELDS: Final = ("architecture", "os", "variant", "created", "config", "rootfs")
_SETTINGS_FIELDS: Final = ("Labels", "User", "ExposedPorts", "Entrypoint", "Env")
_ROOTFS_FIELDS: Final = ("diff_ids",)

_Part = TypeVar("_Part")


class IndexEntry(NamedTuple):
    """An image of an index: the digest of its manifest, and for which platform; None where the index does not say."""

    digest: str
    platform: str | None


class ImageIndex(NamedTuple):
    """The images of an index, one or more, without its attestations."""

    entries: tuple[IndexEntry, ...]


class ImageManifest(NamedTuple):
    """One platform's manifest: the digest of its configuration, how many layers it has, what a pull of it brings."""

    config: str
    layers: int
    size: int
    base: BaseFacts | None


def read_document(data: bytes, media_type: str) -> ImageIndex | ImageManifest:
    """What a tag or a digest names; `media_type` is what the registry says it is. Raises ImageInvalid, ImageTooLarge.

    Schema 1, artefacts, attestations and signatures are refused by name.
    """
    value = _object(_json(data, "the manifest"), "the manifest")
    if _kind(value, media_type.partition(";")[0].strip().lower()) in _INDEXES:
        return _index(value)
    return _manifest(value)


def platform_facts(manifest: ImageManifest, config: bytes, entry: IndexEntry) -> PlatformFacts:
    """What `manifest` and its configuration say of the platform that `entry` is. Raises ImageInvalid, ImageTooLarge."""
    what = "the configuration"
    value = _fields(_json(config, what), _CONFIG_FIELDS, what)
    platform = entry.platform or _platform(value, what)
    if platform == _UNKNOWN:
        raise _no_image("an attestation")
    settings = _fields(_or(value.get("config"), {}), _SETTINGS_FIELDS, f"{what}'s `config`")
    entrypoint = _or(settings.get("Entrypoint"), [])
    facts = PlatformFacts(
        platform=platform,
        digest=entry.digest,
        labels=_mapping_of_texts(settings.get("Labels"), "the labels"),
        user=_text(settings.get("User"), "the user"),
        created=_instant(value.get("created")),
        size=manifest.size,
        base=manifest.base,
        architecture=_name(value.get("architecture"), "the architecture"),
        os=_name(value.get("os"), "the os"),
        ports=tuple(sorted(_object(_or(settings.get("ExposedPorts"), {}), "the exposed ports"))),
        entrypoint=_texts([entrypoint] if isinstance(entrypoint, str) else entrypoint, "the entrypoint"),
        env=tuple(one.partition("=")[0] for one in _texts(_or(settings.get("Env"), []), "the environment")),
        diff_ids=_diff_ids(value, manifest),
    )
    _agree(facts)
    texts = (*facts.labels, *facts.labels.values(), facts.user or "", *facts.ports, *facts.entrypoint, *facts.env)
    if sum(map(len, texts)) > LARGEST_FACTS:
        raise ImageTooLarge(f"the labels and settings of {platform} have more than {LARGEST_FACTS:,} characters")
    return facts


def _agree(facts: PlatformFacts) -> None:
    """Refuse a configuration that is for another platform than the index says. Raises ImageInvalid."""
    for named, claimed in zip(facts.platform.split("/"), (facts.os, facts.architecture), strict=False):
        if claimed not in {named, None}:
            raise _ambiguous(f"the index says {facts.platform}, and the configuration {_shown(claimed)}")


def is_platform(platform: str, asked: str) -> bool:
    """Whether `asked` means `platform`: `linux/arm64` means every variant, and arm64 by itself is `v8`."""
    have, want = platform.split("/"), asked.split("/")
    if have[:2] != want[:2]:
        return False
    usual = _USUAL_VARIANTS.get(have[1], "")
    return len(want) == 2 or want[2:] == (have[2:] or [usual])  # noqa: PLR2004  os and architecture


def _kind(value: Mapping[str, Json], told: str) -> str:
    """The media type of a document, which it says itself, or the registry, or, where neither does, its shape."""
    written, version = _text(value.get("mediaType"), "the media type"), value.get("schemaVersion")
    if (version == 1 and version is not True) or any(_starts(one, _SCHEMA_1) for one in (told, written)):
        raise ImageInvalid("it is a manifest of schema 1, which says nothing reliable of an image")
    said = {one for one in (told, written) if one is not None and one not in _SAY_NOTHING}
    for one in said - _INDEXES - _MANIFESTS:
        raise _no_image(f"an artefact of type {_shown(one)}")
    if len(said) > 1:
        raise _ambiguous("the registry says that it is of another type than it says itself")
    kind = said.pop() if said else OCI_INDEX if "manifests" in value else OCI_MANIFEST
    foreign = {"config", "layers"} if kind in _INDEXES else {"manifests"}
    if not foreign.isdisjoint(map(str.casefold, value)) or "fslayers" in map(str.casefold, value):
        raise _ambiguous("it is an index and a manifest in one")
    if type(version) is not int or version != 2:  # noqa: PLR2004
        raise ImageInvalid("the manifest does not say that it is of schema version 2")
    return kind


def _index(value: Mapping[str, Json]) -> ImageIndex:
    what = "an entry of the index"
    found = _list(_fields(value, _INDEX_FIELDS, "the index").get("manifests"), "the manifests of the index")
    entries: dict[IndexEntry, None] = {}
    named: dict[tuple[str, ...], str] = {}
    for one in found:
        descriptor = _fields(one, _DESCRIPTOR_FIELDS, what)
        digest, given = _digest(descriptor, what), descriptor.get("platform")
        platform = None if given is None else _platform(_fields(given, _PLATFORM_FIELDS, "a platform"), what)
        if platform == _UNKNOWN:
            continue
        if (kind := _text(descriptor.get("mediaType"), "the media type")) not in _MANIFESTS:
            raise ImageInvalid(f"the index holds what is no image's manifest: {_shown(kind)}")
        if platform is not None and named.setdefault(_told_apart(platform, given or {}), digest) != digest:
            raise _ambiguous(f"the index has two images for {platform}")
        entries[IndexEntry(digest, platform)] = None
        if len(entries) > MOST_PLATFORMS:
            raise ImageTooLarge(f"the index has more than {MOST_PLATFORMS} platforms")
    if not entries:
        raise ImageInvalid("the index holds no image" + (", only attestations" if found else ""))
    return ImageIndex(tuple(entries))


def _told_apart(platform: str, given: Mapping[str, Json]) -> tuple[str, ...]:
    """All that tells an index's platforms apart. Windows has images of one platform for each of its versions."""
    parts = platform.split("/")
    version, features = given.get("os.version"), given.get("os.features")
    return (
        *parts[:2],
        *(parts[2:] or [_USUAL_VARIANTS.get(parts[1], "")]),
        version if isinstance(version, str) else "",
        *(one for one in (features if isinstance(features, list) else []) if isinstance(one, str)),
    )


def _manifest(value: Mapping[str, Json]) -> ImageManifest:
    _fields(value, _MANIFEST_FIELDS, "the manifest")
    what = "the configuration's descriptor"
    config = _fields(value.get("config"), _DESCRIPTOR_FIELDS, what)
    annotations = _mapping_of_texts(value.get("annotations"), "the annotations")
    if (kind := _text(config.get("mediaType"), "the media type")) not in _CONFIGS:
        raise _no_image(f"an artefact of type {_shown(value.get('artifactType') or kind)}")
    layers = _list(value.get("layers"), "the layers of the manifest")
    if len(layers) > MOST_LAYERS:
        raise ImageTooLarge(f"the image has more than {MOST_LAYERS} layers")
    sizes = {_digest(config, what): _size(config, what)}
    for one in layers:
        layer = _fields(one, _DESCRIPTOR_FIELDS, "a layer")
        for beginning, name in _NO_LAYERS.items():
            if _starts(layer.get("mediaType"), beginning):
                raise _no_image(name)
        sizes[_digest(layer, "a layer", _DIFF_ID)] = _size(layer, "a layer")
    if (size := sum(sizes.values())) > _LARGEST_NUMBER:
        raise ImageInvalid("its layers are larger than can be")
    return ImageManifest(config["digest"], len(layers), size, _base(annotations))


def _base(annotations: Mapping[str, str]) -> BaseFacts | None:
    name, digest = annotations.get(_BASE_NAME, ""), annotations.get(_BASE_DIGEST, "")
    try:
        parse_reference(name)
    except ReferenceInvalid:  # it claims nothing that a policy could compare
        return None
    return BaseFacts(ref=name, digest=digest if _DIGEST.fullmatch(digest) else None, how="claim")


def _diff_ids(value: Mapping[str, Json], manifest: ImageManifest) -> tuple[str, ...]:
    rootfs = value.get("rootfs")
    if rootfs is None:
        return ()
    given = _fields(rootfs, _ROOTFS_FIELDS, "the rootfs").get("diff_ids")
    found = _texts(_or(given, []), "the diff_ids")
    if len(found) != manifest.layers:
        raise ImageInvalid(f"its manifest has {manifest.layers} layers, and its configuration {len(found)}")
    for one in found:
        if not _DIFF_ID.fullmatch(one):
            raise ImageInvalid(f"a layer's diff_id is no digest: {_shown(one)}")
    return found


def _platform(value: Mapping[str, Json], what: str) -> str:
    """`linux/arm64/v8`."""
    variant = value.get("variant")
    variants = () if variant is None or variant == "" else (variant,)
    parts = [value.get("os"), value.get("architecture"), *variants]
    for part in parts:
        if not isinstance(part, str) or not _NAME.fullmatch(part):
            raise ImageInvalid(f"{what} does not say its platform: {_shown(part)}")
    return "/".join(parts)


def _instant(value: Json) -> str | None:
    """`value`, an RFC 3339 instant as Go and Rego read it, or None where it was not set."""
    if value is None or value == _UNSET:
        return None
    parts = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if parts is not None:
        try:
            instant = datetime.fromisoformat(parts[1] + ("+00:00" if parts[2] == "Z" else parts[2]))
        except ValueError:
            pass
        else:
            if instant.year in _YEARS:
                return parts[0]
    raise ImageInvalid(f"it was created at what is no instant of RFC 3339: {_shown(value)}")


def _json(data: bytes, what: str) -> Json:
    try:
        return read_json(data)
    except NotJson as error:
        raise ImageInvalid(f"{what} cannot be read: {error}") from error


def _fields(value: Json, names: Iterable[str], what: str) -> dict[str, Json]:
    """`value`, an object with the fields `names`, none of them in another spelling that Go takes for it."""
    found = _object(value, what)
    folded = {name.casefold(): name for name in names}
    for key in found:
        meant = folded.get(key.casefold(), key)
        if key != meant:
            raise _ambiguous(f"{what} has the key {_shown(key)}, which some programs take for {meant!r}")
    return found


def _or(value: Json, default: Json) -> Json:
    """`value`, or `default` where it is null or absent, which is one to Go."""
    return default if value is None else value


def _object(value: Json, what: str) -> dict[str, Json]:
    return _of(value, lambda: isinstance(value, dict), f"{what} is no object")


def _list(value: Json, what: str) -> list[Json]:
    return _of(value, lambda: isinstance(value, list), f"there is no list of {what.removeprefix('the ')}")


def _texts(value: Json, what: str) -> tuple[str, ...]:
    return tuple(
        _of(value, lambda: isinstance(value, list) and all(isinstance(one, str) for one in value), _no_texts(what))
    )


def _text(value: Json, what: str) -> str | None:
    """`value`, None where it is not set, which is what empty text means."""
    return _of(value or None, lambda: value is None or isinstance(value, str), f"{what} is no text")


def _name(value: Json, what: str) -> str | None:
    found = _text(value, what)
    return _of(found, lambda: found is None or bool(_NAME.fullmatch(found)), f"{what} is no name: {_shown(value)}")


def _mapping_of_texts(value: Json, what: str) -> dict[str, str]:
    found = _object(_or(value, {}), what)
    wrong = [key for key, one in found.items() if not isinstance(one, str)]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004
        raise ImageInvalid(f"not all {what} are texts: {', '.join(map(_shown, wrong[:3]))}{more}")
    return found


def _of(value: _Part, is_right: Callable[[], bool], problem: str) -> _Part:
    if not is_right():
        raise ImageInvalid(problem)
    return value


def _digest(descriptor: Mapping[str, Json], what: str, grammar: re.Pattern[str] = _DIGEST) -> str:
    found = descriptor.get("digest")
    if not isinstance(found, str) or not grammar.fullmatch(found):
        raise ImageInvalid(f"{what} has no digest that can be checked: {_shown(found)}")
    return found


def _size(descriptor: Mapping[str, Json], what: str) -> int:
    found = descriptor.get("size")
    if type(found) is not int or not 0 <= found <= _LARGEST_NUMBER:
        raise ImageInvalid(f"{what} has no size: {_shown(found)}")
    return found


def _starts(value: Json, beginning: str) -> bool:
    return isinstance(value, str) and value.startswith(beginning)


def _shown(value: Json) -> str:
    """`value`, which anybody may have written, in a message."""
    if isinstance(value, str):
        return shown(value, 80)
    return {dict: "an object", list: "a list", type(None): "null"}.get(type(value)) or str(value)[:80]


def _no_texts(what: str) -> str:
    return f"{what} is no list of texts"


def _no_image(what: str) -> ImageInvalid:
    return ImageInvalid(f"it is {what}, no container image")


def _ambiguous(what: str) -> ImageInvalid:
    return ImageInvalid(f"it can be read in two ways: {what}", advice="have it pushed again by a current tool")
