"""Republishes old content: a server never goes back, so the old bundle comes again as the newest.

Rules:
- The old archive is fetched from the server's history, and believed only if a key of the operator's had signed it: who
  keeps archives cannot have just anything signed.
- It gets the next sequence, an expiry of its own and a new signature, made here: the server has no private key.
- Its revision is that of the old content and the new sequence, `1.0.0+99e2ca2e76bf.43`: the content's digest shows what
  decides, and the rest that it is another publication, in decisions, statuses and the history. The manifest keeps the
  old revision as `rolled_back_to`, from which a later rollback to this one is named again.
- Nothing is published where something else has been published meanwhile (If-Match).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from flowyml_policy.bundles.archive import SIGNATURES, Archive, parse_archive, write_archive, write_packed
from flowyml_policy.bundles.keys import Key
from flowyml_policy.bundles.publication import Published
from flowyml_policy.bundles.recipe import expiry
from flowyml_policy.bundles.server import BundleOnServer
from flowyml_policy.bundles.signing import sign_bundle, verify_archive
from flowyml_policy.errors.bundles import BundleMissing, BundleTampered, PushRefused
from flowyml_policy.errors.root import UsageError
from flowyml_policy.opa.bundle_files import MANIFEST, encoded
from flowyml_policy.records.record import Json
from flowyml_policy.references.url import BadValue

ORIGIN: Final = "rolled_back_to"


def roll_back(
    bundle: BundleOnServer, revision: str, key: Key, *, trusted: Sequence[Key], expires: str | None = None
) -> Published:
    """Publish the content of `revision` anew, signed by `key`. One of `trusted`, public keys, must have signed it.

    `expires` is as `expiry` gives it; without, the old one is kept as long as it lies ahead. Raises UsageError,
    BundleError, OpaError.
    """
    history = bundle.history()
    old = next((one for one in history if one.revision == revision and one.kept), None)
    if old is None:
        kept = ", ".join(dict.fromkeys(one.revision for one in history if one.kept))
        raise BundleMissing(
            f"the server keeps no archive of the revision {revision}: {bundle.url}",
            advice=f"name one of {kept}" if kept else "publish it anew",
        )
    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:
        file = Path(scratch) / "bundle.tar.gz"
        packed = bundle.archive(revision)
        write_packed(file, packed)
        archive = parse_archive(packed, file)
        if archive.release.revision != revision:
            raise BundleTampered(f"the server gave {archive.release.revision!r} for {revision!r}: {bundle.url}")
        verify_archive(archive, trusted)
        write_archive(file, _renewed(archive, max(one.sequence for one in history) + 1, expires))
        sign_bundle(file, key)
        return bundle.put(file, if_match=history[0].etag)


def _renewed(archive: Archive, sequence: int, expires: str | None) -> dict[str, bytes]:
    """The files of an archive, as another publication of the same content."""
    manifest = archive.manifest
    metadata: dict[str, Json] = manifest.get("metadata", {})
    origin = metadata.get(ORIGIN)
    origin = origin if isinstance(origin, str) else archive.release.revision
    metadata = {**metadata, ORIGIN: origin, "sequence": sequence}
    metadata.pop("expires", None)
    until = expires or _still_ahead(archive)
    if until is not None:
        metadata["expires"] = until
    manifest = {**manifest, "revision": f"{origin}.{sequence}", "metadata": metadata}
    files = {name: content for name, content in archive.files.items() if name != SIGNATURES}
    return {**files, MANIFEST: encoded(manifest)}


def _still_ahead(archive: Archive) -> str | None:
    """The expiry of an archive. Raises PushRefused where it is over."""
    stated = archive.release.expires
    if stated is None:
        return None
    try:
        expires = expiry(stated)
    except BadValue as error:
        raise UsageError(f"what the old bundle expires at {error.what}", advice="say --expires anew") from error
    if expires <= datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"):
        raise PushRefused(f"the old bundle expired at {expires}", advice="say --expires anew")
    return expires
