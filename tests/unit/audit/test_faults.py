"""An audit that cannot be written or trusted is an error, and never half written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.errors.audit import AuditCorrupt, AuditError, AuditTooNew, AuditUnwritable
from flowyml_policy.records.result import DecisionRecord

Make = Callable[..., DecisionRecord]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk; the limit on file sizes stands in for it")
    yield folder
    subprocess.run(["umount", folder], check=True)


def record_until_refused(store: AuditStore, make: Make) -> tuple[int, AuditError]:
    """How many batches of ten were taken before one was refused, and the refusal."""
    taken = 0
    with pytest.raises(AuditError) as caught:  # noqa: PT012  the loop ends by what it waits for
        while taken < 10_000:
            store.record([make(taken * 10 + number) for number in range(10)])
            taken += 1
    return taken, caught.value


def test_record_file_that_cannot_grow_fails_closed_and_keeps_what_was_taken(
    store: AuditStore, make: Make, limited_file_size: Callable[[int], None]
) -> None:
    limited_file_size(400_000)
    with store:
        taken, error = record_until_refused(store, make)
        assert (taken > 0, type(error), "disk" in error.message) == (True, AuditUnwritable, True)
        assert (len(store.decisions(limit=None)), store.verify().ok) == (taken * 10, True)
        limited_file_size(2**40)
        store.record([make(999_999)])
        assert (len(store.decisions(limit=None)), store.verify().ok) == (taken * 10 + 1, True)


def test_record_full_disk_fails_closed_and_keeps_what_was_taken(small_disk: Path, make: Make) -> None:
    with AuditStore(small_disk / "policy.db") as store:
        taken, error = record_until_refused(store, make)
        assert (taken > 0, type(error), "disk" in error.message) == (True, AuditUnwritable, True)
        assert (len(store.decisions(limit=None)), store.verify().ok) == (taken * 10, True)


def test_record_no_room_for_the_file_at_all_fails_closed(small_disk: Path, make: Make) -> None:
    (small_disk / "filler").write_bytes(b"x" * 1_040_000)
    with AuditStore(small_disk / "policy.db") as store, pytest.raises(AuditUnwritable):
        store.record([make()])


def test_require_writable_of_an_audit_with_room_changes_no_row(path: Path, make: Make) -> None:
    with AuditStore(path) as store:
        store.record([make(1)])
        before = contents(path)
        store.require_writable()
        assert (contents(path), store.verify().ok) == (before, True)
        store.record([make(2)])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'tried_out'").fetchall() == []


def test_require_writable_of_an_audit_that_cannot_grow_fails_closed(
    path: Path, make: Make, limited_file_size: Callable[[int], None]
) -> None:
    with AuditStore(path) as store:
        store.record([make(1)])
    limited_file_size(40_000)
    with AuditStore(path) as store:
        with pytest.raises(AuditUnwritable, match="disk"):
            store.require_writable()
        assert (len(store.decisions()), store.verify().ok) == (1, True)


@pytest.mark.parametrize("where", ["file/policy.db", "file", ":memory:"])
def test_record_impossible_path_fails_closed(tmp_path: Path, make: Make, where: str) -> None:
    (tmp_path / "file").write_text("not an audit, and longer than a header of SQLite would be: " + "x" * 100)
    path = Path(where) if where == ":memory:" else tmp_path / where
    with AuditStore(path) as store, pytest.raises(AuditError) as caught:
        store.record([make()])
    assert (caught.value.exit_code, str(path) in caught.value.message) == (3, True)


def test_record_read_only_place_fails_closed(make: Make) -> None:
    with AuditStore("/proc/policy.db") as store, pytest.raises(AuditUnwritable):
        store.record([make()])


def test_record_locked_by_another_process_fails_closed_until_it_is_free(path: Path, make: Make) -> None:
    with AuditStore(path, timeout=0.2) as store:
        store.record([make(1)])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(AuditUnwritable, match="locked by another process"):
                store.record([make(2)])
            assert len(store.decisions()) == 1
            other.execute("ROLLBACK")
        store.record([make(2)])
        assert len(store.decisions()) == 2


@pytest.mark.parametrize("question", ["record", "get_events", "decisions", "verify"])
def test_newer_schema_fails_closed(path: Path, make: Make, question: str) -> None:
    with AuditStore(path) as store:
        store.record([make(1)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'from_the_future', '2030-01-01T00:00:00Z', '9.9.9')")
    with AuditStore(path) as store, pytest.raises(AuditTooNew, match=r"9\.9\.9"):
        store.record([make(2)]) if question == "record" else getattr(store, question)()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make: Make) -> Path:
    path = tmp_path_factory.mktemp("original") / "policy.db"
    with AuditStore(path) as store:
        for first in range(0, 30, 10):
            store.record([make(first + number) for number in range(10)])
    assert [file.name for file in path.parent.iterdir()] == ["policy.db"]
    return path


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.97])
def test_truncated_file_fails_closed(original: Path, path: Path, make: Make, kept: float) -> None:
    shutil.copyfile(original, path)
    os.truncate(path, int(path.stat().st_size * kept))
    with AuditStore(path) as store, pytest.raises(AuditError):
        store.verify()
    assert is_refused_or_whole(path, make)


def test_file_of_noise_fails_closed(original: Path, path: Path, make: Make) -> None:
    size = original.stat().st_size
    path.write_bytes(original.read_bytes()[:100] + b"\xa5" * (size - 100))
    with AuditStore(path) as store:
        for question in (store.get_events, store.verify, lambda: store.record([make(1)])):
            with pytest.raises(AuditCorrupt):
                question()


def test_record_file_damaged_while_it_is_open_fails_closed(original: Path, path: Path, make: Make) -> None:
    shutil.copyfile(original, path)
    with AuditStore(path) as store:
        store.record([make(1000)])
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xa5" * (path.stat().st_size - 100))
    with AuditStore(path) as store, pytest.raises(AuditError):
        store.record([make(1001)])


def is_refused_or_whole(path: Path, make: Make) -> bool:
    """Whether the next record either raises an audit error or leaves a file that verifies."""
    with AuditStore(path, timeout=1) as store:
        try:
            store.record([make(5000)])
            return store.verify().ok
        except AuditError:
            return True


def contents(path: Path) -> list[object]:
    """Every row that is evidence; when a migration ran is not, and no chain covers it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        tables = ("events", "decisions", "findings")
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_bytes_are_found_or_change_no_row(original: Path, path: Path, data: st.DataObject) -> None:
    content = bytearray(original.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=16))
    content[at : at + len(noise)] = noise
    path.write_bytes(content)
    with AuditStore(path, timeout=0.2) as store:
        try:
            found = not store.verify().ok
        except AuditError:
            found = True
        if not found:
            assert contents(path) == contents(original)
        assert found or (len(store.get_events()), len(store.decisions())) == (60, 30)
        with suppress(AuditError):
            store.get_events()
        with suppress(AuditError):
            for decision in store.decisions():
                assert decision.result.decision_id == decision.decision_id
