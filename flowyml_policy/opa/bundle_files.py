"""Makes a bundle archive from folders of Rego and data.

Rules:
- The same files give the same bytes: sorted names, fixed times and owners, a revision made of the content.
- Only `*.rego` and `data.json` go in; tests (`*_test.rego`), samples, schemas, notes and hidden files stay out. The
  `data.json` of all folders become one.
- What cannot be put in without doubt is refused, never left out: two values for one key, a root that is no mapping,
  `data.yaml` (of a key that stands there twice OPA takes the last value in silence), links to folders.
- Nothing but the standard library is imported, and nothing of this project: the build loads this file by path.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

INPUT_SCHEMA: Final = 1
"""The schema version of policy input that a bundle made here is written for."""

MANIFEST: Final = ".manifest"
SAMPLES: Final = "samples"
_DATA: Final = "data.json"
_YAML: Final = frozenset({"data.yaml", "data.yml"})
_MODE: Final = 0o644
_SHOWN: Final = 16
"""Hex digits of the content's digest in a revision."""


class BundleFilesInvalid(Exception):
    """A folder cannot be made into a bundle; the message says which file is why."""


class BundleFiles:
    """What goes into an archive: Rego files by their names in it, where each was read from, and the merged data."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files: dict[str, bytes] = dict(files or {})
        self.data: dict[str, Any] = {}
        self.origins: dict[str, Path] = {}


def collect(folders: Sequence[Path], *, only: Sequence[str] = (), titled: bool = False) -> BundleFiles:
    """Read what a bundle of `folders` consists of. `only` names the subfolders to take; all by default.

    With `titled`, or several folders, Rego files stand below their folder's name, so that an error of OPA names
    it. Where data stands in its folder is where it stands in the bundle.
    """
    found = BundleFiles()
    titles = _titles(folders) if titled or len(folders) > 1 else [""] * len(folders)
    for folder, title in zip(folders, titles, strict=True):
        if not folder.is_dir():
            what = "this is a file, not a folder" if folder.exists() else "no such folder"
            raise BundleFilesInvalid(f"{what}: {folder}")
        for path in _policy_files(folder, only):
            place = path.relative_to(folder)
            if path.name in _YAML:
                raise BundleFilesInvalid(f"data of policy is JSON only: {path}; write it as {_DATA}")
            content = _read(path)
            if path.name == _DATA:
                merge(found.data, _roots(place.parts[:-1], _json(path, content), path), path)
                continue
            name = f"{title}{place.as_posix()}"
            if name in found.files:
                raise BundleFilesInvalid(f"{path} and {found.origins[name]} would be the same file of the bundle")
            found.files[name] = content
            found.origins[name] = path
    return found


def write(found: BundleFiles, target: Path, *, roots: Sequence[str], version: str, manifest: Mapping[str, Any]) -> str:
    """Write the archive to `target` and return its revision: the manifest's own, or version and content digest.

    `manifest` may state `revision` and `metadata`, which are kept.
    """
    content = dict(found.files)
    if found.data:
        content[_DATA] = encoded(found.data)
    metadata = {"input_schema": INPUT_SCHEMA, **manifest.get("metadata", {})}
    stated = {"roots": sorted(roots), "rego_version": 1, "metadata": metadata}
    revision = str(
        manifest.get("revision") or f"{version}+{content_digest({**content, MANIFEST: encoded(stated)})[:_SHOWN]}"
    )
    content[MANIFEST] = encoded({"revision": revision, **stated})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive_bytes(content))
    return revision


def stage(
    folders: Path | Sequence[Path],
    target: Path,
    *,
    roots: Sequence[str],
    version: str,
    only: Sequence[str] = (),
) -> str:
    """Make the archive `target` of `folders` and return its revision. Raises BundleFilesInvalid."""
    found = collect([folders] if isinstance(folders, Path) else folders, only=only)
    return write(found, target, roots=roots, version=version, manifest={})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle folder."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleFilesInvalid(f"the folder is no bundle, it has no {MANIFEST}: {folder}")
    manifest = _json(path, _read(path))
    if not isinstance(manifest, dict):
        raise BundleFilesInvalid(f"the manifest is no JSON object: {path}")
    unknown = manifest.keys() - {"revision", "roots", "rego_version", "metadata"}
    if unknown:
        raise BundleFilesInvalid(f"the manifest states {', '.join(sorted(unknown))}, which is not supported: {path}")
    if manifest.get("rego_version", 1) != 1:
        raise BundleFilesInvalid(f"the manifest states rego_version {manifest['rego_version']!r}, not 1: {path}")
    roots = manifest.get("roots", [])
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise BundleFilesInvalid(f"the roots of the manifest are no list of names: {path}")
    if not isinstance(manifest.get("metadata", {}), dict) or not isinstance(manifest.get("revision", ""), str):
        raise BundleFilesInvalid(f"metadata must be an object and revision a text: {path}")
    return manifest


def _titles(folders: Sequence[Path]) -> list[str]:
    """What the files of each folder stand below in the archive: its name, numbered where two have the same."""
    names = [folder.resolve().name or "root" for folder in folders]
    return [f"{name}/" if names.count(name) == 1 else f"{name}-{number}/" for number, name in enumerate(names, start=1)]


def _policy_files(folder: Path, only: Sequence[str]) -> Iterator[Path]:
    """Every file to take, sorted by its name in the folder."""
    starts = [folder / name for name in only] or [folder]
    found: list[Path] = []
    for start in starts:
        for parent, folders, files in os.walk(start, onerror=_refuse_unlisted):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != SAMPLES)
            for name in folders:
                if Path(parent, name).is_symlink():
                    raise BundleFilesInvalid(f"a link to a folder is not followed: {Path(parent, name)}")
            found += [Path(parent, name) for name in files if _is_policy(name)]
    return iter(sorted(found, key=lambda path: path.relative_to(folder).as_posix()))


def _refuse_unlisted(error: OSError) -> None:
    """What os.walk would pass over in silence: a rule that nobody reads is a denial that nobody hears."""
    raise BundleFilesInvalid(f"the folder cannot be listed: {error.filename}: {error.strerror}") from error


def _is_policy(name: str) -> bool:
    if name.startswith("."):
        return False
    return name == _DATA or name in _YAML or (name.endswith(".rego") and not name.endswith("_test.rego"))


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            raise BundleFilesInvalid(f"no regular file: {path}")
        return path.read_bytes()
    except OSError as error:
        raise BundleFilesInvalid(f"the file cannot be read: {path}: {error.strerror}") from error


def read_json(content: str | bytes) -> Any:
    """The value of a JSON text that means the same to every reader. Raises ValueError or RecursionError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("an object has a key twice")
        return value

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(content, object_pairs_hook=unique, parse_constant=refuse)


