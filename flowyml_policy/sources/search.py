"""Which stack of a source is meant: by the path of its file, by its `metadata.name`, or because it is the only one.

A path that is given wins. Without one, a repository is searched in its `stacks/` folder, the local entries of its
flowyml.yaml, and the files in its root; a folder, everywhere in it. The name of a file means nothing. Two stacks of
one name are an error that names both, wherever they stand.
"""

from __future__ import annotations

import posixpath
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, TypeAlias

from flowyml_policy.definitions.stack import StackDefinition, read_definitions
from flowyml_policy.documents.reader import load_documents
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.sources import SourceMissing, SourceUnreadable, StackAmbiguous, StackNotFound
from flowyml_policy.mask.quoted import shown
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.references.arguments import FILE_ENDINGS
from flowyml_policy.sources.source import SETTINGS_FILE, Revision

STACKS_FOLDER: Final = "stacks"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_NAMED: Final = 5

_Read: TypeAlias = StackDefinition | DefinitionInvalid


@dataclass(frozen=True)
class FoundStack:
    """The definition that is meant, and its origin; `file` is how people are told of the file at `path`."""

    definition: StackDefinition
    path: str
    file: str
    data: bytes
    provenance: Provenance


@dataclass(frozen=True)
class _Match:
    path: str
    content: _Read
    provenance: Provenance


