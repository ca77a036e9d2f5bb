"""What was fetched once, by content, under the user's cache directory.

Rules:
- Bytes lie under their own SHA-256, and an entry says which bytes a key had. Both are checked when they are read:
  what does not match is dropped, as if it had never been there.
- Files appear whole or not at all, for any number of processes at once; nothing is locked.
- The folder is this user's alone (0700), since whoever writes to it says what definitions are.
- It is bounded: what was used longest ago goes first. That nothing can be kept is never an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.sources import SourceRefused, SourceUnreadable
from flowyml_policy.records.instant import instant
from flowyml_policy.system.directories import cache_directory
from flowyml_policy.system.files import read_regular, replace_private

_FRESH: Final = 3600.0
"""Seconds for which an entry's last use is not written down again."""
_KEPT: Final = 0.8
_NUMBER_OF_FILES: Final = 20_000
_LARGEST: Final = 32 << 20
_KEY_FILE: Final = "key"
_LENGTH_OF_SECRET: Final = 32


@dataclass(frozen=True)
class Cached:
    """What a key had: the bytes, and what was noted with them."""

    data: bytes
    notes: dict[str, str] = field(default_factory=dict)


class CachedEntry(NamedTuple):
    """A key that is kept, with its notes, the size of its bytes, and the instant of its last use.

    A use within an hour of the one before is not written down.
    """

    key: tuple[str, ...]
    notes: dict[str, str]
    size: int
    used_at: str


