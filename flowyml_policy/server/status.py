"""Statuses that clients post: who runs which revision since when, with which error, and who stopped reporting.

Rules:
- A client is its token and the id of its labels; its row is replaced by each report, so that reports take no room.
- A new revision of a bundle is kept as history, the newest `MOST_CHANGES` of a client.
- A report is the client's whole state: an error is over with the first report that does not repeat it.
- Who is silent is not well: a report is due within three of the client's usual intervals, and `LONGEST_SILENCE`.
- OPA gives itself a new id at each start, whatever its configuration says: a silent client is passed over where another
  one of the same token, `app` and `host` was heard after it, and its lost events count as that one's.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.records.clients import (
    BundleReport,
    BundleStatus,
    ClientReport,
    ClientStatus,
    Health,
    RevisionChange,
)
from flowyml_policy.server.bodies import read_json
from flowyml_policy.server.clients import client_id, client_name, is_placed
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.group_commit import GroupCommit
from flowyml_policy.server.status_reports import report_of
from flowyml_policy.server.store import SERVER
from flowyml_policy.storage.database import Database
from flowyml_policy.storage.migrations import Migration

LARGEST: Final = 8 << 20
"""Bytes of a report; OPA's with the metrics of Prometheus are about 60 kB."""
MOST_CLIENTS: Final = 20_000
"""Each start of an OPA makes a client; of the token with the most, who was heard longest ago goes first."""
MOST_CHANGES: Final = 100
LONGEST_SILENCE: Final = 3600.0
LEAST_SILENCE: Final = 60.0
"""Seconds without a report after which a client is silent at the latest, and at the earliest."""
_MISSED: Final = 3
_FADING: Final = 0.9
"""A longer interval counts at once, a shorter one by and by: OPA reports in bursts when something changes."""
EMBEDDED: Final = "flowyml-policy"
"""The label `app` of engines in other programs, which report when they decide."""

STATUSES: Final = SERVER._replace(what="server's statuses", prefix="status/")

_CLIENTS: Final = """CREATE TABLE clients (
  number INTEGER PRIMARY KEY,
  token TEXT NOT NULL,
  key TEXT NOT NULL,
  heard_at TEXT NOT NULL,
  interval REAL,
  dropped_before INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  report TEXT NOT NULL,
  UNIQUE (token, key))"""

_CHANGES: Final = """CREATE TABLE client_revisions (
  number INTEGER PRIMARY KEY,
  client INTEGER NOT NULL REFERENCES clients (number),
  bundle TEXT NOT NULL,
  revision TEXT NOT NULL,
  at TEXT NOT NULL)"""

MIGRATIONS: Final = (
    Migration(
        "clients",
        (
            _CLIENTS,
            "CREATE INDEX clients_by_hearing ON clients (heard_at)",
            _CHANGES,
            "CREATE INDEX client_revisions_by_client ON client_revisions (client)",
        ),
    ),
)

_FIND: Final = (
    "SELECT number, heard_at, interval, dropped_before, dropped, report FROM clients WHERE token = ? AND key = ?"
)
_ADD: Final = (
    "INSERT INTO clients (heard_at, interval, dropped_before, dropped, report, token, key) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_REPLACE: Final = (
    "UPDATE clients SET heard_at = ?, interval = ?, dropped_before = ?, dropped = ?, report = ?"
    " WHERE token = ? AND key = ?"
)
_CHANGE: Final = "INSERT INTO client_revisions (client, bundle, revision, at) VALUES (?, ?, ?, ?)"
_FORGET_CHANGES: Final = """DELETE FROM client_revisions WHERE client = ? AND number NOT IN
  (SELECT number FROM client_revisions WHERE client = ? ORDER BY number DESC LIMIT ?)"""
_TOO_MANY: Final = "SELECT count(*) > ? FROM clients"
_OLDEST: Final = """SELECT number FROM clients WHERE token =
  (SELECT token FROM clients GROUP BY token ORDER BY count(*) DESC LIMIT 1) ORDER BY heard_at LIMIT 1"""
_ALL: Final = "SELECT token, heard_at, interval, dropped_before + dropped, report FROM clients ORDER BY token, key"


class _Post(NamedTuple):
    """What one call brings."""

    report: ClientReport
    token: str
    at: str

    @property
    def key(self) -> str:
        """What tells the clients of one token apart."""
        return client_id(self.report.labels) or f"name:{client_name(self.report.labels, self.token)}"


