"""Tokens: who may ask the server for what.

Rules:
- A token is 256 random bits; its SHA-256 is kept, and the token itself is told once.
- A name is unique for ever: it is the actor in records, and must not mean another later.
- The server looks tokens up in memory, and reads the file again every half second: a revocation holds within a second.
  Where the file cannot be read for ten seconds, no token is believed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from flowyml_policy.errors.root import UsageError
from flowyml_policy.records.instant import instant, utc_now
from flowyml_policy.records.server import Token
from flowyml_policy.references.url import BadValue
from flowyml_policy.server.scopes import FOR_ACTORS, kind_of, scope
from flowyml_policy.server.store import open_database

RELOAD_SECONDS: Final = 0.5
STALE_SECONDS: Final = 10.0

_PREFIX: Final = "fps_"
"""Tells people, and scanners of leaked secrets, what it is."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_WRITTEN: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
_SELECT: Final = "SELECT number, name, sha256, scopes, created_at, expires_at, revoked_at FROM tokens ORDER BY number"


class TokensStale(Exception):
    """The tokens could not be read for too long, so that none can be believed."""


class Tokens:
    """The tokens of the server's file `path`. Safe from many threads and processes.

    The methods raise ServerError; `new` and `revoke` also UsageError.
    """

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)
        self._known: Mapping[str, Token] = {}
        self._read_at = -STALE_SECONDS

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def new(self, scopes: Collection[str], *, name: str | None = None, lifetime: float | None = None) -> str:
        """Make a token, and tell it: it is nowhere else. `lifetime` is in seconds; None: it does not expire."""
        _check(scopes, name)
        secret = _PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(timezone.utc)
        expires = None if lifetime is None else instant(now + timedelta(seconds=lifetime))
        cells = (name, _sha256(secret), json.dumps(sorted(set(scopes))), instant(now), expires)
        with self._database.writing() as transaction:
            if name is not None and _number_of(transaction.connection, name) is not None:
                raise UsageError(f"there is a token of that name: {name}", advice="give it a name of its own")
            transaction.connection.execute(
                "INSERT INTO tokens (name, sha256, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?)", cells
            )
        return secret

    def list(self) -> tuple[Token, ...]:
        """All tokens, the oldest first."""
        with self._database.reading() as connection:
            return () if connection is None else tuple(map(_token, connection.execute(_SELECT)))

    def revoke(self, which: str) -> Token:
        """End the token with this name, or number, for good; one that was revoked stays as it is."""
        with self._database.writing() as transaction:
            number = _number_of(transaction.connection, which)
            if number is None:
                raise UsageError(f"there is no such token: {which}", advice="see `flowyml-policy server token list`")
            transaction.connection.execute(
                "UPDATE tokens SET revoked_at = ? WHERE number = ? AND revoked_at IS NULL", (utc_now(), number)
            )
        return next(token for token in self.list() if token.number == number)

    def reload(self) -> None:
        """Read the file again, for `find`."""
        self._known = {token.sha256: token for token in self.list()}
        self._read_at = time.monotonic()

    def find(self, secret: str) -> Token | None:
        """The valid token whose secret this is, from memory. Raises TokensStale."""
        self.require_fresh()
        if _WRITTEN.fullmatch(secret) is None:
            return None
        digest = _sha256(secret)
        token = self._known.get(digest)
        if token is None or not hmac.compare_digest(token.sha256, digest) or not token.is_valid(utc_now()):
            return None
        return token

    def is_current(self, token: Token) -> bool:
        """Whether a token that was found before may still be used. Raises TokensStale."""
        self.require_fresh()
        known = self._known.get(token.sha256)
        return known is not None and known.is_valid(utc_now())

    def require_fresh(self) -> None:
        """Raise TokensStale where what is known is too old."""
        if time.monotonic() - self._read_at > STALE_SECONDS:
            raise TokensStale


def _check(scopes: Collection[str], name: str | None) -> None:
    if not scopes:
        raise UsageError("a token without a scope may do nothing", advice="name one with --scope")
    try:
        kinds = {kind_of(scope(one)) for one in scopes}
    except BadValue as error:
        raise UsageError(f"--scope {error.what}", advice=error.fix) from error
    if name is None:
        if kinds & FOR_ACTORS:
            raise UsageError(
                f"what {' and '.join(sorted(kinds & FOR_ACTORS))} does is recorded by name", advice="give it a --name"
            )
    elif _NAME.fullmatch(name) is None or name.isdigit():
        raise UsageError(
            "--name is no name for a token", advice="write up to 64 letters, digits and . _ @ -, not digits alone"
        )


def _number_of(connection: sqlite3.Connection, which: str) -> int | None:
    by_number = int(which) if which.isascii() and which.isdigit() and len(which) <= 15 else None  # noqa: PLR2004  64 bits
    row = connection.execute("SELECT number FROM tokens WHERE name = ? OR number = ?", (which, by_number)).fetchone()
    return None if row is None else int(row[0])


def _token(row: tuple[int, str | None, str, str, str, str | None, str | None]) -> Token:
    number, name, sha256, scopes, created_at, expires_at, revoked_at = row
    kept = tuple(json.loads(scopes))
    return Token(number, name or f"token {number}", sha256, kept, created_at, expires_at, revoked_at)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
