"""Which addresses are asked: https, and plain http to this machine itself and to hosts that are named for it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

RefusalReason: TypeAlias = Literal["unreadable", "scheme", "credentials", "fragment", "plain"]

_PORTS: Final = {"https": 443, "http": 80}
_TEXT: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
# What is compared here must be what is connected to, so that no host has a second reading.
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?", re.ASCII)


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
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine itself."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    def is_named_in(self, hosts: Collection[str]) -> bool:
        """Whether `hosts` holds the host, for all of its ports, or `host:port`."""
        return not {_bracketed(self.host), self.place}.isdisjoint(hosts)


def parse_address(url: str, plain_http: Collection[str] = ()) -> Address:
    """Read `url`; `plain_http` names hosts (`host` or `host:port`) for plain http. Raises AddressRefused."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefused("unreadable", url) from error
    if _TEXT.fullmatch(url) is None or parts.scheme not in _PORTS or not _is_host(host):
        raise AddressRefused("scheme", url)
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("credentials", url, host)
    if "#" in url:
        raise AddressRefused("fragment", url, host)
    address = Address(parts.scheme, host, port or _PORTS[parts.scheme], _target(parts))
    if address.scheme == "http" and not address.is_loopback and not address.is_named_in(plain_http):
        raise AddressRefused("plain", url, host)
    return address


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _NAME.fullmatch(host) is not None
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
