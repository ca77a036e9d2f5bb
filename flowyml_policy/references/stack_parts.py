"""The parts of a stack reference: the grammar of each, and the words for what breaks it.

Rules:
- A part is checked in its decoded form, so that no percent-escape hides what the grammar refuses.
- Each check answers the part in its one canonical spelling; what has two spellings would be cached twice.
- What may carry credentials is never repeated in a message.
- Hosts, git refs and paths have one grammar, in `references.url` and `references.git`; the words for it are here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.references import git
from flowyml_policy.references import url as values

LONGEST: Final = 2000

_NAME: Final = re.compile(r"[^\s/@#:]{1,128}")
_RANGE: Final = re.compile(
    r"[\^~](?:0|[1-9][0-9]{0,17})(?:\.(?:0|[1-9][0-9]{0,17})){0,2}(?:-[0-9A-Za-z.-]+)?", re.ASCII
)
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,127}", re.ASCII)
_PROJECT: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", re.ASCII)
_URL: Final = re.compile(r"([A-Za-z]+)://([^/?#]*)([^?#]*)(\?[^#]*)?")
_AUTHORITY: Final = re.compile(r"(?:(?P<user>.*)@)?(?P<host>\[[^\]]*\]|[^:\[\]]*)(?P<port>:[^:]*)?")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~+,=%-]+", re.ASCII)
_HTTP_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]+", re.ASCII)
_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%/?-]*", re.ASCII)
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED: Final = re.compile(rb"[A-Za-z0-9._~-]")
_HIDDEN: Final = frozenset(b'/\\"')
_LOWEST_PRINTABLE: Final = 0x20
_DELETE: Final = 0x7F
_OWNER_AND_NAME: Final = 2


class Address(NamedTuple):
    """A URL taken apart: `authority` is the user (of ssh), the host and a port that is not the scheme's own."""

    scheme: str
    authority: str
    path: str
    query: str = ""

    @property
    def host(self) -> str:
        """The host with its port."""
        return self.authority.rpartition("@")[2]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}{self.query}"


def name(value: str, what: str = "the name") -> str:
    """What a stack is called: such as a key of `stacks:`, or `metadata.name` of a definition."""
    if not value:
        raise ReferenceMalformed(f"{what} is empty", advice="write the stack's name")
    if not value.isprintable() or _NAME.fullmatch(value) is None:
        raise ReferenceMalformed(
            f"{what} {values.shown(value)} cannot be a stack's",
            advice="write 1 to 128 characters without blanks, '/', '@', '#' and ':'",
        )
    if value.startswith("-") or not value.strip("."):
        raise ReferenceMalformed(
            f"{what} {values.shown(value)} cannot be a stack's", advice="write a name that begins with a letter"
        )
    return value


def wanted(value: str) -> str:
    """A version, or a range of them: `2.1.0`, `^2.1`, `~2.1.0`."""
    pattern = _RANGE if value.startswith(("^", "~")) else _VERSION
    if pattern.fullmatch(value) is None:
        what = f"{values.shown(value)} is no version or range" if value else "nothing stands after the '@'"
        raise ReferenceMalformed(what, advice="write a version, as 2.1.0, or a range, as ^2.1 or ~2.1.0")
    return value


def git_ref(value: str) -> str:
    """A tag, branch or commit that no git command takes for an option or an expression."""
    return _checked("ref", git.git_ref, value)


def repository_path(value: str) -> str:
    """A file's or folder's place in a repository, without `./` at its beginning and `/` at its end."""
    return _checked("path", values.repository_path, value)


def file_path(value: str) -> str:
    """A path on this machine: absolute, or relative to the folder of flowyml.yaml; `..` may stand in it."""
    _checked("path", values.file_path, value)
    parts = [part for part in value.split("/") if part not in {"", "."}]
    return ("/" if value.startswith("/") else "") + "/".join(parts) or "."