def _json(path: Path, content: bytes) -> Any:
    try:
        return read_json(content)
    except (ValueError, RecursionError) as error:
        raise BundleFilesInvalid(f"the file is no JSON: {path}: {error}") from error


def _roots(keys: Sequence[str], value: Any, path: Path) -> dict[str, Any]:
    """The data of a file by its roots; `keys` are the folders that it stands in."""
    for key in reversed(keys):
        value = {key: value}
    if not isinstance(value, dict):
        raise BundleFilesInvalid(f"the {_DATA} of the topmost folder must be a JSON object: {path}")
    for root, below in value.items():
        if not isinstance(below, dict):
            raise BundleFilesInvalid(f"data.{root} is no mapping, so nothing of it would be read: {path}")
    return value


def merge(into: dict[str, Any], other: Mapping[str, Any], path: Path, *above: str) -> None:
    """Put the data of the file `path` into other data. Raises BundleFilesInvalid where a key has two values."""
    for key, value in other.items():
        if key not in into:
            into[key] = value
        elif isinstance(into[key], dict) and isinstance(value, dict):
            merge(into[key], value, path, *above, key)
        else:
            raise BundleFilesInvalid(f"data.{'.'.join([*above, key])} has a second value: {path}")


def encoded(value: Any) -> bytes:
    """A value as a bundle's JSON holds it: keys sorted, no blanks."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def content_digest(content: Mapping[str, bytes]) -> str:
    """The SHA-256, in hex, over every name, length and content, in order of the names."""
    whole = hashlib.sha256()
    for name in sorted(content):
        whole.update(f"{len(name.encode())}:{name}:{len(content[name])}:".encode())
        whole.update(content[name])
    return whole.hexdigest()


def archive_bytes(content: Mapping[str, bytes]) -> bytes:
    """An archive of files by name: the same bytes for the same files."""
    import gzip
    import tarfile

    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(content):
            member = tarfile.TarInfo(name)
            member.size = len(content[name])
            member.mode = _MODE
            archive.addfile(member, io.BytesIO(content[name]))
    return packed.getvalue()
