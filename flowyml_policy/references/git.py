"""Which git addresses and refs are used at all: checked before git sees them.

An address is https, ssh or file, or http to a host that is named for it. A ref is what `git check-ref-format` takes,
and neither may begin as an option does.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from flowyml_policy.errors.sources import SourceRefMissing, SourceRefused
from flowyml_policy.mask.quoted import shown
from flowyml_policy.mask.text import mask_text

_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_USER: Final = re.compile(r"[A-Za-z0-9_.+%~][A-Za-z0-9_.+%~-]*", re.ASCII)
_ADVICE: Final = "write https://host/path.git, ssh://git@host/path.git or file:///path"
_LONGEST: Final = 1000
_TEXT: Final = re.compile(r"[\x21-\x7e]{1,1000}", re.ASCII)
_REF_ADVICE: Final = "write a tag, a branch or a full commit id, as v2.1.0"
_NOT_IN_REFS: Final = " ~^:?*[\\"
_NO_REF_PART: Final = (".", ".lock")


def is_commit(text: str) -> bool:
    """Whether `text` is a full commit id, as git writes it."""
    return _COMMIT.fullmatch(text) is not None


def checked_address(url: str, plain_http: Collection[str] = ()) -> str:
    """`url` without its credentials, once it is found safe. Raises SourceRefused.

    Plain http is for this machine itself and for the hosts that `plain_http` names.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  reading it is what checks it
    except ValueError as error:
        raise SourceRefused("the address of a git repository cannot be read", advice=_ADVICE) from error
    if "://" not in url or _TEXT.fullmatch(url) is None:
        raise SourceRefused("this is no address of a git repository", advice=_ADVICE)
    if parts.scheme not in TRANSPORTS or parts.query or parts.fragment:
        raise SourceRefused(f"git is not asked for this kind of address: {shown(parts.scheme)}", advice=_ADVICE)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise SourceRefused("the address names no folder of this machine", advice="write file:///path")
        return url
    return urlunsplit((parts.scheme, _place(parts, plain_http), parts.path, "", ""))


def _place(parts: SplitResult, plain_http: Collection[str]) -> str:
    """Host and port of an address on a network, and the user of an ssh one."""
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host
    if _HOST.fullmatch(name) is None or not parts.path.strip("/") or parts.path.startswith("/-"):
        raise SourceRefused("the address names no repository on a host", advice=_ADVICE)
    place = name if parts.port is None else f"{name}:{parts.port}"
    if parts.password is not None:
        raise SourceRefused(
            f"the address carries a password: {parts.scheme}://{place}{parts.path}",
            advice="take it out, and give it to git's credential helper",
        )
    if parts.username is not None and _USER.fullmatch(parts.username) is None:
        raise SourceRefused("the user that the address names is no user", advice=_ADVICE)
    if parts.scheme == "http" and not (is_loopback(host) or {host, place} & set(plain_http)):
        raise SourceRefused(f"plain http is not used to {host}", advice="write https")
    return f"{parts.username}@{place}" if parts.scheme == "ssh" and parts.username else place


def checked_ref(ref: str | None) -> str | None:
    """`ref`, once it is found to be one; None, the default branch, is too. Raises SourceRefMissing."""
    if ref is None:
        return None
    parts = ref.split("/")
    bad = (
        not ref
        or len(ref) > _LONGEST
        or not ref.isprintable()
        or ref.startswith("-")
        or ref == "@"
        or ".." in ref
        or "@{" in ref
        or ref.endswith(".")
        or any(character in ref for character in _NOT_IN_REFS)
        or any(not part or part.startswith(_NO_REF_PART[0]) or part.endswith(_NO_REF_PART[1]) for part in parts)
    )
    if bad:
        raise SourceRefMissing(f"this is no git ref: {shown(ref)}", advice=_REF_ADVICE)
    return ref


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port, is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_SHORT: Final = re.compile(
    r"(?P<scheme>(?:git\+)?ssh://)?(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*@)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):(?P<path>/?[A-Za-z0-9_~][A-Za-z0-9._~+/-]*)"
    r"(?P<rest>[@#].*)?",
    re.ASCII,
)
_PORT: Final = re.compile(r"[0-9]+(?:/.*)?", re.ASCII)


def meant_by_short_form(text: str) -> str | None:
    """The ssh address that `text` is a short form of, with what follows it; None where it is none.

    None too where what would be shown may be a credential, as in `ada@company.com:password@host/path`.
    """
    match = _SHORT.fullmatch(text)
    if match is None:
        return None
    user, path, rest = match["user"] or "", match["path"], match["rest"] or ""
    is_port = match["scheme"] is not None and _PORT.fullmatch(path)
    is_name = match["scheme"] is None and not user and "." not in match["host"]
    may_be_password = "@" in rest and not path.endswith(".git")
    meant = f"ssh://{user}{match['host']}/{path.lstrip('/')}{rest}"
    return None if is_port or is_name or may_be_password or mask_text(meant)[1] else meant


TRANSPORTS: Final = {"https": "https:ssh", "http": "http", "ssh": "ssh:https", "file": "file"}
"""What an address may use, by its scheme; the user's `url.<base>.insteadOf` may turn https into ssh and back."""
