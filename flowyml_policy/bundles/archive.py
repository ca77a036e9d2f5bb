"""Bundle archives, read without being loaded: what is in them, whether or not it may be believed.

Rules:
- An archive may come from anywhere: its size is bounded, and only regular files count, each once.
- Names are as OPA's signatures have them, without a leading slash.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import secrets
import tarfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.errors.bundles import BundleUnreadable
from flowyml_policy.errors.root import UsageError
from flowyml_policy.opa.bundle_files import MANIFEST, BundleFiles, archive_bytes
from flowyml_policy.records.record import Json
from flowyml_policy.system.files import is_folder, is_missing, read_regular

SIGNATURES: Final = ".signatures.json"
DATA: Final = "data.json"
MOST_PACKED: Final = 64 << 20
MOST_UNPACKED: Final = 256 << 20


class SignatureState(NamedTuple):
    """What an archive says of its signature, checked by nobody: by which key, with which algorithm."""

    keyid: str | None
    algorithm: str | None


class Release(NamedTuple):
    """What an archive's manifest says of its place among others of its name. `sequence` is at least 1."""

    revision: str
    sequence: int | None
    expires: str | None


class Archive(NamedTuple):
    """An archive: its file, the digest of its bytes, and its files by name."""

    path: Path
    digest: str
    files: dict[str, bytes]

    @property
    def manifest(self) -> dict[str, Json]:
        """The manifest; empty where there is none. Raises BundleUnreadable."""
        return self._json(MANIFEST)

    @property
    def release(self) -> Release:
        """Revision, sequence and expiry; None for what the manifest does not say well. Raises BundleUnreadable."""
        manifest = self.manifest
        metadata = manifest.get("metadata", {})
        if not isinstance(metadata, dict):
            raise BundleUnreadable(f"the manifest has not the agreed shape: {self.path}")
        sequence, expires = metadata.get("sequence"), metadata.get("expires")
        return Release(
            revision=str(manifest.get("revision", "")),
            sequence=sequence if type(sequence) is int and sequence > 0 else None,
            expires=expires if isinstance(expires, str) else None,
        )

    @property
    def data(self) -> dict[str, Json]:
        """The data at the root, where all data of bundles that are built here stands. Raises BundleUnreadable."""
        return self._json(DATA)

    @property
    def rego(self) -> dict[str, bytes]:
        """The Rego files."""
        return {name: content for name, content in self.files.items() if name.endswith(".rego")}

    @property
    def signature(self) -> SignatureState | None:
        """What the signature says of itself; None where the bundle is not signed. Raises BundleUnreadable."""
        if SIGNATURES not in self.files:
            return None
        tokens = self._json(SIGNATURES).get("signatures")
        if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
            raise BundleUnreadable(f"{SIGNATURES} does not hold exactly one signature: {self.path}")
        header, payload = self._part(tokens[0], 0), self._part(tokens[0], 1)
        keyid = header.get("kid") or payload.get("keyid")
        return SignatureState(_text(keyid), _text(header.get("alg")))

    def bundle_files(self) -> BundleFiles:
        """Its policy and data, as they are collected from folders."""
        found = BundleFiles(self.rego)
        found.data = self.data
        found.origins = {name: Path(name) for name in found.files}
        return found

    def _json(self, name: str) -> dict[str, Json]:
        if name not in self.files:
            return {}
        try:
            value = json.loads(self.files[name])
        except (ValueError, RecursionError) as error:
            raise BundleUnreadable(f"{name} is no JSON: {self.path}: {error}") from error
        if not isinstance(value, dict):
            raise BundleUnreadable(f"{name} is no JSON object: {self.path}")
        return value

    def _part(self, token: str, index: int) -> dict[str, Json]:
        try:
            part = token.split(".")[index]
            value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (ValueError, IndexError, RecursionError) as error:
            raise BundleUnreadable(f"the signature is no JSON Web Token: {self.path}") from error
        return value if isinstance(value, dict) else {}


def read_archive(path: Path) -> Archive:
    """The archive at `path`. Raises UsageError where there is none, BundleUnreadable for what is no bundle."""
    return parse_archive(read_packed(path), path)


def parse_archive(packed: bytes, path: Path) -> Archive:
    """The archive of these bytes, which `path` names in messages. Raises BundleUnreadable for what is no bundle."""
    return Archive(path, f"sha256:{sha256(packed).hexdigest()}", _unpacked(packed, path))


def read_packed(path: Path) -> bytes:
    """The bytes of the file at `path`, whatever it is. Raises UsageError where there is none, BundleUnreadable."""
    if is_missing(path):
        raise UsageError(f"there is no such file: {path}", advice="name a bundle, a .tar.gz file")
    if is_folder(path):
        raise UsageError(f"this is a folder, not a bundle: {path}", advice="name a bundle, a .tar.gz file")
    try:
        packed = read_regular(path, most=MOST_PACKED)
    except (OSError, ValueError) as error:
        raise BundleUnreadable(f"the bundle cannot be read: {path}: {error}") from error
    if packed is None or len(packed) > MOST_PACKED:
        why = "no regular file" if packed is None else f"larger than {MOST_PACKED:,} bytes"
        raise BundleUnreadable(f"the bundle is {why}: {path}")
    return packed


def write_archive(path: Path, files: dict[str, bytes]) -> str:
    """Write an archive of `files`, the same bytes for the same files; answer their digest. Raises BundleUnreadable."""
    return write_packed(path, archive_bytes(files))


def write_packed(path: Path, packed: bytes) -> str:
    """Write an archive that is packed already, whole or not at all; answer its digest. Raises BundleUnreadable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            unfinished.write_bytes(packed)
            unfinished.replace(path)  # a reader meanwhile gets the old one whole, or the new one
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise BundleUnreadable(
            f"the bundle cannot be written: {path}: {error.strerror}", advice="name another file with --output"
        ) from error
    return f"sha256:{sha256(packed).hexdigest()}"


def _unpacked(packed: bytes, path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    room = MOST_UNPACKED
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as zipped, tarfile.open(fileobj=zipped, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = member.name.lstrip("/").removeprefix("./")
                if not member.isreg() or name in files or ".." in name.split("/"):
                    raise BundleUnreadable(f"{member.name!r} is no file of a bundle, or stands twice: {path}")
                room -= member.size
                if room < 0:
                    raise BundleUnreadable(f"the bundle holds more than {MOST_UNPACKED:,} bytes: {path}")
                content = archive.extractfile(member)
                files[name] = content.read() if content else b""
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise BundleUnreadable(f"the file is no bundle, a gzipped tar archive: {path}: {error}") from error
    return files


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None
