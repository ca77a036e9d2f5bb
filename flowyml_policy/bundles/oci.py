"""Bundles in OCI registries, which OPA's own downloader reads there.

Rules:
- A tag goes forward in sequence. The same sequence may be put again for the same content, signed anew. Going back takes
  force, and is recorded before the tag moves.
- What is pulled is checked by its digests, and by its signature where keys are given, before it gets its name.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.bundles.archive import (
    MOST_PACKED,
    SIGNATURES,
    Archive,
    SignatureState,
    parse_archive,
    write_packed,
)
from flowyml_policy.bundles.keys import Key
from flowyml_policy.bundles.oci_layout import LAYER, MANIFEST, config_of, entries_of, layer_of, manifest_of
from flowyml_policy.bundles.publication import SECONDS, Published, publishable
from flowyml_policy.bundles.signing import Verified, verify_bundle
from flowyml_policy.errors.bundles import (
    BundleAccessDenied,
    BundleError,
    BundleMissing,
    BundleTampered,
    BundleUnreachable,
    BundleUnreadable,
    PushRefused,
)
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.mask.events import new_event
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_failures import RegistryFailure, RegistryReason
from flowyml_policy.network.oci_push import PushDeclined, WritableRegistry, digest_of
from flowyml_policy.network.oci_registry import Document, Endpoint, OciRegistry
from flowyml_policy.opa.bundle_files import MANIFEST as BUNDLE_MANIFEST
from flowyml_policy.records.events import BundleTagForced
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.protocols import EventRecorder
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import ImageReference, parse_reference

SCHEME: Final = "oci://"
_LEAVES: Final[Mapping[RegistryReason, type[BundleError]]] = {
    "missing": BundleMissing,
    "denied": BundleAccessDenied,
    "credentials": BundleAccessDenied,
    "mismatch": BundleTampered,
    "invalid": BundleUnreadable,
    "too_large": BundleUnreadable,
}
"""What is not named here is BundleUnreachable."""
_NO_BUNDLE: Final = frozenset({"missing", "invalid", "too_large", "mismatch"})
"""Why the layer under a tag is none that anybody could load."""


class Force(NamedTuple):
    """That a tag may go back in sequence: on whose word, and where that is recorded."""

    actor: str
    events: EventRecorder


class Pulled(NamedTuple):
    """A bundle that was pulled: from where, into which file, and whether a key was given that signed it."""

    place: str
    file: Path
    revision: str
    sequence: int | None
    expires: str | None
    digest: str
    manifest: str
    signature: SignatureState | None
    is_verified: bool = False


class _Found(NamedTuple):
    """A bundle in a registry: the digest of what its reference names, and its archive."""

    manifest: str
    packed: bytes
    archive: Archive


class _Place(NamedTuple):
    """What a reference names in its registry, asked for until the deadline. Raises RegistryFailure."""

    registry: OciRegistry
    reference: ImageReference
    endpoint: Endpoint
    deadline: Deadline

    @classmethod
    def of(cls, registry: OciRegistry, reference: ImageReference) -> _Place:
        endpoint = registry.endpoint(reference.registry, reference.repository)
        return cls(registry, reference, endpoint, Deadline(SECONDS))

    def document(self) -> Document:
        return self._manifest(self.reference.digest or str(self.reference.tag))

    def document_if_any(self) -> Document | None:
        try:
            return self.document()
        except RegistryFailure as failure:
            if failure.reason == "missing":
                return None
            raise

    def bundle(self, document: Document) -> _Found:
        """The bundle of a manifest, or of an index's first manifest that has one. Raises BundleUnreadable."""
        layer = layer_of(document.data)
        for digest in () if layer else entries_of(document.data):
            layer = layer_of(self._manifest(digest).data)
            if layer:
                break
        if not layer:
            raise BundleUnreadable(
                f"this is no bundle, it has no layer of the type {LAYER}: {self.reference}",
                advice="name what `flowyml-policy bundle push` or `oras push` put there",
            )
        packed = self.registry.blob(self.endpoint, layer, self.deadline, largest=MOST_PACKED)
        return _Found(document.digest, packed, parse_archive(packed, Path(str(self.reference))))

    def _manifest(self, reference: str) -> Document:
        return self.registry.manifest(self.endpoint, reference, self.deadline)


def parse_address(text: str) -> ImageReference:
    """The registry, repository and tag or digest of `oci://host/repository:tag`. Raises UsageError."""
    advice = f"write {SCHEME}registry.example.com/team/policy:1"
    try:
        reference = parse_reference(text.removeprefix(SCHEME))
    except ReferenceInvalid as error:
        raise UsageError(error.message, advice=advice) from error
    if not text.startswith(f"{SCHEME}{reference.registry}/"):
        raise UsageError(f"the address names no registry: {text}", advice=f"{advice}; Docker Hub is docker.io")
    if reference.tag is None and reference.digest is None:
        raise UsageError(f"the address names no tag: {text}", advice=advice)
    return reference