class StackSearch:
    """Finds stacks in one revision; files are read once, and parsed only when they may hold what is looked for.

    Safe from many threads. Keep it for as long as the revision: two hundred stacks are then one read.
    """

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self._lock = threading.Lock()
        self._data: dict[str, bytes] = {}
        self._read: dict[str, tuple[Provenance, list[_Read]]] = {}
        self._listed: dict[str | None, list[str]] = {}

    def find(self, name: str | None = None, path: str | None = None) -> FoundStack:
        """The stack called `name`, or the only one, in the file or folder at `path`, or anywhere that stacks are kept.

        Raises StackNotFound, StackAmbiguous, other SourceError leaves, or DefinitionInvalid for the one that is
        meant and not valid, and for a file that is no YAML and may hold `name`: what is broken is not passed over.
        """
        with self._lock:
            return self._found(name, path)

    def find_all(self, name: str) -> list[FoundStack]:
        """Every stack called `name`, anywhere that stacks are kept.

        Raises DefinitionInvalid for one of that name that is not valid, and for a file that is no YAML and may hold
        it: what is broken is not passed over. Raises SourceError leaves too.
        """
        with self._lock:
            files = self._files(None)
            self._load(files)
            return [found for file in files for found in self._called(file, name)]

    def names(self, path: str | None = None) -> list[str]:
        """The names of all stacks at `path`, or everywhere that stacks are kept, sorted."""
        with self._lock:
            files = self._files(path)
            self._load(files)
            items = [item for file in files for item in self._items(file)]
        return sorted({name for item in items if (name := _name(item)) is not None})

    def _found(self, name: str | None, path: str | None) -> FoundStack:
        files = self._files(path)
        self._load(files)
        matches = [match for file in files for match in self._matches(file, name)]
        if len(matches) > 1:
            raise StackAmbiguous(self._ambiguous(matches, name, path))
        if not matches:
            raise self._not_found(files, name, path)
        match = matches[0]
        if isinstance(match.content, DefinitionInvalid):
            raise match.content
        return self._stack(match, match.content)

    def _called(self, file: str, name: str) -> Iterator[FoundStack]:
        """The stacks called `name` in a file; raises what `find_all` does."""
        if not _may_hold(self._data[file], name):
            return
        for item in self._items(file):
            if isinstance(item, DefinitionInvalid):
                if item.stack_name == name or _is_no_yaml(item):
                    raise item
            elif item.metadata.name == name:
                yield self._stack(_Match(file, item, self._read[file][0]), item)

    def _stack(self, match: _Match, definition: StackDefinition) -> FoundStack:
        return FoundStack(
            definition=definition,
            path=match.path,
            file=self.revision.file_name(match.path),
            data=self._data[match.path],
            provenance=match.provenance,
        )

    def _files(self, path: str | None) -> list[str]:
        if path not in self._listed:
            self._listed[path] = self._found_files(path)
        return self._listed[path]

    def _found_files(self, path: str | None) -> list[str]:
        revision = self.revision
        if path is not None:
            path = path.rstrip("/")
            if path.lower().endswith(FILE_ENDINGS) or revision.holds(path) == "file":
                return [path]
            found = revision.list_paths(path)
            if not found and revision.holds(path) is None:
                raise SourceMissing(f"there is no such file or folder: {revision.file_name(path)}")
            return found
        if revision.only_file is not None:
            return [revision.only_file]
        if revision.layout == "folder":
            return revision.list_paths()
        places = [
            *revision.list_paths(STACKS_FOLDER),
            *self._named_in_settings(),
            *revision.list_paths(recursive=False),
        ]
        return list(dict.fromkeys(places))

    def _named_in_settings(self) -> Iterator[str]:
        """The definition files that the repository's own flowyml.yaml keeps under `stacks`."""
        if self.revision.holds(SETTINGS_FILE) != "file":
            return
        data = self.revision.read(SETTINGS_FILE)
        file = self.revision.file_name(SETTINGS_FILE)
        try:
            documents = load_documents(data, file)
        except YamlInvalid as error:
            raise SourceUnreadable(
                f"the repository's own settings cannot be read: {error.location}: {error.problem}",
                advice="name the path of the stack's file",
            ) from error
        for path in _local_paths([document.value for document in documents]):
            holds = self.revision.holds(path)
            if holds == "file":
                yield path
            elif holds == "folder":
                yield from self.revision.list_paths(path)

    def _load(self, files: list[str]) -> None:
        missing = [path for path in files if path not in self._data]
        self._data.update(self.revision.read_many(missing))

    def _matches(self, path: str, name: str | None) -> Iterator[_Match]:
        """What is called `name` in a file, or all of it; raises what `find` does for a file that is no YAML."""
        if name is not None and not _may_hold(self._data[path], name):
            return
        for item in self._items(path):
            if name is None or _name(item) == name:
                yield _Match(path, item, self._read[path][0])
            elif isinstance(item, DefinitionInvalid) and _is_no_yaml(item):
                raise item

    def _items(self, path: str) -> list[_Read]:
        if path not in self._read:
            data = self._data[path]
            provenance = self.revision.provenance(path, data)
            file = self.revision.file_name(path)
            source = provenance.as_source()
            self._read[path] = provenance, list(read_definitions(data, file, source, passed_over=[]))
        return self._read[path][1]

    def _ambiguous(self, matches: list[_Match], name: str | None, path: str | None) -> str:
        places = [self._place(match) for match in matches[:_NAMED]]
        if len(matches) > _NAMED:
            places.append(f"and {len(matches) - _NAMED} more")
        what = (
            f"{len(matches)} stacks are called {shown(name)}"
            if name is not None
            else f"{len(matches)} stacks are there"
        )
        return f"{what}{_inside(path)}: {', '.join(places)}"

    def _place(self, match: _Match) -> str:
        content = match.content
        if isinstance(content, StackDefinition):
            location = content.location(("metadata", "name"))
            called = f" ({content.metadata.name})"
        else:
            location, called = content.problems[0].location, " (invalid)"
        return f"{location or self.revision.file_name(match.path)}{called}"

    def _not_found(self, files: list[str], name: str | None, path: str | None) -> Exception:
        where = self.revision.file_name(path) if path is not None else self._uri(files)
        if name is None:
            return StackNotFound(f"no stack definition is there: {where}", advice="name a place that holds one")
        items = [item for file in files for item in self._items(file)]
        broken = [item for item in items if isinstance(item, DefinitionInvalid) and item.stack_name is None]
        if path is not None and len(files) == 1 and broken:
            return broken[0]
        names = sorted({found for item in items if (found := _name(item)) is not None})
        near = get_close_matches(name, names, n=1)
        advice = f"did you mean {near[0]}?" if near else None
        if advice is None and names:
            advice = f"name one of {', '.join(names[:_NAMED])}" + (", ..." if len(names) > _NAMED else "")
        also = f"; {len(broken)} of its documents cannot be read as stacks" if broken else ""
        return StackNotFound(f"there is no stack {shown(name)} in {len(files)} files: {where}{also}", advice=advice)

    def _uri(self, files: list[str]) -> str:
        return self.revision.provenance(files[0], self._data[files[0]]).uri if files else "nothing to search"


def _may_hold(data: bytes, name: str) -> bool:
    """Whether a document of `data` can have the name: it is there as it is, or could be there in another spelling.

    A plain name can be written otherwise in YAML only with a backslash.
    """
    return _PLAIN.fullmatch(name) is None or name.encode() in data or b"\\" in data


def _name(item: _Read) -> str | None:
    return item.metadata.name if isinstance(item, StackDefinition) else item.stack_name


def _is_no_yaml(item: DefinitionInvalid) -> bool:
    return item.stack_name is None and any(problem.code == "definition.yaml" for problem in item.problems)


def _inside(path: str | None) -> str:
    return "" if path is None else f" in {path}"


def _local_paths(documents: list[object]) -> Iterator[str]:
    """The paths of the entries of `stacks` with `source: local`, from the root, except those that lead out of it."""
    for settings in documents:
        stacks = settings.get("stacks") if isinstance(settings, dict) else None
        for entry in stacks.values() if isinstance(stacks, dict) else ():
            if not isinstance(entry, dict) or entry.get("source") != "local" or not isinstance(entry.get("path"), str):
                continue
            path = posixpath.normpath(entry["path"])
            if path not in {".", ".."} and not path.startswith(("/", "../")):
                yield path
