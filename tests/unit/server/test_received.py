"""What came in is listed, shown and proved from the server's file alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.cli import main
from flowyml_policy.cli.root import Session, root
from flowyml_policy.server.intake import Intake
from flowyml_policy.server.received import ReceivedStore, verify_server
from flowyml_policy.server.tokens import Tokens
from tests.unit.audit.conftest import make_record
from tests.unit.server.conftest import AT, event, packed


@pytest.fixture
def filled(path: Path) -> Path:
    """Three events in two commits, one of them a conflict, and a decision of the server's own."""
    with closing(Intake(path)) as intake, AuditRecorder(path) as audit:
        take(intake, event(1), event(2, result={"allow": True}))
        audit.record([make_record(7, name="own-stack")])
        take(intake, event(1, result={"allow": True}), at="2026-11-20T10:00:01.000000Z")
    return path


def take(intake: Intake, *events: Any, at: str = AT) -> None:
    intake.take(packed(*events), content_encoding="gzip", partition=None, token="ci", at=at, largest=1 << 20)


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(root, ["audit", *arguments, "--server-data", str(path.parent)], obj=Session())


def test_latest_and_with_id_read_back_what_came(filled: Path) -> None:
    with closing(ReceivedStore(filled)) as store:
        latest = store.latest()
        assert [(one.number, one.outcome, one.conflict) for one in latest] == [
            (3, "allow", True),
            (2, "allow", False),
            (1, "deny", False),
        ]
        assert [one.number for one in store.latest("prod-gpu-large", limit=1)] == [3]
        assert store.latest("another") == []
        assert [one.number for one in store.with_id(event(1)["decision_id"])] == [1, 3]
        assert json.loads(latest[2].event) == event(1)


def test_verify_of_what_was_not_touched_counts_it(filled: Path) -> None:
    verification = verify_server(filled)
    assert (verification.problem, verification.exit_code) == (None, 0)
    assert {noun: count for count, noun in verification.counts} == {
        "event": 4,
        "decision": 1,
        "finding": 2,
        "received event": 3,
    }


STRAY = """INSERT INTO received SELECT 4, token, identity, 'x', received_at, partition, client, client_id, decision_id,
  batch_decision_id, at, path, bundles, outcome, stack_name, stack_version, error, conflict, note, event
  FROM received WHERE number = 1"""
EDITS = [
    ("UPDATE received SET outcome = 'allow' WHERE number = 1", "event 1: a row of the received events 1 to 2 was"),
    ("UPDATE received SET client = 'other' WHERE number = 3", "a row of the received events 3 to 3 was changed"),
    ("UPDATE received SET event = '{}' WHERE number = 2", "a row of the received events 1 to 2 was changed"),
    ("DELETE FROM received WHERE number = 1", "the row of the received event 1 is missing"),
    ("DELETE FROM received WHERE number = 3", "the row of the received event 3 is missing"),
    (STRAY, "no event of the journal answers for the received event 4"),
    ("SELECT 1", "the triggers that refuse changes of received events are not as they were"),
    ("DROP TABLE received", "the row of the received event 1 is missing"),
]


@pytest.mark.parametrize(("edit", "problem"), EDITS)
def test_verify_finds_every_edit(filled: Path, edit: str, problem: str) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'received'"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(edit)
        if edit != "SELECT 1" and "DROP" not in edit:
            for _, sql in triggers:
                connection.execute(sql)
    verification = verify_server(filled)
    assert (verification.exit_code, problem in str(verification.problem)) == (1, True)


def test_verify_finds_an_edited_journal(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute("UPDATE events SET payload = replace(payload, '\"count\":2', '\"count\":1') WHERE seq = 1")
    assert "event 1: its hash does not fit" in str(verify_server(filled).problem)


def test_audit_list_of_a_server_shows_clients_and_itself(filled: Path) -> None:
    ran = run(filled, "list")
    assert (ran.exit_code, ran.stderr) == (0, "")
    lines = [line.split() for line in ran.stdout.splitlines() if "00000000" in line]
    own = make_record(7).decision_id
    assert [(line[0], line[2], line[3]) for line in lines] == [
        ("allowed", event(1)["decision_id"], "fraud@node-1"),
        ("DENIED", own, "this"),
        ("allowed", event(2)["decision_id"], "fraud@node-1"),
        ("DENIED", event(1)["decision_id"], "fraud@node-1"),
    ]
    assert ran.stdout.endswith("4 decisions\n")
    assert "the newest 1 decision" in run(filled, "list", "--limit", "1").stdout


def test_audit_list_of_a_server_in_json_tells_both_apart(filled: Path) -> None:
    said = json.loads(run(filled, "list", "--format", "json").stdout)
    assert ([one["number"] for one in said["received"]], len(said["decisions"]), said["more"]) == ([3, 2, 1], 1, False)
    assert {"client", "token", "outcome"} <= set(said["received"][0])
    assert "event" not in said["received"][0]


def test_audit_show_of_a_server_shows_what_a_client_reported(filled: Path) -> None:
    ran = run(filled, "show", event(1)["decision_id"])
    assert (ran.exit_code, ran.stdout.count("prod-gpu-large 2.1.0"), "conflict" in ran.stdout) == (0, 2, True)
    said = json.loads(run(filled, "show", event(2)["decision_id"], "--format", "json").stdout)
    assert (said["received"][0]["client"], said["received"][0]["event"]["req_id"]) == ("fraud@node-1", 7)
    assert "own-stack" in run(filled, "show", make_record(7).decision_id).stdout
    assert run(filled, "verify").stdout.splitlines()[0].endswith("2 findings, 3 received events")


def test_audit_of_a_server_wrong_calls_exit_as_agreed(
    filled: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = str(filled.parent)
    assert main(["audit", "show", "no-such-id", "--server-data", data]) == 2
    assert main(["audit", "list", "--server-data", data, "--project", "."]) == 2
    assert main(["audit", "verify", "--server-data", str(tmp_path / "nowhere")]) == 3
    assert capsys.readouterr().err.count("error: ") == 3


def test_audit_list_of_a_server_that_heard_nothing_is_empty(path: Path) -> None:
    with closing(Tokens(path)) as tokens:
        tokens.new(["logs:write"])
    assert run(path, "list").stdout == "no decisions\n"
