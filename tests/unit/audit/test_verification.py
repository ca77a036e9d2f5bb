"""Every edit of the file is found, and said exactly."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowyml_policy.audit.chain import GENESIS, event_hash
from flowyml_policy.audit.schema import AUDIT, DECISION_COLUMNS, EVENT_COLUMNS, FINDING_COLUMNS, MIGRATIONS, TRIGGERS
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.audit.verification import Problem, Verification
from flowyml_policy.errors.audit import AuditError, AuditUnreadable
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.storage.opening import open_for_writing

Make = Callable[..., DecisionRecord]

TABLES = {
    "events": EVENT_COLUMNS,
    "decisions": ("seq", *DECISION_COLUMNS, "input"),
    "findings": ("seq", *FINDING_COLUMNS),
}


@pytest.fixture
def written(store: AuditStore, path: Path, record: Make) -> Path:
    """Four decisions, seven events, the third decision without findings, the last a run."""
    with store:
        store.record([record(1), record(2, outcome="allow")])
        store.record([record(3, outcome="error", error="no OPA"), record(4, operation="run")])
    return path


def edit(path: Path, *statements: str) -> None:
    """Change the file as its owner can: the triggers are taken away and put back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for sql in TRIGGERS.values():
            connection.execute(sql)


def verify(path: Path) -> Verification:
    with AuditStore(path) as store:
        return store.verify()


def test_verify_untouched_file_is_ok(written: Path) -> None:
    with AuditStore(written) as store:
        head = store.get_events(limit=1)[0]
        verification = store.verify()
    assert verification == Verification(
        events=7, decisions=4, findings=5, head_seq=7, head_hash=head.hash, problem=None
    )
    assert (verification.ok, verification.exit_code) == (True, 0)
    assert "only a checkpoint kept elsewhere shows" in verification.limits
    assert head.hash in verification.limits


