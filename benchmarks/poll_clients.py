"""Clients of the bundle server, many in one process of its own, which tells `polls.py` what they were answered.

`park COUNT`: long polls, each over a connection of its own, as OPA asks: what is answered is asked for again at once. A
line of JSON when all have asked, and one whenever all have been answered.
`rate PER_SECOND SECONDS`: conditional requests without a wait, each at its own instant, whether or not those before it
are answered. What is told are the seconds from that instant to the answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

WAIT = 1200
OPENED_AT_ONCE = 100
CONNECTIONS = 64


class Target:
    """Where to ask, for what, with which token and ETag."""

    def __init__(self, url: str, token: str, etag: str, ca: str) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.path = parts.hostname or "", parts.port or 0, parts.path
        self.token, self.etag = token, etag
        self.context = ssl.create_default_context(cafile=ca) if ca else None

    def request(self, etag: str, wait: int | None) -> bytes:
        prefer = "modes=snapshot,delta" + (f";wait={wait}" if wait else "")
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.token}\r\n"
            f"If-None-Match: {etag}\r\nPrefer: {prefer}\r\n\r\n"
        ).encode()


class Client(asyncio.Protocol):
    """One connection: it sends, and hands every whole answer to `answered`."""

    def __init__(self) -> None:
        self.transport = asyncio.Transport()
        self._read = bytearray()
        self._left = -1
        self._head: tuple[int, str] = (0, "")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._left < 0:
            end = self._read.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = bytes(self._read[:end]).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            self._head = int(lines[0].split()[1]), headers.get("etag", "")
            self._left = int(headers.get("content-length", 0))
            del self._read[: end + 4]
        if len(self._read) >= self._left:
            del self._read[: self._left]
            self._left = -1
            self.answered(*self._head)

    def answered(self, status: int, etag: str, /) -> None:
        raise NotImplementedError


class Poller(Client):
    """Waits for a new revision, again and again."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self._crowd = crowd

    def connection_lost(self, _: Exception | None) -> None:
        self._crowd.count(0, "")

    def answered(self, status: int, etag: str, /) -> None:
        self._crowd.count(status, etag)
        self.send(self._crowd.target.request(etag, WAIT))


class Crowd:
    """All that poll, and what they were answered."""

    def __init__(self, target: Target, size: int) -> None:
        self.target = target
        self._size = size
        self._answers: Counter[tuple[int, str]] = Counter()
        self._first = 0.0

    def count(self, status: int, etag: str) -> None:
        self._first = self._first or time.time()
        self._answers[status, etag] += 1
        if sum(self._answers.values()) == self._size:
            told = {f"{status} {etag}": count for (status, etag), count in self._answers.items()}
            tell({"answers": told, "first": self._first, "last": time.time()})
            self._answers.clear()
            self._first = 0.0

    async def park(self) -> None:
        loop = asyncio.get_running_loop()
        target = self.target
        started = time.time()
        for begin in range(0, self._size, OPENED_AT_ONCE):
            opened = [
                loop.create_connection(lambda: Poller(self), target.host, target.port, ssl=target.context)
                for _ in range(min(OPENED_AT_ONCE, self._size - begin))
            ]
            for _, poller in await asyncio.gather(*opened):
                poller.send(target.request(target.etag, WAIT))
        tell({"asked": self._size, "seconds": time.time() - started})
        await asyncio.Event().wait()


class Timed(Client):
    """Asks when it is told to, and keeps how long the answer took."""

    def __init__(self, idle: asyncio.Queue[Timed], seconds: list[float], statuses: Counter[int]) -> None:
        super().__init__()
        self._idle, self._seconds, self._statuses = idle, seconds, statuses
        self._due = 0.0

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self.send(request)

    def answered(self, status: int, _etag: str, /) -> None:
        self._seconds.append(time.perf_counter() - self._due)
        self._statuses[status] += 1
        self._idle.put_nowait(self)


async def rate(target: Target, per_second: int, seconds: float) -> None:
    """Ask at a steady rate, each request at its own instant."""
    loop = asyncio.get_running_loop()
    idle: asyncio.Queue[Timed] = asyncio.Queue()
    taken: list[float] = []
    statuses: Counter[int] = Counter()
    for _ in range(CONNECTIONS):
        _, made = await loop.create_connection(
            lambda: Timed(idle, taken, statuses), target.host, target.port, ssl=target.context
        )
        idle.put_nowait(made)
    request, count = target.request(target.etag, None), round(per_second * seconds)
    begin = time.perf_counter() + 0.2
    for number in range(count):
        due = begin + number / per_second
        pause = due - time.perf_counter()
        if pause > 0.001:
            await asyncio.sleep(pause)
        (await idle.get()).ask(request, due)
    for _ in range(CONNECTIONS):
        await idle.get()
    tell({"seconds": taken, "statuses": statuses, "took": time.perf_counter() - begin})


def tell(told: object) -> None:
    """One line for polls.py."""
    print(json.dumps(told), flush=True)


def main(arguments: list[str]) -> None:
    """`URL TOKEN_FILE ETAG CA|"" park COUNT` or `... rate PER_SECOND SECONDS`."""
    url, token, etag, ca, what, *numbers = arguments
    target = Target(url, Path(token).read_text().strip(), etag, ca)
    if what == "park":
        asyncio.run(Crowd(target, int(numbers[0])).park())
    else:
        asyncio.run(rate(target, int(numbers[0]), float(numbers[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