class Statuses:
    """Takes statuses into the file `path`, and says of each client how it is. Safe from many threads."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, MIGRATIONS, tables=STATUSES)
        self._commits = GroupCommit(self._keep)

    def open(self) -> None:
        """Make the tables that are missing, so that the first request does not wait. Raises ServerError."""
        with self._database.writing():
            pass

    def take(
        self, body: bytes, *, token: str, at: str, partition: str | None = None, content_encoding: str | None = None
    ) -> None:
        """Keep a report, an object of JSON: durable when this returns. Raises Refused, ServerError."""
        del partition  # a client is known by its labels, wherever it posts
        said = read_json(body, content_encoding, largest=LARGEST)
        if not isinstance(said, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "no_status", "the body is no JSON object with a status")
        try:
            post = _Post(report_of(said), token, at)
        except RecursionError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "json_too_deep", "the JSON is nested too deeply") from error
        self._commits.submit(post)

    def clients(self, at: str, published: Mapping[str, str] | None = None) -> tuple[ClientStatus, ...]:
        """Every client as it is at the instant `at`; `published` is the revision of each bundle that is to be had here.

        Of a bundle that is not published here nobody can say what its revision should be. Raises ServerError.
        """
        with self._database.reading() as connection:
            rows = [] if connection is None else connection.execute(_ALL).fetchall()
        known = [_Known(row[0], row[1], row[2], row[3], ClientReport.model_validate_json(row[4])) for row in rows]
        return _without_predecessors([_status(one, at, published or {}) for one in known])

    def changes(self, token: str, name: str) -> tuple[RevisionChange, ...]:
        """Which revisions the client with this id, or name where it has none, had when; the newest first."""
        query = (
            "SELECT bundle, revision, at FROM client_revisions WHERE client IN"
            " (SELECT number FROM clients WHERE token = ? AND key IN (?, ?)) ORDER BY number DESC"
        )
        with self._database.reading() as connection:
            rows = [] if connection is None else connection.execute(query, (token, name, f"name:{name}")).fetchall()
        return tuple(RevisionChange(bundle=bundle, revision=revision, at=at) for bundle, revision, at in rows)

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._database.close()

    def _keep(self, posts: Sequence[_Post]) -> list[None]:
        with self._database.writing() as transaction:
            for post in posts:
                _replace(transaction.connection, post)
        return [None] * len(posts)


def _replace(connection: sqlite3.Connection, post: _Post) -> None:
    """Put the report in place of the last one, and what changed into the history."""
    row = connection.execute(_FIND, (post.token, post.key)).fetchone()
    number, heard_at, interval, before, dropped, last = row or (None, None, None, 0, 0, None)
    since = {} if last is None else {one.name: one for one in ClientReport.model_validate_json(last).bundles}
    bundles = tuple(_since(bundle, since.get(bundle.name), post.at) for bundle in post.report.bundles)
    report = post.report.model_copy(update={"bundles": bundles})
    now = dropped if report.dropped is None else report.dropped
    if now < dropped:  # it counts from 0 again since it was started anew
        before += dropped
    cells = (
        post.at if heard_at is None else max(post.at, heard_at),
        interval if heard_at is None else _interval(interval, _seconds(heard_at, post.at)),
        before,
        now,
        report.model_dump_json(),
        post.token,
        post.key,
    )
    if number is None:
        number = connection.execute(_ADD, cells).lastrowid
        _forget(connection)
    else:
        connection.execute(_REPLACE, cells)
    changed = [bundle for bundle in bundles if bundle.since == post.at and bundle.active_revision]
    for bundle in changed:
        connection.execute(_CHANGE, (number, bundle.name, bundle.active_revision, post.at))
    if changed:
        connection.execute(_FORGET_CHANGES, (number, number, MOST_CHANGES))


def _forget(connection: sqlite3.Connection) -> None:
    """Drop the client that is one too many."""
    if connection.execute(_TOO_MANY, (MOST_CLIENTS,)).fetchone()[0]:
        (number,) = connection.execute(_OLDEST).fetchone()
        connection.execute("DELETE FROM client_revisions WHERE client = ?", (number,))
        connection.execute("DELETE FROM clients WHERE number = ?", (number,))


def _since(bundle: BundleReport, last: BundleReport | None, at: str) -> BundleReport:
    same = last is not None and last.active_revision == bundle.active_revision
    return bundle.model_copy(update={"since": last.since if last is not None and same else at})


def _interval(usual: float | None, gap: float) -> float:
    """How often a client reports, after a report that came `gap` seconds after the one before."""
    gap = min(gap, LONGEST_SILENCE / _MISSED)
    return gap if usual is None else max(gap, usual * _FADING)


class _Known(NamedTuple):
    """A row of `clients`."""

    token: str
    heard_at: str
    interval: float | None
    dropped: int
    report: ClientReport


def _without_predecessors(clients: Sequence[ClientStatus]) -> tuple[ClientStatus, ...]:
    """`clients` without those that were started anew under another id."""
    last: dict[tuple[str, str], ClientStatus] = {}
    for client in sorted(clients, key=lambda one: one.heard_at):
        last[client.token, client.name] = client
    found, lost = [], Counter[tuple[str, str]]()
    for client in clients:
        place = client.token, client.name
        if client.health == "silent" and is_placed(client.labels) and client is not last[place]:
            lost[place] += client.dropped
        else:
            found.append(client)
    return tuple(
        one.model_copy(update={"dropped": one.dropped + lost[one.token, one.name]})
        if one is last[one.token, one.name]
        else one
        for one in found
    )


def _status(known: _Known, at: str, expected: Mapping[str, str]) -> ClientStatus:
    report, labels = known.report, known.report.labels
    age = _seconds(known.heard_at, at)
    bundles = (BundleStatus(**dict(bundle), expected=expected.get(bundle.name)) for bundle in report.bundles)
    return ClientStatus(
        token=known.token,
        id=client_id(labels),
        name=client_name(labels, known.token),
        health=_health(known, age),
        heard_at=known.heard_at,
        age=age,
        interval=known.interval,
        labels=labels,
        bundles=tuple(bundles),
        discovery=report.discovery,
        decision_logs=report.decision_logs,
        plugins=report.plugins,
        dropped=known.dropped,
        troubles=report.troubles,
    )


def _health(known: _Known, age: float) -> Health:
    due = LONGEST_SILENCE if known.interval is None else max(known.interval * _MISSED, LEAST_SILENCE)
    if age > min(due, LONGEST_SILENCE):
        return "idle" if known.report.labels.get("app") == EMBEDDED else "silent"
    return "error" if known.report.troubles else "well"


def _seconds(start: str, end: str) -> float:
    """Seconds between two instants of this server; none where its clock went back."""
    return max((_moment(end) - _moment(start)).total_seconds(), 0.0)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
