"""Bundles in a registry: their layout, tags that only go forward, and what a pull believes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.bundles.archive import SignatureState, read_archive, write_archive
from flowyml_policy.bundles.build import Built
from flowyml_policy.bundles.keys import KeyPair, read_private_key, read_public_key
from flowyml_policy.bundles.oci import Force, Pulled, parse_address, pull_bundle, push_bundle
from flowyml_policy.bundles.publication import Published
from flowyml_policy.bundles.signing import sign_bundle
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.errors.bundles import (
    BundleAccessDenied,
    BundleError,
    BundleMissing,
    BundleTampered,
    BundleUnreachable,
    BundleUnreadable,
    PushRefused,
    SignatureRefused,
)
from flowyml_policy.errors.root import UsageError
from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.oci_push import WritableRegistry
from flowyml_policy.records.events import BundleTagForced
from tests.oci_registry import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, OciServer, answering, digest_of, only, start
from tests.unit.bundles.archives import archive

NAME: Final = "team/policy"


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with start() as running:
        running.repository(NAME)
        yield running


@pytest.fixture(name="registry")
def _registry(server: OciServer) -> Iterator[WritableRegistry]:
    with closing(WritableRegistry(Credentials({}, environ={}), insecure=[server.host], environ={})) as made:
        yield made


@pytest.fixture(name="address")
def _address(server: OciServer) -> str:
    return f"oci://{server.host}/{NAME}:stable"


@pytest.fixture(name="here", autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(name="audit")
def _audit(here: Path) -> Iterator[AuditStore]:
    with AuditStore(here / "policy.db") as store:
        yield store


def named(server: OciServer) -> dict[str, Any]:
    """The manifest that the tag names."""
    repository = server.repository(NAME)
    found: dict[str, Any] = json.loads(repository.manifests[repository.tags["stable"]][0])
    return found


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Push


def test_pushed_bundle_has_the_layout_of_opa(registry: WritableRegistry, server: OciServer, address: str) -> None:
    file = archive(Path("b.tar.gz"), 7, expires="2099-01-31T00:00:00Z")
    packed = file.read_bytes()
    published = push_bundle(file, address, registry)

    manifest = named(server)
    config = server.repository(NAME).blobs[manifest["config"]["digest"]]
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.flowyml-policy.bundle.v1",
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [
            {
                "mediaType": OCI_LAYER,
                "digest": digest_of(packed),
                "size": len(packed),
                "annotations": {"org.opencontainers.image.title": "bundle.tar.gz"},
            }
        ],
        "annotations": {
            "flowyml-policy.bundle.revision": "1.0.0+19",
            "flowyml-policy.bundle.sequence": "7",
            "flowyml-policy.bundle.expires": "2099-01-31T00:00:00Z",
        },
    }
    assert json.loads(config) == {
        "architecture": "unknown",
        "os": "unknown",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(gzip.decompress(packed))]},
    }
    assert published == Published(
        place=f"{server.host}/{NAME}:stable",
        revision="1.0.0+19",
        sequence=7,
        expires="2099-01-31T00:00:00Z",
        digest=digest_of(packed),
        signature=None,
        manifest=server.repository(NAME).tags["stable"],
    )


def test_same_bundle_again_changes_nothing(registry: WritableRegistry, server: OciServer, address: str) -> None:
    file = archive(Path("b.tar.gz"), 7)
    first = push_bundle(file, address, registry)
    server.requests.clear()
    assert push_bundle(file, address, registry) == first._replace(changed=False)
    assert server.log == [f"GET /v2/{NAME}/manifests/stable"]


@pytest.mark.parametrize("sequence", [None, 0, -1, "7", 7.0, True])
def test_bundle_without_a_sequence_is_not_pushed(
    registry: WritableRegistry, server: OciServer, address: str, sequence: object
) -> None:
    with pytest.raises(PushRefused, match=r"the bundle has no sequence.*: b\.tar\.gz; build it with --sequence N"):
        push_bundle(archive(Path("b.tar.gz"), sequence), address, registry)
    assert server.requests == []


def test_tag_goes_forward(registry: WritableRegistry, server: OciServer, address: str) -> None:
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    push_bundle(archive(Path("b.tar.gz"), 8), address, registry)
    assert named(server)["annotations"]["flowyml-policy.bundle.sequence"] == "8"


def test_tag_that_would_go_back_stays(registry: WritableRegistry, server: OciServer, address: str) -> None:
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    before = named(server)
    server.requests.clear()
    with pytest.raises(PushRefused) as caught:
        push_bundle(archive(Path("old.tar.gz"), 6, rule="package org.rules.old"), address, registry)
    assert str(caught.value) == (
        f"the tag would go back, from sequence 7 (1.0.0+19) to 6: old.tar.gz to {server.host}/{NAME}:stable; "
        "build it with --sequence 8 or higher; --force moves the tag, and records it"
    )
    assert (named(server), server.asked("POST"), server.asked("PUT")) == (before, [], [])


def test_sequence_counts_that_stands_in_the_archive(
    registry: WritableRegistry, server: OciServer, address: str
) -> None:
    """Annotations are not signed: those of a tag may say what they like."""
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    manifest = named(server)
    manifest["annotations"]["flowyml-policy.bundle.sequence"] = "1"
    server.repository(NAME).add_manifest(manifest, OCI_MANIFEST, "stable")
    with pytest.raises(PushRefused, match="from sequence 7"):
        push_bundle(archive(Path("b.tar.gz"), 6), address, registry)


def test_other_bundle_of_the_same_sequence_is_refused(registry: WritableRegistry, address: str) -> None:
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    with pytest.raises(PushRefused, match=r"another bundle of the same sequence, 7 .*--sequence 8 or higher"):
        push_bundle(archive(Path("c.tar.gz"), 7, rule="package org.rules.c"), address, registry)


def test_same_content_signed_anew_takes_the_tag(
    registry: WritableRegistry, server: OciServer, address: str, keys: dict[str, KeyPair]
) -> None:
    file = archive(Path("b.tar.gz"), 7)
    for name in ("old", "new"):
        sign_bundle(file, read_private_key(keys[name].private))
        published = push_bundle(file, address, registry)
    assert published.signature == SignatureState("new", "ES256")
    assert named(server)["layers"][0]["digest"] == digest_of(file.read_bytes())


def test_bundle_of_another_tool_without_a_sequence_is_followed(
    registry: WritableRegistry, server: OciServer, address: str
) -> None:
    packed = archive(Path("b.tar.gz")).read_bytes()
    repository = server.repository(NAME)
    layer = {"mediaType": OCI_LAYER, "digest": repository.add_blob(packed), "size": len(packed)}
    repository.add_manifest({"schemaVersion": 2, "layers": [layer]}, OCI_MANIFEST, "stable")
    assert push_bundle(archive(Path("b.tar.gz"), 1), address, registry).changed


def test_forced_tag_goes_back_and_the_audit_has_it(
    registry: WritableRegistry, server: OciServer, address: str, audit: AuditStore
) -> None:
    old = push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    file = archive(Path("b.tar.gz"), 6, rule="package org.rules.before")
    published = push_bundle(file, address, registry, force=Force("ada", audit))
    assert (published.forced_from, published.manifest) == (7, server.repository(NAME).tags["stable"])
    (event,) = audit.get_events()
    assert isinstance(event, BundleTagForced)
    assert (event.actor, event.reference, event.sequence, event.old_sequence) == ("ada", published.place, 6, 7)
    assert event.payload == {
        "reference": f"{server.host}/{NAME}:stable",
        "sequence": 6,
        "revision": published.revision,
        "digest": published.digest,
        "manifest": published.manifest,
        "old_sequence": 7,
        "old_revision": old.revision,
        "old_digest": old.digest,
        "old_manifest": old.manifest,
    }


def test_force_that_is_not_needed_is_not_recorded(registry: WritableRegistry, address: str, audit: AuditStore) -> None:
    for sequence in (7, 7, 8):
        published = push_bundle(archive(Path("b.tar.gz"), sequence), address, registry, force=Force("ada", audit))
    assert (published.forced_from, audit.path.exists()) == (None, False)


def test_tag_stays_where_force_cannot_be_recorded(
    registry: WritableRegistry, server: OciServer, address: str, here: Path
) -> None:
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    before = named(server)
    (here / "file").touch()
    with pytest.raises(AuditUnwritable), AuditStore(here / "file" / "policy.db") as audit:
        push_bundle(archive(Path("b.tar.gz"), 6), address, registry, force=Force("ada", audit))
    assert named(server) == before


def layer_of_an_image(server: OciServer) -> str:
    """A layer that has files, none of them a bundle's."""
    write_archive(Path("layer"), {"etc/passwd": b"root", "app.rego": b"package app"})
    return server.repository(NAME).add_blob(Path("layer").read_bytes())


