"""Secrets in one text: found, joined where they overlap, and replaced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from flowyml_policy.mask.detectors import PATTERNS, TOKENS, URL_PATTERNS
from flowyml_policy.mask.harmless import DETECTORS, mask_of
from flowyml_policy.mask.logins import LOGINS, may_name_a_user
from flowyml_policy.mask.names import ASSIGNMENTS, assigned
from flowyml_policy.mask.randomness import aws_secrets, random_runs, token_shape

_PEM: Final = "-----BEGIN "
_ROUNDS: Final = 8
"""A masked text is looked at again until nothing more is found; two rounds are the rule."""

_SIGNED: Final = tuple((sign, pattern) for pattern in PATTERNS for sign in pattern.signs)
_SIGNED_TOKENS: Final = tuple((sign, pattern) for pattern in TOKENS for sign in pattern.signs)
_RANK: Final = {name: rank for rank, name in enumerate(DETECTORS)}

_Found = tuple[int, int, str]
"""Start, end, and the detector."""


class MaskedText(NamedTuple):
    """A text without secrets, and the names of the detectors that found some, in order of place."""

    text: str
    detectors: tuple[str, ...]


def mask(text: str) -> str:
    """Return `text` as a record may hold it: its secrets masked, and `encodable`."""
    return mask_report(text).text


def mask_report(text: str) -> MaskedText:
    """Mask `text`, and say which detectors found something in it."""
    text = encodable(text)
    names: list[str] = []
    for _ in range(_ROUNDS):
        found = _find(text)
        if not found:
            return MaskedText(text, tuple(dict.fromkeys(names)))
        names += [detector for _, _, detector in found]
        text = _replaced(text, found)
    return MaskedText(mask_of("unstable"), tuple(dict.fromkeys(names)))


def holds_secret(text: str) -> bool:
    """Whether a detector finds something in `text`, or in any line of it."""
    return bool(_find(text))


def encodable(text: str) -> str:
    """Return `text` with the hex of every lone surrogate written out, since UTF-8 cannot hold one.

    A file name or a variable of odd bytes has some. Other text is returned as it is, uncopied.
    """
    if text.isascii():
        return text
    written = text.encode("utf-8", "backslashreplace").decode()
    return text if written == text else written


def is_clean(text: str) -> bool:
    """Whether `mask` changes nothing in `text`, nor in any line of it."""
    return encodable(text) is text and not _find(text)


def are_clean(texts: Iterable[str]) -> bool:
    """Whether `mask` changes none of `texts`. They are looked at as one, which costs less.

    Not where one of them begins a block of PEM: what is public up to its end would hide the others.
    """
    distinct = dict.fromkeys(texts)
    if any(_PEM in text for text in distinct):
        return all(map(is_clean, distinct))
    return is_clean("\n".join(distinct))


def _find(text: str) -> list[_Found]:
    """Every secret in `text`, in order, none overlapping another."""
    found: list[_Found] = []
    if "@" in text:
        addressed = URL_PATTERNS if "://" in text else ()
        logins = [one for one in LOGINS if any(sign in text for sign in one.signs)] if may_name_a_user(text) else ()
        for pattern in (*addressed, *logins):
            found += [(start, end, pattern.name) for start, end in pattern.spans(text)]
    for sign, pattern in _SIGNED:
        if sign in text:
            found += [(start, end, pattern.name) for start, end in pattern.spans(text)]
    for sign, assignment in ASSIGNMENTS:
        if sign in text:
            found += [(start, end, "assigned_secret") for start, end in assigned(text, assignment)]
    found += _tokens(text)
    return _disjoint(found) if found else found


def _tokens(text: str) -> Iterable[_Found]:
    """What is found by its long run of characters."""
    shape = token_shape(text)
    if shape is not None:
        for sign, pattern in _SIGNED_TOKENS:
            if sign in text:
                yield from ((start, end, pattern.name) for start, end in pattern.spans(text))
        yield from ((start, end, "high_entropy") for start, end in random_runs(text, shape))
    yield from ((start, end, "aws_secret_key") for start, end in aws_secrets(text))


def _disjoint(found: list[_Found]) -> list[_Found]:
    """Secrets that overlap are one, from the first's start to the last's end."""
    found.sort()
    disjoint = found[:1]
    for start, end, name in found[1:]:
        last_start, last_end, last_name = disjoint[-1]
        if start < last_end:
            disjoint[-1] = (last_start, max(end, last_end), min(name, last_name, key=_RANK.__getitem__))
        else:
            disjoint.append((start, end, name))
    return disjoint


def _replaced(text: str, found: Iterable[_Found]) -> str:
    parts, at = [], 0
    for start, end, name in found:
        parts += [text[at:start], mask_of(name)]
        at = end
    return "".join((*parts, text[at:]))
