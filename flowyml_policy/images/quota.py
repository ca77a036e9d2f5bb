"""What registries last said may still be asked of them, as it was remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.images.cache import open_cache
from flowyml_policy.images.memory import QUOTA_KIND
from flowyml_policy.settings.settings import Settings

_HOUR = 3600


class RememberedQuota(NamedTuple):
    """How many manifests may still be read at `registry`, as it said at the instant `at`."""

    registry: str
    remaining: str
    limit: str | None
    window: int | None
    at: str

    def __str__(self) -> str:
        """In words: `https://registry-1.docker.io: 76 of 100 in 6 h are left, as of 2026-11-29T22:31:24Z`."""
        of = f" of {self.limit}" if self.limit else ""
        within = f" in {self.window / _HOUR:g} h" if self.window else ""
        return f"{self.registry}: {self.remaining}{of} manifests{within} are left, as of {self.at}"


def remembered_quotas(settings: Settings) -> Iterator[RememberedQuota]:
    """The quota of each registry that told one. Raises SourceRefused for a cache that is not this user's."""
    with suppress(SourceUnreadable):  # a user without a home remembers nothing
        for entry in open_cache(settings).entries():
            kind, *rest = entry.key
            if kind == QUOTA_KIND:
                window = entry.notes.get("window", "")
                yield RememberedQuota(
                    registry=rest[0],
                    remaining=entry.notes.get("remaining", "?"),
                    limit=entry.notes.get("limit"),
                    window=int(window) if window.isdecimal() else None,
                    at=entry.notes.get("at", "?"),
                )
