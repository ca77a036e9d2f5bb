"""The one grammar of git's addresses and refs: checked before git sees them.

    https://host/path.git   ssh://git@host:2222/path.git   file:///folder/repo
    v2.1.0   feature/x   refs/heads/main   a full commit id

An address is https, ssh or file, or http to a host that is named for it. A ref is what `git check-ref-format` takes,
and neither may begin as an option does.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from flowyml_policy.errors.sources import SourceRefMissing, SourceRefused
from flowyml_policy.mask.quoted import shown
from flowyml_policy.mask.text import mask_text
from flowyml_policy.references import url as values

TRANSPORTS: Final = {"https": "https:ssh", "http": "http", "ssh": "ssh:https", "file": "file"}
"""What an address may use, by its scheme; the user's `url.<base>.insteadOf` may turn https into ssh and back."""
USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)

_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ADVICE: Final = "write https://host/path.git, ssh://git@host/path.git or file:///path"
_TEXT: Final = re.compile(r"[\x21-\x7e]{1,1000}", re.ASCII)
_NOT_IN_REFS: Final = frozenset(" ~^:?*[\\")


def is_commit(text: str) -> bool:
    """Whether `text` is a full commit id, as git writes it."""
    return _COMMIT.fullmatch(text) is not None


def git_ref(value: str) -> str:
    """A tag, branch or commit that no git command takes for an option or an expression. Raises BadValue."""
    parts = values.text(value).split("/")
    if (
        value.startswith("-")
        or value == "@"
        or ".." in value
        or "@{" in value
        or value.endswith(".")
        or not _NOT_IN_REFS.isdisjoint(value)
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise values.BadValue(f"is no git ref: {values.shown(value)}", "write a tag, a branch or a commit, as v2.1.0")
    return value


def checked_ref(ref: str | None) -> str | None:
    """`ref` if it is one; None, the default branch, is one too. Raises SourceRefMissing."""
    try:
        return None if ref is None else git_ref(ref)
    except values.BadValue as error:
        raise SourceRefMissing(f"this is no git ref: {shown(ref or '')}", advice=error.fix) from error


def checked_address(url: str, plain_http: Collection[str] = ()) -> str:
    """`url` without its credentials, once it is found safe. Raises SourceRefused.

    Plain http is for this machine itself and for the hosts that `plain_http` names.
    """
    try:
        parts = urlsplit(url)
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
    named = values.place_of(parts.netloc.rpartition("@")[2])
    if named is None or not parts.path.strip("/") or parts.path.startswith("/-"):
        raise SourceRefused("the address names no repository on a host", advice=_ADVICE)
    host, port = named
    place = host if port is None else f"{host}:{port}"
    if parts.password is not None:
        raise SourceRefused(
            f"the address carries a password: {parts.scheme}://{place}{parts.path}",
            advice="take it out, and give it to git's credential helper",
        )
    if parts.username is not None and USER.fullmatch(parts.username) is None:
        raise SourceRefused("the user that the address names is no user", advice=_ADVICE)
    if parts.scheme == "http" and not values.may_be_plain(place, plain_http):
        raise SourceRefused(f"plain http is not used to {host}", advice="write https")
    return f"{parts.username}@{place}" if parts.scheme == "ssh" and parts.username else place


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