def _checked(what: str, check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except values.BadValue as error:
        raise ReferenceMalformed(f"the {what} {error.what}", advice=error.fix) from error


def project(value: str, kind: str) -> str:
    """The repository's place on GitHub (owner and name) or GitLab (groups and name), without `.git`."""
    if value.endswith(".git") and not value.endswith("/.git"):
        value = value.removesuffix(".git")
    parts = value.split("/")
    right_length = len(parts) == _OWNER_AND_NAME if kind == "github" else len(parts) > 1
    if not right_length or not all(_PROJECT.fullmatch(part) and part.strip(".") for part in parts):
        what = "owner and name" if kind == "github" else "group and name"
        shown = values.shown(value) if value else "nothing"
        raise ReferenceMalformed(f"{shown} is no repository's {what}", advice=f"write its {what}, as org/repo")
    return value


def git_url(value: str, plain_http: Collection[str] = ()) -> Address:
    """The address of a repository: https, ssh or file, or http to this machine itself or a host of `plain_http`."""
    address = _address(value, _SEGMENT)
    if address.query:
        raise ReferenceMalformed("a repository's address has no '?'", advice="take it out, with what follows")
    if address.scheme not in git.TRANSPORTS:
        raise ReferenceMalformed(
            f"git+{address.scheme} is no transport that is used here", advice="write git+https, git+ssh or git+file"
        )
    if address.scheme == "http" and not values.may_be_plain(address.host, plain_http):
        raise ReferenceMalformed(
            "git over plain http can be read and changed on its way",
            advice="write git+https; git+http is for this machine alone",
        )
    if address.scheme != "file" and address.path.startswith("/-"):
        raise ReferenceMalformed("the path begins as an option does", advice="write https://host/path.git")
    return address._replace(path=address.path.rstrip("/"))


def http_url(value: str) -> Address:
    """The address of one file: https; plain http too, which the settings must allow for that host."""
    address = _address(value, _HTTP_SEGMENT)
    if address.scheme not in {"https", "http"}:
        raise ReferenceMalformed(f"{address.scheme} is no web address", advice="write https://host/path")
    if _QUERY.fullmatch(address.query) is None:
        raise ReferenceMalformed(
            "the address has a character after '?' that must be escaped", advice="percent-encode it"
        )
    decoded(address.query)
    return address


def looks_like_host(segment: str) -> bool:
    """The rule for github:// and gitlab://: a first segment with a dot or a port is a server of one's own."""
    return "." in segment or ":" in segment or segment.startswith("[")


def decoded(text: str) -> str:
    """`text` with each `%XX` as the character that it stands for."""
    if "%" not in text:
        return text
    if any(match[1] is None for match in _ESCAPE.finditer(text)):
        raise ReferenceMalformed("a '%' stands there that begins no escape", advice="write %25 for the character '%'")
    try:
        return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), _as_latin(text)).encode("latin-1").decode()
    except UnicodeError as error:
        raise ReferenceMalformed("a percent-escape is no UTF-8", advice="write the character itself") from error


def encoded(text: str, special: str) -> str:
    """`text` with '%', blanks and the characters `special` escaped; `decoded` gives it back."""
    return "".join(f"%{ord(one):02X}" if one in "% " or one in special else one for one in text)


def _as_latin(text: str) -> str:
    """`text` as one character for each byte of its UTF-8."""
    return text.encode().decode("latin-1")


def _address(value: str, segment: re.Pattern[str]) -> Address:
    match = _URL.fullmatch(value)
    if match is None:
        raise ReferenceMalformed("it is no address", advice="write it as https://host/path")
    scheme, authority, path, query = match[1].lower(), match[2], match[3], match[4] or ""
    authority = _authority(scheme, authority)
    if not path.strip("/"):
        raise ReferenceMalformed("the address names a server and nothing on it", advice="write the path too")
    for part in path[1:].rstrip("/").split("/"):
        _check_segment(part, segment)
    return Address(scheme, authority, path, query)


def _check_segment(part: str, grammar: re.Pattern[str]) -> None:
    if not part or not part.strip("."):
        raise ReferenceMalformed(
            f"the address has the path segment {part!r}", advice="write the path without '..', '.' and '//'"
        )
    if grammar.fullmatch(part) is None:
        raise ReferenceMalformed(
            "the address has a character that must be escaped", advice="percent-encode it, as %40 for '@'"
        )
    for match in _ESCAPE.finditer(part):
        code = int(match[1], 16) if match[1] else None
        if code is not None and (_is_hidden(code) or _UNRESERVED.fullmatch(bytes([code]))):
            raise ReferenceMalformed(
                f"the escape {match[0]} hides a character in the address",
                advice="write letters, digits and -._~ as themselves, and no '/', '\\' or control character",
            )
    decoded(part)


def _is_hidden(code: int) -> bool:
    return code < _LOWEST_PRINTABLE or code == _DELETE or code in _HIDDEN


def _authority(scheme: str, text: str) -> str:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ReferenceMalformed("the address names no host", advice="write it as https://host/path")
    user, port = match["user"], _port(scheme, match["port"])
    if scheme == "file":
        if text.lower() not in {"", "localhost"}:
            raise ReferenceMalformed(
                "a file's address names a host, and only this machine's files can be read",
                advice="write three slashes, as file:///folder/stack.yaml",
            )
        return ""
    if user is None:
        return _host(match["host"]) + port
    if scheme != "ssh" or ":" in user:
        raise ReferenceMalformed(
            "credentials stand in the address",
            advice="take them out; git asks its credential helper, `stacks:` names a variable in token_env",
        )
    if git.USER.fullmatch(user) is None:
        raise ReferenceMalformed("the user in the address is none", advice="write it as ssh://git@host/path")
    return f"{user}@{_host(match['host'])}{port}"


def _host(text: str) -> str:
    """A host without its port, in its one spelling."""
    name = values.host_name(text)
    if name is not None:
        return name
    if text.startswith("["):
        raise ReferenceMalformed("the host in brackets is no IPv6 address", advice="write it as [2001:db8::1]")
    if not text.isascii():
        raise ReferenceMalformed("the host is not ASCII", advice="write it in its xn-- form")
    what = f"{values.shown(text)} is no host" if text else "the address names no host"
    raise ReferenceMalformed(what, advice="write the server's name, as git.company.com")


def _port(scheme: str, text: str | None) -> str:
    if text is None:
        return ""
    place = values.place_of(f"localhost{text}")
    if place is None or place[1] is None:
        raise ReferenceMalformed("the address has a port that is none", advice="write a number from 1 to 65535")
    return "" if place[1] == values.DEFAULT_PORTS.get(scheme) else f":{place[1]}"
