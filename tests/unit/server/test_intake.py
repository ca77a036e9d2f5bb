"""Decision logs are kept once each, whole, masked, and on disk before anybody is told so."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.errors.server import ServerCorrupt, ServerUnwritable
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.intake import MOST_EVENTS, Intake, Taken
from tests.unit.server.conftest import AT, event, packed

LARGEST = 1 << 20
SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0" * 2


@pytest.fixture
def intake(path: Path) -> Iterator[Intake]:
    with closing(Intake(path)) as made:
        yield made


def take(intake: Intake, *events: Any, by: str = "ci", partition: str | None = None) -> Taken:
    return post(intake, packed(*events), by=by, partition=partition)


def post(
    intake: Intake,
    body: bytes,
    *,
    encoding: str | None = "gzip",
    by: str = "ci",
    partition: str | None = None,
    largest: int = LARGEST,
) -> Taken:
    return intake.take(body, content_encoding=encoding, partition=partition, token=by, at=AT, largest=largest)


def rows(path: Path, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM received ORDER BY number").fetchall()


def test_take_event_of_opa_becomes_a_row_that_can_be_asked_for(intake: Intake, path: Path) -> None:
    assert take(intake, event(), partition="eu") == Taken(new=1)
    columns = (
        "number, token, partition, client, client_id, decision_id, batch_decision_id, at, received_at, path, bundles,"
        " outcome, stack_name, stack_version, error, conflict, note"
    )
    assert rows(path, columns) == [
        (
            1,
            "ci",
            "eu",
            "fraud@node-1",
            "6d2f0c6b-1d0e-4b62-8d1c-0a9d1a3f2b11",
            "00000000-0000-4000-8000-000000000001",
            None,
            "2026-11-20T09:59:58.123456789Z",
            AT,
            "flowyml/main/decision",
            '{"flowyml":"r1","org":"1.4.0+0a1b2c3d4e5f"}',
            "deny",
            "prod-gpu-large",
            "2.1.0",
            None,
            0,
            None,
        )
    ]
    ((kept,),) = rows(path, "event")
    assert json.loads(kept) == event()


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"result": {"allow": True}}, "allow"),
        ({"result": True}, "allow"),
        ({"result": False}, "deny"),
        ({"result": {"allowed": False}}, "deny"),
        ({"result": {"allow": True, "allowed": False}}, "deny"),
        ({"result": ...}, "error"),
        ({"result": {"allow": True}, "error": {"code": "eval_conflict_error", "message": "no"}}, "error"),
        ({"result": ..., "erased": ["/result"]}, None),
        ({"result": {"allow": "yes"}}, None),
        ({"result": None}, None),
        ({"result": ["a"]}, None),
    ],
)
def test_outcome_is_what_the_event_says(intake: Intake, path: Path, changes: dict[str, Any], outcome: str) -> None:
    take(intake, event(**changes))
    assert rows(path, "outcome") == [(outcome,)]


def test_take_unknown_absent_and_null_fields_are_kept_as_they_came(intake: Intake, path: Path) -> None:
    sent = [
        event(1, intermediate_results={"x": 1}, custom={"a": None}, unheard_of=[1, 2.5, 1e300]),
        event(2, input=..., labels=..., bundles=..., result=..., path="/flowyml/main/decision"),
        event(3, input=None, labels=None, bundles=None, path=None, error=None),
    ]
    assert take(intake, *sent) == Taken(new=3)
    assert [json.loads(text) for (text,) in rows(path, "event")] == sent
    assert rows(path, "client, path, bundles, note")[1:] == [
        ("ci", "flowyml/main/decision", "{}", None),
        ("ci", None, "{}", "`path` is no text"),
    ]


def test_take_what_is_no_event_is_kept_beside_the_others(intake: Intake, path: Path) -> None:
    huge = "9" * 5000
    body = json.dumps(["text", 7, None, [1], {}, {"decision_id": 5}])[:-1] + f', {{"n": {huge}, "f": 1e999}}]'
    assert post(intake, body.encode(), encoding=None) == Taken(new=7)
    assert rows(path, "note, event")[:6] == [
        ("this is no JSON object", '"text"'),
        ("this is no JSON object", "7"),
        ("this is no JSON object", "null"),
        ("this is no JSON object", "[1]"),
        (None, "{}"),
        ("`decision_id` is no text", '{"decision_id":5}'),
    ]
    assert json.loads(rows(path, "event")[6][0]) == {"n": huge, "f": "1e999"}


def test_take_again_is_acknowledged_and_not_kept_twice(intake: Intake, path: Path) -> None:
    assert take(intake, event(1), event(2)) == Taken(new=2)
    assert take(intake, event(2), event(1), event(3)) == Taken(new=1, repeated=2)
    assert take(intake, event(4), event(4)) == Taken(new=1, repeated=1)
    assert take(intake, event(1), by="other") == Taken(new=1)
    assert take(intake, event(1, batch_decision_id="b1"), event(1, batch_decision_id="b2")) == Taken(new=2)
    assert take(intake, event(decision_id=...), event(decision_id=...), event(decision_id="")) == Taken(2, 1)
    assert len(rows(path, "number")) == 9


def test_take_same_id_with_other_content_is_kept_beside_it(intake: Intake, path: Path) -> None:
    take(intake, event(1))
    assert take(intake, event(1, result={"allow": True})) == Taken(conflicts=1)
    assert take(intake, event(1, result={"allow": True}), event(1)) == Taken(repeated=2)
    assert rows(path, "number, outcome, conflict") == [(1, "deny", 0), (2, "allow", 1)]


def test_take_many_contents_of_one_id_take_no_longer_than_others(intake: Intake) -> None:
    """One client would keep the file from all others, and tokens from being revoked."""
    seconds = []
    for same in (False, True):
        begun = time.monotonic()
        events = (event(0 if same else number + 1, req_id=number) for number in range(4000))
        taken = post(intake, packed(*events), largest=8 << 20)
        seconds.append(time.monotonic() - begun)
    assert taken == Taken(new=1, conflicts=3999)
    assert seconds[1] < 6 * seconds[0]


def test_take_partition_is_masked_and_short(intake: Intake, path: Path) -> None:
    take(intake, event(), partition=f"{SECRET}/{'x' * 60_000}")
    ((partition,),) = rows(path, "partition")
    assert (SECRET in partition, len(partition)) == (False, 200)


def test_take_secrets_are_masked_again(intake: Intake, path: Path) -> None:
    leaking = event(
        labels={"id": SECRET, "app": SECRET},
        decision_id=f"token={SECRET}",
        path=SECRET,
        input={"password": "hunter2-hunter2", SECRET: 1},
        error={"message": f"Bearer {SECRET}"},
        custom={"any": SECRET},
    )
    take(intake, leaking)
    intake.close()
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert (SECRET.encode() in held, b"hunter2" in held) == (False, False)


def test_take_lone_surrogates_and_nul_are_kept_in_writing(intake: Intake, path: Path) -> None:
    body = rb'[{"decision_id": "a\ud800\u0000b", "input": {"\udfff": "\ud83d\ude00"}}]'
    assert post(intake, body, encoding=None) == Taken(new=1)
    assert rows(path, "decision_id") == [("a\\ud800\x00b",)]


def bomb() -> bytes:
    return gzip.compress(b"[" + b" " * (LARGEST * 4) + b"]")


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        pytest.param(b"no gzip", "gzip", 400, "gzip_invalid", id="no gzip"),
        pytest.param(packed(event())[:-9], "gzip", 400, "gzip_invalid", id="cut off"),
        pytest.param(packed(event()) + b"more", "gzip", 400, "gzip_invalid", id="more behind it"),
        pytest.param(bomb(), "gzip", 413, "body_too_large", id="bomb"),
        pytest.param(b"[]" + b" " * LARGEST, None, 413, "body_too_large", id="large"),
        pytest.param(gzip.compress(b"[0" + b",0" * MOST_EVENTS + b"]"), "gzip", 413, "too_many_events", id="events"),
        pytest.param(b"[]", "br", 415, "encoding_unknown", id="other encoding"),
        pytest.param(b"", None, 400, "json_invalid", id="empty"),
        pytest.param(b"[{}", None, 400, "json_invalid", id="half"),
        pytest.param(b"[NaN]", None, 400, "json_invalid", id="nan"),
        pytest.param(b'["\xff"]', None, 400, "json_invalid", id="no utf-8"),
        pytest.param(b"[" * 200_000, None, 400, "json_too_deep", id="deep"),
        pytest.param(b'{"decision_id": "a"}', None, 400, "no_events", id="no array"),
    ],
)
def test_take_no_chunk_of_events_is_refused(
    intake: Intake, path: Path, body: bytes, encoding: str | None, status: int, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        post(intake, body, encoding=encoding)
    assert (refused.value.status, refused.value.code, path.exists()) == (status, code, False)


def test_take_more_values_than_anybody_tells_are_refused(intake: Intake) -> None:
    """As Python objects they would be fifty times as large as the body."""
    body = gzip.compress(b"[[{}" + b",{}" * 5_000_001 + b"]]", 1)
    with pytest.raises(Refused) as refused:
        post(intake, body, largest=64 << 20)
    assert (refused.value.status, refused.value.code) == (413, "too_many_values")


def test_take_gzip_of_several_members_and_no_events(intake: Intake) -> None:
    assert post(intake, gzip.compress(b"[") + gzip.compress(b"]")) == Taken()
    assert post(intake, packed(event()), encoding=None) == Taken(new=1)


def test_take_is_in_the_journal_with_the_digest_of_its_rows(intake: Intake, path: Path) -> None:
    take(intake, event(1), event(2))
    take(intake, event(1))
    take(intake, event(3))
    with AuditStore(path) as audit:
        told = [(one.type, one.payload["first"], one.payload["last"]) for one in audit.get_events()]
        assert (told, audit.verify().ok) == ([("DecisionLogReceived", 3, 3), ("DecisionLogReceived", 1, 2)], True)


@pytest.mark.parametrize("statement", ["UPDATE received SET outcome = 'allow'", "DELETE FROM received"])
def test_received_rows_cannot_be_changed(intake: Intake, path: Path, statement: str) -> None:
    take(intake, event())
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)


def test_take_from_many_threads_shares_commits_and_loses_nothing(intake: Intake, path: Path) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 40):
            assert take(intake, event(number), event(number)) == Taken(1, 1)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 320, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with AuditStore(path) as audit:
        commits = len(audit.get_events())
        assert (len(rows(path, "number")), commits < 320, audit.verify().ok) == (320, True, True)


def test_take_full_disk_is_refused_and_what_was_taken_stays(
    intake: Intake, path: Path, limited_file_size: Callable[[int], None]
) -> None:
    limited_file_size(400_000)
    taken = 0
    with pytest.raises(ServerUnwritable, match="disk") as refused:  # noqa: PT012  the loop ends by what it waits for
        while taken < 10_000:
            take(intake, event(taken, input={"x": "word " * 1000}))
            taken += 1
    assert (taken > 0, str(path) in refused.value.message, len(rows(path, "number"))) == (True, True, taken)
    limited_file_size(2**40)
    assert take(intake, event(taken, input={"x": "word " * 1000})) == Taken(new=1)
    with AuditStore(path) as audit:
        assert audit.verify().ok


def test_take_file_that_is_no_database_keeps_nothing(path: Path) -> None:
    path.write_text("no database at all, and long enough to have a header of SQLite" * 3)
    with closing(Intake(path)) as intake, pytest.raises(ServerCorrupt):
        take(intake, event())


def test_take_killed_process_loses_nothing_that_it_acknowledged(path: Path) -> None:
    """Chunks are posted to a process that is killed at a moment of chance, and then all of them once more."""
    for turn in range(3):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                _take_and_say(path, turn, write)
            os._exit(1)
        os.close(write)
        said = os.read(read, 1)
        time.sleep(random.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while part := os.read(read, 65_536):
            said += part
        os.close(read)
        acknowledged = {int(line) for line in said.split(b"\n")[:-1]}
        kept = [int(decision_id[-12:], 16) for (decision_id,) in rows(path, "decision_id")]
        assert (acknowledged - set(kept), len(kept)) == (set(), len(set(kept)))
        with closing(Intake(path)) as intake:
            take(intake, *(event(number) for number in acknowledged))
        assert len(rows(path, "number")) == len(kept)
    with AuditStore(path) as audit:
        assert (bool(kept), audit.verify().ok) == (True, True)


def _take_and_say(path: Path, turn: int, write: int) -> None:
    intake = Intake(path)

    def work(thread: int) -> None:
        for number in range(10_000):
            own = turn * 1_000_000 + thread * 100_000 + number
            take(intake, event(own))
            os.write(write, b"%d\n" % own)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
