"""The highest sequence that this user saw of each signed bundle: what tells a replayed bundle from news.

Rules:
- One file in the state folder, replaced whole and put on the disk; who changes it holds the system's lock beside it.
- What is kept is never lowered. A file that cannot be read is no empty one: it is an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.system.files import replace_file

FILE: Final = "bundle-sequences.json"

_VERSION: Final = 1
_WAIT: Final = 5.0
"""Seconds to wait for another process that changes the file, which takes it milliseconds."""

_ADVICE: Final = "let this user write there, or set XDG_STATE_HOME to a folder where it may"


class FileSequences:
    """A SequenceStore in a file of `folder`, which need not exist. Safe from many threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def known(self) -> dict[str, int]:
        """The highest sequence that was seen of each bundle, by its origin. Raises OpaUnavailable."""
        return self._read()

    def advance(self, origin: str, sequence: int) -> int:
        """Keep `sequence` where it is higher than what is kept; answer the highest. Raises OpaUnavailable."""
        known = self._read().get(origin)
        if known is not None and known >= sequence:
            return known
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock(f"{self.path}.lock", mode=0o600, thread_local=False, fallback_to_soft=False)
            with lock.acquire(timeout=_WAIT):
                kept = self._read()
                highest = max(sequence, kept.get(origin, sequence))
                replace_file(self.path, self._encoded({**kept, origin: highest}))
        except Timeout as error:
            raise OpaUnavailable(
                f"another process keeps the sequences of bundles from being written: {self.path}",
                advice="end the process that holds the lock beside it",
            ) from error
        except OSError as error:
            raise OpaUnavailable(
                f"the sequence of a bundle cannot be kept: {self.path}: {error.strerror}", advice=_ADVICE
            ) from error
        return highest

    def _read(self) -> dict[str, int]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OpaUnavailable(
                f"the sequences of bundles cannot be read: {self.path}: {error.strerror}", advice=_ADVICE
            ) from error
        try:
            held = json.loads(content)
        except (ValueError, RecursionError):
            held = None
        known = held.get("sequences") if isinstance(held, dict) and held.get("version") == _VERSION else None
        if not isinstance(known, dict) or not all(type(sequence) is int for sequence in known.values()):
            raise OpaUnavailable(
                f"the file of sequences of bundles is none: {self.path}",
                advice="restore it; or remove it, once it is known that no old bundle is being replayed",
            )
        return known

    @staticmethod
    def _encoded(sequences: dict[str, int]) -> bytes:
        return json.dumps({"version": _VERSION, "sequences": sequences}, sort_keys=True, indent=1).encode()
