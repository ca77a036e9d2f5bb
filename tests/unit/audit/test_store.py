"""What the audit keeps, and how it is asked for."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.audit.chain import rows_digest, text_digest
from flowyml_policy.audit.reading import StoredDecision
from flowyml_policy.audit.schema import DECISION_COLUMNS, FINDING_COLUMNS
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.errors.audit import AuditError, AuditUnreadable, AuditUnwritable
from flowyml_policy.records.events import Event, PolicyChecked, StackValidated
from flowyml_policy.records.protocols import Recorder
from flowyml_policy.records.result import DecisionRecord

Make = Callable[..., DecisionRecord]


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_audit_store_is_a_recorder(store: AuditStore) -> None:
    recorder: Recorder = store
    recorder.record([])


def test_record_nothing_creates_nothing(store: AuditStore, path: Path) -> None:
    store.record([])
    assert not path.exists()


def test_record_file_is_private(store: AuditStore, path: Path, record: Make) -> None:
    with store:
        store.record([record()])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("operation", "types"),
    [
        ("validate", ["StackValidated", "PolicyChecked"]),
        ("apply", ["StackValidated", "PolicyChecked"]),
        ("run", ["PolicyChecked"]),
    ],
)
def test_get_events_each_operation_has_its_events_newest_first(
    store: AuditStore, record: Make, operation: str, types: list[str]
) -> None:
    with store:
        store.record([record(operation=operation)])
        events = store.get_events(stack_name="prod-gpu-large")
    assert [event.type for event in events] == types
    assert [type(event).__name__ for event in events] == types


def test_get_events_whole_events_are_typed_and_chained(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record(7)])
        validated, checked = store.get_events()
    assert isinstance(checked, PolicyChecked)
    assert isinstance(validated, StackValidated)
    assert checked.model_dump(exclude={"id", "hash"}) == {
        "seq": 1,
        "at": "2026-11-20T10:00:00Z",
        "type": "PolicyChecked",
        "stack_name": "prod-gpu-large",
        "decision_id": "00000000-0000-4000-8000-000000000007",
        "actor": "ada",
        "payload": {
            "outcome": "deny",
            "operation": "validate",
            "stack_version": "2.1.0",
            "hypothetical": False,
            "bundles": {"flowyml": "r1"},
            "denials": ["images_registry.not_allowed"],
            "error": None,
            "decision_sha256": checked.decision_digest,
            "findings_sha256": checked.payload["findings_sha256"],
        },
        "prev_hash": "0" * 64,
    }
    assert validated.model_dump(exclude={"id", "hash"}) == {
        **checked.model_dump(exclude={"id", "hash"}),
        "seq": 2,
        "type": "StackValidated",
        "payload": {
            "outcome": "deny",
            "stack_version": "2.1.0",
            "source": "stacks/prod.yaml",
            "definition_digest": "sha256:" + f"{7:064x}",
        },
        "prev_hash": checked.hash,
    }
    assert checked.outcome == "deny"
    assert len({checked.id, validated.id}) == 2


def test_record_digests_of_the_event_can_be_recomputed_from_the_tables(
    store: AuditStore, path: Path, record: Make
) -> None:
    with store:
        store.record([record()])
        (checked,) = store.get_events(type="PolicyChecked")
    names = ", ".join(f'"{name}"' for name in DECISION_COLUMNS)
    (decision,) = rows(path, f"SELECT {names} FROM decisions")
    names = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)
    findings = rows(path, f"SELECT {names} FROM findings ORDER BY position")
    ((stored_input,),) = rows(path, "SELECT input FROM decisions")
    assert checked.payload["decision_sha256"] == rows_digest(decision)
    assert checked.payload["findings_sha256"] == rows_digest([list(row) for row in findings])
    assert decision[-1] == text_digest(str(stored_input).encode())


def test_get_events_filters_and_limit_hold_together(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record(1, name="a"), record(2, name="b"), record(3, name="a")])
        store.record([record(4, name=None)])
        ids = {number: f"00000000-0000-4000-8000-{number:012x}" for number in range(1, 5)}

        def seqs(**filters: Any) -> list[int]:
            return [event.seq for event in store.get_events(**filters)]

        assert seqs() == [8, 7, 6, 5, 4, 3, 2, 1]
        assert seqs(stack_name="a") == [6, 5, 2, 1]
        assert seqs(stack_name="a", type="PolicyChecked") == [5, 1]
        assert seqs(stack_name="a", type="PolicyChecked", limit=1) == [5]
        assert seqs(decision_id=ids[2]) == [4, 3]
        assert seqs(decision_id=ids[4], stack_name="a") == []
        assert seqs(limit=0) == []
        assert seqs(stack_name="a' OR 1=1 --") == []


def test_get_events_type_of_a_newer_version_is_a_plain_event(store: AuditStore, path: Path, record: Make) -> None:
    store.record([record()])
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO events VALUES (3, 'e', 't', 'StackTeleported', NULL, NULL, 'ada', '{}', 'p', 'h')"
        )
    with store:
        event = store.get_events(limit=1)[0]
    assert event == Event(
        seq=3,
        id="e",
        at="t",
        type="StackTeleported",
        stack_name=None,
        decision_id=None,
        actor="ada",
        payload={},
        prev_hash="p",
        hash="h",
    )


@pytest.mark.parametrize(
    "options",
    [
        {"outcome": "deny"},
        {"outcome": "allow", "operation": "run"},
        {"outcome": "error", "error": "deadline exceeded"},
        {"name": None},
    ],
)
def test_decision_comes_back_as_it_was_recorded(store: AuditStore, record: Make, options: dict[str, str]) -> None:
    recorded = record(5, **options)
    with store:
        store.record([recorded])
        stored = store.decision(recorded.decision_id)
    assert recorded.input is not None
    assert stored == StoredDecision(
        seq=1,
        decision_id=recorded.decision_id,
        at=recorded.at,
        operation=recorded.operation,
        actor=recorded.actor,
        outcome=recorded.result.outcome,
        stack=recorded.result.stack,
        source=recorded.result.source,
        authority="project",
        environments=("production",),
        hypothetical=False,
        bundles={"flowyml": "r1"},
        evaluator=recorded.result.evaluator,
        duration_ns=210_000,
        definition_digest=recorded.definition_digest,
        decision=recorded.decision,
        findings=recorded.result.findings,
        error=recorded.result.error,
        input_sha256=text_digest(recorded.input),
        input=recorded.input.decode(),
    )
    assert stored.result == recorded.result
    assert stored.document["number"] == 5


def test_decision_never_judged_has_no_input_and_no_evaluator(store: AuditStore, record: Make) -> None:
    made = record(outcome="deny")
    result = made.result.model_copy(update={"evaluator": None})
    made = made._replace(result=result, input=None, decision=None, definition_digest=None)
    with store:
        store.record([made])
        stored = store.decision(made.decision_id)
    assert stored is not None
    assert (stored.result, stored.input, stored.input_sha256, stored.document) == (result, None, None, None)


def test_decision_images_of_the_result_come_from_the_input(store: AuditStore, record: Make) -> None:
    image = {"ref": "ubuntu", "registry": "docker.io", "repository": "library/ubuntu", "paths": [["spec", 0]]}
    made = record()._replace(input=json.dumps({"images": [image]}).encode())
    with store:
        store.record([made])
        stored = store.decision(made.decision_id)
    assert stored is not None
    assert [image.model_dump(exclude_defaults=True) for image in stored.result.images] == [
        {**image, "paths": (("spec", 0),)}
    ]


def test_decision_unknown_id_is_none(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record()])
        assert store.decision("no-such-decision") is None


def test_decisions_filters_and_limit_newest_first(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record(1), record(2, outcome="allow"), record(3, name="other"), record(4)])

        def numbers(**filters: Any) -> list[int]:
            return [row.document["number"] for row in store.decisions(**filters)]

        assert numbers() == [4, 3, 2, 1]
        assert numbers(outcome="deny") == [4, 3, 1]
        assert numbers(outcome="deny", stack_name="prod-gpu-large", limit=1) == [4]
        assert numbers(outcome="error") == []
        assert numbers(limit=None) == [4, 3, 2, 1]


def test_record_repeated_decision_id_fails_closed_and_keeps_the_batch_out(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record(1)])
        with pytest.raises(AuditUnwritable):
            store.record([record(2), record(1)])
        assert [row.document["number"] for row in store.decisions()] == [1]
        store.record([record(2)])
        assert (store.verify().ok, len(store.get_events())) == (True, 4)


@pytest.mark.parametrize(
    "slipped",
    [
        {"message": "cannot read postgres://ml:hunter2hunter2@db/x"},
        {"outcome": "error", "error": "cannot read postgres://ml:hunter2hunter2@db/x"},
        {"uri": "https://u:hunter2hunter2@h/x"},
        {"name": "prod-\udcff"},
    ],
    ids=["finding", "error", "source", "odd bytes"],
)
def test_record_unmasked_text_fails_closed(
    store: AuditStore, path: Path, record: Make, slipped: dict[str, str]
) -> None:
    with store, pytest.raises(AuditUnwritable, match="was not masked") as caught:
        store.record([record(1), record(2, **slipped)])
    assert "hunter2" not in str(caught.value)
    assert not path.exists()


def test_record_masked_text_is_kept_as_it_is(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record(1, message="cannot read postgres://ml:masked:url_password@db/x", name="é\\udcff")])
        (stored,) = store.decisions()
    assert (stored.findings[0].message, stored.stack.name) == (
        "cannot read postgres://ml:masked:url_password@db/x",
        "é\\udcff",
    )


def test_record_input_that_is_no_text_fails_closed(store: AuditStore, path: Path, record: Make) -> None:
    with store, pytest.raises(AuditUnwritable, match="could not be recorded"):
        store.record([record(1), record(2)._replace(input=b"\xff")])
    assert not path.exists()


def test_read_missing_file_fails_and_creates_nothing(store: AuditStore, path: Path) -> None:
    for question in (store.get_events, store.decisions, store.verify, lambda: store.decision("x")):
        with pytest.raises(AuditUnreadable, match="there is no audit file"):
            question()
    assert not path.parent.joinpath(path.name).exists()


def test_store_closed_twice_opens_again(store: AuditStore, record: Make) -> None:
    store.record([record(1)])
    store.close()
    store.close()
    store.record([record(2)])
    assert len(store.decisions()) == 2
    store.close()


def test_store_file_moved_aside_starts_a_new_one(store: AuditStore, path: Path, record: Make) -> None:
    with store:
        store.record([record(1)])
        store.get_events()
        for file in list(path.parent.iterdir()):
            file.rename(file.with_name(f"evidence-{file.name}"))
        store.record([record(2)])
        assert [row.document["number"] for row in store.decisions()] == [2]
    with AuditStore(path.with_name("evidence-policy.db")) as evidence:
        assert [row.document["number"] for row in evidence.decisions()] == [1]


def test_store_without_a_path_takes_that_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Make
) -> None:
    (tmp_path / "flowyml.yaml").write_text("project: {name: x}\npolicy:\n  audit: {path: state/own.db}\n")
    monkeypatch.chdir(tmp_path)
    with AuditStore() as store:
        store.record([record()])
        assert (store.path, len(store.get_events())) == (tmp_path / "state" / "own.db", 2)


@pytest.mark.parametrize("limit", [2**63 - 1, 2**63, 2**64])
def test_read_with_a_limit_beyond_sqlite_reads_all(store: AuditStore, record: Make, limit: int) -> None:
    with store:
        store.record([record(1)])
        assert store.get_events(limit=limit) == store.get_events()
        assert store.decisions(limit=limit) == store.decisions()


def test_read_with_a_name_that_no_row_can_hold_finds_none(store: AuditStore, record: Make) -> None:
    with store:
        store.record([record(1)])
        assert (store.get_events(stack_name="\ud800"), store.decision("\ud800")) == ([], None)


def test_store_at_a_path_that_cannot_be_raises_only_audit_errors(tmp_path: Path, record: Make) -> None:
    store = AuditStore(tmp_path / "a\ud800\0b" / "policy.db")
    for call in (
        lambda: store.record([record(1)]),
        store.get_events,
        store.decisions,
        store.verify,
        store.require_writable,
    ):
        with pytest.raises(AuditError):
            call()
