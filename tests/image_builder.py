"""Container images made by hand, without a builder: layers, configurations, manifests, and the way into a registry.

Nothing in them is random or of today, so that the same call gives the same digests.
"""

from __future__ import annotations

import gzip
import http.client
import io
import json
import ssl
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from typing_extensions import Self

from tests.oci_registry import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of

CREATED: Final = "2026-01-02T03:04:05Z"
MANIFEST_TYPES: Final = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
_CONFIGS: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
}
_LAYERS: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar+gzip",
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


def encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Blob:
    """Bytes with their media type."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    def descriptor(self, **more: object) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **more}


@dataclass(frozen=True)
class Image:
    """One platform's image: its configuration, the unpacked archives of its layers, and its manifest."""

    config: Mapping[str, Any]
    layers: tuple[bytes, ...]
    media_type: str = OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def platform(self) -> dict[str, str]:
        return {key: self.config[key] for key in ("os", "architecture", "variant") if key in self.config}

    @property
    def config_blob(self) -> Blob:
        return Blob(encoded(self.config), _CONFIGS[self.media_type])

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What must be in the registry before the manifest: the configuration, then the packed layers."""
        packed = (Blob(gzip.compress(layer, mtime=0), _LAYERS[self.media_type]) for layer in self.layers)
        return (self.config_blob, *packed)

    @property
    def manifest(self) -> Blob:
        config, *layers = (blob.descriptor() for blob in self.blobs)
        document: dict[str, object] = {"schemaVersion": 2, "mediaType": self.media_type, "config": config}
        document["layers"] = layers
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return Blob(encoded(document), self.media_type)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(map(digest_of, self.layers))


@dataclass(frozen=True)
class Index:
    """Images of several platforms, with an attestation for each where that is wanted, as BuildKit lays it."""

    images: tuple[Image, ...]
    is_attested: bool = False
    media_type: str = OCI_INDEX

    @property
    def attestations(self) -> tuple[Image, ...]:
        return tuple(map(_attestation, self.images)) if self.is_attested else ()

    @property
    def manifest(self) -> Blob:
        entries = [image.manifest.descriptor(platform=image.platform) for image in self.images]
        for image, attestation in zip(self.images, self.attestations, strict=False):
            notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest}
            entries.append(attestation.manifest.descriptor(platform=attestation.platform, annotations=notes))
        return Blob(encoded({"schemaVersion": 2, "mediaType": self.media_type, "manifests": entries}), self.media_type)

    @property
    def digest(self) -> str:
        return self.manifest.digest


def layer(files: Mapping[str, bytes]) -> bytes:
    """The archive of a layer that holds `files`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def build(
    *,
    labels: Mapping[str, Any] | None = None,
    user: str | None = None,
    created: str | None = CREATED,
    layers: Sequence[bytes] | None = None,
    base: Image | None = None,
    platform: str = "linux/amd64",
    docker: bool = False,
    annotations: Mapping[str, str] | None = None,
    **config: Any,
) -> Image:
    """An image with `layers` on top of those of `base`.

    `docker` is Docker's own format in place of OCI's. `config` are further keys of the configuration's `config`, as
    Env, Entrypoint, ExposedPorts.
    """
    own = (layer({"hello.txt": b"hello\n"}),) if layers is None else tuple(layers)
    stacked = (*(base.layers if base else ()), *own)
    system, architecture, *variant = platform.split("/")
    said = {
        **({} if labels is None else {"Labels": dict(labels)}),
        **({} if user is None else {"User": user}),
        **config,
    }
    document: dict[str, Any] = {"architecture": architecture, "os": system, "config": said}
    document |= {"variant": variant[0]} if variant else {}
    document |= {} if created is None else {"created": created}
    document["rootfs"] = {"type": "layers", "diff_ids": list(map(digest_of, stacked))}
    document["history"] = [{"created": CREATED, "created_by": "by hand"} for _ in stacked]
    return Image(document, stacked, DOCKER_MANIFEST if docker else OCI_MANIFEST, annotations or {})


def index(*images: Image, attested: bool = False) -> Index:
    """An index of `images`, in the format of the first."""
    media_type = OCI_INDEX if images[0].media_type == OCI_MANIFEST else DOCKER_LIST
    return Index(images, attested, media_type)


def docker_archive(image: Image, name: str) -> bytes:
    """What `docker load` takes: the image under one name, as podman wants it."""
    files = {"config.json": image.config_blob.data}
    layers = {f"layer{number}.tar": data for number, data in enumerate(image.layers)}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": list(layers)}]
    return layer({**files, **layers, "manifest.json": encoded(manifest)})


def push(
    url: str,
    repository: str,
    tag: str | None,
    what: Image | Index,
    *,
    authorization: str | None = None,
    context: ssl.SSLContext | None = None,
) -> str:
    """Put an image, with all that belongs to it, into the registry at `url`, and return its digest."""
    registry = RegistryClient(url, authorization, context)
    with registry:
        for image in (what,) if isinstance(what, Image) else (*what.images, *what.attestations):
            for blob in image.blobs:
                registry.put_blob(repository, blob)
            registry.put_manifest(repository, image.digest, image.manifest)
        registry.put_manifest(repository, tag or what.digest, what.manifest)
    return what.digest


class RegistryClient:
    """As much of a registry's client as pushing takes, on one connection."""

    def __init__(self, url: str, authorization: str | None = None, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._headers = {} if authorization is None else {"Authorization": authorization}
        self._connection = (
            http.client.HTTPConnection(parts.netloc, timeout=10)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(parts.netloc, timeout=10, context=context)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with names in small letters, and body. Names of headers are given with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, self._headers | given)
        answer = self._connection.getresponse()
        data = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data

    def put_blob(self, repository: str, blob: Blob) -> None:
        if self.ask("HEAD", f"/v2/{repository}/blobs/{blob.digest}")[0] == http.HTTPStatus.OK:
            return
        status, headers, said = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == http.HTTPStatus.ACCEPTED, (status, said)
        place = urlsplit(headers["location"])
        target = f"{place.path}?{place.query}&digest={blob.digest}"
        status, _, said = self.ask("PUT", target, blob.data, Content_Type="application/octet-stream")
        assert status == http.HTTPStatus.CREATED, (status, said)

    def put_manifest(self, repository: str, reference: str, manifest: Blob) -> None:
        path = f"/v2/{repository}/manifests/{reference}"
        status, headers, said = self.ask("PUT", path, manifest.data, Content_Type=manifest.media_type)
        assert status == http.HTTPStatus.CREATED, (status, said)
        assert headers["docker-content-digest"] == manifest.digest


def _attestation(image: Image) -> Image:
    """What BuildKit adds to an index for a platform: an image that is none."""
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "pkg:docker/made@by-hand", "digest": {"sha256": image.digest.partition(":")[2]}}],
        "predicate": {},
    }
    data = encoded(statement)
    config = {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    config["rootfs"] = {"type": "layers", "diff_ids": [digest_of(data)]}
    return _Attestation(config, (data,))


class _Attestation(Image):
    """Its layers are statements, not archives."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        return (self.config_blob, *(Blob(data, "application/vnd.in-toto+json") for data in self.layers))