class ContentCache:
    """Bytes by key, in `directory` (None: `cache_directory`), at most `max_bytes` of them. Safe from many threads."""

    def __init__(
        self, directory: Path | None = None, *, max_bytes: int = 64 << 20, environ: Mapping[str, str] | None = None
    ) -> None:
        self._directory = directory
        self._environ = environ
        self.max_bytes = max_bytes
        self._unchecked = max_bytes
        self._is_private = False

    @property
    def directory(self) -> Path:
        """The folder, asked for when it is needed. Raises SourceUnreadable for a user without a home."""
        if self._directory is None:
            self._directory = cache_directory(self._environ)
        return self._directory

    def get(self, *key: str) -> Cached | None:
        """What was put under `key`, or None. Raises only SourceRefused, for a folder that is not this user's."""
        self._check_owner()
        entry = self._entry(key)
        try:
            kept = json.loads(entry.read_bytes())
        except (OSError, ValueError, RecursionError):
            return self._dropped(entry)
        if not _is_entry(kept, key):
            return self._dropped(entry)
        blob = self._blob(kept["digest"])
        try:
            with blob.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except OSError:
            return self._dropped(entry)
        if digest(data) != kept["digest"]:
            return self._dropped(entry, blob)
        _used(entry, blob)
        return Cached(data, kept["notes"])

    def put(self, *key: str, data: bytes, notes: Mapping[str, str] | None = None) -> None:
        """Keep `data` under `key`, in place of what was there. Raises only SourceRefused, as `get` does."""
        if len(data) > _LARGEST:
            return
        self._check_owner()
        kept = {"key": list(key), "digest": digest(data), "notes": dict(notes or {})}
        with suppress(OSError):
            self._write(self._blob(digest(data)), data)
            self._write(self._entry(key), json.dumps(kept).encode())
        self._unchecked += len(data)
        if self._unchecked > self.max_bytes // 16:
            self._unchecked = 0
            self._prune()

    def entries(self) -> Iterator[CachedEntry]:
        """All that is kept, in no order. Raises only SourceRefused, as `get` does."""
        self._check_owner()
        for path in map(Path, self._files("entries")):
            with suppress(OSError, ValueError, RecursionError):
                kept = json.loads(path.read_bytes())
                key = tuple(kept["key"]) if isinstance(kept, dict) and isinstance(kept.get("key"), list) else ()
                if all(isinstance(part, str) for part in key) and _is_entry(kept, key) and path == self._entry(key):
                    size = self._blob(kept["digest"]).stat().st_size
                    used = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
                    yield CachedEntry(key, kept["notes"], size, instant(used))

    def clear(self) -> int:
        """Drop all that is kept, and return how many entries that were. Raises only SourceRefused, as `get` does."""
        self._check_owner()
        entries = list(self._files("entries"))
        self._dropped(*map(Path, entries), *map(Path, self._files("blobs")))
        return len(entries)

    def private_folder(self, name: str) -> Path:
        """The folder called `name` in the cache, made if it is missing. Raises SourceUnreadable, SourceRefused."""
        self._check_owner()
        folder = self.directory / name
        try:
            self._make(folder)
        except OSError as error:
            raise SourceUnreadable(
                f"the cache folder cannot be made: {folder}: {error.strerror or error}",
                advice="set XDG_CACHE_HOME to a folder that this user may write",
            ) from error
        return folder

    def secret(self) -> bytes | None:
        """Random bytes of this folder's own, made once; None where they cannot be kept. Raises only SourceRefused.

        They make digests of what must not be guessed from the keys of entries.
        """
        with suppress(OSError, SourceUnreadable):
            self._check_owner()
            file = self.directory / _KEY_FILE
            if _read_secret(file) is None:
                self._make(self.directory)
                made = self.directory / f".{_KEY_FILE}.{secrets.token_hex(8)}.tmp"
                replace_private(made, secrets.token_bytes(_LENGTH_OF_SECRET))
                try:
                    with suppress(FileExistsError):  # unlike `replace`, it leaves what another process made
                        os.link(made, file)
                finally:
                    made.unlink()
            return _read_secret(file)
        return None

    def _entry(self, key: tuple[str, ...]) -> Path:
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self.directory / "entries" / name[:2] / name

    def _blob(self, of: str) -> Path:
        name = of.removeprefix("sha256:")
        return self.directory / "blobs" / name[:2] / name

    def _check_owner(self) -> None:
        """Refuse a folder that others own or may write to; one's own is closed to them."""
        if self._is_private:
            return
        try:
            found = self.directory.stat()
        except OSError:
            return
        if found.st_uid != os.geteuid():
            raise SourceRefused(
                f"the cache folder belongs to another user: {self.directory}",
                advice="set XDG_CACHE_HOME to a folder of this user's own",
            )
        if found.st_mode & 0o077:
            with suppress(OSError):
                self.directory.chmod(0o700)
        self._is_private = True

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            for made in (self.directory, *reversed(folder.relative_to(self.directory).parents[:-1])):
                (self.directory / made).mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)

    def _files(self, part: str) -> Iterator[str]:
        """The paths of thousands of files, which is why they are texts."""
        for folder, _, names in os.walk(self.directory / part):
            yield from (f"{folder}{os.sep}{name}" for name in names)

    def _write(self, path: Path, data: bytes) -> None:
        self._make(path.parent)
        replace_private(path, data)

    @staticmethod
    def _dropped(*paths: Path) -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink()

    def _prune(self) -> None:
        """Remove what was used longest ago, until a fifth of the room is free."""
        files: list[tuple[float, int, str]] = []
        for path in (*self._files("entries"), *self._files("blobs")):
            with suppress(OSError):
                found = os.stat(path)
                files.append((found.st_mtime, found.st_size, path))
        total, number = sum(size for _, size, _ in files), len(files)
        if total <= self.max_bytes and number <= _NUMBER_OF_FILES:
            return
        for _, size, path in sorted(files):
            if total <= self.max_bytes * _KEPT and number <= _NUMBER_OF_FILES * _KEPT:
                return
            self._dropped(Path(path))
            total, number = total - size, number - 1


def _read_secret(file: Path) -> bytes | None:
    """The secret that the file holds. One that was cut off, by the end of a machine, is taken away."""
    try:
        found = read_regular(file, most=_LENGTH_OF_SECRET)
    except FileNotFoundError:
        return None
    if found is None or len(found) != _LENGTH_OF_SECRET:
        file.unlink()
        return None
    return found


def _is_entry(kept: object, key: tuple[str, ...]) -> bool:
    if not isinstance(kept, dict) or kept.get("key") != list(key):
        return False
    notes, named = kept.get("notes"), kept.get("digest")
    return (
        isinstance(named, str)
        and len(named.removeprefix("sha256:")) == hashlib.sha256().digest_size * 2
        and named.removeprefix("sha256:").isalnum()
        and isinstance(notes, dict)
        and all(isinstance(value, str) for value in notes.values())
    )


def _used(*paths: Path) -> None:
    """Note the use, so that what is used stays; rarely, since it costs a write."""
    now = time.time()
    for path in paths:
        with suppress(OSError):
            if now - path.stat().st_mtime > _FRESH:
                os.utime(path)
