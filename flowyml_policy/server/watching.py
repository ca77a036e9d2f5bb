"""The watched folder: each NAME.tar.gz in it is published when it changes, through the same checks as a PUT.

Rules:
- A file that is still being written is left alone: it counts once two looks find it the same.
- What was published before, under its name, is passed over: the folder may lag behind what was put since.
- What is refused is told once, and the bundle that is active goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeAlias

from flowyml_policy.bundles.archive import read_packed
from flowyml_policy.errors.bundles import BundleUnreadable
from flowyml_policy.errors.root import UsageError
from flowyml_policy.server.bundles import Publications, Put
from flowyml_policy.server.exchange import Refused

LOOK_SECONDS: Final = 0.5
BY: Final = "watched folder"

_ENDING: Final = ".tar.gz"
_State: TypeAlias = tuple[int, int, int]


class WatchedFolder:
    """A folder whose bundles are published. `look` is called again and again, by one thread at a time."""

    def __init__(self, folder: Path, publications: Publications, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._publications = publications
        self._tell = tell
        self._seen: dict[str, _State] = {}
        self._done: dict[str, _State] = {}
        self.problems: dict[str, str] = {}
        """What is wrong with the folder, "", and with the files in it."""

    def look(self) -> None:
        """Publish what has changed. Raises ServerError where the server cannot keep it."""
        try:
            found = self._states()
        except OSError as error:
            self._set_problem("", f"the watched folder cannot be read: {error.strerror}")
            return
        self._set_problem("", None)
        for file in self.problems.keys() - found.keys() - {""}:
            self._set_problem(file, None)
        for file, state in found.items():
            if self._done.get(file) != state and self._seen.get(file) == state:
                self._take(file, state)
        self._seen = found

    def _states(self) -> dict[str, _State]:
        with os.scandir(self._folder) as entries:
            files = [entry.name for entry in entries if entry.name.endswith(_ENDING) and entry.name[0] != "."]
        found = {}
        for file in sorted(files):
            state = _state(self._folder / file)
            if state is not None:
                found[file] = state
        return found

    def _take(self, file: str, state: _State) -> None:
        name = file.removesuffix(_ENDING)
        try:
            packed = read_packed(self._folder / file)
            if _state(self._folder / file) != state:
                return  # it is being written after all
            digest = f"sha256:{sha256(packed).hexdigest()}"
            if all(digest != one.digest for one in self._publications.history(name)):
                self._publications.put(Put(name, packed, BY))
        except Refused as refused:
            if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
                return  # next time
            self._set_problem(file, f"it is not published: {refused.code}: {refused.message}")
        except (UsageError, BundleUnreadable) as error:
            self._set_problem(file, f"it is not published: {error.message}")
        else:
            self._set_problem(file, None)
        self._done[file] = state

    def _set_problem(self, file: str, problem: str | None) -> None:
        if problem is None:
            self.problems.pop(file, None)
        elif self.problems.get(file) != problem:
            self.problems[file] = problem
            self._tell(f"{self._folder / file}: {problem}")


def _state(path: Path) -> _State | None:
    """By what a change of the file shows; None where it is gone meanwhile."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
