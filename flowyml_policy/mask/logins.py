"""Logins that are written without a scheme, as database drivers take them.

    Go, MySQL     svc:pw@tcp(db:3306)/ml    svc:pw@unix(/run/mysqld.sock)/ml    svc:pw@/ml
    any           svc:pw@db:5432/ml         svc:pw@db.acme.example              svc:pw@[::1]/ml    svc:pw@%2Frun%2Fpg/ml
    Oracle        svc/pw@//db:1521/ml       svc/pw@db:1521/ml                   oracle://svc/pw@db
                  jdbc:oracle:thin:svc/pw@db    sqlplus svc/pw@db

A colon, a slash and an @ also stand in references to images, in git references, in times and in addresses of mail: what
follows the @ decides. Each pattern looks at a bounded part of the text, so that time grows linearly.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Final

from flowyml_policy.mask.detectors import NO_MASK, Pattern, url_password

_START: Final = (
    rf"""(?<![^\s"'<>=,;()/]){NO_MASK}(?!(?i:file|npm|pkg|arn|urn|projects|env|vault|secrets?):)"""
    r"""[^\s:@"'<>=,;()/]{0,64}:(?!//)"""
)
_USER: Final = rf"{_START}(?!\d{{1,5}}[/?#,;])"
_ADDRESS: Final = (
    r"(?!(?i:mailto|sips?|xmpp|acct|e?-?mail|contact|owner|user|group|domain|member|principal|serviceaccount"
    r"|from|to|cc|by|author):)"
)
"""What is written before an address of mail: `user:ada@example.com` has no password."""

_UP_TO_AT: Final = r"""(?P<secret>[^\s"'<>]{1,256})@"""
_ORACLE_USER: Final = r"""[^\s:@/"'<>=,;()]{1,64}"""
_ORACLE_START: Final = rf"""(?<![^\s"'<>=,;(:]){_ORACLE_USER}/"""
_CHANGES: Final = 4
_KINDS: Final = 3
"""Small letters, capitals, digits, signs: as many of them, and changes between them, has no version and no name."""


def _mixed(text: str) -> bool:
    """Whether `text` mixes characters as passwords do: what follows the @ is one word and proves nothing."""
    kinds = [
        "a" if one.islower() else "A" if one.isupper() else "0" if one.isdigit() else "." if one in ".-_" else "!"
        for one in text
    ]
    changes = len([*groupby(kinds)]) - 1
    return changes >= _CHANGES and len({*kinds} - {"."}) >= _KINDS and url_password(text)


def _login(signs: str, pattern: str, accepts: Callable[[str], bool] = url_password) -> Pattern:
    return Pattern("url_password", tuple(signs.split()), pattern, accepts)


LOGINS: Final = (
    # What follows the @ is a host, because a port or a path follows it; a digest does neither.
    _login(":", rf"{_USER}{_UP_TO_AT}(?=[A-Za-z0-9._-]{{1,253}}(?:/|:\d{{1,5}}(?![A-Za-z0-9])))"),
    _login(
        ":",
        rf"""{_ADDRESS}{_USER}(?P<secret>[^\s"'<>/]{{1,256}})@"""
        r"(?=(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9-]|\.\w))",
    ),
    # A network and its address, an IPv6 address, or a socket whose slashes are escaped.
    _login(
        ") @[ @%2",
        rf"{_START}{_UP_TO_AT}"
        r"(?=[A-Za-z][A-Za-z0-9+_-]{0,31}\([^\s()]{0,253}\)|\[[0-9A-Fa-f:.%]{2,64}\]|%2[Ff])",
    ),
    # No host at all: what follows is the database. A password that begins with a slash would be a path.
    _login("@/", rf"""(?!\d{{1,2}}:\d\d@){_START}(?!/){_UP_TO_AT}(?=/(?:[\w?%]|[\s"'`,;)]|$))"""),
    _login(
        ":",
        rf"""{_ADDRESS}{_USER}(?P<secret>[^\s"'<>/@]{{8,128}})@(?=[A-Za-z][A-Za-z0-9_-]{{0,62}}(?:[\s"'`,;)?]|$))""",
        _mixed,
    ),
    _login("@// @(", rf"""{_ORACLE_START}{_UP_TO_AT}(?=//[A-Za-z0-9\[]|\((?i:description|address)[ \t]{{0,4}}[=_])"""),
    # A port has four or five digits here: `org/repo@main:12` is a line of a file.
    _login(
        ":",
        rf"""{_ORACLE_START}(?P<secret>[^\s"'<>/@:]{{1,128}})@"""
        r"(?=[A-Za-z0-9._-]{1,253}:\d{4,5}(?:[/:][A-Za-z0-9]|(?![A-Za-z0-9])))",
    ),
    _login("racle RACLE", rf"(?i:\boracle(?:\+\w{{1,32}})?://|\boracle:(?:thin|oci8?):){_ORACLE_USER}/{_UP_TO_AT}"),
    _login(
        "sql SQL dp",
        rf"(?i:\b(?:sqlplus|sqlldr|sqlcl|expdp|impdp))[ \t]+(?:-\S{{1,16}}[ \t]+){{0,4}}{_ORACLE_USER}/"
        r"""(?P<secret>[^\s"'<>/@]{1,128})(?=@)""",
    ),
)
"""Run where `may_name_a_user` and one of their signs is."""

_LONGEST_LOGIN: Final = 64 + 1 + 256


def may_name_a_user(text: str) -> bool:
    """Whether a colon or a slash stands in the word before an @ that no digest follows."""
    at = text.find("@")
    while at >= 0:
        if not text.startswith(("sha256:", "sha512:"), at + 1):
            before = text[max(at - _LONGEST_LOGIN, 0) : at]
            word = before.rsplit(None, 1)[-1] if before.strip() else ""
            if ":" in (word := word.replace("://", "")) or "/" in word:
                return True
        at = text.find("@", at + 1)
    return False
