"""Bundles to publish: small ones, of a company's levels, made without a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowyml_policy.bundles.archive import write_archive
from flowyml_policy.bundles.keys import KeyPair, read_private_key
from flowyml_policy.bundles.signing import sign_bundle
from flowyml_policy.opa.bundle_files import archive_bytes


def company(revision: str, *, roots: tuple[str, ...] = ("org",), data: Any = None, **metadata: Any) -> bytes:
    """A bundle of one level, `version.missing`, which its revision stands in."""
    return archive_bytes(files(revision, roots=roots, data=data, **metadata))


def files(revision: str, *, roots: tuple[str, ...] = ("org",), data: Any = None, **metadata: Any) -> dict[str, bytes]:
    """The files of such a bundle."""
    manifest = {"revision": revision, "roots": list(roots), "metadata": metadata}
    data = {"org": {"levels": {"version.missing": "soft"}, "note": revision}} if data is None else data
    return {".manifest": json.dumps(manifest).encode(), "data.json": json.dumps(data).encode()}


def signed(folder: Path, keys: KeyPair, revision: str, **metadata: Any) -> bytes:
    """Such a bundle, signed."""
    path = folder / f"{revision}.tar.gz"
    write_archive(path, files(revision, **metadata))
    sign_bundle(path, read_private_key(keys.private))
    return path.read_bytes()
