"""A request and its answer. Nothing is loaded for them: what asks is `network.http`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Final

_GUARDED: Final = frozenset({"authorization", "proxy-authorization", "if-none-match", "if-modified-since"})
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{0,1000}"', re.ASCII)


@dataclass(frozen=True)
class Request:
    """What is asked of a server.

    `largest` is the size of the largest body in bytes. `authorization` is the value of that header, and `etag` a strong
    one that `url` itself gave before: both have no place in `headers`, since they go to `url` and not to wherever a
    redirect leads. `redirects` is how many are followed; with none a redirect is the answer. `mirror` is the address
    that `url` stands in for. `repeatable` says that asking twice does no harm; None leaves that to the method.
    """

    method: str
    url: str
    largest: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)
    etag: str | None = None
    redirects: int = 0
    mirror: str | None = None
    repeatable: bool | None = None

    def __post_init__(self) -> None:
        if not _GUARDED.isdisjoint(name.lower() for name in self.headers):
            raise ValueError("credentials and validators have fields of their own")

    @property
    def is_safe(self) -> bool:
        """Whether it changes nothing on the server."""
        return self.method in {"GET", "HEAD"}


@dataclass(frozen=True)
class Response:
    """What a server said: header names in small letters, `url` the address that answered last.

    `trust` stands for whatever decided that it is believed: that server, the CA, whose credentials it got, the mirror.
    `not_modified` means that the ETag of the request is still right. The body of anything but a success may be cut.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    trust: str = ""
    not_modified: bool = False

    @property
    def etag(self) -> str | None:
        """The ETag, if it is a strong one, which stands for these very bytes."""
        found = self.headers.get("etag", "")
        return found if _STRONG_ETAG.fullmatch(found) else None

    @property
    def is_delimited(self) -> bool:
        """Whether the server said where the body ends, so that a part of it does not pass for the whole."""
        length = self.headers.get("content-length", "").strip()
        is_chunked = self.headers.get("transfer-encoding", "").strip().lower() == "chunked"
        return is_chunked or (length.isascii() and length.isdecimal())

    @property
    def retry_after(self) -> float | None:
        """Seconds for which the server wants to be left alone; None where it does not say."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdecimal():
            return float(text)
        with suppress(ValueError, TypeError, OverflowError):
            return max((parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds(), 0.0)
        return None
