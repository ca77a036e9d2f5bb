"""Names of secrets: as the keys of a document, and where a text gives them a value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final

from flowyml_policy.mask.harmless import is_harmless, is_reference, without_masks
from flowyml_policy.mask.randomness import Span

_PASSWORDS: Final = frozenset({"password", "passwords", "passwd", "passphrase", "pwd", "passcode"})
_SECRETS: Final = frozenset(
    {"secret", "token", "tokens", "credential", "authorization", "pass", "apikey", "apikeys", "accesskey"}
    | {"secretkey", "privatekey", "accountkey", "authtoken", "accesstoken", "sastoken", "connectionstring"}
)
_SECRET_KEYS: Final = frozenset({"api", "access", "secret", "private", "account", "auth", "master", "shared"})
_NOT_SECRETS: Final = frozenset(
    {"env", "envs", "name", "names", "path", "paths", "file", "files", "url", "uri", "provider", "ref", "refs", "id"}
    | {"ids", "arn", "type", "types", "ttl", "version", "scope", "scopes", "expiry", "policy", "policies", "length"}
    | {"count", "limit", "min", "max", "size", "vault", "store", "backend", "manager", "header", "required", "var"}
    | {"variable", "enabled", "rotation", "field", "format", "dir", "age", "days", "source", "prefix"}
)
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST_NAME: Final = 128

NO, TEXTS, NUMBERS_TOO = 0, 1, 2
"""What of a key's value is secret: nothing, texts, or numbers as well."""


def secrecy(key: object) -> int:
    """What is secret of the value of `key`: NO, TEXTS or NUMBERS_TOO."""
    return _secrecy(key) if isinstance(key, str) and len(key) <= _LONGEST_NAME else NO


@lru_cache(maxsize=4096)
def _secrecy(name: str) -> int:
    words = [word.lower() for word in _WORDS.findall(without_masks(name))]
    if not words or words[-1] in _NOT_SECRETS:
        return NO
    if not _PASSWORDS.isdisjoint(words):
        return NUMBERS_TOO
    keyed = any(right == "key" and left in _SECRET_KEYS for left, right in pairwise(words))
    return TEXTS if words[-1] in _SECRETS or keyed or words[-2:] == ["connection", "string"] else NO


_NAME: Final = r"(?P<name>[A-Za-z_][\w.-]{0,127})"
_ASSIGNED: Final = re.compile(rf"(?<![\w.-])-{{0,2}}{_NAME}[\"']?[ \t]{{0,8}}:?=[ \t]{{0,8}}", re.ASCII)
_FLAGGED: Final = re.compile(rf"(?<![\w.-])--{_NAME}[ \t]{{1,8}}(?!-)", re.ASCII)
_QUOTED: Final = re.compile(
    rf"(?<!\w)\\{{0,3}}[\"']{_NAME}\\{{0,3}}[\"'][ \t]{{0,8}}:[ \t]{{0,8}}"
    r"(?=\\{0,3}[\"']|[^\s\"']+[ \t]*(?:[,}\]]|$))",  # a sentence that goes on is none
    re.ASCII | re.MULTILINE,
)
_ON_A_LINE: Final = re.compile(
    rf"^[ \t]*(?:-[ \t]+)?{_NAME}[ \t]{{0,8}}:[ \t]{{1,8}}(?=\S+[ \t]*$)", re.ASCII | re.MULTILINE
)
_VALUE: Final = re.compile(
    r"\\{0,3}(?:\"(?P<d>[^\"\r\n]*)|'(?P<s>[^'\r\n]*)|"
    r"(?P<bare>(?:\$?\{\{[^{}\r\n]*\}\}|<[^<>\r\n]*>)(?=[\s\"'&;,]|$)|[^\s\"'&;]+))"
)

ASSIGNMENTS: Final = (
    ("=", _ASSIGNED),
    ("--", _FLAGGED),
    ('":', _QUOTED),
    ("':", _QUOTED),
    (": ", _ON_A_LINE),
    (":\t", _ON_A_LINE),
)
"""What has to be in the text, and the pattern of a name that comes before its value."""

_VALUE_GLANCE: Final = 2048
"""As much of a value as is looked at to see that it is a reference or a placeholder."""


def assigned(text: str, pattern: re.Pattern[str]) -> Iterator[Span]:
    """Values that a text gives to names of secrets: `password=...`, `--token ...`, `"api_key": "..."`."""
    match = pattern.search(text)
    while match:
        at = match.end()
        if _secrecy(match["name"]):
            span = _value_span(text, at, at + _VALUE_GLANCE)
            if span and not is_harmless(value := text[slice(*span)]) and not is_reference(value):
                start, end = _value_span(text, at, len(text)) or span
                yield start, end
                at = max(at, end)
        match = pattern.search(text, at)


def _value_span(text: str, start: int, end: int) -> Span | None:
    value = _VALUE.match(text, start, end)
    if value is None or value.lastgroup is None:
        return None
    start, end = value.span(value.lastgroup)
    while end > start and text[end - 1] in "\\,":
        end -= 1
    return (start, end) if start < end else None
