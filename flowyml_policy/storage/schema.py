"""Whose tables a file holds, and the errors that say what is wrong with the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

from flowyml_policy.errors.root import FlowymlPolicyError

Purpose = Literal["read", "write"]


class Tables(NamedTuple):
    """The tables that one part of the program keeps in a file: what people call the file, and its leaves of `errors`.

    `prefix` stands before the names of its migrations where they are recorded, so that several parts can share a file.
    """

    what: str
    prefix: str
    corrupt: type[FlowymlPolicyError]
    too_new: type[FlowymlPolicyError]
    unreadable: type[FlowymlPolicyError]
    unwritable: type[FlowymlPolicyError]

    def leaf(self, purpose: Purpose) -> type[FlowymlPolicyError]:
        """The error for a file that cannot be used for `purpose`."""
        return self.unwritable if purpose == "write" else self.unreadable

    def owns(self, recorded: str) -> bool:
        """Whether the migration that is recorded by this name is one of these."""
        return recorded.startswith(self.prefix) and "/" not in recorded[len(self.prefix) :]


@contextmanager
def reported(path: Path, purpose: Purpose, tables: Tables) -> Iterator[None]:
    """Turn what sqlite3 and the operating system raise inside into the leaf of `tables` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _as_leaf(error, path, purpose, tables) from error
    except UnicodeDecodeError as error:
        raise tables.corrupt(f"the {tables.what} file holds bytes where text must be: {path}") from error
    except OSError as error:
        raise tables.leaf(purpose)(
            f"the {tables.what} file cannot be used: {path}: {error.strerror or error}"
        ) from error


UNMERGED: Final = "log is not merged"
"""What a reader says that may not write, of a file whose last changes stand in the log beside it."""
_UNMERGED: Final = "has a log beside it (-wal) that is not merged, and nothing can be written there"
_LOCKED: Final = "is locked by another process for too long"
_DAMAGE: Final = (
    ("malformed", "is damaged"),
    ("not a database", "is not an SQLite database, or its beginning is damaged"),
    ("unsupported file format", "has a format that this SQLite does not know"),
    ("corrupt", "is damaged"),
    ("could not decode", "holds bytes where text must be"),
    ("no such table", "lacks a table of its schema"),
    ("no such column", "lacks a column of its schema"),
)
_OBSTACLES: Final = (
    (UNMERGED, _UNMERGED),
    ("is locked", _LOCKED),
    ("locking protocol", _LOCKED),
    ("is full", "cannot grow: the disk is full"),
    ("readonly", "is read-only"),
    ("disk i/o error", "could not be read or written: disk I/O error (is the disk full?)"),
    ("unable to open", "cannot be opened"),
    ("append-only", "is append-only and was asked to change a row"),
)

_ADVICE: Final = {
    _LOCKED: (
        "end the process that holds it, or try again; where none does, the file system grants no locks (some network"
        " file systems): keep the file on a local disk"
    ),
    _UNMERGED: "copy the file and its -wal to a folder that can be written to, and name that one",
}
"""For what knows better than its leaf."""


def _as_leaf(error: sqlite3.Error, path: Path, purpose: Purpose, tables: Tables) -> FlowymlPolicyError:
    """Python 3.10 gives no error codes, so SQLite's own fixed messages tell the cases apart."""
    text = str(error).lower()
    for leaf, reasons in ((tables.corrupt, _DAMAGE), (tables.leaf(purpose), _OBSTACLES)):
        for sign, what in reasons:
            if sign in text:
                return leaf(f"the {tables.what} file {what}: {path}", advice=_ADVICE.get(what))
    verb = "written" if purpose == "write" else "read"
    return tables.leaf(purpose)(f"the {tables.what} file cannot be {verb}: {path}: {error}")
