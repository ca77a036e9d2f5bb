"""Secrets in a JSON value: in its texts and keys, and under keys that are named like secrets.

Nothing here recurses, so that depth is no danger.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from flowyml_policy.mask.harmless import is_harmless, is_reference, mask_of
from flowyml_policy.mask.names import A_KEY, NO, NUMBERS_TOO, TEXTS, reads_as_a_key, secrecy
from flowyml_policy.mask.text import are_clean, is_clean, mask, mask_report
from flowyml_policy.records.policy_input import SuspectedSecret
from flowyml_policy.records.record import Json, Key, KeyPath


class MaskedValue(NamedTuple):
    """A value without secrets, and where they were, in document order."""

    value: Json
    suspected: tuple[SuspectedSecret, ...]


def mask_value(value: Json) -> Json:
    """Return `value` as a record may hold it: every text and key in it masked."""
    return mask_value_report(value).value


def mask_value_report(value: Json) -> MaskedValue:
    """Mask `value`, and say where its secrets were.

    Keys are masked like texts. A value under a key that is named like a secret is one, unless it is a mere
    word (`true`, `none`) or a reference. A value in which nothing changes is returned as it is, uncopied.
    """
    texts: list[str] = []
    if not _gather(value, texts) and are_clean(texts):
        return MaskedValue(value, ())
    return _rebuilt(value)


_LISTS: Final = (list, tuple)


def _looks_plain(key: str) -> bool:
    """Whether a key stays as it is and is no name of a secret."""
    return not secrecy(key) and is_clean(key)


_is_plain = lru_cache(maxsize=4096)(_looks_plain)
"""The same few keys are asked for again and again."""

_LONGEST_CACHED: Final = 64


def _gather(value: Json, texts: list[str]) -> bool:
    """Put every text of `value` into `texts`; True as soon as a key is masked or is named like a secret."""
    waiting: list[Json] = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            for key in node:
                if isinstance(key, str) and not (_is_plain(key) if len(key) <= _LONGEST_CACHED else _looks_plain(key)):
                    return True
            if ("value" in node and _secrecy_of_pair(node)) or ("key" in node and _has_a_key(node)):
                return True
            waiting += node.values()
        elif isinstance(node, _LISTS):
            waiting += node
    return False


def _secrecy_of_pair(node: dict[str, Json]) -> int:
    """What is secret of `value` in `{name: DB_PASSWORD, value: ...}`."""
    return max(secrecy(mask(name)) if isinstance(name, str) else NO for name in map(node.get, ("name", "key")))


_USER_NAMES: Final = ("username", "user", "user_name", "userName", "login")


def _has_a_key(node: dict[str, Json]) -> bool:
    """Whether `key` in `{username: ..., key: ...}` is what the user logs in with."""
    key = node.get("key")
    named = any(isinstance(node.get(name), str) for name in _USER_NAMES)
    return named and isinstance(key, str) and re.fullmatch(A_KEY, key) is not None and reads_as_a_key(key)


class _Trail(NamedTuple):
    """A path from its end, so that deep values cost no copies."""

    above: _Trail | None
    key: Key


def _path(trail: _Trail | None) -> KeyPath:
    keys: list[Key] = []
    while trail is not None:
        keys.append(trail.key)
        trail = trail.above
    return tuple(reversed(keys))


class _Slot(NamedTuple):
    """A part of the value, where its masked copy belongs, and what of it is secret."""

    node: Json
    place: Json
    key: Key
    trail: _Trail | None
    secret: int


def _rebuilt(value: Json) -> MaskedValue:
    suspects: list[SuspectedSecret] = []
    root: list[Json] = [None]
    waiting = [_Slot(value, root, 0, None, NO)]
    while waiting:
        node, place, slot, trail, secret = waiting.pop()
        if isinstance(node, dict):
            copy: dict[str, Json] = {}
            place[slot] = copy
            waiting += _items_of(node, copy, trail, secret, suspects)[::-1]
        elif isinstance(node, list | tuple):
            items = [None] * len(node)
            place[slot] = items
            waiting += [_Slot(item, items, i, _Trail(trail, i), secret) for i, item in enumerate(node)][::-1]
        else:
            place[slot], names = _masked_leaf(node, secret)
            suspects += [SuspectedSecret(path=_path(trail), detector=name) for name in names]
    return MaskedValue(root[0], tuple(suspects))


def _items_of(
    node: dict[str, Json], copy: dict[str, Json], trail: _Trail | None, secret: int, suspects: list[SuspectedSecret]
) -> list[_Slot]:
    """The items of `node`, whose masked keys are put into `copy` in their order."""
    paired = max(secret, _secrecy_of_pair(node))
    keyed = TEXTS if "key" in node and _has_a_key(node) else NO
    slots: list[_Slot] = []
    for key, item in node.items():
        masked, names = mask_report(key) if isinstance(key, str) else (key, ())
        if masked != key:
            masked = _unused(masked, node, copy)
        copy[masked] = None
        here = _Trail(trail, masked if isinstance(masked, str) else str(masked))
        suspects += [SuspectedSecret(path=_path(here), detector=name) for name in names]
        beside = paired if key == "value" else keyed if key == "key" else NO
        slots.append(_Slot(item, copy, masked, here, max(secrecy(masked), beside)))
    return slots


def _unused(masked: str, node: dict[str, Json], copy: dict[str, Json]) -> str:
    """`masked`, numbered where two keys of one mapping became the same."""
    if masked not in node and masked not in copy:
        return masked
    number = len(copy) + 1
    while f"{masked}#{number}" in node or f"{masked}#{number}" in copy:
        number += 1
    return f"{masked}#{number}"


def _masked_leaf(leaf: Json, secret: int) -> tuple[Json, tuple[str, ...]]:
    if isinstance(leaf, str):
        masked, names = mask_report(leaf)
        if secret and not is_harmless(masked) and not is_reference(masked):
            return mask_of("named_secret"), ("named_secret",)
        return masked, names
    if secret == NUMBERS_TOO and isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return mask_of("named_secret"), ("named_secret",)
    return leaf, ()
