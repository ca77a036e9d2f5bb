"""Instants as records keep them: RFC 3339 in UTC, with microseconds, so that their texts sort as they do."""

from __future__ import annotations

from datetime import datetime, timezone


def instant(moment: datetime) -> str:
    """`moment`, which is in UTC, as `2026-01-31T09:30:00.000000Z`."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def utc_now() -> str:
    """This instant."""
    return instant(datetime.now(timezone.utc))
