"""Which addresses are asked: https, and plain http to this machine itself and to hosts that are named for it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from flowyml_policy.references.url import DEFAULT_PORTS, bracketed, is_loopback, may_be_plain, place_of

RefusalReason: TypeAlias = Literal["unreadable", "scheme", "credentials", "fragment", "plain"]

_SCHEMES: Final = ("https", "http")
_TEXT: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)


class AddressRefused(ValueError):
    """`url` is not asked, for `reason`; `host` is the host that it names, where it names one."""

    def __init__(self, reason: RefusalReason, url: str, host: str = "") -> None:
        super().__init__(f"the address is not asked: {reason}")
        self.reason = reason
        self.url = url
        self.host = host


@dataclass(frozen=True)
class Address:
    """An address that may be asked. `target` is its path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return self.scheme, self.host, self.port

    @property
    def place(self) -> str:
        """Host and port, as an address has them."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine itself."""
        return is_loopback(self.host)


def parse_address(url: str, plain_http: Collection[str] = ()) -> Address:
    """Read `url`; `plain_http` names hosts (`host` or `host:port`) for plain http. Raises AddressRefused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("unreadable", url) from error
    # What is compared here must be what is connected to, so that no host has a second reading.
    place = parts.netloc.rpartition("@")[2]
    read = place_of(place)
    if _TEXT.fullmatch(url) is None or parts.scheme not in _SCHEMES or read is None:
        raise AddressRefused("scheme", url)
    host = read[0].strip("[]")
    if "@" in parts.netloc:
        raise AddressRefused("credentials", url, host)
    if "#" in url:
        raise AddressRefused("fragment", url, host)
    if parts.scheme == "http" and not may_be_plain(place, plain_http):
        raise AddressRefused("plain", url, host)
    return Address(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], _target(parts))


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
