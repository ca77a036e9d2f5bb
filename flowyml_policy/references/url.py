"""Values of one line, and the one grammar of hosts, web addresses and paths.

    host          git.company.com   192.0.2.7   [2001:db8::1]       each may have a port: `host:8443`
    web address   https://host/path?query                           no user, no password, no '#'
    path          stacks/prod.yaml                                  from a repository's root, without `..`

Rules:
- A check raises `BadValue`, which says what is wrong and how to write it; nothing is coerced or repaired.
- A value that may carry credentials is never repeated in a message.
- Plain http is for this machine itself, and for the hosts that `policy.sources.plain_http` names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from flowyml_policy.records.record import KeyPath

PLAIN_HTTP: Final[KeyPath] = ("policy", "sources", "plain_http")
DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80, "ssh": 22}
HIGHEST_PORT: Final = 65535

MAX_TEXT: Final = 1000
MAX_SHOWN: Final = 60
MAX_HOST: Final = 253
_LABEL: Final = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
HOST_PATTERN: Final = rf"(?:\[[0-9A-Fa-f:.]{{2,45}}\]|{_HOST.pattern})(?::[0-9]{{1,5}})?"
"""What the grammar of a host with or without a port is as an expression alone."""
_PLACE: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", re.ASCII)


class BadValue(ValueError):
    """A value that its type does not allow: `what` completes "`key` ...", `fix` says how to write it."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; {fix}")


def shown(value: object) -> str:
    """`value` as a message repeats it: quoted, on one line, at most 60 characters, never a credential."""
    if isinstance(value, str) and "@" in value and ":" in value:
        return "(not shown)"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def text(value: str) -> str:
    """A string that says something and hides nothing."""
    if not value.strip():
        raise BadValue("is blank", "write a value, or take the key out")
    if value != value.strip():
        raise BadValue(f"has blanks around its value: {shown(value)}", "take the blanks out")
    if not value.isprintable():
        raise BadValue(f"holds a control or invisible character: {shown(value)}", "take it out")
    if len(value) > MAX_TEXT:
        raise BadValue(f"is longer than {MAX_TEXT} characters", "write a shorter value")
    return value


def host_name(value: str) -> str | None:
    """A host without its port in its one spelling, None for what is no host.

    That is in small letters, an IPv6 address in brackets and in its shortest form: `[2001:db8::1]`.
    """
    if not value.startswith("["):
        return value.lower() if len(value) <= MAX_HOST and _HOST.fullmatch(value) else None
    try:
        return bracketed(IPv6Address(value[1:-1]).compressed) if value.endswith("]") and "%" not in value else None
    except ValueError:
        return None


def place_of(value: str) -> tuple[str, int | None] | None:
    """A host in its one spelling, and its port where one is written; None for what is no host."""
    match = _PLACE.fullmatch(value)
    name = None if match is None else host_name(match[1])
    port = None if match is None or match[2] is None else int(match[2])
    if name is None or (port is not None and not 0 < port <= HIGHEST_PORT):
        return None
    return name, port


def bracketed(name: str) -> str:
    """A host without its port as addresses write it: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name


def host(value: str) -> str:
    """A host, with or without a port."""
    if place_of(value) is None:
        raise BadValue(f"is no host: {shown(value)}", "write a host alone, as registry.example.com or localhost:5000")
    return value


def named_host(value: str) -> str:
    """A host as addresses are compared with it, with a port where it is named for that one alone."""
    place = place_of(value)
    if place is None:
        raise BadValue(f"is no host: {shown(value)}", "write a host alone, or with its port, as files.example.com:8080")
    name, port = place
    return name if port is None else f"{name}:{port}"


def is_loopback(name: str) -> bool:
    """Whether a host without its port, in brackets or not, is this machine itself."""
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def may_be_plain(place: str, named: Collection[str] = ()) -> bool:
    """Whether plain http may be used to a host, with or without its port.

    `named` holds hosts in their one spelling, each for all of its ports, or `host:port`.
    """
    read = place_of(place)
    if read is None:
        return False
    name, port = read
    return is_loopback(name) or not {name, f"{name}:{port or DEFAULT_PORTS['http']}"}.isdisjoint(named)


def url(value: str) -> str:
    """An address: https, or plain http to this machine itself."""
    parts = urlsplit(web_address(value))
    if parts.scheme == "http" and not may_be_plain(parts.netloc):
        raise BadValue(
            f"is a plain http address of {parts.hostname}", "write https; plain http is for this machine alone"
        )
    return value


def server(value: str) -> str:
    """A server's address: as `url`, and nothing after the port."""
    parts = urlsplit(url(value))
    if parts.path.strip("/") or "?" in value:
        raise BadValue("goes on after its port", "write scheme, host and port, as https://localhost:8181")
    return value


def web_address(value: str) -> str:
    """An address: https, or plain http to any host."""
    try:
        parts = urlsplit(text(value))
        name, _ = parts.hostname, parts.port
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue("is no address", "write it as https://host/path") from error
    if parts.scheme not in {"https", "http"} or not name or " " in value:
        raise BadValue("is no https address", "write it as https://host/path")
    if "@" in parts.netloc:
        raise BadValue("carries credentials in its address", "take them out and name a variable in `token_env`")
    if place_of(parts.netloc) is None:
        raise BadValue("names no host", "write it as https://host/path")
    if parts.fragment:
        raise BadValue("has a '#' part", "take it out")
    return value


def file_path(value: str) -> str:
    """A path on this machine, relative to the folder of the file that names it."""
    text(value)
    if value.startswith("~"):
        raise BadValue(f"starts with '~', which is not expanded: {shown(value)}", "write the path in full")
    return value


def repository_path(value: str) -> str:
    """A file's or folder's place in a repository, without `./` at its beginning and `/` at its end."""
    path = text(value)
    while path.startswith("./"):
        path = path[2:]
    parts = path.rstrip("/").split("/")
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise BadValue(f"leads out of the repository: {shown(value)}", "write a path from the repository's root")
    if path.startswith("-") or not {"", ".", ".git"}.isdisjoint(parts):
        raise BadValue(
            f"is no place in a repository: {shown(value)}",
            "write it from the repository's root, as stacks/prod.yaml",
        )
    return "/".join(parts)
