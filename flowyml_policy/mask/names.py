"""Names of secrets: as the keys of a document, and where a text gives them a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
_SECRET_KEYS: Final = frozenset({"api", "access", "secret", "private", "account", "auth", "master", "shared", "kaggle"})
_NOT_SECRETS: Final = frozenset(
    {"env", "envs", "name", "names", "path", "paths", "file", "files", "url", "uri", "provider", "ref", "refs", "id"}
    | {"ids", "arn", "type", "types", "ttl", "version", "scope", "scopes", "expiry", "policy", "policies", "length"}
    | {"count", "limit", "min", "max", "size", "vault", "store", "backend", "manager", "header", "required", "var"}
    | {"variable", "enabled", "rotation", "field", "format", "dir", "age", "days", "source", "prefix"}
)
_WORDS: Final = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"
_LONGEST_NAME: Final = 128

NO, TEXTS, NUMBERS_TOO = 0, 1, 2
"""What of a key's value is secret: nothing, texts, or numbers as well."""


def secrecy(key: object) -> int:
    """What is secret of the value of `key`: NO, TEXTS or NUMBERS_TOO."""
    return _secrecy(key) if isinstance(key, str) and len(key) <= _LONGEST_NAME else NO


def names_a_secret(path: Sequence[object]) -> bool:
    """Whether the value at `path` may be a secret, so that no message repeats it: the last name in it decides."""
    return next((secrecy(step) != NO for step in reversed(path) if isinstance(step, str)), False)


@lru_cache(maxsize=4096)
def _secrecy(name: str) -> int:
    words = [word.lower() for word in re.findall(_WORDS, without_masks(name))]
    if not words or words[-1] in _NOT_SECRETS:
        return NO
    if not _PASSWORDS.isdisjoint(words):
        return NUMBERS_TOO
    keyed = any(right == "key" and left in _SECRET_KEYS for left, right in pairwise(words))
    return TEXTS if words[-1] in _SECRETS or keyed or words[-2:] == ["connection", "string"] else NO


_NAME: Final = r"(?P<name>[A-Za-z_][\w.-]{0,127})"
_ASSIGNED: Final = rf"(?a)(?<![\w.-])-{{0,2}}{_NAME}[\"']?[ \t]{{0,8}}:?=[ \t]{{0,8}}"
_FLAGGED: Final = rf"(?a)(?<![\w.-])--{_NAME}[ \t]{{1,8}}(?!-)"
_QUOTED: Final = (
    rf"(?am)(?<!\w)\\{{0,3}}[\"']{_NAME}\\{{0,3}}[\"'][ \t]{{0,8}}:[ \t]{{0,8}}"
    r"(?=\\{0,3}[\"']|[^\s\"']+[ \t]*(?:[,}\]]|$))"  # a sentence that goes on is none
)
_ON_A_LINE: Final = rf"(?am)^[ \t]*(?:-[ \t]+)?{_NAME}[ \t]{{0,8}}:[ \t]{{1,8}}(?=\S+[ \t]*$)"
_PLACEHOLDER: Final = r"(?:\$?\{\{[^{}\r\n]*\}\}|<[^<>\r\n]*>)(?=[\s\"'&;,]|$)"
_VALUE: Final = (
    # A backslash hides the quote that follows it, unless the quotes themselves stand behind backslashes.
    r"(?:(?P<b>\\{1,3})(?:\"(?P<bd>[^\"\r\n]*)|'(?P<bs>[^'\r\n]*))"
    r"|\"(?P<d>(?:[^\"\\\r\n]+|\\[^\r\n]|\"\")*)|'(?P<s>(?:[^'\\\r\n]+|\\[^\r\n]|'')*)"
    # `&` ends a value where another name follows, a quote where no word goes on behind it.
    rf"|(?P<bare>{_PLACEHOLDER}|(?:[^\s\"'&;\\]+|\\[^\r\n\"']|\\(?=[\r\n\"']|\Z)"
    r"|&(?!amp;|&|[\w.%\[\]-]{1,64}=|[\s\"';]|\Z)|[\"'](?=\w))+))"
)
_STRING_VALUE: Final = (
    rf"(?P<placeholder>{_PLACEHOLDER}|\$\{{[^{{}}\r\n]*\}}|%\(\w+\)s|\$[A-Z_][A-Z0-9_]*"
    r"|masked:[a-z_]{1,40}(?:#\d+)?)(?=[;\s\"'\\]|\Z)"
    r"|\{(?P<braced>(?:[^}\r\n]+|\}\})*)(?=\}|[\r\n]|\Z)"
    r"|(?P<plain>(?:[^;\"'\r\n]+|[\"'](?=\w))+)"
)
"""A value of a connection string (ODBC, ADO.NET, JDBC): it ends at `;`, at the closing brace or quote, or its line."""

_VARIABLE: Final = r"\d{0,2}|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
_BLANKS: Final = 8
_BETWEEN: Final = 256
"""As much of a value as is looked at to find the `;` that makes it one of a connection string."""

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


def assigned(text: str, expression: str) -> Iterator[Span]:
    """Values that a text gives to names of secrets: `password=...`, `--token ...`, `"api_key": "..."`."""
    pattern = re.compile(expression)
    match = pattern.search(text)
    while match:
        at = match.end()
        if _secrecy(match["name"]):
            in_string = _span_in_string(text, match.start(), at) if text[at - 1] == "=" else None
            span = in_string or _value_span(text, at, at + _VALUE_GLANCE)
            if span and not is_harmless(value := text[slice(*span)][:_VALUE_GLANCE]) and not is_reference(value):
                start, end = in_string or _value_span(text, at, len(text)) or span
                yield start, end
                at = max(at, end)
        match = pattern.search(text, at)


A_KEY: Final = r"[A-Za-z0-9+/_-]{16,512}={0,2}"


def reads_as_a_key(text: str) -> bool:
    """Whether `text`, beside a user's name, is what that user proves to be who it is with."""
    return any(one.isdigit() for one in text) and not is_harmless(text) and not is_reference(text)


def _value_span(text: str, start: int, end: int) -> Span | None:
    value = re.compile(_VALUE).match(text, start, end)
    if value is None or value.lastgroup is None:
        return None
    start, end = value.span(value.lastgroup)
    while end > start and text[end - 1] in "\\,":
        end -= 1
    return (start, end) if start < end else None


def _names_a_variable(braced: str) -> bool:
    """Whether a template's `{DB_PASSWORD}` is meant, where braces may hold a password as well."""
    return secrecy(braced) != NO or re.fullmatch(_VARIABLE, braced) is not None


def _span_in_string(text: str, name: int, start: int) -> Span | None:
    """The value at `start` if `name=value` is a part of a connection string: a `;` stands before or behind it."""
    if text[start : start + 1] in {"'", '"', "\\"}:
        return None
    if not text[max(name - _BLANKS, 0) : name].rstrip(" \t").endswith(";"):
        end = text.find(";", start, start + _BETWEEN)
        if end < 0 or "\n" in (value := text[start:end]) or re.search(r"\s\S*=", value):
            return None
        if not re.compile(r"[ \t]{0,8}(?:[A-Za-z][\w. -]{0,64}=|$|[\"'\\\r\n])").match(text, end + 1):
            return None
    found = re.compile(_STRING_VALUE).match(text, start)
    if found is None or found.lastgroup is None or found.lastgroup == "placeholder":
        return None
    if found.lastgroup == "braced" and _names_a_variable(found["braced"]):
        return None
    first, last = found.span(found.lastgroup)
    while last > first and text[last - 1] in " \t\\,":
        last -= 1
    return (first, last) if first < last else None
