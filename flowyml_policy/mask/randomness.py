"""Whether a run of characters is random, and whether it is public all the same.

Random runs are found without a pattern: translated to one letter, they are a substring search.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby, pairwise
from math import log2
from typing import Final

Span = tuple[int, int]
"""Start and end of a part of a text."""

_TOKEN_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+~-"
_BASE64_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TOKENS: Final = bytes(97 if code in _TOKEN_CHARACTERS else 32 for code in range(256))
_BASE64: Final = bytes(97 if code in _BASE64_CHARACTERS else 32 for code in range(256))

_HEX: Final = "0123456789abcdef"

_TOKEN_RUN: Final = b"a" * 20
_RANDOM_RUN: Final = b"a" * 24
_AWS_SECRET_RUN: Final = b"a" * 40

_KIND: Final = {
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a"),
    **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),
    **dict.fromkeys("0123456789", "0"),
}
_LONGEST_LOOK: Final = 512
_MIN_PAIRS: Final = 17
_MIN_CHANGES: Final = 0.42  # of random base62 it is 0.62, of CamelCase names with numbers about 0.3
_MIN_ENTROPY: Final = 3.5

_PUBLIC_IDS: Final = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<![A-Za-z0-9])[0-9a-fA-F]{7,}(?![A-Za-z0-9])"
)
"""Uuids, commit ids, digests: parts of a run that are random and no secret."""

_PUBLIC: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}(?:CERTIFICATE|PUBLIC KEY|CERTIFICATE REQUEST)-----[\s\S]*?(?:-----END|\Z)"
    r"|(?<![A-Za-z0-9])(?:ssh-[a-z0-9]{2,10}|ecdsa-[a-z0-9-]{5,30})[ \t]+[A-Za-z0-9+/=]+"
    r"|(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>]*"
    r"|(?<![A-Za-z0-9])sha(?:1|256|384|512)[:-][A-Za-z0-9+/=]+"
)
"""What may hold long random runs and is public."""

_JOINS_BEFORE: Final = frozenset("_.-")
_JOINS_AFTER: Final = frozenset("=_.-")
_SLASHES: Final = 4


def looks_random(text: str) -> bool:
    """Whether `text` reads like random base64 rather than like names: every class of character, well mixed."""
    if text.islower() or text.isupper() or text.isalpha():
        return False
    rest = _PUBLIC_IDS.sub("", text[:_LONGEST_LOOK])
    kinds = [_KIND.get(character, "") for character in rest]
    if not {"a", "A", "0"} <= set(kinds):
        return False
    pairs = [(left, right) for left, right in pairwise(kinds) if left and right]
    changes = sum(left != right for left, right in pairs)
    return len(pairs) >= _MIN_PAIRS and changes >= _MIN_CHANGES * len(pairs) and entropy(rest) >= _MIN_ENTROPY


def entropy(text: str) -> float:
    """Shannon's, in bits a character; 0 for no text."""
    counts = [len(list(group)) for _, group in groupby(sorted(text))]
    return -sum(count / len(text) * log2(count / len(text)) for count in counts) + 0.0


def token_shape(text: str) -> bytes | None:
    """`text` with one `a` for each character that tokens are made of, None where no run could be a token.

    Runs of hex digits are digests and commit ids.
    """
    shape = _as_ascii(text).translate(_TOKENS)
    return shape if any(text[start:end].strip(_HEX) for start, end in _runs(shape, _TOKEN_RUN)) else None


def random_runs(text: str, shape: bytes) -> Iterator[Span]:
    """Runs that look random and are not public; `shape` is the text's `token_shape`."""
    spans = [(start, _padded(text, end)) for start, end in _runs(shape, _RANDOM_RUN) if looks_random(text[start:end])]
    if not spans:
        return
    public = [match.span() for match in _PUBLIC.finditer(text)][::-1]
    for start, end in spans:
        while public and public[-1][1] <= start:
            public.pop()
        if not (public and public[-1][0] < end):
            yield start, end


def aws_secrets(text: str) -> Iterator[Span]:
    """Exactly 40 characters of random base64 that stand alone, and are no path."""
    shape = _as_ascii(text).translate(_BASE64)
    for start, end in _runs(shape, _AWS_SECRET_RUN):
        joined = text[end : end + 1] in _JOINS_AFTER or text[max(start - 1, 0) : start] in _JOINS_BEFORE
        fits = end - start == len(_AWS_SECRET_RUN) and not joined and text.count("/", start, end) <= _SLASHES
        if fits and looks_random(text[start:end]):
            yield start, end


def _padded(text: str, end: int) -> int:
    """The end of a run with the padding of base64, at most two of it."""
    return end + len(text[end : end + 2]) - len(text[end : end + 2].lstrip("="))


def _runs(shape: bytes, shortest: bytes) -> Iterator[Span]:
    """Where `shape` has runs that hold `shortest`."""
    start = shape.find(shortest)
    while start >= 0:
        end = shape.find(b" ", start)
        end = len(shape) if end < 0 else end
        yield start, end
        start = shape.find(shortest, end)


def _as_ascii(text: str) -> bytes:
    """One byte for each character, so that places in it are places in `text`."""
    return text.encode("ascii", "replace")
