"""What the real cosign wrote (data/cosign/README.md), and signatures of the same layouts by keys made in a test."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flowyml_policy.images.signatures import PublicKey, load_key
from flowyml_policy.records.policy_input import SigningDemand, SigningKey
from tests.oci_registry import Repository

DATA = Path(__file__).parent / "data" / "cosign"
TAGS: dict[str, dict[str, str]] = json.loads((DATA / "tags.json").read_text("utf-8"))
IMAGE = TAGS["bundles"]["v1"]
"""The index that was signed, by its digest; every repository of the data holds the same."""

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO = "application/vnd.in-toto+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
OTHER = "sha256:" + "e" * 64


def document(digest: str) -> bytes:
    return (DATA / "documents" / digest.removeprefix("sha256:")).read_bytes()


def platforms() -> list[str]:
    return [entry["digest"] for entry in json.loads(document(IMAGE))["manifests"]]


def key(name: str) -> PublicKey:
    return load_key(DATA / f"{name}.pub", f"{name}.pub")


def demand(*keys: PublicKey, need: int = 1, entry: str = "registry.example.com") -> SigningDemand:
    return SigningDemand(entry=entry, need=need, keys=tuple(SigningKey(id=one.id, name=one.name) for one in keys))


def bundles_of(repository: str, subject: str = IMAGE) -> list[bytes]:
    """The bundles that refer to `subject`, in the order of cosign's index."""
    index = json.loads(document(TAGS[repository][subject.replace(":", "-")]))
    manifests = [json.loads(document(entry["digest"])) for entry in index["manifests"]]
    return [document(manifest["layers"][0]["digest"]) for manifest in manifests]


def layers_of(repository: str) -> list[tuple[bytes, str]]:
    """The payloads under the older tag, each with its signature."""
    manifest = json.loads(document(TAGS[repository][f"{IMAGE.replace(':', '-')}.sig"]))
    return [
        (document(layer["digest"]), layer["annotations"]["dev.cosignproject.cosign/signature"])
        for layer in manifest["layers"]
    ]


def fill(repository: Repository, name: str, *, listed: bool = False) -> None:
    """Put what cosign wrote to the repository `name` into one of a scripted registry.

    `listed`: the API knows what refers to the images, in place of the fallback tags.
    """
    index_type = "application/vnd.oci.image.index.v1+json"
    for tag, digest in TAGS[name].items():
        index = json.loads(document(digest))
        is_fallback = tag.startswith("sha256-") and not tag.endswith(".sig")
        for entry in index.get("manifests", []):
            manifest = document(entry["digest"])
            repository.add_manifest(manifest)
            _add_layers(repository, manifest)
        _add_layers(repository, document(digest))
        if is_fallback and listed:
            repository.referrers[tag.replace("-", ":", 1)] = index["manifests"]
        else:
            kind = index_type if "manifests" in index else "application/vnd.oci.image.manifest.v1+json"
            repository.add_manifest(document(digest), kind, tag)


def _add_layers(repository: Repository, manifest: bytes) -> None:
    for layer in json.loads(manifest).get("layers", []):
        if "vnd.dev" in layer["mediaType"]:
            repository.add_blob(document(layer["digest"]))


class Signer:
    """A key pair of a test."""

    def __init__(self, name: str = "test.pub") -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.name = name

    @property
    def pem(self) -> bytes:
        return self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def key(self) -> PublicKey:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "key.pub"
            path.write_bytes(self.pem)
            return load_key(path, self.name)

    def sign(self, data: bytes) -> str:
        return base64.b64encode(self._private.sign(data, ec.ECDSA(SHA256()))).decode()


def statement(digest: str = IMAGE, predicate_type: str = SIGN, **changes: Any) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
        "predicateType": predicate_type,
        "predicate": {},
        **changes,
    }


def bundle(payload: object, *signers: Signer, **changes: Any) -> bytes:
    """A bundle of version 0.3 over `payload` (bytes as they are, all else as JSON), with `changes` to its keys."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    kind = IN_TOTO.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(data), data)
    envelope = {
        "payload": base64.b64encode(data).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"sig": signer.sign(signed)} for signer in signers],
    }
    material = {"publicKey": {"hint": "c29tZXRoaW5n"}}
    whole = {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps({**whole, **changes}).encode()


def referring(repository: Repository, subject: str, blob: bytes, **changes: Any) -> str:
    """Put a bundle into a repository, as a manifest that refers to `subject` and that the API lists."""
    layer = {"mediaType": BUNDLE, "digest": repository.add_blob(blob), "size": len(blob)}
    return repository.add_referrer(subject, {"artifactType": BUNDLE, "layers": [layer], **changes})


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
