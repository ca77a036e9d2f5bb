"""Values of one line, and the grammar of hosts and web addresses.

Rules of this module:
- A check raises `BadValue`, which says what is wrong and how to write it; nothing is coerced or repaired.
- A value that may carry credentials is never repeated in a message.
- Plain http is for this machine itself, and for the hosts that `policy.sources.plain_http` names.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from flowyml_policy.records.record import KeyPath
from flowyml_policy.references.git import meant_by_short_form

PLAIN_HTTP: Final[KeyPath] = ("policy", "sources", "plain_http")
PORT: Final = 80


def may_be_plain(address: SplitResult, named: Collection[str]) -> bool:
    """Whether plain http may be used to `address`; `named` holds hosts, each for all of its ports, or `host:port`."""
    host = address.hostname or ""
    try:
        place = bracketed(host)
    except ValueError:
        return False
    return is_loopback(host) or not {place, f"{place}:{address.port or PORT}"}.isdisjoint(named)


MAX_TEXT: Final = 1000
MAX_SHOWN: Final = 60
MAX_HOST: Final = 259
_HOST: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::[0-9]{1,5})?",
    re.ASCII,
)
_END_OF_HOST: Final = re.compile(r"[/?#]")


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


def host(value: str) -> str:
    """A host, with or without a port."""
    if len(value) > MAX_HOST or _HOST.fullmatch(value) is None:
        raise BadValue(f"is no host: {shown(value)}", "write a host alone, as registry.example.com or localhost:5000")
    return value


def named_host(value: str) -> str:
    """A host as addresses are compared with it: in small letters, with a port where it is named for that one alone."""
    try:
        parts = urlsplit(f"//{host(value)}")
        name, port = bracketed(parts.hostname or ""), parts.port
    except BadValue:
        raise
    except ValueError:
        name, port = "", None
    if not name or port == 0:
        raise BadValue(f"is no host: {shown(value)}", "write a host alone, or with its port, as files.example.com:8080")
    return name if port is None else f"{name}:{port}"


def bracketed(name: str) -> str:
    """A host without its port as addresses write it: an IPv6 address in brackets, in its shortest form."""
    return f"[{ip_address(name).compressed}]" if ":" in name else name


def url(value: str) -> str:
    """An address: https, or plain http to this machine itself."""
    parts = urlsplit(web_address(value))
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise BadValue(
            f"is a plain http address of {parts.hostname}", "write https; plain http is for this machine alone"
        )
    return value


def web_address(value: str) -> str:
    """An address: https, or plain http to whatever host."""
    try:
        parts = urlsplit(text(value))
        name, _ = parts.hostname, parts.port
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue("is no address", "write it as https://host/path") from error
    if parts.scheme not in {"https", "http"} or not name or " " in value:
        raise BadValue("is no https address", "write it as https://host/path")
    if parts.username is not None or parts.password is not None:
        raise BadValue("carries credentials in its address", "take them out and name a variable in `token_env`")
    if parts.fragment:
        raise BadValue("has a '#' part", "take it out")
    return value


def is_loopback(name: str) -> bool:
    """Whether a host, without its port, is this machine itself."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def file_path(value: str) -> str:
    """A path on this machine, relative to the folder of the file that names it."""
    text(value)
    if value.startswith("~"):
        raise BadValue(f"starts with '~', which is not expanded: {shown(value)}", "write the path in full")
    return value


def repository_path(value: str) -> str:
    """A path inside a repository."""
    text(value)
    if value.startswith("/") or ".." in value.split("/") or "\\" in value:
        raise BadValue(f"leads out of the repository: {shown(value)}", "write a path from the repository's root")
    return value


def git_ref(value: str) -> str:
    """A tag, branch or commit."""
    text(value)
    if value.startswith(("-", "/")) or value.endswith(("/", ".", ".lock")) or ".." in value or "@{" in value:
        raise BadValue(f"is no git ref: {shown(value)}", "write a tag, a branch or a commit, as v2.1.0")
    if any(character in " ~^:?*[\\" for character in value):
        raise BadValue(f"is no git ref: {shown(value)}", "write a tag, a branch or a commit, as v2.1.0")
    return value


def _may_hold_credentials(value: str) -> bool:
    """Whether a user with a password stands before the host, or what may be one; a user alone is ssh's own."""
    scheme, sign, rest = value.partition("://")
    first = _END_OF_HOST.split(rest if sign else value, maxsplit=1)[0]
    user, at, _ = first.rpartition("@")
    if at:
        has_password = ":" in user or (bool(sign) and "http" in scheme.lower())
        return has_password and meant_by_short_form(value) is None
    port = first.rpartition(":")[2] if sign and ":" in first and not first.endswith("]") else "0"
    return "@" in rest and not port.isdecimal()
