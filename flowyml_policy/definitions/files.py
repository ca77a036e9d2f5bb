"""Finding and reading the files that hold definitions.

A folder stands for every definition below it: nothing that shows is left out silently, and a folder that
cannot be listed is an error. Only regular files are opened, so that no pipe or device holds a check up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from flowyml_policy.documents.canonical import digest
from flowyml_policy.documents.reader import Limits
from flowyml_policy.errors.definitions import NoStacksFound
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.records.policy_input import Source
from flowyml_policy.references.arguments import FILE_ENDINGS
from flowyml_policy.system.files import display_path, is_folder, is_missing

_SETTINGS_FILE: Final = "flowyml.yaml"
_NAMED: Final = 3


def find_files(
    path: Path,
    *,
    skip: Collection[Path] = (),
    unlisted: list[SourceUnreadable] | None = None,
    unread: list[str] | None = None,
    watch: Callable[[], object] = lambda: None,
) -> list[Path]:
    """The files below a folder that may hold definitions, sorted; for a file, that file.

    `*.yaml` and `*.yml` in all folders below, except hidden files and folders, flowyml.yaml, links that leave
    the folder, and what `skip` names (the project's waivers). A folder that is met twice through a link is
    listed once; one below that is gone when its turn comes holds nothing. Raises NoStacksFound for a folder
    without any, SourceUnreadable for what cannot be listed; where `unlisted` is given, folders below that cannot
    be listed are put there, and the others are still listed. The `*.json` files there, which are not read, are put into
    `unread` where that is given.
    `watch` is called before each folder, and may raise to end the search.
    """
    if not is_folder(path):
        if is_missing(path):
            raise SourceUnreadable(f"no such file or folder can be reached: {display_path(path)}")
        return [path]
    skipped = {os.path.realpath(one) for one in skip}
    root = os.path.realpath(path)
    leaving: list[str] = []
    unread = [] if unread is None else unread
    names = [name for name, real in _walk(str(path), root, unlisted, watch, leaving, unread) if real not in skipped]
    if not names and not unlisted:
        raise NoStacksFound(f"no *.yaml or *.yml file is in the folder {display_path(path)}{_but(leaving)}")
    return [Path(name) for name in sorted(names)]


def local_source(path: Path, data: bytes) -> Source:
    """The source of what `read_file` read; without a digest where that was not all of it."""
    return Source(kind="local", uri=display_path(path), digest=digest(data) if len(data) <= Limits().size else None)


def _but(leaving: Sequence[str]) -> str:
    """That there are links which lead out of the folder, where there are any."""
    if not leaving:
        return ""
    named = ", ".join(display_path(Path(link)) for link in sorted(leaving)[:_NAMED])
    more = f" and {len(leaving) - _NAMED:,} more" if len(leaving) > _NAMED else ""
    return f"; no link that leads out of it is followed: {named}{more}"


def _walk(
    top: str,
    root: str,
    unlisted: list[SourceUnreadable] | None,
    watch: Callable[[], object],
    leaving: list[str],
    unread: list[str],
) -> Iterator[tuple[str, str]]:
    """Definition files below `top`, by path and by real path; each folder once, by its own name before any link.

    Links out of `root` to what may hold definitions are put into `leaving`, files of JSON into `unread`.
    """
    visited: set[str] = set()
    waiting = [top]
    linked: list[str] = []
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        watch()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        for entry in _entries(folder, unlisted, may_be_gone=folder != top):
            if entry.name.startswith("."):
                continue
            target = _target(entry, real)
            is_definition = entry.name.lower().endswith(FILE_ENDINGS) and entry.name != _SETTINGS_FILE
            if not _is_inside(target, root):
                if is_definition or is_folder(entry):
                    leaving.append(entry.path)
            elif is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(entry.path)
            elif is_definition:
                yield entry.path, target
            elif entry.name.lower().endswith(".json"):
                unread.append(entry.path)


def _target(entry: os.DirEntry[str], folder: str) -> str:
    """The real path of an entry of the real `folder`; a link that cannot be followed is where it lies itself."""
    if entry.is_symlink():
        with suppress(OSError):
            return os.path.realpath(entry.path)
    return f"{folder.rstrip(os.sep)}{os.sep}{entry.name}"


def _entries(folder: str, unlisted: list[SourceUnreadable] | None, *, may_be_gone: bool) -> Sequence[os.DirEntry[str]]:
    """What is in `folder`, sorted; nothing in one that may be gone and is. See find_files for `unlisted`."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        # What is left of a folder that goes away at that moment may answer by any error, as one of a process does.
        if may_be_gone and (error.errno == errno.ENOENT or not os.path.lexists(folder)):
            return []
        unreadable = SourceUnreadable(
            f"cannot list the folder {display_path(Path(folder))}: {error.strerror or error}",
            advice="let this user list it, or name a folder without it",
        )
        if unlisted is None:
            raise unreadable from error
        unlisted.append(unreadable)
        return []


def _is_inside(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)
