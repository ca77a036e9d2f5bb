"""Definitions in files of this machine.

A file or folder is read where it lies, at every run anew. A link that leads out of its Boundary is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flowyml_policy.definitions.files import find_files
from flowyml_policy.documents.reader import Limits
from flowyml_policy.errors.definitions import NoStacksFound
from flowyml_policy.errors.sources import SourceMissing, SourceTooLarge
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.references.arguments import other_than_path
from flowyml_policy.sources.boundary import Boundary
from flowyml_policy.sources.source import (
    DefinitionSource,
    FetchDeadline,
    FetchRules,
    Layout,
    Revision,
    SourceLimits,
    provenance_of,
)
from flowyml_policy.system.files import display_path, is_folder, is_missing, read_file


class LocalSource(DefinitionSource):
    """The file or folder `path`; a relative one starts at `root`, which is the `project`'s folder if none is given."""

    kind = "local"

    def __init__(
        self, path: str | Path, *, root: Path, project: Path | None = None, rules: FetchRules | None = None
    ) -> None:
        super().__init__(rules)
        self.path = Path(os.path.normpath(root / path))
        self.uri = display_path(self.path)
        self._named = str(path)
        self._project = root if project is None else project

    def _fetch(self) -> LocalRevision:
        if is_missing(self.path):
            advice = other_than_path(self._named) or "correct the path"
            raise SourceMissing(f"there is no such file or folder: {self.uri}", advice=advice)
        boundary = Boundary(self.path, self._project)
        boundary.inside(self.path)
        layout: Layout = "folder" if is_folder(self.path) else "file"
        return LocalRevision(self.path, boundary, layout=layout, limits=self.limits)


class SearchTime(FetchDeadline):
    """The end of one search of this machine. What takes too long is too large: no server is to blame."""

    def passed(self) -> SourceTooLarge:
        return SourceTooLarge(
            f"not read through within {self.seconds:g} s: {self.what}", advice="name the file, or a smaller folder"
        )


class LocalRevision(Revision):
    """What lies at `named` at each read: a folder's files by their path in it, a file by its own name."""

    def __init__(self, named: Path, boundary: Boundary, *, layout: Layout, limits: SourceLimits) -> None:
        super().__init__(limits)
        self.layout = layout
        self.only_file = named.name if layout == "file" else None
        self._named = named
        self._boundary = boundary

    @property
    def most_files(self) -> int:
        return self.limits.local_files

    def provenance(self, path: str, data: bytes) -> Provenance:
        return provenance_of(data, path, kind="local", uri=self.file_name(path), pinned=False)

    def file_name(self, path: str) -> str:
        return display_path(self._place(path) if path else self._named)

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        time = self._time(self._named)
        return {path: self._read(path, time) for path in paths}

    def _time(self, place: Path) -> SearchTime:
        return SearchTime(self.limits.timeout, display_path(place))

    def _read(self, path: str, time: SearchTime) -> bytes:
        time.remaining()
        place = self._place(path)
        if is_missing(place):
            raise SourceMissing(f"there is no such file: {display_path(place)}")
        return read_file(self._boundary.inside(place), most=Limits().size)

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        if self.only_file is not None:
            return [] if folder else [self.only_file]
        top = self._named / folder if folder else self._named
        if folder and not is_folder(self._boundary.inside(top)):
            return []
        try:
            found = [
                path.relative_to(self._named).as_posix() for path in find_files(top, watch=self._time(top).remaining)
            ]
        except NoStacksFound:
            return []
        depth = folder.count("/") + 1 if folder else 0
        return found if recursive else [path for path in found if path.count("/") == depth]

    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        place = self._place(path)
        if is_missing(place):
            return None
        return "folder" if is_folder(self._boundary.inside(place)) else "file"

    def _place(self, path: str) -> Path:
        return self._named if path == self.only_file else self._named / path