NO_BUNDLES: Final[dict[str, Callable[[OciServer], dict[str, object]]]] = {
    "other type": lambda _: {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"},
    "no archive": lambda server: {"mediaType": OCI_LAYER, "digest": server.repository(NAME).add_blob(b"layer")},
    "image": lambda server: {"mediaType": OCI_LAYER, "digest": layer_of_an_image(server)},
    "too large": lambda server: {"mediaType": OCI_LAYER, "digest": server.repository(NAME).add_blob(bytes(65 << 20))},
    "lost": lambda _: {"mediaType": OCI_LAYER, "digest": digest_of(b"lost")},
    "no digest": lambda _: {"mediaType": OCI_LAYER, "digest": 7},
}


@pytest.mark.parametrize("kind", NO_BUNDLES)
def test_what_is_no_bundle_loses_its_tag_by_force_alone(
    registry: WritableRegistry, server: OciServer, address: str, audit: AuditStore, kind: str
) -> None:
    manifest = {"schemaVersion": 2, "layers": [NO_BUNDLES[kind](server)]}
    before = server.repository(NAME).add_manifest(manifest, OCI_MANIFEST, "stable")
    file = archive(Path("b.tar.gz"), 7)
    with pytest.raises(PushRefused, match="the tag names something that is no bundle"):
        push_bundle(file, address, registry)
    assert server.repository(NAME).tags["stable"] == before
    assert push_bundle(file, address, registry, force=Force("ada", audit)).forced_from == 0
    assert audit.get_events()[0].payload["old_manifest"] == before


def test_registry_that_fails_meanwhile_lets_no_tag_move(
    registry: WritableRegistry, server: OciServer, address: str, audit: AuditStore
) -> None:
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    before = named(server)
    server.misbehave = only("/blobs/", answering(500))
    with pytest.raises(BundleUnreachable):
        push_bundle(archive(Path("b.tar.gz"), 6), address, registry, force=Force("ada", audit))
    assert (named(server), audit.path.exists()) == (before, False)


# Pull


def test_pulled_bundle_is_what_was_pushed(registry: WritableRegistry, server: OciServer, address: str) -> None:
    published = push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    pulled = pull_bundle(address, registry)
    assert pulled == Pulled(
        place=published.place,
        file=Path("policy.tar.gz"),
        revision=published.revision,
        sequence=7,
        expires=None,
        digest=published.digest,
        manifest=str(published.manifest),
        signature=None,
    )
    assert pulled.file.read_bytes() == Path("b.tar.gz").read_bytes()
    push_bundle(archive(Path("b.tar.gz"), 8), address, registry)
    pinned = f"oci://{server.host}/{NAME}@{published.manifest}"
    assert pull_bundle(pinned, registry, output=Path("here/c.tar.gz")).sequence == 7


def test_pull_follows_an_index_past_attestations(registry: WritableRegistry, server: OciServer, address: str) -> None:
    published = push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    repository = server.repository(NAME)
    image, bundle = repository.add_image({}), str(published.manifest)
    unknown = {"os": "unknown", "architecture": "unknown"}
    entries: list[dict[str, object]] = [
        repository.descriptor(bundle, platform=unknown) | {"digest": digest_of(b"attestation")},
        {"digest": "a-tag"},
        repository.descriptor(repository.add_manifest({"layers": []})),
        repository.descriptor(bundle),
        repository.descriptor(image),
    ]
    index = repository.add_index(entries, "stable")
    pulled = pull_bundle(address, registry)
    assert (pulled.digest, pulled.manifest) == (published.digest, index)


@pytest.mark.parametrize("is_tampered", ["layer", "manifest"])
def test_tampered_answer_is_refused_and_the_old_file_stays(
    registry: WritableRegistry, server: OciServer, address: str, is_tampered: str
) -> None:
    published = push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    Path("policy.tar.gz").write_bytes(b"old")
    repository = server.repository(NAME)
    other = archive(Path("c.tar.gz"), 9).read_bytes()
    if is_tampered == "layer":
        repository.blobs[published.digest] = other
    else:
        repository.manifests[str(published.manifest)] = json.dumps(named(server)).encode(), OCI_MANIFEST
        address = f"oci://{server.host}/{NAME}@{published.manifest}"
    with pytest.raises(BundleTampered, match="what the registry sent has another digest than sha256:"):
        pull_bundle(address, registry)
    assert Path("policy.tar.gz").read_bytes() == b"old"


def test_pull_with_keys_checks_the_signature_first(
    registry: WritableRegistry, address: str, built: Built, keys: dict[str, KeyPair], here: Path
) -> None:
    files = read_archive(built.file).files
    manifest = json.loads(files[".manifest"])
    manifest["metadata"]["sequence"] = 7
    write_archive(here / "b.tar.gz", {**files, ".manifest": json.dumps(manifest).encode()})
    push_bundle(here / "b.tar.gz", address, registry)
    old, new = (read_public_key(keys[name].public) for name in ("old", "new"))
    with pytest.raises(SignatureRefused) as caught:
        pull_bundle(address, registry, keys=[new])
    assert caught.value.message == f"the bundle is not signed: {address.removeprefix('oci://')}"
    sign_bundle(here / "b.tar.gz", read_private_key(keys["new"].private))
    push_bundle(here / "b.tar.gz", address, registry)
    with pytest.raises(SignatureRefused, match="signed by the key 'new', and old was given"):
        pull_bundle(address, registry, keys=[old])
    assert files_of(here) == ["b.tar.gz"]
    pulled = pull_bundle(address, registry, keys=[old, new])
    assert (pulled.is_verified, pulled.signature) == (True, SignatureState("new", "ES256"))
    assert files_of(here) == ["b.tar.gz", "policy.tar.gz"]


@pytest.mark.parametrize(
    "document",
    [
        b"no json",
        b"[]",
        b'{"layers": 1}',
        b'{"layers": ["x"]}',
        json.dumps({"layers": [{"mediaType": f"{OCI_LAYER}; v=1", "digest": digest_of(b"")}]}).encode(),
        json.dumps({"manifests": [{"digest": digest_of(b"no json")}]}).encode(),
    ],
)
def test_what_is_no_bundle_is_not_pulled(
    registry: WritableRegistry, server: OciServer, address: str, document: bytes
) -> None:
    repository = server.repository(NAME)
    repository.add_manifest(b"no json")
    repository.add_manifest(document, OCI_MANIFEST, "stable")
    with pytest.raises(BundleUnreadable, match="this is no bundle"):
        pull_bundle(address, registry)


def test_layer_that_is_no_archive_is_not_written(
    registry: WritableRegistry, server: OciServer, address: str, here: Path
) -> None:
    repository = server.repository(NAME)
    layer = {"mediaType": OCI_LAYER, "digest": repository.add_blob(b"no archive"), "size": 10}
    repository.add_manifest({"layers": [layer]}, OCI_MANIFEST, "stable")
    with pytest.raises(BundleUnreadable, match="no bundle, a gzipped tar archive"):
        pull_bundle(address, registry)
    assert files_of(here) == []


# Both


@pytest.mark.parametrize(
    ("status", "leaf"),
    [(401, BundleAccessDenied), (403, BundleAccessDenied), (404, BundleMissing), (429, BundleUnreachable)],
)
def test_failure_of_the_registry_has_its_own_error(
    registry: WritableRegistry, server: OciServer, address: str, status: int, leaf: type[BundleError]
) -> None:
    server.misbehave = only("/v2/", answering(status))
    with pytest.raises(leaf) as caught:
        pull_bundle(address, registry)
    assert type(caught.value) is leaf
    assert caught.value.message.endswith(f"({status}): {server.host}/{NAME}:stable")
    assert "image" not in caught.value.message
    with pytest.raises(leaf):
        push_bundle(archive(Path("b.tar.gz"), 7), address, registry)


def test_tag_that_the_registry_does_not_let_move_is_refused(
    registry: WritableRegistry, server: OciServer, address: str
) -> None:
    push_bundle(archive(Path("b.tar.gz"), 7), address, registry)
    server.misbehave = lambda handler: handler.command == "PUT" and answering(412)(handler)
    with pytest.raises(PushRefused, match=r"does not take .* \(412\): .*; look whether the registry takes pushes"):
        push_bundle(archive(Path("b.tar.gz"), 8), address, registry)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("oci://team/policy:1", "the address names no registry"),
        ("oci://policy:1", "the address names no registry"),
        ("registry.example.com/policy:1", "the address names no registry"),
        ("http://registry.example.com/policy:1", "is no image reference"),
        ("oci://registry.example.com/policy", "the address names no tag"),
        ("oci://user:secret@registry.example.com/policy:1", ""),
        ("oci://", ""),
    ],
)
def test_address_that_names_too_little_is_a_usage_error(address: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(address)
    assert said in str(caught.value)
    assert "write oci://registry.example.com/team/policy:1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_digest_is_nothing_to_push_to(registry: WritableRegistry) -> None:
    with pytest.raises(UsageError, match="pushed to a tag, not to a digest"):
        push_bundle(Path("b.tar.gz"), f"oci://registry.example.com/policy:1@{digest_of(b'')}", registry)