def push_bundle(path: Path, address: str, registry: WritableRegistry, *, force: Force | None = None) -> Published:
    """Put the bundle at `path` into a registry, under the tag of `address`.

    Raises UsageError, BundleError, and AuditError where force cannot be recorded; then the tag has not moved.
    """
    reference = parse_address(address)
    if reference.digest is not None:
        raise UsageError(f"a bundle is pushed to a tag, not to a digest: {address}", advice="leave the digest out")
    packed, published = publishable(path, str(reference))
    archive = parse_archive(packed, path)
    config = config_of(packed)
    manifest = manifest_of(archive.release, packed, config)
    published = published._replace(manifest=digest_of(manifest))
    with _only_leaves(reference):
        place = _Place.of(registry, reference)
        there = place.document_if_any()
        if there is not None and there.digest == published.manifest:
            return published._replace(changed=False)
        back = None if there is None else _going_back(place, there, archive)
        if back is not None and force is None:
            raise _refused(back, archive, reference)
        for blob in (packed, config):
            registry.put_blob(place.endpoint, blob, place.deadline)
        if back is not None and force is not None:
            payload = {**back, "manifest": published.manifest}
            event = new_event(BundleTagForced.TYPE, at=utc_now(), actor=force.actor, payload=payload)
            force.events.append_events([event])
            published = published._replace(forced_from=back["old_sequence"] or 0)
        registry.put_manifest(place.endpoint, str(reference.tag), manifest, MANIFEST, place.deadline)
    return published


def pull_bundle(
    address: str,
    registry: OciRegistry,
    *,
    output: Path | None = None,
    keys: Sequence[Key] = (),
    keyid: str | None = None,
) -> Pulled:
    """Write the bundle that `address` names to `output`, by default `<last part of the repository>.tar.gz` here.

    With `keys`, one of them must have signed it; see `verify_bundle`. Raises UsageError, BundleError, OpaError.
    """
    reference = parse_address(address)
    target = output or Path(f"{reference.repository.rpartition('/')[2]}.tar.gz")
    with _only_leaves(reference):
        place = _Place.of(registry, reference)
        found = place.bundle(place.document())
    archive, release = found.archive, found.archive.release
    verified = _verified(found, target, keys, keyid) if keys else None
    write_packed(target, found.packed)
    return Pulled(
        str(reference),
        target,
        release.revision,
        release.sequence,
        release.expires,
        archive.digest,
        found.manifest,
        archive.signature,
        is_verified=verified is not None,
    )


def _verified(found: _Found, target: Path, keys: Sequence[Key], keyid: str | None) -> Verified:
    """Check the signature of what was pulled, in a file beside `target`, which nobody loads by its name."""
    unchecked = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tar.gz")
    try:
        write_packed(unchecked, found.packed)
        return verify_bundle(unchecked, keys, keyid=keyid)._replace(file=target)
    except BundleError as error:
        raise type(error)(
            error.message.replace(str(unchecked), str(found.archive.path)), advice=error.advice
        ) from error
    finally:
        unchecked.unlink(missing_ok=True)


def _going_back(place: _Place, there: Document, archive: Archive) -> dict[str, Json] | None:
    """What is to be recorded if the tag moves from what is there to `archive`; None where that goes forward."""
    release = archive.release
    event: dict[str, Json] = {
        "reference": str(place.reference),
        "sequence": release.sequence,
        "revision": release.revision,
        "digest": archive.digest,
        "old_manifest": there.digest,
        "old_sequence": None,
        "old_revision": None,
        "old_digest": None,
    }
    try:
        old = place.bundle(there).archive
        before = old.release
    except BundleUnreadable:
        return event
    except RegistryFailure as failure:
        if failure.reason not in _NO_BUNDLE:
            raise
        return event
    if BUNDLE_MANIFEST not in old.files:  # the layers of images have the same type
        return event
    if before.sequence is None or before.sequence < (release.sequence or 0):
        return None
    if before.sequence == release.sequence and _content(old) == _content(archive):
        return None
    more = {"old_sequence": before.sequence, "old_revision": before.revision, "old_digest": old.digest}
    return event | more


def _refused(event: Mapping[str, Json], archive: Archive, reference: ImageReference) -> PushRefused:
    old, new = event["old_sequence"], event["sequence"]
    if old is None:
        what = "the tag names something that is no bundle"
        advice = "push to another tag; --force moves this one, and records it"
    elif old == new:
        what = f"the tag names another bundle of the same sequence, {old} ({event['old_revision']})"
        advice = f"build it with --sequence {old + 1} or higher"
    else:
        what = f"the tag would go back, from sequence {old} ({event['old_revision']}) to {new}"
        advice = f"build it with --sequence {old + 1} or higher; --force moves the tag, and records it"
    return PushRefused(f"{what}: {archive.path} to {reference}", advice=advice)


def _content(archive: Archive) -> dict[str, bytes]:
    return {name: content for name, content in archive.files.items() if name != SIGNATURES}


@contextmanager
def _only_leaves(reference: ImageReference) -> Iterator[None]:
    """Make leaves of BundleError of what a registry's failures are."""
    try:
        yield
    except RegistryFailure as failure:
        leaf = PushRefused if isinstance(failure, PushDeclined) else _LEAVES.get(failure.reason, BundleUnreachable)
        what = failure.what.replace("no such image", "no such bundle")
        raise leaf(f"{what}: {reference}", advice=failure.advice) from failure
