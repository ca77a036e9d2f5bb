"""Who waits for which bundle: woken at once by a publication, and all of them without a stall.

Rules:
- Only the event loop touches what waits; other threads hand it their news.
- Ten thousand who are woken are answered a few at a time, so that others are served in between.
- What waits with a token that is revoked does not wait on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from flowyml_policy.records.server import Token
from flowyml_policy.server.exchange import Refused

_AT_ONCE: Final = 50
"""How many are woken before others get a turn: some milliseconds of work."""
_RETRY_SECONDS: Final = 10

_Waiter = asyncio.Future[None]


class Polls:
    """What waits, at most `most` of it at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_name: dict[str, set[_Waiter]] = {}
        self._by_token: dict[Token | None, set[_Waiter]] = {}
        self._woken: deque[_Waiter] = deque()
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False

    @property
    def count(self) -> int:
        """How many wait."""
        return self._count

    def open(self) -> None:
        """Hear news from now on. From the event loop: news from another thread could overtake the first who waits."""
        self._loop = asyncio.get_running_loop()

    async def wait(self, name: str, seconds: float, token: Token | None) -> None:
        """Wait for news of `name`, at most `seconds`. Raises Refused where too many wait.

        What is new, and whether the token may still be used, is to be looked at afterwards.
        """
        if self._is_stopping:
            return
        if self._count >= self._most:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_polls",
                "too many wait already",
                headers={"retry-after": str(_RETRY_SECONDS)},
            )
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        timer = loop.call_later(seconds, _wake, waiter)
        waiting = (self._by_name.setdefault(name, set()), self._by_token.setdefault(token, set()))
        for group in waiting:
            group.add(waiter)
        self._count += 1
        try:
            await waiter
        finally:
            timer.cancel()
            self._count -= 1
            for group in waiting:
                group.discard(waiter)
            if not waiting[1]:
                self._by_token.pop(token, None)

    def tell(self, name: str) -> None:
        """There is news of `name`. From any thread."""
        self._on_loop(lambda: self._wake_all(self._by_name.get(name, ())))

    def end_unless(self, is_current: Callable[[Token], bool]) -> None:
        """Wake who waits with a token that may not be used any more. From any thread."""
        self._on_loop(lambda: self._end_unless(is_current))

    def stop(self) -> None:
        """Wake all, and let nobody wait from now on. From the event loop."""
        self._is_stopping = True
        for group in self._by_name.values():
            self._wake_all(group)

    def _end_unless(self, is_current: Callable[[Token], bool]) -> None:
        for token, group in self._by_token.items():
            if token is not None and not is_current(token):
                self._wake_all(group)

    def _on_loop(self, work: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():  # None: nobody can wait yet
            self._loop.call_soon_threadsafe(work)

    def _wake_all(self, waiters: Iterable[_Waiter]) -> None:
        idle = not self._woken
        self._woken.extend(waiters)
        if idle:
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._woken))):
            _wake(self._woken.popleft())
        if self._woken and self._loop is not None:
            self._loop.call_soon(self._wake_some)


def _wake(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
