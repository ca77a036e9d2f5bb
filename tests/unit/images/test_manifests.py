"""Indexes, manifests and configurations: what is read of them, and what is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowyml_policy.errors.images import ImageError, ImageInvalid, ImageTooLarge
from flowyml_policy.images.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    LARGEST_FACTS,
    MOST_LAYERS,
    MOST_PLATFORMS,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageIndex,
    ImageManifest,
    IndexEntry,
    is_platform,
    platform_facts,
    read_document,
)
from flowyml_policy.records.policy_input import BaseFacts, PlatformFacts

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
ENTRY = IndexEntry(A, None)


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def descriptor(digest: str = A, media_type: str = OCI_MANIFEST, size: int = 10, **more: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def index(*entries: object, media_type: str = OCI_INDEX, **more: object) -> bytes:
    return dumped({"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries), **more})


def manifest(*layers: object, config: object = None, media_type: str = OCI_MANIFEST, **more: object) -> bytes:
    found = descriptor(C, CONFIG, 100) if config is None else config
    return dumped({"schemaVersion": 2, "mediaType": media_type, "config": found, "layers": list(layers), **more})


def config(settings: object = None, **more: object) -> bytes:
    return dumped({"architecture": "amd64", "os": "linux", "config": settings, **more})


def platform(os: str, architecture: str, **more: str) -> dict[str, str]:
    return {"os": os, "architecture": architecture, **more}


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
@pytest.mark.parametrize("child", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_index_is_read_without_its_attestations(media_type: str, child: str) -> None:
    attested = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": A}
    data = index(
        descriptor(A, child, platform=platform("linux", "amd64")),
        descriptor(B, child, platform=platform("linux", "arm64", variant="v8")),
        descriptor(C, child, platform=platform("unknown", "unknown"), annotations=attested),
        descriptor(B, child, platform=platform("linux", "arm64", variant="v8")),
        media_type=media_type,
    )
    expected = ImageIndex((IndexEntry(A, "linux/amd64"), IndexEntry(B, "linux/arm64/v8")))
    assert read_document(data, media_type) == expected
    assert read_document(data, "application/json; charset=utf-8") == expected


def test_index_entry_that_says_it_is_an_attestation_is_an_image_where_a_daemon_runs_it() -> None:
    annotations = {"vnd.docker.reference.type": "attestation-manifest"}
    data = index(descriptor(A, platform=platform("linux", "amd64"), annotations=annotations), descriptor(B))
    assert read_document(data, OCI_INDEX) == ImageIndex((IndexEntry(A, "linux/amd64"), IndexEntry(B, None)))


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_manifest_is_read(media_type: str) -> None:
    layers = [descriptor(A, LAYER, 1000), descriptor(B, LAYER, 30), descriptor(B, LAYER, 30)]
    annotations = {
        "org.opencontainers.image.base.name": "docker.io/library/debian:12",
        "org.opencontainers.image.base.digest": B,
    }
    expected = ImageManifest(C, 3, 1130, BaseFacts(ref="docker.io/library/debian:12", digest=B, how="claim"))
    assert read_document(manifest(*layers, media_type=media_type, annotations=annotations), media_type) == expected


def test_manifest_that_does_not_say_its_type_is_told_by_its_shape() -> None:
    for data, expected in ((manifest(), ImageManifest), (index(descriptor()), ImageIndex)):
        value = json.loads(data)
        del value["mediaType"]
        assert isinstance(read_document(dumped(value), ""), expected)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"org.opencontainers.image.base.digest": B}, None),
        ({"org.opencontainers.image.base.name": ""}, None),
        ({"org.opencontainers.image.base.name": "Debian 12", "org.opencontainers.image.base.digest": B}, None),
        ({"org.opencontainers.image.base.name": "//:@" * 250_000}, None),
        (
            {"org.opencontainers.image.base.name": "x", "org.opencontainers.image.base.digest": "sha1:2"},
            BaseFacts(ref="x", how="claim"),
        ),
    ],
)
def test_manifest_base_is_a_claim(annotations: dict[str, str], expected: BaseFacts | None) -> None:
    found = read_document(manifest(annotations=annotations), OCI_MANIFEST)
    assert isinstance(found, ImageManifest)
    assert found.base == expected


@pytest.mark.parametrize(
    ("data", "told", "expected"),
    [
        (b"{", OCI_INDEX, "the manifest cannot be read: it is no JSON"),
        (b"\xff\xfe", OCI_INDEX, "the manifest cannot be read: it is no JSON"),
        (b"\xef\xbb\xbf{}", OCI_INDEX, "the manifest cannot be read: it is no JSON"),
        (b"[1]", OCI_INDEX, "the manifest is no object"),
        (b'{"a": NaN}', OCI_INDEX, "it is no JSON"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', OCI_INDEX, "a key stands twice"),
        (b"[" * 1_000_000, OCI_INDEX, "the manifest cannot be read: it is no JSON"),
        (b'{"a":' * 100_000, OCI_INDEX, "the manifest cannot be read: it is no JSON"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "application/json", "manifest of schema 1"),
        (b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws", "manifest of schema 1"),
        (b'{"schemaVersion": true, "manifests": []}', OCI_INDEX, "schema version 2"),
        (b'{"schemaVersion": 3, "manifests": []}', OCI_INDEX, "schema version 2"),
        (index(), OCI_MANIFEST, "it can be read in two ways"),
        (index(layers=[]), OCI_INDEX, "an index and a manifest in one"),
        (index(Config={}), OCI_INDEX, "an index and a manifest in one"),
        (manifest(MANIFESTS=[]), OCI_MANIFEST, "an index and a manifest in one"),
        (manifest(fsLayers=[]), OCI_MANIFEST, "an index and a manifest in one"),
        (manifest(media_type="application/x.y"), OCI_MANIFEST, "artefact of type 'application/x.y', no container"),
        (index(mediaType=[]), OCI_INDEX, "the media type is no text"),
        (index(), OCI_INDEX, "the index holds no image"),
        (index(descriptor(platform=platform("unknown", "unknown"))), OCI_INDEX, "no image, only attestations"),
        (index({}), OCI_INDEX, "an entry of the index has no digest"),
        (index(descriptor("sha512:" + "a" * 128)), OCI_INDEX, "no digest that can be checked"),
        (index(descriptor(media_type=OCI_INDEX)), OCI_INDEX, f"no image's manifest: '{OCI_INDEX}'"),
        (index(descriptor(platform={"os": "linux"})), OCI_INDEX, "does not say its platform: null"),
        (index(descriptor(platform=platform("linux", "a/b"))), OCI_INDEX, "does not say its platform: 'a/b'"),
        (index(descriptor(platform=platform("linux", "arm", Variant="v6"))), OCI_INDEX, "'Variant'"),
        (index(Manifests=[]), OCI_INDEX, "the key 'Manifests', which some programs take for 'manifests'"),
        (manifest(config=[]), OCI_MANIFEST, "the configuration's descriptor is no object"),
        (manifest(config=descriptor(C, "application/vnd.oci.empty.v1+json"), artifactType="application/spdx"),
         OCI_MANIFEST, "it is an artefact of type 'application/spdx', no container image"),
        (manifest(config=descriptor(C, "application/vnd.cncf.helm.config.v1+json")), OCI_MANIFEST, "helm"),
        (manifest(descriptor(A, "application/vnd.in-toto+json")), OCI_MANIFEST, "it is an attestation"),
        (manifest(descriptor(A, "application/vnd.dev.cosign.simplesigning.v1+json")), OCI_MANIFEST, "cosign"),
        (manifest(descriptor(A, LAYER, -1)), OCI_MANIFEST, "a layer has no size: -1"),
        (manifest(descriptor(A, LAYER, 2**53)), OCI_MANIFEST, "a layer has no size"),
        (manifest(descriptor(A, LAYER, 2**53 - 1)), OCI_MANIFEST, "larger than can be"),
        (manifest(7), OCI_MANIFEST, "a layer is no object"),
        (manifest(annotations={"a": 1}), OCI_MANIFEST, "not all the annotations are texts: 'a'"),
        (manifest(laYers=[]), OCI_MANIFEST, "the key 'laYers'"),
    ],
)  # fmt: skip
def test_document_that_is_no_image_is_refused_by_name(data: bytes, told: str, expected: str) -> None:
    with pytest.raises(ImageInvalid, match=re.escape(expected)):
        read_document(data, told)


WINDOWS = {"os": "windows", "architecture": "amd64"}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (platform("linux", "amd64"), platform("linux", "amd64"), "linux/amd64"),
        (platform("linux", "arm64"), platform("linux", "arm64", variant="v8"), "linux/arm64/v8"),
        (platform("linux", "arm", variant="v6"), platform("linux", "arm", variant="v7"), None),
        ({**WINDOWS, "os.version": "10.0.1"}, {**WINDOWS, "os.version": "10.0.2"}, None),
        ({**WINDOWS, "os.version": "10.0.1"}, {**WINDOWS, "os.version": "10.0.1"}, "windows/amd64"),
        ({**WINDOWS, "os.features": ["win32k"]}, {**WINDOWS, "os.features": []}, None),
        ({**WINDOWS, "os.version": [[]]}, {**WINDOWS, "os.features": "x"}, "windows/amd64"),
    ],
)
def test_index_with_two_images_for_a_platform_is_refused(
    one: dict[str, Any], other: dict[str, Any], expected: str | None
) -> None:
    """What runs it takes the first; the same image twice is one."""
    both = index(descriptor(A, platform=one), descriptor(B, platform=other))
    assert len(entries_of(index(descriptor(A, platform=one), descriptor(A, platform=other)))) in {1, 2}
    if expected is None:
        assert len(entries_of(both)) == 2
    else:
        with pytest.raises(ImageInvalid, match=f"the index has two images for {expected}"):
            read_document(both, OCI_INDEX)


def entries_of(data: bytes) -> tuple[IndexEntry, ...]:
    found = read_document(data, OCI_INDEX)
    assert isinstance(found, ImageIndex)
    return found.entries


def test_document_with_too_many_parts_is_too_large() -> None:
    entries = [descriptor(f"sha256:{number:064x}") for number in range(MOST_PLATFORMS + 1)]
    assert len(entries_of(index(*entries[1:]))) == MOST_PLATFORMS
    with pytest.raises(ImageTooLarge):
        read_document(index(*entries), OCI_INDEX)
    layers = [descriptor(A, LAYER)] * (MOST_LAYERS + 1)
    found = read_document(manifest(*layers[1:]), OCI_MANIFEST)
    assert isinstance(found, ImageManifest)
    assert found.layers == MOST_LAYERS
    with pytest.raises(ImageTooLarge):
        read_document(manifest(*layers), OCI_MANIFEST)


def read(data: bytes, entry: IndexEntry = ENTRY, layers: int = 0) -> PlatformFacts:
    return platform_facts(ImageManifest(C, layers, 1130, None), data, entry)


def test_configuration_is_read() -> None:
    settings = {
        "Labels": {"maintainer": "ml", "empty": ""},
        "User": "1000:1000",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        "Entrypoint": ["/run", "--now"],
        "Env": ["PATH=/bin", "TOKEN=s3cret", "BARE"],
    }
    created = "2026-01-02T03:04:05.123456789+01:00"
    data = config(settings, created=created, rootfs={"type": "layers", "diff_ids": [A, B]}, history=[{}])
    assert read(data, IndexEntry(B, "linux/amd64/v2"), 2) == PlatformFacts(
        platform="linux/amd64/v2",
        digest=B,
        labels={"maintainer": "ml", "empty": ""},
        user="1000:1000",
        created=created,
        size=1130,
        architecture="amd64",
        os="linux",
        ports=("53/udp", "8080/tcp"),
        entrypoint=("/run", "--now"),
        env=("PATH", "TOKEN", "BARE"),
        diff_ids=(A, B),
    )


@pytest.mark.parametrize(
    ("platform", "claimed"), [("linux/arm64", "amd64"), ("linux/arm64/v8", "amd64"), ("windows/amd64", "linux")]
)
def test_configuration_of_another_platform_is_refused(platform: str, claimed: str) -> None:
    expected = f"it can be read in two ways: the index says {platform}, and the configuration '{claimed}'"
    with pytest.raises(ImageInvalid, match=re.escape(expected)):
        read(config(), IndexEntry(A, platform))
    assert read(config(os="", architecture=None), IndexEntry(A, platform)).platform == platform


def test_configuration_that_says_nothing_is_read() -> None:
    expected = PlatformFacts(platform="linux/amd64", digest=A, size=1130, architecture="amd64", os="linux")
    unset = dict.fromkeys(("Labels", "User", "ExposedPorts", "Entrypoint", "Env"))
    unset_time = "0001-01-01T00:00:00Z"
    for data in (config(), config({}), config(unset, rootfs={"diff_ids": None}), config(created=unset_time)):
        assert read(data) == expected
    assert read(config({"User": ""})) == expected
    assert read(config({"Entrypoint": "/run"})).entrypoint == ("/run",)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the configuration cannot be read: it is no JSON"),
        (b"null", "the configuration is no object"),
        (b"{}", "the configuration does not say its platform"),
        (config(os="unknown", architecture="unknown"), "it is an attestation, no container image"),
        (config(architecture=7), "does not say its platform: 7"),
        (config([]), "the configuration's `config` is no object"),
        (config(""), "the configuration's `config` is no object"),
        (config({"user": "root", "User": "1000"}), "the key 'user', which some programs take for 'User'"),
        (config({"u\u017fer": "root"}), "which some programs take for 'User'"),
        (config({}, Config={"User": "root"}), "the key 'Config'"),
        (
            config({"Labels": {"a": 1, "b": None, "c": "x", "d": [], "e": {}}}),
            "not all the labels are texts: 'a', 'b', 'd' and 1",
        ),
        (config({"Labels": ["a"]}), "the labels is no object"),
        (config({"User": 0}), "the user is no text"),
        (config({"Env": {"A": "b"}}), "the environment is no list of texts"),
        (config({"Env": [1]}), "the environment is no list of texts"),
        (config({"Entrypoint": [None]}), "the entrypoint is no list of texts"),
        (config({"ExposedPorts": ["80"]}), "the exposed ports is no object"),
        (config(rootfs=[]), "the rootfs is no object"),
        (config(rootfs={"diff_ids": [A]}), "its manifest has 0 layers, and its configuration 1"),
        (config(created="yesterday"), "no instant of RFC 3339: 'yesterday'"),
        (config(created=17), "no instant of RFC 3339: 17"),
        (config(created="2026-02-30T00:00:00Z"), "no instant"),
        (config(created="2026-01-02T03:04:60Z"), "no instant"),
        (config(created="2026-01-02 03:04:05Z"), "no instant"),
        (config(created="2026-01-02T03:04:05"), "no instant"),
        (config(created="2026-01-02T03:04:05+24:00"), "no instant"),
        (config(created="1600-01-02T03:04:05Z"), "no instant"),
        (config(created="2300-01-02T03:04:05Z\n"), "no instant"),
    ],
)
def test_configuration_that_cannot_be_read_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(ImageInvalid, match=re.escape(expected)):
        read(data)


def test_configuration_whose_layers_are_no_digests_is_refused() -> None:
    with pytest.raises(ImageInvalid, match="a layer's diff_id is no digest: 'x'"):
        read(config(rootfs={"diff_ids": ["x"]}), layers=1)


def test_configuration_with_much_text_is_too_large() -> None:
    assert read(config({"Labels": {"a": "b" * (LARGEST_FACTS - 1)}})).labels
    with pytest.raises(ImageTooLarge):
        read(config({"Labels": {"a": "b" * LARGEST_FACTS}}))


@pytest.mark.parametrize(
    ("platform", "asked", "expected"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm/v6", "linux/arm", True),
        ("linux/amd64", "windows/amd64", False),
        ("linux/amd64", "linux", False),
        ("linux/amd64", "", False),
        ("linux/amd64", "linux/amd64/v1/x", False),
    ],
)
def test_platform_that_is_asked_for_means_its_variants(platform: str, asked: str, expected: bool) -> None:
    assert is_platform(platform, asked) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([A, OCI_INDEX]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([
    "schemaVersion", "mediaType", "manifests", "config", "layers", "annotations", "digest", "size", "platform",
    "architecture", "os", "variant", "created", "rootfs", "diff_ids", "Labels", "User", "Env", "Entrypoint",
])  # fmt: skip
NEAR = st.recursive(
    JSON | st.sampled_from([1, 2, "linux", "unknown", CONFIG, LAYER, OCI_MANIFEST, [A]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
BYTES = st.binary(max_size=200) | JSON.map(dumped) | NEAR.map(dumped)


def or_error(read: Callable[[], object]) -> object:
    """What `read` gives, or its ImageError, whose words can be encoded. Any other error is the test's."""
    try:
        return read()
    except ImageError as error:
        return str(error).encode()


