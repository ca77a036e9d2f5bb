"""What a server's bundles may become while a process runs: known by sequence, and told when they change.

Rules:
- Only a bundle whose signature OPA demands has a sequence that counts: anybody could write another.
- The highest sequence is kept where all processes of this user see it. A lower one is refused here too, since two
  processes ask a server at two times.
- Where it cannot be kept, nothing is decided if signatures are required: a replay could not be told from news.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from flowyml_policy.errors.opa import OpaEvaluationFailed, OpaUnavailable, PolicyRolledBack

if TYPE_CHECKING:
    from flowyml_policy.records.protocols import SequenceStore

STATE: Final = b',"state":%d}'
"""How an answer of the library ends: by the number of what was loaded when it was given."""

MOST_MOVES: Final = 20
"""How often one call may find that another bundle was activated meanwhile."""


def too_fast() -> OpaEvaluationFailed:
    """The error for a call that met a new bundle each time that it asked."""
    return OpaEvaluationFailed("bundles arrive faster than they can be checked", advice="raise their polling delays")


class SeenSequences:
    """A SequenceStore for the process that judges apart: what the other one knew when it started this one."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self._known = dict(known)

    def known(self) -> Mapping[str, int]:
        """The highest sequence of each bundle, by its origin."""
        return self._known

    def advance(self, origin: str, sequence: int) -> int:
        """Keep `sequence` where it is higher than what is kept; answer the highest."""
        self._known[origin] = max(sequence, self._known.get(origin, sequence))
        return self._known[origin]


class Sequences:
    """The sequences of signed remote bundles. Safe from many threads."""

    def __init__(self, store: SequenceStore | None, *, required: bool) -> None:
        self._store = store
        self._required = required
        self._lock = threading.Lock()
        self._kept: dict[str, int] = {}

    def known(self) -> Mapping[str, int]:
        """The highest sequence that was seen of each bundle, by its origin. Raises OpaUnavailable where it must."""
        try:
            return self._store.known() if self._store else {}
        except OpaUnavailable:
            if self._required:
                raise
            return {}

    def keep(self, described: Mapping[str, Any]) -> None:
        """Keep the sequences of what is loaded, as a policy describes it. Raises PolicyRolledBack, OpaUnavailable."""
        for name, origin in described["origins"].items():
            sequence = (described["metadata"].get(name) or {}).get("sequence")
            if not isinstance(sequence, int):
                self._require_unseen(name, origin, described["bundles"].get(name))
                continue
            with self._lock:
                if self._kept.get(origin) == sequence:
                    continue
                highest = self._highest(origin, sequence)
                if highest > sequence:
                    raise PolicyRolledBack(
                        f"bundle {name!r} of revision {described['bundles'].get(name)} has sequence {sequence}, and one"
                        f" of sequence {highest} was seen before"
                    )
                self._kept[origin] = sequence

    def forget(self) -> None:
        """In a forked child: take no lock that another thread may have held at the fork."""
        self._lock = threading.Lock()

    def _require_unseen(self, name: str, origin: str, revision: str | None) -> None:
        """Raise PolicyRolledBack for a bundle without a sequence where it had one before."""
        if (highest := self.known().get(origin)) is not None:
            raise PolicyRolledBack(
                f"bundle {name!r} of revision {revision} has no sequence, and one of sequence {highest} was seen before"
            )

    def _highest(self, origin: str, sequence: int) -> int:
        if self._store is None:
            return sequence
        try:
            return self._store.advance(origin, sequence)
        except OpaUnavailable:
            if self._required:
                raise
            return sequence
