"""The layout of a bundle in an OCI registry, as bytes: nothing is asked here.

Rules:
- A manifest has one layer, the archive itself. OPA takes the first layer of exactly its media type, and
  so does a pull.
- What annotations say is for people and registries; only the archive is believed.
- The same archive gives the same manifest, so that it has one digest in every registry.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from flowyml_policy.bundles.archive import Release
from flowyml_policy.errors.bundles import BundleUnreadable
from flowyml_policy.records.record import Json

ARTIFACT: Final = "application/vnd.flowyml-policy.bundle.v1"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
REVISION: Final = "flowyml-policy.bundle.revision"
SEQUENCE: Final = "flowyml-policy.bundle.sequence"
EXPIRES: Final = "flowyml-policy.bundle.expires"

_TITLE: Final = {"org.opencontainers.image.title": "bundle.tar.gz"}
"""What `oras pull` calls the file."""
_MOST_ENTRIES: Final = 100


def layer_of(manifest: bytes) -> str | None:
    """The digest of the layer that OPA takes for a bundle."""
    for layer in _listed(manifest, "layers"):
        if layer.get("mediaType") == LAYER:
            return str(layer.get("digest"))
    return None


def entries_of(index: bytes) -> Iterator[str]:
    """The digests of an index's manifests, but of those of attestations, which OPA leaves out too."""
    for entry in _listed(index, "manifests")[:_MOST_ENTRIES]:
        platform, digest = entry.get("platform"), str(entry.get("digest"))
        is_attestation = isinstance(platform, dict) and platform.get("os") == platform.get("architecture") == "unknown"
        if ":" in digest and not is_attestation:  # without a colon it would be asked for as a tag, and not checked
            yield digest


def _listed(document: bytes, key: str) -> list[dict[str, Json]]:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return []
    found = value.get(key) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def manifest_of(release: Release, packed: bytes, config: bytes) -> bytes:
    """The manifest of an archive and its configuration."""
    said = {REVISION: release.revision, SEQUENCE: str(release.sequence)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, packed) | {"annotations": _TITLE}],
        "annotations": said if release.expires is None else {**said, EXPIRES: release.expires},
    }
    return _encoded(manifest)


def config_of(packed: bytes) -> bytes:
    """An image's configuration, with the least that registries demand of one. Raises BundleUnreadable."""
    try:
        digest = f"sha256:{sha256(gzip.decompress(packed)).hexdigest()}"
    except (OSError, EOFError, zlib.error) as error:
        raise BundleUnreadable(f"the bundle is no whole gzip archive: {error}") from error
    rootfs = {"type": "layers", "diff_ids": [digest]}
    return _encoded({"architecture": "unknown", "os": "unknown", "rootfs": rootfs})


def _descriptor(media_type: str, data: bytes) -> dict[str, Json]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256(data).hexdigest()}", "size": len(data)}


def _encoded(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
