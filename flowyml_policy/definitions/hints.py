"""What an author may have meant by a key that is not known where it stands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NEAR: Final = 0.7


def unknown_key_fix(
    key: str, parent: tuple[str, ...], known: Mapping[tuple[str, ...], Collection[str]], taken: Collection[str]
) -> str:
    """What to write instead of `key` under `parent`: one sentence without an end.

    `known` holds the keys of every level, `taken` those that stand beside it already and need no proposal.
    """
    if ":" in key and not key.startswith(":"):
        return f"put a blank after the colon: `{key.replace(':', ': ', 1)}`"
    here = known.get(parent, ())
    snake = _HUMP.sub("_", key).replace("-", "_").lower()
    folded = {one.replace("_", "").lower(): one for one in here}
    same = folded.get(snake.replace("_", ""))
    if same:
        return f"write `{same}`" if same not in taken else f"take it out; `{same}` is there already"
    level = _level_of(key, parent, known)
    if level is not None:
        return f"move it to {'.'.join(level) or 'the top level'}"
    level = _level_of(snake, parent, known)
    if level is not None:
        return f"move it to {'.'.join(level) or 'the top level'} as `{snake}`"
    near = difflib.get_close_matches(snake, list(here), n=1, cutoff=_NEAR)
    if near:
        return f"did you mean `{near[0]}`?" if near[0] not in taken else f"join it with `{near[0]}`, or take it out"
    return f"take it out; known here: {', '.join(here)}"


def _level_of(
    key: str, parent: tuple[str, ...], known: Mapping[tuple[str, ...], Collection[str]]
) -> tuple[str, ...] | None:
    """The other level that knows `key`, if there is exactly one."""
    levels = [level for level, keys in known.items() if level != parent and key in keys]
    return levels[0] if len(levels) == 1 else None
