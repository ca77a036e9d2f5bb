"""The SQLite file: creation, durability, migrations, and everything that can be wrong with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flowyml_policy.audit.schema import AUDIT
from flowyml_policy.errors.audit import AuditCorrupt, AuditError, AuditTooNew, AuditUnreadable, AuditUnwritable
from flowyml_policy.storage.migrations import APPLICATION_ID, Migration
from flowyml_policy.storage.opening import begin, open_for_reading, open_for_writing, transaction

FIRST = Migration("first", ("CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1)"))
SECOND = Migration("second", ("CREATE TABLE b (y INTEGER)", "INSERT INTO b SELECT x + 1 FROM a"))
BROKEN = Migration("broken", ("CREATE TABLE c (z INTEGER)", "INSERT INTO c VALUES (1, 2)"))
WAIT = 0.2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "policy.db"


def applied(path: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT number, name FROM migrations ORDER BY number").fetchall()


def refusal(path: Path, *, write: bool = True) -> AuditError:
    opened = open_for_writing if write else open_for_reading
    with pytest.raises(AuditError) as caught:
        opened(path, (FIRST,), timeout=WAIT, tables=AUDIT).close()
    assert str(path) in str(caught.value)
    return caught.value


def test_open_for_writing_missing_file_is_created_private_durable_and_migrated(path: Path) -> None:
    with closing(open_for_writing(path, (FIRST, SECOND), tables=AUDIT)) as connection:
        pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]
        assert connection.execute("SELECT y FROM b").fetchall() == [(2,)]
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        created = modes(path)
    assert created == {"policy.db": 0o600, "policy.db-wal": 0o600, "policy.db-shm": 0o600}
    assert applied(path) == [(1, "first"), (2, "second")]


def loosened(path: Path, mode: int) -> None:
    for file in path.parent.iterdir():
        file.chmod(mode)


def modes(path: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o604, 0o666])
def test_open_for_writing_own_file_that_everybody_may_read_is_made_private(path: Path, mode: int) -> None:
    with closing(open_for_writing(path, (FIRST,), tables=AUDIT)):
        loosened(path, mode)
        with closing(open_for_writing(path, (FIRST,), tables=AUDIT)):
            assert modes(path) == {"policy.db": 0o600, "policy.db-wal": 0o600, "policy.db-shm": 0o600}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]


@pytest.mark.parametrize("mode", [0o640, 0o660])
def test_open_for_writing_file_that_is_shared_with_a_group_stays_shared(path: Path, mode: int) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    loosened(path, mode)
    with closing(open_for_writing(path, (FIRST,), tables=AUDIT)):
        assert modes(path) == {"policy.db": mode, "policy.db-wal": mode, "policy.db-shm": mode}


def test_open_for_writing_link_to_an_own_file_makes_what_it_leads_to_private(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    loosened(path, 0o644)
    link = path.parent.parent / "link.db"
    link.symlink_to(path)
    with closing(open_for_writing(link, (FIRST,), tables=AUDIT)):
        assert modes(path) == {"policy.db": 0o600, "policy.db-wal": 0o600, "policy.db-shm": 0o600}


def test_open_for_reading_leaves_the_mode_as_it_is(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    loosened(path, 0o644)
    open_for_reading(path, (FIRST,), tables=AUDIT).close()
    assert modes(path)["policy.db"] == 0o644


def test_open_for_writing_database_of_another_program_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    loosened(path, 0o644)
    assert "another program" in refusal(path).message
    assert modes(path)["policy.db"] == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a file away")
def test_open_for_writing_file_of_another_user_keeps_its_mode(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    loosened(path, 0o664)
    os.chown(path, 65534, -1)
    with closing(open_for_writing(path, (FIRST,), tables=AUDIT)):
        assert modes(path)["policy.db"] == 0o664


def test_open_for_writing_path_with_odd_characters_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=memory&b#c%20 ü\udc80" / "file:x.db"
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    assert [file.name for file in path.parent.iterdir()] == ["file:x.db"]


def test_open_for_writing_current_schema_does_not_load_sqlite_utils(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    program = (
        "import sys; from pathlib import Path; from flowyml_policy.audit.schema import AUDIT\n"
        "from flowyml_policy.storage.opening import *; from flowyml_policy.storage.migrations import Migration\n"
        f"m = (Migration('first', {FIRST.statements!r}),)\n"
        f"open_for_writing(Path({str(path)!r}), m, tables=AUDIT).close()\n"
        f"open_for_reading(Path({str(path)!r}), m, tables=AUDIT).close()\n"
        "print(sorted({'sqlite_utils', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_open_for_writing_older_schema_is_migrated_and_keeps_its_rows(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    with closing(open_for_writing(path, (FIRST, SECOND), tables=AUDIT)) as connection:
        assert connection.execute("SELECT x, y FROM a, b").fetchall() == [(1, 2)]
    assert applied(path) == [(1, "first"), (2, "second")]


def test_open_for_reading_older_schema_is_migrated_first(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    with closing(open_for_reading(path, (FIRST, SECOND), tables=AUDIT)) as connection:
        assert connection.execute("SELECT y FROM b").fetchall() == [(2,)]


def test_open_for_writing_broken_migration_leaves_the_file_as_it_was(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    with pytest.raises(AuditUnwritable, match="columns"):
        open_for_writing(path, (FIRST, BROKEN), tables=AUDIT)
    assert applied(path) == [(1, "first")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'c'").fetchall() == []


@pytest.mark.parametrize("write", [True, False])
def test_open_newer_schema_fails_closed(path: Path, write: object) -> None:
    open_for_writing(path, (FIRST, SECOND), tables=AUDIT).close()
    error = refusal(path, write=bool(write))
    assert (type(error), "a newer one" in error.advice) == (AuditTooNew, True)


@pytest.mark.parametrize("write", [True, False])
def test_open_migrations_out_of_order_fails_closed(path: Path, write: object) -> None:
    zero = Migration("zero", ())
    open_for_writing(path, (zero, FIRST), tables=AUDIT).close()
    opened = open_for_writing if write else open_for_reading
    with pytest.raises(AuditCorrupt, match="out of order"):
        opened(path, (FIRST, zero), tables=AUDIT)


def test_open_for_writing_many_processes_at_once_create_one_file(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from flowyml_policy.audit.schema import AUDIT\n"
        "from flowyml_policy.storage.opening import *; from flowyml_policy.storage.migrations import Migration\n"
        f"m = (Migration('first', {FIRST.statements!r}), Migration('second', {SECOND.statements!r}))\n"
        "sys.stdin.readline()\n"
        f"c = open_for_writing(Path({str(path)!r}), m, tables=AUDIT)\n"
        "with transaction(c, 30): c.execute('INSERT INTO a VALUES (7)')\n"
        "c.close()"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(16)
    ]
    outcomes = []
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, stderr = writer.communicate(timeout=120)
        outcomes.append((writer.returncode, stderr))
    assert outcomes == [(0, "")] * 16
    assert applied(path) == [(1, "first"), (2, "second")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT sum(x = 7), sum(x = 1) FROM a").fetchone() == (16, 1)


def insert_and_fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO a VALUES (2)")
    connection.execute("INSERT INTO nowhere VALUES (2)")


def test_transaction_that_raises_leaves_nothing_and_can_go_on(path: Path) -> None:
    with closing(open_for_writing(path, (FIRST,), tables=AUDIT)) as connection:
        with pytest.raises(sqlite3.OperationalError), transaction(connection, WAIT):
            insert_and_fail(connection)
        with transaction(connection, WAIT):
            connection.execute("INSERT INTO a VALUES (3)")
        assert connection.execute("SELECT x FROM a ORDER BY x").fetchall() == [(1,), (3,)]


@pytest.mark.parametrize("name", [":memory:", "", "."])
@pytest.mark.parametrize("opened", [open_for_writing, open_for_reading])
def test_open_what_keeps_nothing_fails_closed(name: str, opened: object) -> None:
    assert callable(opened)
    with pytest.raises((AuditUnwritable, AuditUnreadable), match="a file that lasts"):
        opened(Path(name), (FIRST,), tables=AUDIT)


@pytest.mark.parametrize("write", [True, False])
def test_open_folder_fails_closed(tmp_path: Path, write: object) -> None:
    assert "this is a folder" in refusal(tmp_path, write=bool(write)).message


@pytest.mark.parametrize("write", [True, False])
def test_open_pipe_or_device_fails_closed(tmp_path: Path, write: object) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/full"), Path("/dev/null")):
        assert "no regular file" in refusal(path, write=bool(write)).message


@pytest.mark.parametrize("write", [True, False])
def test_open_path_below_a_file_fails_closed(tmp_path: Path, write: object) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "policy.db"
    error = refusal(path, write=bool(write))
    assert isinstance(error, AuditUnwritable | AuditUnreadable)
    assert error.message == f"the audit file cannot be used: {path}: Not a directory"


@pytest.mark.parametrize("write", [True, False])
def test_open_path_with_nul_or_too_long_fails_closed(write: object) -> None:
    opened = open_for_writing if write else open_for_reading
    for name in ("a\0b", "x" * 5000):
        with pytest.raises((AuditUnwritable, AuditUnreadable), match="cannot be used"):
            opened(Path(name), (FIRST,), tables=AUDIT)


def test_open_for_writing_where_nothing_can_be_created_fails_closed() -> None:
    assert isinstance(refusal(Path("/proc/flowyml/policy.db")), AuditUnwritable)


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough", b"\0" * 8192, b"SQLite format 3\0junk" * 99]
)
def test_open_no_database_fails_closed(path: Path, content: bytes, write: object) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert isinstance(refusal(path, write=bool(write)), AuditCorrupt)
    assert path.read_bytes() == content


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize(
    "schema", ["CREATE TABLE migrations (number, name)", "PRAGMA application_id = 7; CREATE TABLE t (x)"]
)
def test_open_database_of_another_program_fails_closed(path: Path, schema: str, write: object) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema)
        before = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert "another program" in refusal(path, write=bool(write)).message
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == before


def test_open_for_reading_missing_file_fails_and_creates_nothing(path: Path) -> None:
    error = refusal(path, write=False)
    assert (type(error), path.parent.exists()) == (AuditUnreadable, False)


def test_open_for_reading_empty_file_fails_and_writes_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert isinstance(refusal(path, write=False), AuditUnreadable)
    assert [(file.name, file.stat().st_size) for file in path.parent.iterdir()] == [("policy.db", 0)]


def test_open_for_reading_cannot_write(path: Path) -> None:
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    with (
        closing(open_for_reading(path, (FIRST,), tables=AUDIT)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("INSERT INTO a VALUES (2)")


def test_open_for_writing_locked_by_another_process_fails_closed(path: Path) -> None:
    open_for_writing(path, (), tables=AUDIT).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = refusal(path)
        assert "locked by another process" in error.message
        assert error.advice.startswith("end the process that holds it, or try again; where none does, ")
        other.execute("ROLLBACK")
    open_for_writing(path, (FIRST,), timeout=WAIT, tables=AUDIT).close()


def test_begin_of_a_file_that_stays_locked_waits_once(path: Path) -> None:
    tried: list[str] = []
    with (
        closing(open_for_writing(path, (FIRST,), timeout=WAIT, tables=AUDIT)) as connection,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        connection.set_trace_callback(tried.append)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            begin(connection, WAIT)
    assert tried == ["BEGIN IMMEDIATE"]


def test_open_for_writing_full_disk_fails_closed_and_recovers(
    path: Path, limited_file_size: Callable[[int], None]
) -> None:
    limited_file_size(65_536)
    filler = Migration("filler", ("CREATE TABLE f (x)", "INSERT INTO f VALUES (zeroblob(1000000))"))
    with pytest.raises(AuditUnwritable, match="disk"):
        open_for_writing(path, (FIRST, filler), timeout=WAIT, tables=AUDIT)
    assert applied(path) == [(1, "first")]


@pytest.fixture
def others_folder() -> Iterator[Path]:
    """A folder that everybody may enter and, once it is closed with `chmod 555`, nobody may write."""
    folder = Path(tempfile.mkdtemp(prefix="flowyml-policy-test-"))
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root ignores modes, so it steps down; others stay who they are."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_open_read_only_folder_can_be_read_and_not_written(others_folder: Path) -> None:
    path = others_folder / "policy.db"
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    path.chmod(0o444)
    others_folder.chmod(0o555)
    with as_somebody_else():
        with closing(open_for_reading(path, (FIRST,), tables=AUDIT)) as connection:
            assert connection.execute("SELECT x FROM a").fetchall() == [(1,)]
        assert isinstance(refusal(path), AuditUnwritable)
    assert [file.name for file in others_folder.iterdir()] == ["policy.db"]


def test_open_for_reading_read_only_folder_sees_what_a_writer_just_committed(others_folder: Path) -> None:
    path = others_folder / "policy.db"
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    path.chmod(0o640)
    with closing(open_for_writing(path, (FIRST,), tables=AUDIT)) as writer:
        with transaction(writer, WAIT):
            writer.execute("INSERT INTO a VALUES (2)")
        others_folder.chmod(0o555)
        with as_somebody_else(), closing(open_for_reading(path, (FIRST,), tables=AUDIT)) as reader:
            assert reader.execute("SELECT x FROM a ORDER BY x").fetchall() == [(1,), (2,)]
        others_folder.chmod(0o755)


def test_open_for_reading_log_that_cannot_be_merged_is_said(others_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    with closing(open_for_writing(path, (FIRST,), tables=AUDIT)) as writer:
        with transaction(writer, WAIT):
            writer.execute("INSERT INTO a VALUES (2)")
        for name in ("policy.db", "policy.db-wal"):
            Path(shutil.copy(tmp_path / name, others_folder)).chmod(0o444)
    others_folder.chmod(0o555)
    with as_somebody_else():
        error = refusal(others_folder / "policy.db", write=False)
    assert isinstance(error, AuditUnreadable)
    assert "has a log beside it (-wal) that is not merged" in error.message
    assert error.advice == "copy the file and its -wal to a folder that can be written to, and name that one"


def test_open_for_reading_file_of_somebody_else_fails_closed(others_folder: Path) -> None:
    path = others_folder / "policy.db"
    open_for_writing(path, (FIRST,), tables=AUDIT).close()
    path.chmod(0o000)
    others_folder.chmod(0o555)
    with as_somebody_else():
        assert isinstance(refusal(path, write=False), AuditUnreadable)


def test_open_for_writing_folder_that_may_not_be_written_fails_closed(others_folder: Path) -> None:
    others_folder.chmod(0o555)
    with as_somebody_else():
        assert isinstance(refusal(others_folder / "policy.db"), AuditUnwritable)
