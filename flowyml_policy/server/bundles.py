"""What is published under which name: checked before it is active, kept, and served from memory.

Rules:
- A bundle is active once its archive and its row are on disk, in this order. An archive without a row is removed at the
  next start; what is active is the last row of its name.
- A name only goes forward: each bundle has a higher sequence than all before it. The very bytes that are active may be
  put again, as who got no answer does.
- Archives but the last few go; rows stay.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.bundles.admission import Admitted, admit
from flowyml_policy.bundles.archive import MOST_PACKED
from flowyml_policy.bundles.keys import Key
from flowyml_policy.bundles.recipe import expiry
from flowyml_policy.errors.bundles import BundleRefused, BundleUnreadable, SignatureRefused
from flowyml_policy.errors.server import ServerUnwritable
from flowyml_policy.mask.text import mask
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.server import Publication
from flowyml_policy.references.url import BadValue
from flowyml_policy.server.etags import is_match
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.scopes import is_bundle_name
from flowyml_policy.server.store import open_database
from flowyml_policy.system.files import read_regular

FOLDER: Final = "bundles"

_ARCHIVE: Final = ".tar.gz"
_SELECT: Final = (
    "SELECT number, name, revision, sequence, expires, digest, size, published_at, published_by FROM publications"
)
_INSERT: Final = (
    "INSERT INTO publications (name, revision, sequence, expires, digest, size, published_at, published_by)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


class Active(NamedTuple):
    """The bundle that a name stands for now. `packed` is None where its archive is damaged."""

    publication: Publication
    packed: bytes | None


class Put(NamedTuple):
    """Who publishes what, on which conditions: the values of If-Match and If-None-Match, where there are any."""

    name: str
    packed: bytes
    by: str
    if_match: str | None = None
    if_none_match: str | None = None


class Publications:
    """The bundles of one server: in its file `database`, and their archives in `folder`. Safe from many threads.

    `keys` are those of which one must have signed; with none, nothing need be signed. `tell` gets the name of each
    bundle that was published, on the thread that did it. `check` says whether a file may be published, as `admit` does.
    The methods raise ServerError; `put` also Refused.
    """

    def __init__(
        self,
        database: Path,
        folder: Path,
        *,
        keys: Sequence[Key],
        keep: int,
        tell: Callable[[str], None],
        check: Callable[[Path, Sequence[Key]], Admitted] = admit,
    ) -> None:
        self._database = open_database(database)
        self._folder = folder
        self._keys = tuple(keys)
        self._keep = keep
        self._tell = tell
        self._check = check
        self._active: dict[str, Active] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Read what is active, and remove what a server that was killed left half done."""
        for name in {publication.name for publication in self._rows()}:
            history = self.history(name)
            self._active[name] = Active(history[0], self._read(history[0]))
            self._tidy(name, history, whole=True)

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def active(self, name: str) -> Active | None:
        """The bundle of this name, from memory."""
        return self._active.get(name)

    def actives(self) -> list[Active]:
        """All bundles, by name."""
        return [self._active[name] for name in sorted(self._active)]

    def warnings(self) -> list[str]:
        """What is wrong with bundles that are active, a line each."""
        damaged = [
            f"the archive of the bundle {active.publication.name} is damaged; publish it again"
            for active in self.actives()
            if active.packed is None
        ]
        expired = [
            f"the bundle {active.publication.name} expired at {active.publication.expires}, and its clients deny"
            for active in self.actives()
            if has_expired(active.publication.expires)
        ]
        return damaged + expired

    def history(self, name: str) -> list[Publication]:
        """All that was published under a name, the newest first."""
        return self._rows(name)

    def is_kept(self, publication: Publication) -> bool:
        """Whether its archive is still there."""
        return self._file(publication.name, publication.digest).is_file()

    def archive(self, name: str, revision: str) -> bytes | None:
        """The newest archive of this revision that is kept."""
        for publication in self.history(name):
            if publication.revision == revision:
                packed = self._read(publication)
                if packed is not None:
                    return packed
        return None

    def put(self, asked: Put) -> tuple[Publication, bool]:
        """Publish a bundle; what is active now, and whether it is new. Raises Refused."""
        if not is_bundle_name(asked.name):
            raise Refused(HTTPStatus.NOT_FOUND, "no_such_bundle", "this cannot be the name of a bundle")
        digest = f"sha256:{sha256(asked.packed).hexdigest()}"
        same = self._same(asked, digest)
        if same is not None:
            return same, False
        self._check_conditions(asked)
        incoming = self._write(asked)
        try:
            admitted = self._admitted(incoming, asked.name)
            with self._lock:
                active = self._active.get(asked.name)
                if active is not None and active.publication.digest == digest:
                    return active.publication, False  # who got no answer has put it twice
                publication = self._publish(incoming, asked, admitted, digest)
        finally:
            with suppress(OSError):
                incoming.unlink(missing_ok=True)
        self._tell(asked.name)
        return publication, True

    def _same(self, asked: Put, digest: str) -> Publication | None:
        """What is active, where it is what is put. An archive that was damaged is whole again then."""
        active = self._active.get(asked.name)
        if active is None or active.publication.digest != digest:
            return None
        if active.packed is None:
            with self._lock, _reported(self._folder):
                if self._active[asked.name] is not active:  # another one was published meanwhile
                    return None
                self._place(self._write(asked), asked.name, digest)
                self._active[asked.name] = active._replace(packed=asked.packed)
        return active.publication

    def _check_conditions(self, asked: Put) -> None:
        active = self._active.get(asked.name)
        etag = None if active is None else active.publication.etag
        if asked.if_match is not None and not is_match(asked.if_match, etag, weak=False):
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "not_active", "another bundle is active than If-Match names")
        if asked.if_none_match is not None and is_match(asked.if_none_match, etag):
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "is_active", "If-None-Match rules out what is active")

    def _admitted(self, incoming: Path, name: str) -> Admitted:
        try:
            admitted = self._check(incoming, self._keys)
        except (BundleUnreadable, SignatureRefused, BundleRefused) as error:
            is_none = isinstance(error, BundleUnreadable)
            status = HTTPStatus.BAD_REQUEST if is_none else HTTPStatus.UNPROCESSABLE_ENTITY
            message = mask(error.message.replace(str(incoming), name))
            raise Refused(status, error.code, message) from error
        if admitted.sequence is None:
            raise _unfit("no_sequence", "the bundle has no sequence, so that an older one could pass for it")
        if admitted.expires is None:
            return admitted
        try:
            expires = expiry(admitted.expires)
        except BadValue as error:
            raise _unfit("expires_malformed", f"what it expires at {error.what}") from error
        if has_expired(expires):
            raise _unfit("expired", f"the bundle has expired already, at {expires}")
        return admitted._replace(expires=expires)

    def _publish(self, incoming: Path, asked: Put, admitted: Admitted, digest: str) -> Publication:
        """Make a bundle the active one."""
        self._check_conditions(asked)
        name = asked.name
        known = {publication.digest for publication in self.history(name)}
        cells = (admitted.revision, admitted.sequence, admitted.expires, digest, len(asked.packed), utc_now(), asked.by)
        placed = self._file(name, digest)
        try:
            with self._database.writing() as transaction:
                _check_sequence(transaction.connection, name, admitted.sequence or 0)
                with _reported(self._folder):
                    self._place(incoming, name, digest)
                number = transaction.connection.execute(_INSERT, (name, *cells)).lastrowid
        except BaseException:
            if digest not in known:
                with suppress(OSError):
                    placed.unlink(missing_ok=True)
            raise
        publication = Publication(number or 0, name, *cells)
        self._active[name] = Active(publication, asked.packed)
        self._tidy(name, self.history(name), whole=False)
        return publication

    def _rows(self, name: str | None = None) -> list[Publication]:
        where, values = ("", ()) if name is None else (" WHERE name = ?", (name,))
        with self._database.reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(f"{_SELECT}{where} ORDER BY number DESC", values)
            return [Publication(*row) for row in rows]

    def _file(self, name: str, digest: str) -> Path:
        return self._folder / name / f"{digest.partition(':')[2]}{_ARCHIVE}"

    def _read(self, publication: Publication) -> bytes | None:
        """The archive of a publication; None where it is gone, or is not as it was."""
        try:
            packed = read_regular(self._file(publication.name, publication.digest), most=MOST_PACKED)
        except (OSError, ValueError):
            return None
        digest = f"sha256:{sha256(packed or b'').hexdigest()}"
        return packed if hmac.compare_digest(digest, publication.digest) else None

    def _write(self, asked: Put) -> Path:
        """The bundle on disk, beside where it is to lie."""
        folder = self._folder / asked.name
        incoming = folder / f".{secrets.token_hex(8)}{_ARCHIVE}"
        with _reported(folder):
            is_new = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if is_new:
                _sync(self._folder)
            handle = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(asked.packed)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                incoming.unlink(missing_ok=True)
                raise
        return incoming

    def _place(self, incoming: Path, name: str, digest: str) -> None:
        """Give an archive its name, so that it is there after a power cut. Raises OSError."""
        target = self._file(name, digest)
        incoming.replace(target)
        _sync(target.parent)

    def _tidy(self, name: str, history: Sequence[Publication], *, whole: bool) -> None:
        """Remove archives that are not kept; where `whole`, also what nobody finished."""
        kept = {self._file(name, digest).name for digest in _newest(history, self._keep)}
        with suppress(OSError):  # next time
            for file in (self._folder / name).iterdir():
                if file.name not in kept and (whole or not file.name.startswith(".")):
                    file.unlink()


def has_expired(expires: str | None) -> bool:
    """Whether a bundle with this expiry, as it is kept, may not be used any more."""
    return expires is not None and expires <= datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _newest(history: Sequence[Publication], count: int) -> list[str]:
    """The digests of the newest archives."""
    return list(dict.fromkeys(publication.digest for publication in history))[:count]


def _check_sequence(connection: sqlite3.Connection, name: str, sequence: int) -> None:
    (highest,) = connection.execute("SELECT max(sequence) FROM publications WHERE name = ?", (name,)).fetchone()
    if highest is not None and sequence <= highest:
        raise Refused(
            HTTPStatus.CONFLICT,
            "sequence_not_higher",
            f"the bundle has sequence {sequence}, and {highest} was published; build it with a higher one",
        )


def _unfit(code: str, message: str) -> Refused:
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, code, message)


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServerUnwritable(f"a bundle cannot be kept: {folder}: {error.strerror}") from error


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