@given(data=BYTES, told=st.sampled_from([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, "", "text/html"]))
@example(data=b'{"schemaVersion":2,"manifests":[{"digest":' + b"[" * 900 + b"]" * 900 + b"}]}", told=OCI_INDEX)
@example(data=b'{"schemaVersion":' + b"9" * 5000 + b"}", told=OCI_INDEX)
@example(data=b'{"schemaVersion":2,"config":{"mediaType":"\\ud800"},"layers":[]}', told="")
def test_document_of_any_bytes_is_read_or_an_image_error(data: bytes, told: str) -> None:
    assert isinstance(or_error(lambda: read_document(data, told)), ImageIndex | ImageManifest | bytes)


@given(data=BYTES, value=st.dictionaries(KEYS, NEAR, max_size=8))
@example(data=b'{"os":"linux","architecture":' + b"[" * 900 + b"]" * 900 + b"}", value={})
def test_configuration_of_any_bytes_is_read_or_an_image_error(data: bytes, value: dict[str, Any]) -> None:
    assert isinstance(or_error(lambda: read(data)), PlatformFacts | bytes)
    near = dumped({"os": "linux", "architecture": "arm64", **value})
    found = or_error(lambda: read(near))
    assert isinstance(found, PlatformFacts | bytes)
    assert isinstance(found, bytes) or PlatformFacts.model_validate(found.model_dump()) == found


@pytest.mark.parametrize("field", ["architecture", "os"])
@pytest.mark.parametrize("value", ["a" * 65, "//:@", "amd64\n"])
def test_config_platform_must_be_a_name_where_the_index_says_it_too(field: str, value: str) -> None:
    found = read_document(manifest(), OCI_MANIFEST)
    assert isinstance(found, ImageManifest)
    with pytest.raises(ImageInvalid, match=f"the {field} is no name: "):
        platform_facts(found, config(**{field: value}), IndexEntry(A, "linux/amd64"))
