"""Bodies of requests while they come: bounded each, in size and in time, and all that are in memory at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from flowyml_policy.server.exchange import Refused

_AT_ONCE: Final = 4
"""How many bodies of the largest size may be in memory at once."""


class Incoming:
    """Reads bodies of at most `largest` bytes that come within `seconds`. The event loop alone calls it."""

    def __init__(self, *, largest: int, seconds: float) -> None:
        self._largest = largest
        self._seconds = seconds
        self._held = 0

    @asynccontextmanager
    async def body(self, declared: str, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A body, counted as long as it is used. `declared` is its Content-Length, or "". Raises Refused."""
        if declared.isdigit() and int(declared) > self._largest:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            await asyncio.wait_for(self._read(stream, parts), self._seconds)
        except asyncio.TimeoutError as error:
            self._held -= sum(map(len, parts))
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "the body did not come in time") from error
        except BaseException:
            self._held -= sum(map(len, parts))
            raise
        whole = b"".join(parts)
        parts.clear()
        try:
            yield whole
        finally:
            self._held -= len(whole)

    async def _read(self, stream: AsyncIterator[bytes], parts: list[bytes]) -> None:
        size = 0
        async for part in stream:
            size += len(part)
            if size > self._largest:
                raise self._too_large()
            if self._held + len(part) > _AT_ONCE * self._largest:
                retry = {"retry-after": "1"}
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too much comes at once", headers=retry)
            self._held += len(part)
            parts.append(part)

    def _too_large(self) -> Refused:
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"at most {self._largest} bytes are taken")
