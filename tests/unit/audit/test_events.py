"""Events without a decision: appended in order, chained, masked, and with the transaction that they belong to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flowyml_policy.audit.schema import AUDIT, MIGRATIONS
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.errors.audit import AuditTooNew, AuditUnreadable, AuditUnwritable
from flowyml_policy.mask.events import new_event
from flowyml_policy.records.events import NewEvent, StackApplied, StackLocked, StackRetired, StackUnlocked
from flowyml_policy.records.registry import LastDecision
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.storage.database import Database
from flowyml_policy.storage.migrations import Migration
from flowyml_policy.storage.opening import open_for_writing
from flowyml_policy.storage.schema import Tables

AT = "2026-11-23T10:00:00Z"
DIGEST = "sha256:" + "7" * 64
SHELF = Tables("shelf", "shelf/", AUDIT.corrupt, AUDIT.too_new, AUDIT.unreadable, AUDIT.unwritable)
BOOKS = Migration("books", ("CREATE TABLE books (title TEXT)", "CREATE INDEX books_by_title ON books (title)"))


def locked(**payload: object) -> NewEvent:
    return new_event(StackLocked.TYPE, at=AT, actor="ada", stack_name="prod", payload=payload)


def titles(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT title FROM books")]


def test_append_events_are_typed_in_order_and_chained(store: AuditStore, record: Callable[..., DecisionRecord]) -> None:
    store.record([record(1)])
    store.append_events(
        [
            locked(pid=7, host="h"),
            NewEvent(
                type=StackApplied.TYPE,
                at=AT,
                actor="ada",
                stack_name="prod",
                decision_id="d",
                payload={"version": "1.0.0", "definition_digest": DIGEST, "source": "s.yaml", "registry": "p.db"},
            ),
            NewEvent(type=StackRetired.TYPE, at=AT, actor="ada", stack_name="prod", payload={"reason": "old"}),
            NewEvent(
                type=StackUnlocked.TYPE,
                at=AT,
                actor="ada",
                stack_name="prod",
                payload={"pid": 7, "host": "h", "held_ms": 12},
            ),
        ]
    )
    unlocked, retired, applied, taken = store.get_events(limit=4)
    assert isinstance(taken, StackLocked)
    assert (taken.seq, taken.pid, taken.host, taken.stack_name, taken.actor) == (3, 7, "h", "prod", "ada")
    assert isinstance(applied, StackApplied)
    assert (applied.version, applied.definition_digest, applied.source, applied.registry, applied.decision_id) == (
        "1.0.0",
        DIGEST,
        "s.yaml",
        "p.db",
        "d",
    )
    assert isinstance(retired, StackRetired)
    assert (retired.reason, retired.version, retired.definition_digest) == ("old", None, None)
    assert isinstance(unlocked, StackUnlocked)
    assert (unlocked.held_ms, unlocked.prev_hash) == (12, retired.hash)
    assert (store.verify().ok, store.verify().events) == (True, 6)


def test_append_events_edited_payload_is_found(store: AuditStore, path: Path) -> None:
    store.append_events([locked(pid=1), locked(pid=2)])
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute("UPDATE events SET payload = '{\"pid\":3}' WHERE seq = 1")
    assert str(store.verify().problem) == (
        "event 1: its hash does not fit what it says: it was changed after it was written"
    )


def test_append_events_secret_is_masked(store: AuditStore, path: Path) -> None:
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    payload = {"reason": f"with {secret}", "source": "https://u:hunter22@host/x", "password": "hunter22"}
    store.append_events([locked(**payload)])
    store.close()
    assert secret.encode() not in path.read_bytes()
    assert b"hunter22" not in path.read_bytes()


def test_append_events_none_creates_no_file(store: AuditStore, path: Path) -> None:
    store.append_events([])
    assert not path.exists()


def test_append_events_decision_without_its_rows_fails_closed(store: AuditStore) -> None:
    with pytest.raises(AuditUnwritable, match="without its decision"):
        store.append_events([locked(), NewEvent(type="PolicyChecked", at=AT, actor="ada")])
    with pytest.raises(AuditUnreadable):
        store.get_events()


@pytest.mark.parametrize("value", [float("nan"), object(), {1: {2, 3}}])
def test_append_events_payload_that_is_no_json_fails_closed(store: AuditStore, value: object) -> None:
    with pytest.raises(AuditUnwritable):
        store.append_events([locked(value=value)])


def test_append_events_odd_bytes_are_kept_escaped(store: AuditStore) -> None:
    store.append_events([locked(source="stacks/\udcff.yaml")])
    assert store.get_events()[0].payload == {"source": "stacks/\\udcff.yaml"}
    assert store.verify().ok


def test_append_events_within_a_transaction_are_durable_with_it(store: AuditStore, path: Path) -> None:
    shelf = Database(path, (BOOKS,), tables=SHELF)
    with shelf.writing() as transaction:
        transaction.connection.execute("INSERT INTO books VALUES ('Middlemarch')")
        store.append_events([locked(pid=1)], within=transaction)
        with pytest.raises(AuditUnreadable, match="no audit in the file"):
            store.get_events()
    shelf.close()
    assert (titles(path), [event.payload for event in store.get_events()]) == (["Middlemarch"], [{"pid": 1}])
    assert store.verify().ok


def test_append_events_within_a_transaction_that_fails_are_not_there(store: AuditStore, path: Path) -> None:
    store.append_events([locked(pid=1)])
    shelf = Database(path, (BOOKS,), tables=SHELF)

    def fail_late() -> None:
        with shelf.writing() as transaction:
            transaction.connection.execute("INSERT INTO books VALUES ('Middlemarch')")
            store.append_events([locked(pid=2)], within=transaction)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_late()
    shelf.close()
    assert (titles(path), [event.payload for event in store.get_events()]) == ([], [{"pid": 1}])
    assert store.verify().ok


def test_append_events_within_a_transaction_on_another_file_fails_closed(store: AuditStore, tmp_path: Path) -> None:
    shelf = Database(tmp_path / "shelf.db", (BOOKS,), tables=SHELF)

    def write() -> None:
        with shelf.writing() as transaction:
            transaction.connection.execute("INSERT INTO books VALUES ('Middlemarch')")
            store.append_events([locked()], within=transaction)

    with pytest.raises(AuditUnwritable, match="not the audit"):
        write()
    shelf.close()
    assert titles(tmp_path / "shelf.db") == []


def test_verify_triggers_of_another_room_are_its_own(store: AuditStore, path: Path) -> None:
    store.append_events([locked()])
    trigger = "CREATE TRIGGER t BEFORE UPDATE ON books BEGIN SELECT RAISE(ABORT, 'no'); END"
    open_for_writing(path, (BOOKS, Migration("guard", (trigger,))), tables=SHELF).close()
    assert store.verify().ok
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER late AFTER INSERT ON EVENTS BEGIN SELECT 1; END")
    assert not store.verify().ok


def test_rooms_of_one_file_answer_for_their_own_migrations(store: AuditStore, path: Path) -> None:
    store.append_events([locked()])
    store.close()
    open_for_writing(path, (BOOKS, Migration("later", ())), tables=SHELF).close()
    assert len(store.get_events()) == 1
    with pytest.raises(AuditTooNew, match="shelf"):
        open_for_writing(path, (BOOKS,), tables=SHELF)
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM migrations ORDER BY number")]
    assert names == [*(migration.name for migration in MIGRATIONS), "shelf/books", "shelf/later"]


def test_last_decisions_newest_that_is_not_hypothetical_counts(
    store: AuditStore, record: Callable[..., DecisionRecord]
) -> None:
    first, second, third = record(1, outcome="deny"), record(2, outcome="allow"), record(3, outcome="deny")
    digest = first.definition_digest
    assert digest is not None
    guess = third._replace(definition_digest=digest, result=third.result.model_copy(update={"hypothetical": True}))
    assert store.last_decisions([digest]) == {}
    store.record([first, second._replace(definition_digest=digest, at=AT), guess])
    assert store.last_decisions([digest, DIGEST]) == {
        digest: LastDecision(outcome="allow", at=AT, decision_id=second.decision_id)
    }


def test_last_decisions_audit_of_the_first_version_is_read_as_it_lies_and_migrated_by_the_next_writer(
    store: AuditStore, path: Path, record: Callable[..., DecisionRecord]
) -> None:
    open_for_writing(path, MIGRATIONS[:1], tables=AUDIT).close()
    path.chmod(0o400)
    assert store.get_events() == []
    assert store.verify().ok
    path.chmod(0o600)
    store.record([record(1)])
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM migrations ORDER BY number")]
    assert names == [migration.name for migration in MIGRATIONS]