def test_verify_empty_audit_is_ok(path: Path) -> None:
    open_for_writing(path, MIGRATIONS, tables=AUDIT).close()
    assert verify(path) == Verification(events=0, decisions=0, findings=0, head_seq=0, head_hash=GENESIS, problem=None)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "change", ["UPDATE {} SET seq = seq", "DELETE FROM {}", "INSERT OR REPLACE INTO {0} SELECT * FROM {0}"]
)
def test_triggers_refuse_every_change(written: Path, table: str, change: str) -> None:
    with (
        closing(sqlite3.connect(written)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(change.format(table))
    assert verify(written).ok


def copied(table: str, of: int, **changes: str) -> str:
    """An INSERT of a row like that at `of`, some columns changed."""
    columns = ", ".join(changes.get(name, f'"{name}"') for name in TABLES[table])
    return f"INSERT INTO {table} SELECT {columns} FROM {table} WHERE seq = {of}"


EDITS = [
    ("UPDATE events SET actor = 'eve' WHERE seq = 3", 3, "its hash does not fit"),
    ("UPDATE events SET payload = payload || ' ' WHERE seq = 7", 7, "its hash does not fit"),
    ("UPDATE events SET stack_name = NULL WHERE seq = 1", 1, "its hash does not fit"),
    ("UPDATE events SET hash = 'x' WHERE seq = 2", 2, "its hash does not fit"),
    ("UPDATE events SET prev_hash = 'x' WHERE seq = 2", 2, "its prev_hash is not"),
    ("DELETE FROM events WHERE seq = 4", 4, "the event is missing; the next one there is 5"),
    ("DELETE FROM events WHERE seq = 1", 1, "the event is missing; the next one there is 2"),
    ("DELETE FROM events WHERE seq = 7", 7, "a row of decisions stands here that no event answers for"),
    ("DELETE FROM events", 1, "a row of decisions stands here that no event answers for"),
    ("UPDATE events SET seq = 70 WHERE seq = 7", 7, "the event is missing; the next one there is 70"),
    ("UPDATE events SET seq = -1 WHERE seq = 1", 1, "the event is missing; the next one there is -1"),
    (copied("events", 7, seq="8"), 8, "its prev_hash is not"),
    ("UPDATE decisions SET outcome = 'allow' WHERE seq = 1", 1, "the row of its decision was changed"),
    ("UPDATE decisions SET input = replace(input, 'number', 'nummer') WHERE seq = 3", 3, "the input of its decision"),
    ("UPDATE decisions SET input = NULL WHERE seq = 3", 3, "the input of its decision"),
    ("UPDATE decisions SET input = CAST(input AS BLOB) WHERE seq = 3", 3, "the input of its decision"),
    ("UPDATE decisions SET actor = CAST(actor AS BLOB) WHERE seq = 3", 3, "the row of its decision was changed"),
    ("UPDATE decisions SET actor = CAST(x'ff' AS TEXT) WHERE seq = 3", 3, "the row of its decision was changed"),
    ("UPDATE decisions SET seq = 2 WHERE seq = 3", 2, "a row of decisions stands here"),
    ("UPDATE decisions SET seq = 90 WHERE seq = 3", 3, "the row of its decision is missing"),
    ("DELETE FROM decisions WHERE seq = 5", 5, "the row of its decision is missing"),
    (copied("decisions", 5, seq="6", decision_id="'x'"), 6, "a row of decisions stands here"),
    (copied("decisions", 5, seq="9", decision_id="'x'"), 9, "a row of decisions stands here"),
    ("UPDATE findings SET severity = 'warn' WHERE seq = 1", 1, "the findings of its decision were changed"),
    ("UPDATE findings SET position = 9 WHERE seq = 3", 3, "the findings of its decision were changed"),
    ("DELETE FROM findings WHERE seq = 7 AND position = 1", 7, "the findings of its decision were changed"),
    ("DELETE FROM findings WHERE seq = 1", 1, "the findings of its decision were changed"),
    ("UPDATE findings SET seq = 5 WHERE seq = 3", 3, "the findings of its decision were changed"),
    ("UPDATE findings SET seq = 2 WHERE seq = 3", 2, "a row of findings stands here"),
    ("UPDATE findings SET seq = 99 WHERE seq = 7 AND position = 1", 7, "the findings of its decision were changed"),
    (copied("findings", 3, seq="99"), 99, "a row of findings stands here"),
    (copied("findings", 3, seq="'z'"), None, "a row of findings has the seq 'z'"),
]


@pytest.mark.parametrize(("statement", "seq", "what"), EDITS)
def test_verify_edit_is_found_at_its_event(written: Path, statement: str, seq: int | None, what: str) -> None:
    edit(written, statement)
    verification = verify(written)
    assert verification.problem is not None
    assert verification.problem.seq == seq
    assert verification.problem.what.startswith(what)
    assert (verification.ok, verification.exit_code) == (False, 1)


def test_verify_event_rewritten_with_its_hash_breaks_the_next_one(written: Path) -> None:
    with closing(sqlite3.connect(written)) as connection:
        row = list(connection.execute("SELECT * FROM events WHERE seq = 3").fetchone())
    row[6] = "eve"
    forged = event_hash(row[8], row[:8])
    edit(written, f"UPDATE events SET actor = 'eve', hash = '{forged}' WHERE seq = 3")
    problem = verify(written).problem
    assert problem == Problem(seq=4, what="its prev_hash is not the hash of the event before it")
    assert str(problem) == "event 4: its prev_hash is not the hash of the event before it"


def test_verify_cut_off_tail_is_what_it_cannot_prove(written: Path) -> None:
    edit(written, *(f"DELETE FROM {table} WHERE seq = 7" for table in TABLES))
    verification = verify(written)
    assert (verification.ok, verification.head_seq) == (True, 6)


def test_verify_reports_the_first_of_many_edits(written: Path) -> None:
    edit(
        written,
        "UPDATE findings SET fix = '' WHERE seq = 7",
        "UPDATE decisions SET actor = 'eve' WHERE seq = 5",
        "UPDATE events SET actor = 'eve' WHERE seq = 6",
    )
    verification = verify(written)
    assert verification.problem == Problem(seq=5, what="the row of its decision was changed after it was written")
    assert (verification.events, verification.head_seq) == (4, 4)


@pytest.mark.parametrize(
    ("statement", "in_order"),
    [
        ("UPDATE decisions SET input = '{}' WHERE seq = 1", (0, 0, 0)),
        ("UPDATE decisions SET at = 'x' WHERE seq = 3", (2, 1, 2)),
        ("UPDATE findings SET severity = 'deny' WHERE seq = 3", (2, 1, 2)),
        ("UPDATE events SET payload = '{}' WHERE seq = 3", (2, 1, 2)),
        ("DELETE FROM decisions WHERE seq = 3", (2, 1, 2)),
        (copied("decisions", 5, seq="6", decision_id="'x'"), (6, 3, 3)),
    ],
)
def test_verify_counts_only_what_is_in_order(written: Path, statement: str, in_order: tuple[int, int, int]) -> None:
    edit(written, statement)
    verification = verify(written)
    assert (verification.events, verification.decisions, verification.findings) == in_order


@pytest.mark.parametrize("name", TRIGGERS)
def test_verify_trigger_taken_away_is_found(written: Path, name: str) -> None:
    with closing(sqlite3.connect(written)) as connection:
        connection.execute(f"DROP TRIGGER {name}")
    verification = verify(written)
    assert verification.problem is not None
    assert (verification.problem.seq, verification.exit_code) == (None, 1)
    assert "triggers" in str(verification.problem)


def test_verify_progress_counts_up_to_all_events(store: AuditStore, record: Make) -> None:
    seen: list[tuple[int, int]] = []
    with store:
        store.record([record(number) for number in range(1, 1101)])
        store.verify(lambda checked, total: seen.append((checked, total)))
    assert seen == [(1000, 2200), (2000, 2200), (2200, 2200)]


def test_verify_missing_file_is_unreadable(path: Path) -> None:
    with pytest.raises(AuditUnreadable, match="there is no audit file"):
        verify(path)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make: Make) -> Path:
    path = tmp_path_factory.mktemp("original") / "policy.db"
    with AuditStore(path) as store:
        store.record([make(1), make(2, outcome="allow"), make(3, outcome="error", error="x"), make(4, operation="run")])
    return path


@pytest.fixture(scope="module")
def copies(original: Path) -> Callable[[], Path]:
    path = original.with_name("copy.db")
    return lambda: Path(shutil.copyfile(original, path))


odd_cells = (
    st.none() | st.integers(-9, 2**40) | st.floats(allow_nan=False) | st.text(max_size=9) | st.binary(max_size=9)
)


def contents(connection: sqlite3.Connection) -> list[list[tuple[object, ...]]]:
    """All rows, texts told apart from blobs."""
    connection.text_factory = lambda raw: ("text", raw)
    return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_verify_any_single_field_edit_of_any_row_is_found(copies: Callable[[], Path], data: st.DataObject) -> None:
    path = copies()
    table = data.draw(st.sampled_from(sorted(TABLES)))
    column = data.draw(st.sampled_from(TABLES[table]))
    key = "seq * 100 + position" if table == "findings" else "seq"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        before = contents(connection)
        row = data.draw(st.sampled_from([row[0] for row in connection.execute(f"SELECT {key} FROM {table}")]))
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        with suppress(sqlite3.IntegrityError):  # what SQLite itself refuses changes nothing
            connection.execute(f'UPDATE {table} SET "{column}" = ? WHERE {key} = {row}', [data.draw(odd_cells)])
        for sql in TRIGGERS.values():
            connection.execute(sql)
        edited = contents(connection) != before
    verification = verify(path)
    assert verification.ok != edited
    assert not edited or "triggers" not in str(verification.problem)


@pytest.mark.parametrize("table", ["events", "decisions"])
def test_verify_key_that_is_no_key_any_more_is_an_audit_error(written: Path, table: str) -> None:
    """A bit of the file's own schema is flipped: `seq` is read as null then."""
    with closing(sqlite3.connect(written, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = (
            "UPDATE sqlite_master SET sql = replace(sql, 'seq INTEGER PRIMARY', 'seq INTEGES PRIMARY') WHERE name = ?"
        )
        connection.execute(changed, (table,))
    try:
        problem = verify(written).problem
    except AuditError:
        return
    assert problem is not None
