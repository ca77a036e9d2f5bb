"""Reading a regular file, and replacing one whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from flowyml_policy.errors.sources import SourceUnreadable

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


def read_file(path: Path, *, most: int) -> bytes:
    """Read a regular file; of one of more than `most` bytes, one byte more than that. Raises SourceUnreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                with os.fdopen(handle, "rb", closefd=False) as file:
                    return file.read(most + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SourceUnreadable(f"cannot read {display_path(path)}: {reason}") from error
    raise SourceUnreadable(f"not a regular file: {display_path(path)}", advice="name a file that holds YAML")


def display_path(path: Path) -> str:
    """`path` as people and records see it: forward slashes, and bytes that are no UTF-8 written out."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


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
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises for some of them


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all. Raises OSError.

    A link is followed, so that what it leads to is replaced, and stays a link. The mode of what is replaced is kept.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if target.exists():
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
