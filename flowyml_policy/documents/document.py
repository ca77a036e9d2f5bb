"""A document that was read: its value, and where each part of it stands in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from flowyml_policy.documents.surrogates import Pair, column_as_written
from flowyml_policy.records.record import Json, Key, Location


class Mark(Protocol):
    """A position as PyYAML gives it; all three count from 0, `index` in characters."""

    index: int
    line: int
    column: int


Place: TypeAlias = Any
"""Where a value stands: a Mark for a scalar; (Mark, {key: (Mark of the key, Place)}) or (Mark, [Place])."""

_PLAIN_TOKEN = re.compile(r"[^\s,\]}]*")


class Document:
    """One document of a file: its JSON-like `value`, and positions on demand. Treat the value as read-only."""

    __slots__ = ("_pairs", "_place", "_text", "file", "value")

    def __init__(self, value: Json, place: Place, *, file: str, text: str, pairs: Sequence[Pair] = ()) -> None:
        self.value = value
        self.file = file
        self._place = place
        self._text = text
        self._pairs = pairs

    def location(self, path: Sequence[Key] = ()) -> Location:
        """Where the value at `path` stands; for a path that leads nowhere, its nearest existing parent.

        A mapping or sequence under a key is found at that key, a scalar at itself.
        """
        key, place = self._find(path)
        mark = place if not isinstance(place, tuple) else key or place[0]
        return self._located(mark)

    def key_location(self, path: Sequence[Key]) -> Location:
        """Where the key of the mapping entry at `path` stands; for whatever is no such entry, its `location`."""
        key, place = self._find(path)
        return self._located(key or (place[0] if isinstance(place, tuple) else place))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written in it, not even a null."""
        return self.value is None and self.written(()) in {"", "---", "..."}

    def written(self, path: Sequence[Key]) -> str:
        """The number, boolean or null at `path` as its author spelled it (`1.10`), empty where nothing stands."""
        _, place = self._find(path)
        mark = place[0] if isinstance(place, tuple) else place
        found = _PLAIN_TOKEN.match(self._text, mark.index)
        return found.group() if found else ""

    def _find(self, path: Sequence[Key]) -> tuple[Mark | None, Place]:
        """The mark of the key (None for the root and for items of a sequence) and the place, as far as path leads."""
        key, place = None, self._place
        for step in path:
            children = place[1] if isinstance(place, tuple) else None
            if isinstance(children, dict) and step in children:
                key, place = children[step]
            elif isinstance(children, list) and isinstance(step, int) and 0 <= step < len(children):
                key, place = None, children[step]
            else:
                break
        return key, place

    def _located(self, mark: Mark) -> Location:
        column = column_as_written(self._pairs, mark.line, mark.column)
        return Location(file=self.file, line=mark.line + 1, column=column + 1)

    def __repr__(self) -> str:
        return f"Document({self.file!r}, {self.value!r})"
