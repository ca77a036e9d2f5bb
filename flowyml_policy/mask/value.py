"""Secrets in a JSON value: in its texts and keys, and under keys that are named like secrets.

Nothing here recurses, so that depth is no danger.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from flowyml_policy.mask.harmless import is_harmless, is_reference, mask_of
from flowyml_policy.mask.names import NO, NUMBERS_TOO, secrecy
from flowyml_policy.mask.text import holds_secret, mask_text
from flowyml_policy.records.policy_input import SuspectedSecret
from flowyml_policy.records.record import Json, Key, KeyPath


def mask_value(value: Json) -> tuple[Json, tuple[SuspectedSecret, ...]]:
    """`value` with every secret in it masked, and where they were, in document order.

    Keys are masked like texts. A value under a key that is named like a secret is one, unless it is a mere
    word (`true`, `none`) or a reference. A value without secrets is returned as it is, uncopied.
    """
    texts: list[str] = []
    if not _gather(value, texts) and not holds_secret("\n".join(texts)):
        return value, ()
    return _rebuilt(value)


_LISTS: Final = (list, tuple)


def _looks_plain(key: str) -> bool:
    """Whether a key is neither a secret nor the name of one."""
    return not (secrecy(key) or holds_secret(key))


_is_plain = lru_cache(maxsize=4096)(_looks_plain)
"""The same few keys are asked for again and again."""

_LONGEST_CACHED: Final = 64


def _gather(value: Json, texts: list[str]) -> bool:
    """Put every text of `value` into `texts`; True as soon as a key is, or is named like, a secret."""
    waiting: list[Json] = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            for key in node:
                if isinstance(key, str) and not (_is_plain(key) if len(key) <= _LONGEST_CACHED else _looks_plain(key)):
                    return True
            if "value" in node and _secrecy_of_pair(node):
                return True
            waiting += node.values()
        elif isinstance(node, _LISTS):
            waiting += node
    return False


def _secrecy_of_pair(node: dict[str, Json]) -> int:
    """What is secret of `value` in `{name: DB_PASSWORD, value: ...}`."""
    return max(secrecy(mask_text(name)[0]) if isinstance(name, str) else NO for name in map(node.get, ("name", "key")))


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


def _rebuilt(value: Json) -> tuple[Json, tuple[SuspectedSecret, ...]]:
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
    return root[0], tuple(suspects)


def _items_of(
    node: dict[str, Json], copy: dict[str, Json], trail: _Trail | None, secret: int, suspects: list[SuspectedSecret]
) -> list[_Slot]:
    """The items of `node`, whose masked keys are put into `copy` in their order."""
    paired = max(secret, _secrecy_of_pair(node))
    slots: list[_Slot] = []
    for key, item in node.items():
        masked, names = mask_text(key) if isinstance(key, str) else (key, ())
        if names:
            masked = _unused(masked, node, copy)
        copy[masked] = None
        here = _Trail(trail, masked if isinstance(masked, str) else str(masked))
        suspects += [SuspectedSecret(path=_path(here), detector=name) for name in names]
        slots.append(_Slot(item, copy, masked, here, max(secrecy(masked), paired if key == "value" else NO)))
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
        masked, names = mask_text(leaf)
        if secret and not is_harmless(masked) and not is_reference(masked):
            return mask_of("named_secret"), ("named_secret",)
        return masked, names
    if secret == NUMBERS_TOO and isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return mask_of("named_secret"), ("named_secret",)
    return leaf, ()
