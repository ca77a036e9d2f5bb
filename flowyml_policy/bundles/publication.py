"""What may be published, in a registry or on a server, and what it is then."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.bundles.archive import SignatureState, parse_archive, read_packed
from flowyml_policy.errors.bundles import PushRefused

SECONDS: Final = 120.0
"""What a push or a pull may take, all its requests together."""


class Published(NamedTuple):
    """A bundle in a registry or on a server. `manifest` is the digest by which a registry names it.

    `changed` is False where it was there already. `forced_from` is the sequence that a tag went back from by force,
    0 where what it named had none; else None.
    """

    place: str
    revision: str
    sequence: int
    expires: str | None
    digest: str
    signature: SignatureState | None
    manifest: str | None = None
    changed: bool = True
    forced_from: int | None = None


def publishable(path: Path, place: str) -> tuple[bytes, Published]:
    """The bytes of the archive at `path`, and what it is once it is published at `place`.

    Raises UsageError, BundleUnreadable, and PushRefused for a bundle without a sequence.
    """
    packed = read_packed(path)
    archive = parse_archive(packed, path)
    revision, sequence, expires = archive.release
    if sequence is None:
        raise PushRefused(
            f"the bundle has no sequence, so that an older one could pass for it: {path}",
            advice="build it with --sequence N, higher than that of every bundle published before",
        )
    return packed, Published(place, revision, sequence, expires, archive.digest, archive.signature)
