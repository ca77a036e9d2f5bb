"""Reading a regular file, and replacing one whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.mask.text import encodable

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


def read_regular(path: Path, *, most: int) -> bytes | None:
    """Read a file; of one of more than `most` bytes, one byte more than that. None for what is no regular file.

    A pipe is not waited for. Raises OSError, and ValueError for a path that holds a NUL.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(handle)


def read_file(path: Path, *, most: int) -> bytes:
    """As `read_regular`, but raises SourceUnreadable for whatever keeps it from being read."""
    try:
        data = read_regular(path, most=most)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SourceUnreadable(f"cannot read {display_path(path)}: {reason}") from error
    if data is None:
        raise SourceUnreadable(f"not a regular file: {display_path(path)}", advice="name a file that holds YAML")
    return data


def display_path(path: Path) -> str:
    """`path` as people and records see it: forward slashes, and bytes that are no UTF-8 written out."""
    return display_name(path.as_posix())


def display_name(text: str) -> str:
    """A file's name as UTF-8 reads it, whatever the locale made of it; what no name can hold is written out."""
    if text.isascii():
        return text
    try:
        return os.fsencode(text).decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return encodable(text)


def is_missing(path: str | Path) -> bool:
    """Whether nothing is there, not even a link that leads nowhere. What cannot be looked at may be there."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in _MISSING
    except ValueError:
        return True
    return False


def is_folder(path: str | Path | os.DirEntry[str]) -> bool:
    """Whether it is a folder. A link that leads nowhere, or in circles, is none, and nothing is raised."""
    return os.path.isdir(path)  # Path.is_dir raises for some of them


def replace_private(path: Path, data: bytes) -> None:
    """Put `data` at `path` for this user alone; it need not survive a power cut.

    A link there is replaced: somebody else may have put it there. Raises OSError.
    """
    _replace(path, data, mode=0o600, durable=False)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, and on the disk. A link is followed and stays one; the mode of what is replaced is kept.

    Raises OSError.
    """
    target = Path(os.path.realpath(path))
    _replace(target, data, mode=stat.S_IMODE(target.stat().st_mode) if target.exists() else None, durable=True)


def _replace(target: Path, data: bytes, *, mode: int | None, durable: bool) -> None:
    """Whole or not at all: a reader finds the old file or the new one. Without `mode` it is that of any new file."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode or 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
