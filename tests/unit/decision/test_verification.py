"""The registry's rows and the journal tell the same, or it is said which does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flowyml_policy.audit.schema import TRIGGERS as AUDIT_TRIGGERS
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.registrar import Received, recorded_registry
from flowyml_policy.decision.verification import ProjectVerification, verify_project
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.audit import AuditCorrupt
from flowyml_policy.mask.events import new_event
from flowyml_policy.records.policy_input import Source
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.registrable import new_stack
from flowyml_policy.registry.schema import TRIGGERS
from tests.unit.audit.conftest import make_record

AT = "2026-11-23T10:00:00Z"

COPIED = (
    "INSERT INTO stacks SELECT 3, name || 'x', version, precedence, digest, labels, source, applied_by, applied_at,"
    " decision_id, document FROM stacks WHERE number = 2"
)


def stack(version: str = "1.0.0") -> StackDefinition:
    value = {
        "apiVersion": "flowyml/v1",
        "kind": "StackDefinition",
        "metadata": {"name": "prod", "version": version, "labels": {"team": "risk"}},
        "spec": {},
    }
    return StackDefinition.from_dict(value, source=Source(kind="local", uri="stacks/prod.yaml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two versions are registered, and the first one is retired."""
    path = tmp_path / "policy.db"
    with AuditStore(path) as audit, LocalRegistry(path) as registry:
        recorded = recorded_registry(registry, audit)
        for version in ("1.0.0", "2.0.0"):
            recorded.put(new_stack(stack(version), applied_by="ada", applied_at=AT, decision_id=version))
        recorded.retire("prod", "1.0.0", by="bob", at=AT, reason="old")
    return path


def edit(path: Path, *statements: str) -> None:
    """Change the registry's rows as the file's owner can, with its triggers away for the time."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for sql in TRIGGERS.values():
            connection.execute(sql)


def verify(path: Path, *, in_one_file: bool = True) -> ProjectVerification:
    with AuditStore(path) as audit:
        return verify_project(audit, in_one_file=in_one_file)


def test_verify_project_untouched_file_is_ok(file: Path) -> None:
    found = verify(file)
    assert (found.ok, found.registry, found.stacks, found.retirements, found.unfinished) == (True, "checked", 2, 1, ())


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM stack_retirements", "event 3: the registry's row that retires prod@1.0.0 is missing"),
        (
            "UPDATE stack_retirements SET by = 'eve'",
            "event 3: the row that retires prod@1.0.0 was changed after it was written",
        ),
        (
            "INSERT INTO stack_retirements VALUES (2, '2026-11-23T10:00:00Z', 'eve', '')",
            "the registry says that prod@2.0.0 is retired, and no event tells of it",
        ),
        (
            "INSERT INTO stack_retirements VALUES (9, '2026-11-23T10:00:00Z', 'eve', '')",
            "the registry retires a version that it does not have",
        ),
        (
            "DELETE FROM stacks WHERE version = '2.0.0'",
            "event 2: the registry's row of prod@2.0.0, which was registered, is missing",
        ),
        (
            "UPDATE stacks SET applied_by = 'eve' WHERE version = '2.0.0'",
            "event 2: the registry's row of prod@2.0.0 was changed after it was written",
        ),
        (
            """UPDATE stacks SET document = replace(document, '"spec": {}', '"spec": {"a": 1}')""",
            "what is registered of prod@1.0.0 is not what its digest says",
        ),
        (
            "UPDATE stacks SET precedence = '9.0.0' WHERE version = '2.0.0'",
            "what is registered of prod@2.0.0 is not what its digest says",
        ),
        (
            COPIED,
            "what is registered of prodx@2.0.0 is not what its digest says",
        ),
    ],
)
def test_verify_project_edited_registry_is_told(file: Path, statement: str, problem: str) -> None:
    edit(file, statement)
    found = verify(file)
    assert (str(found.problem), found.exit_code) == (problem, 1)
    assert verify(file, in_one_file=False).ok


@pytest.mark.parametrize("request_id", ["theirs", None])
def test_verify_project_row_that_a_client_asked_for_has_its_id(tmp_path: Path, request_id: str | None) -> None:
    """The event names the decision of the server, and the row that of its client."""
    path = tmp_path / "server.db"
    with AuditStore(path) as audit, LocalRegistry(path) as registry:
        new = new_stack(stack(), applied_by="ada", applied_at=AT, decision_id=request_id)
        recorded_registry(registry, audit).put(new, received=Received(request_id, {}, "ours"))
        (event,) = audit.get_events()
    assert (event.decision_id, event.payload["request"]) == ("ours", request_id)
    assert verify(path).ok
    edit(path, "UPDATE stacks SET decision_id = 'ours'")
    assert str(verify(path).problem) == "event 1: the registry's row of prod@1.0.0 was changed after it was written"


def test_verify_project_row_without_event_is_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    with AuditStore(path) as audit, LocalRegistry(path) as registry:
        recorded_registry(registry, audit).put(new_stack(stack(), applied_by="ada", applied_at=AT))
        registry.put(new_stack(stack("2.0.0"), applied_by="ada", applied_at=AT))
    assert str(verify(path).problem) == "the registry holds prod@2.0.0, and no event tells of it"


def test_verify_project_what_a_killed_call_left_is_told_and_ok(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    record = make_record(1, outcome="allow")
    definition = stack()
    with AuditStore(path) as audit, LocalRegistry(path) as registry:
        audit.record([record._replace(definition_digest=definition.digest, operation="apply")])
        registry.put(new_stack(definition, applied_by="ada", applied_at=AT, decision_id=record.decision_id))
        begun = {"version": "1.0.0", "registry": str(path)}
        audit.append_events([new_event("StackRetiring", at=AT, actor="ada", stack_name="prod", payload=begun)])
        registry.retire("prod", "1.0.0", by="ada", at=AT)
    found = verify(path)
    assert (found.problem, found.unfinished) == (
        None,
        (
            "prod@1.0.0 was registered by a call that ended before the audit said so",
            "prod@1.0.0 was retired by a call that ended before the audit said so",
        ),
    )


def test_verify_project_row_by_a_decision_that_registers_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    definition = stack()
    record = make_record(1, outcome="allow")._replace(definition_digest=definition.digest, operation="validate")
    with AuditStore(path) as audit, LocalRegistry(path) as registry:
        audit.record([record])
        registry.put(new_stack(definition, applied_by="eve", applied_at=AT, decision_id=record.decision_id))
    assert str(verify(path).problem) == "the registry holds prod@1.0.0, and no event tells of it"


def test_verify_project_without_a_trigger_is_told(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TRIGGER stack_retirements_refuse_delete")
    problem = "the triggers that refuse changes of the registry are not as they were"
    assert str(verify(file).problem) == problem


def test_verify_project_broken_chain_is_told_first(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for name in AUDIT_TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE events SET actor = 'eve' WHERE seq = 1")
    assert str(verify(file).problem).startswith("event 1: ")


def test_verify_project_row_of_another_shape_is_an_audit_error(file: Path) -> None:
    edit(file, "UPDATE stacks SET document = '[1]'")
    with pytest.raises(AuditCorrupt, match="not of its shape"):
        verify(file)


def test_verify_project_in_two_files_says_that_only_the_journal_is_judged(file: Path) -> None:
    found = verify(file, in_one_file=False)
    assert found.limits.startswith("only the journal was judged: the registry is in another place; ")
