"""What registries said of images, remembered between runs.

Rules:
- A document is kept by the endpoint and the repository that gave it, and its digest: another endpoint, or another
  repository, gives it again, to those whom it lets read it.
- Which digest a tag had is kept with what decided that the endpoint was trusted, and with the instant.
- Nothing is believed for lying here: bytes are hashed whenever they are read, and compared with what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from flowyml_policy.documents.canonical import digest as digest_of
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.network.oci_registry import Document, Endpoint, Quota
from flowyml_policy.records.instant import instant
from flowyml_policy.records.protocols import ContentStore, KeptBytes

TAG_KIND: Final = "image-tag"
DOCUMENT_KIND: Final = "image-document"
QUOTA_KIND: Final = "image-quota"
"""The first part of the keys of the cache."""

_DIGEST: Final = re.compile(rb"sha256:[0-9a-f]{64}")


class Remembered(NamedTuple):
    """A document, and the instant when the registry gave it, or said that it has the tag."""

    document: Document
    at: str


class ImageMemory:
    """Documents by digest, for ever, and the digests of tags, for `tag_ttl` seconds; both as `cache` keeps them.

    Digests of tags from before `since` do not count. Raises only what the cache raises.
    """

    def __init__(
        self, cache: ContentStore, *, tag_ttl: float, now: Callable[[], datetime], since: datetime | None = None
    ) -> None:
        self._cache = cache
        self._tag_ttl = timedelta(seconds=tag_ttl)
        self._now = now
        self._since = since

    def document(self, endpoint: Endpoint, digest: str) -> Remembered | None:
        """The manifest, index or configuration of `digest` that `endpoint` gave for its repository."""
        kept = self._get(DOCUMENT_KIND, endpoint.origin, endpoint.repository, digest)
        if kept is None or digest_of(kept.data) != digest:
            return None
        return Remembered(Document(kept.data, kept.notes.get("media_type", ""), digest), kept.notes.get("at", ""))

    def keep_document(self, endpoint: Endpoint, document: Document) -> Remembered:
        """Remember `document`, whose digest the caller computed."""
        at = instant(self._now())
        notes = {"media_type": document.media_type, "at": at}
        key = DOCUMENT_KIND, endpoint.origin, endpoint.repository, document.digest
        self._put(*key, data=document.data, notes=notes)
        return Remembered(document, at)

    def tag(self, endpoint: Endpoint, tag: str, trust: str) -> tuple[str, str] | None:
        """The digest that `tag` has, and the instant when that was asked; None where that is unknown, or too old."""
        kept = self._get(TAG_KIND, endpoint.origin, endpoint.repository, tag, trust)
        if kept is None or not _DIGEST.fullmatch(kept.data):
            return None
        at = kept.notes.get("at", "")
        with suppress(ValueError):
            asked = datetime.fromisoformat(at.replace("Z", "+00:00"))
            is_new = asked.tzinfo is not None and (self._since is None or asked >= self._since)
            if is_new and timedelta() <= self._now() - asked <= self._tag_ttl:
                return kept.data.decode(), at
        return None

    def keep_tag(self, endpoint: Endpoint, tag: str, trust: str, *, digest: str, at: str) -> None:
        """Remember that `tag` had `digest` at the instant `at`."""
        key = TAG_KIND, endpoint.origin, endpoint.repository, tag, trust
        self._put(*key, data=digest.encode(), notes={"at": at})

    def keep_quota(self, endpoint: Endpoint, quota: Quota) -> None:
        """Remember what the registry said is left, for who asks how it stands."""
        said = {"remaining": quota.remaining, "limit": quota.limit, "window": quota.window}
        notes = {name: str(value) for name, value in said.items() if value is not None}
        self._put(QUOTA_KIND, endpoint.origin, data=b"", notes={**notes, "at": instant(self._now())})

    def _get(self, *key: str) -> KeptBytes | None:
        with suppress(SourceUnreadable):  # a user without a home has nowhere to remember anything
            return self._cache.get(*key)
        return None

    def _put(self, *key: str, data: bytes, notes: dict[str, str]) -> None:
        with suppress(SourceUnreadable):
            self._cache.put(*key, data=data, notes=notes)
