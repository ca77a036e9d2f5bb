"""Schema B, FlowyML's own `flowyml.io/v1` `Stack`: read into schema A's terms, and written back.

Rules:
- One table says where each key of B stands in A's terms; reading, positions, writing back and the JSON Schema
  follow it. Most keys are only spelled otherwise; `_MOVED` names those that are called or placed otherwise.
- Keys are taken in camelCase or snake_case, as FlowyML takes them; the same key in both is a problem. Both header
  keys may be absent, but not both together, for such a document cannot be told from something else.
- Reading is as strict as for schema A: unknown keys, null and values of another type are problems. What a key may
  be is said once, in `wide_model`.
- Nothing is dropped and nothing is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flowyml_policy.definitions.model import API_VERSION, KIND
from flowyml_policy.definitions.problems import bad_key, other_header, unknown_key_fix
from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.definitions import DefinitionProblem
from flowyml_policy.records.record import Json, KeyPath

API_VERSION_B: Final = "flowyml.io/v1"
KIND_B: Final = "Stack"
_FAMILY: Final = "flowyml.io/"
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

LEVELS: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    (): ("apiVersion", "kind", "metadata", "spec"),
    ("metadata",): ("name", "version", "description", "owner", "tags"),
    ("spec",): (
        "backend",
        "runtime",
        "compute",
        "storage",
        "deployment",
        "secrets",
        "observability",
        "policies",
        "permissions",
        "security",
    ),
    ("spec", "runtime"): (
        "pythonVersion",
        "baseImage",
        "dependencyLockFile",
        "dependencyManager",
        "dependencyFile",
        "dockerfile",
        "cudaVersion",
        "healthCheck",
        "entrypoint",
        "aptPackages",
        "gpuEnabled",
        "autoBuild",
        "autoPush",
        "multiStage",
        "labels",
    ),
    ("spec", "compute"): ("type", "size", "minInstances", "maxInstances", "region"),
    ("spec", "storage"): ("artifactStore", "uri"),
    ("spec", "deployment"): ("modelDeployer", "modelRegistry", "namespace", "registryUri", "config"),
    ("spec", "secrets"): ("provider", "scope"),
    ("spec", "observability"): ("logs", "metrics", "traces"),
    ("spec", "policies"): (
        "allowExternalNetwork",
        "allowCustomDockerImage",
        "allowedPythonPackages",
        "deniedPythonPackages",
        "maxRuntimeMinutes",
        "maxEstimatedCostUsd",
        "requireSignedStack",
        "allowedModelDeployers",
        "allowedModelRegistries",
    ),
    ("spec", "permissions"): ("allowedGroups", "allowedProjects"),
    ("spec", "security"): ("signature",),
    ("spec", "security", "signature"): ("enabled", "provider"),
}
"""The keys of schema B at each level that has fixed ones."""

_MOVED: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("spec", "backend"): ("spec", "compute", "backend"),
    ("spec", "runtime", "baseImage"): ("spec", "runtime", "docker_image"),
    ("spec", "compute", "minInstances"): ("spec", "compute", "min_nodes"),
    ("spec", "compute", "maxInstances"): ("spec", "compute", "max_nodes"),
    ("spec", "storage", "artifactStore"): ("spec", "storage", "artifact_store_type"),
    ("spec", "storage", "uri"): ("spec", "storage", "artifact_store"),
}


def snake(key: str) -> str:
    """`minInstances` as `min_instances`."""
    return _HUMP.sub("_", key).lower()


PLACES: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    (*level, key): _MOVED.get((*level, key), (*level, key if not level else snake(key)))
    for level, keys in LEVELS.items()
    for key in keys
}
"""Where each key of schema B stands in schema A's terms."""

_WRITTEN: Final = {a: b for b, a in PLACES.items()}
_SPELLINGS: Final = {
    level: {**{snake(key): key for key in keys}, **{key: key for key in keys}} for level, keys in LEVELS.items()
}


def is_schema_b(value: Json) -> bool:
    """Whether a document means to be a schema B stack, well-formed or not."""
    if not isinstance(value, Mapping):
        return False
    version = value.get("apiVersion", value.get("api_version"))
    if version is None:
        return "apiVersion" not in value and "api_version" not in value and value.get("kind") == KIND_B
    return isinstance(version, str) and version.startswith(_FAMILY)


class Conversion:
    """A schema B document in schema A's terms, as far as its keys are known; `problems` are the others."""

    def __init__(self, written: Mapping[str, Json], document: Document | None) -> None:
        self.written = written
        self.document = document
        self.value: dict[str, Json] = {}
        self.problems: list[DefinitionProblem] = []

    def run(self) -> Conversion:
        """Convert all of it."""
        self._level((), self.written)
        self._check_header("apiVersion", API_VERSION_B)
        self._check_header("kind", KIND_B)
        self.value["apiVersion"], self.value["kind"] = API_VERSION, KIND
        return self

    def _level(self, here: tuple[str, ...], level: Mapping[Any, Json]) -> None:
        taken: dict[str, str] = {}
        for key, item in level.items():
            name = _SPELLINGS[here].get(key) if isinstance(key, str) else None
            if name is None or name in taken:
                self.problems.append(self._unknown(here, key, level, taken.get(name or "")))
                continue
            taken[name] = key
            path = (*here, name)
            if path in LEVELS and isinstance(item, Mapping):
                self._put(PLACES[path], {})
                self._level(path, item)
            else:
                self._put(PLACES[path], item)

    def _put(self, path: tuple[str, ...], item: Json) -> None:
        """Set the value at `path`; a section that something was put into before is kept."""
        level: Any = self.value
        for step in path[:-1]:
            level = level.setdefault(step, {})
            if not isinstance(level, dict):
                return
        if item == {} and isinstance(item, dict) and isinstance(level.get(path[-1]), dict):
            return
        level[path[-1]] = item

    def _check_header(self, key: str, wanted: str) -> None:
        given = self.value.get(key, wanted)
        if given != wanted or not isinstance(given, str):
            path = written_path(self.written, (key,))
            location = self.document.location(path) if self.document else None
            self.problems.append(other_header((key,), given, location, wanted))

    def _unknown(
        self, here: tuple[str, ...], key: Json, level: Mapping[Any, Json], twin: str | None
    ) -> DefinitionProblem:
        """The problem of a key that is not text, is not known, or stands there in its other spelling too."""
        place = written_path(self.written, PLACES[here]) if here else ()
        if not isinstance(key, str):
            return bad_key((*place, key), key, self.document)
        path = (*place, key)
        location = self.document.key_location(path) if self.document else None
        if twin is not None:
            message, fix = f"{dotted(path)} is {dotted((*place, twin))} in another spelling", "take one of them out"
        else:
            message = f"{dotted(path)} is no key of a {API_VERSION_B} stack"
            fix = _fix(here, key, frozenset(one for one in level if isinstance(one, str)))
        return DefinitionProblem("definition.unknown_key", message, fix=fix, location=location, path=path)


def _fix(here: tuple[str, ...], key: str, taken: frozenset[str]) -> str:
    """What to write instead; a key of schema A has its counterpart."""
    moved = _WRITTEN.get((*here, key))
    if moved is not None and moved[:-1] == here and moved[-1] not in taken:
        return f"write `{moved[-1]}`"
    return unknown_key_fix(key, here, LEVELS, taken)


def written_path(written: Mapping[str, Json], path: KeyPath) -> KeyPath:
    """Where the value at `path`, in schema A's terms, stands in the schema B document `written`."""
    known = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in _WRITTEN), ())
    place: KeyPath = (*_WRITTEN.get(tuple(str(step) for step in known), ()), *path[len(known) :])
    spec = written.get("spec")
    if place[:2] == ("spec", "compute") and isinstance(spec, Mapping) and "compute" not in spec:
        place = ("spec", "backend")
    return tuple(_spelled(written, place))


def _spelled(written: Any, place: KeyPath) -> Iterator[str | int]:
    """`place` with each key as the document spells it."""
    level = written
    for depth, step in enumerate(place):
        names = _SPELLINGS.get(tuple(str(one) for one in place[:depth]), {})
        key = step
        if isinstance(level, Mapping) and step in names and step not in level and snake(str(step)) in level:
            key = snake(str(step))
        level = level.get(key) if isinstance(level, Mapping) else None
        yield key


def to_schema_b(values: Mapping[str, Json]) -> tuple[dict[str, Json], list[KeyPath]]:
    """What was set, in schema A's terms, as a schema B document; and the paths that B has no place for."""
    writing = _Writing()
    for part in ("metadata", "spec"):
        if part in values:
            writing.walk((part,), values[part])
    return writing.result, writing.homeless


class _Writing:
    def __init__(self) -> None:
        self.result: dict[str, Json] = {"apiVersion": API_VERSION_B, "kind": KIND_B}
        self.homeless: list[KeyPath] = []

    def walk(self, path: tuple[str, ...], item: Json) -> None:
        place = _WRITTEN.get(path)
        if place is None:
            self.homeless += [] if item == {} else [path]
        elif place in LEVELS and isinstance(item, Mapping):
            if path != ("spec", "compute") or set(item) != {"backend"}:
                self._put(place, {})
            for key, below in item.items():
                self.walk((*path, key), below)
        else:
            self._put(place, item)

    def _put(self, place: tuple[str, ...], item: Json) -> None:
        level = self.result
        for step in place[:-1]:
            level = level.setdefault(step, {})
        level[place[-1]] = item
