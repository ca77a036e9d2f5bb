"""Stacks are registered by an explicit allow and by nothing else, and the audit says so of each of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.decision.lifecycle import Applied, StackLifecycle
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.errors.locks import LockTimeout
from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import RegistryError, StackUnknown, VersionUnknown
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.records.events import (
    Event,
    NewEvent,
    PolicyChecked,
    StackApplied,
    StackLocked,
    StackRetired,
    StackUnlocked,
    StackValidated,
)
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.storage.database import Transaction
from flowyml_policy.storage.locks import StackLockManager

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

DATABASE = Path(".flowyml/policy.db")
HOLDER = """\
from flowyml_policy import StackLockManager
with StackLockManager().acquire('prod-gpu-a'):
    print('held', flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def state(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's state directory, where locks lie."""
    folder = project / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def life(project: Path) -> Iterator[StackLifecycle]:
    with StackLifecycle.from_project(project) as life:
        yield life


def statuses(applied: Iterator[Applied]) -> list[tuple[str | None, str, int]]:
    return [(one.result.stack.name, one.status, one.exit_code) for one in applied]


def events(name: str) -> list[type[Event]]:
    """The types of a stack's events but for those of its lock, oldest first."""
    return [kind for kind in all_events(name) if not issubclass(kind, (StackLocked, StackUnlocked))]


def all_events(name: str) -> list[type[Event]]:
    with AuditStore(DATABASE) as audit:
        return [type(event) for event in reversed(audit.get_events(stack_name=name))]


def registered() -> list[tuple[str, str]]:
    return [(one.name, one.version) for one in LocalRegistry(DATABASE).list(all_versions=True)]


def test_apply_of_an_allowed_stack_registers_what_was_judged(life: StackLifecycle, write_stack: WriteStack) -> None:
    (one,) = life.apply([write_stack("prod-gpu-a")])

    assert (one.status, one.exit_code, one.error) == ("registered", 0, None)
    assert one.stack is not None
    assert LocalRegistry(DATABASE).get("prod-gpu-a") == one.stack
    assert (one.stack.decision_id, one.stack.labels["team"]) == (one.result.decision_id, "ml-platform")
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated, StackApplied]
    with AuditStore(DATABASE) as audit:
        (event,) = audit.get_events(type="StackApplied")
        decision = audit.decision(one.stack.decision_id or "")
        assert audit.verify().ok
    assert isinstance(event, StackApplied)
    assert (event.version, event.definition_digest, event.source, event.registry, event.decision_id) == (
        "2.1.0",
        one.stack.digest,
        "stacks/prod-gpu-a.yaml",
        life.registry.uri,
        one.result.decision_id,
    )
    assert decision is not None
    assert decision.operation == "apply"


def test_apply_of_a_denied_or_invalid_stack_registers_nothing(life: StackLifecycle, write_stack: WriteStack) -> None:
    write_stack("other")
    write_stack("prod-gpu-bad", text="kind: nothing\n")

    assert statuses(life.apply(["stacks"])) == [("other", "denied", 1), (None, "denied", 1)]
    assert registered() == []
    assert events("other") == [PolicyChecked, StackValidated]


def test_apply_of_several_one_bad_never_hides_the_others(
    life: StackLifecycle, write_stack: WriteStack, project: Path
) -> None:
    write_stack("prod-gpu-a")
    write_stack("b", text="{ not: [yaml")
    (project / "stacks" / "c.yaml").symlink_to("nowhere.yaml")
    write_stack("prod-gpu-e", image="docker.io/evil/x:1")
    write_stack("prod-gpu-f")

    found = [(one.result.source.uri, one.status) for one in life.apply(["stacks"])]

    assert found == [
        ("stacks/b.yaml", "denied"),
        ("stacks/c.yaml", "undecided"),
        ("stacks/prod-gpu-a.yaml", "registered"),
        ("stacks/prod-gpu-e.yaml", "denied"),
        ("stacks/prod-gpu-f.yaml", "registered"),
    ]
    assert registered() == [("prod-gpu-a", "2.1.0"), ("prod-gpu-f", "2.1.0")]


def test_apply_of_the_same_again_says_so_and_changes_nothing(life: StackLifecycle, write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-a")
    (first,) = life.apply([path])
    (again,) = life.apply([path])

    assert (again.status, again.exit_code) == ("unchanged", 0)
    assert again.stack == first.stack
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated, StackApplied, PolicyChecked, StackValidated]


def test_apply_of_other_content_under_a_version_is_refused_with_the_difference(
    life: StackLifecycle, write_stack: WriteStack
) -> None:
    path = write_stack("prod-gpu-a")
    (first,) = life.apply([path])
    write_stack("prod-gpu-a", image="myregistry.azurecr.io/flowyml:2")
    (again,) = life.apply([path])

    assert (again.status, again.exit_code, again.result.outcome) == ("refused", 1, "allow")
    assert again.error is not None
    assert again.error.code == "version_taken"
    assert [line for line in again.diff.splitlines() if line[:1] in "+-"][2:] == [
        "-    docker_image: myregistry.azurecr.io/flowyml:latest",
        "+    docker_image: myregistry.azurecr.io/flowyml:2",
    ]
    assert LocalRegistry(DATABASE).get("prod-gpu-a") == first.stack
    assert events("prod-gpu-a")[3:] == [PolicyChecked, StackValidated]


def test_apply_of_what_no_registry_takes_is_refused(life: StackLifecycle, write_stack: WriteStack) -> None:
    text = (
        'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod-gpu-a, version: "2.1",'
        ' labels: {team: a, approved: "true"}}\nspec: {}\n'
    )
    (one,) = life.apply([write_stack("a", text=text)])
    assert one.exit_code == 1
    assert one.status in {"refused", "denied"}
    assert registered() == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_apply_of_the_built_in_stack_says_that_it_is_not_registered(life: StackLifecycle, *, dry_run: bool) -> None:
    (one,) = life.apply(["local"], dry_run=dry_run)
    assert one.error is not None
    assert (one.status, one.error.code, one.error.message, one.error.advice) == (
        "refused",
        "stack_unregistrable",
        "the built-in stack 'local' is never registered: it is part of this program",
        "use it by its name, or apply a definition of your own",
    )
    assert registered() == []


def test_apply_as_a_trial_shows_what_would_change_and_records_the_decision_alone(
    life: StackLifecycle, write_stack: WriteStack, state: Path
) -> None:
    path = write_stack("prod-gpu-a")
    (new,) = life.apply([path], dry_run=True)
    assert (new.status, new.exit_code, new.diff, new.stack) == ("would_register", 0, "", None)
    assert registered() == []
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated]
    assert not state.exists()

    list(life.apply([path]))
    (same,) = life.apply([path], dry_run=True)
    assert same.status == "unchanged"

    text = Path(path).read_text()
    write_stack("prod-gpu-a", text=text.replace("max_nodes: 4", "max_nodes: 8"))
    (other,) = life.apply([path], dry_run=True)
    assert (other.status, other.exit_code) == ("refused", 1)
    assert "-    max_nodes: 4\n+    max_nodes: 8\n" in other.diff

    write_stack("prod-gpu-a", text=text.replace("max_nodes: 4", "max_nodes: 8").replace("2.1.0", "2.2.0"))
    (next_one,) = life.apply([path], dry_run=True)
    assert (next_one.status, next_one.exit_code) == ("would_register", 0)
    assert "-  version: 2.1.0\n+  version: 2.2.0\n" in next_one.diff
    assert registered() == [("prod-gpu-a", "2.1.0")]


def test_apply_as_a_trial_of_a_denied_stack_is_denied(life: StackLifecycle, write_stack: WriteStack) -> None:
    assert statuses(life.apply([write_stack("other")], dry_run=True)) == [("other", "denied", 1)]


def test_apply_of_a_path_or_environment_that_is_not_there_is_refused_at_the_call(life: StackLifecycle) -> None:
    with pytest.raises(UsageError):
        life.apply(["absent.yaml"])
    with pytest.raises(EnvironmentUnknown):
        life.apply(["stacks"], environment="prodution")


def test_apply_in_an_environment_that_nobody_knows_is_refused_at_the_call(
    project: Path, write_stack: WriteStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_stack("prod-gpu-a")
    monkeypatch.setenv("FLOWYML_ENV", "prodution")
    with StackLifecycle.from_project(project) as life, pytest.raises(EnvironmentUnknown):
        life.apply([path])


def test_apply_without_opa_fails_closed(project: Path, write_stack: WriteStack) -> None:
    (project / "flowyml.yaml").write_text(
        (project / "flowyml.yaml").read_text().replace("policy:\n", "policy:\n  rules: [broken]\n")
    )
    (project / "broken").mkdir()
    (project / "broken" / "x.rego").write_text("package project.rules.x\n\nfindings contains")
    with StackLifecycle.from_project(project) as life:
        (one,) = life.apply([write_stack("prod-gpu-a")])
    assert (one.status, one.exit_code) == ("undecided", 3)
    assert one.result.error is not None
    assert registered() == []
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated]


class UnwritableAudit(AuditStore):
    """An audit that takes decisions, and no events."""

    def append_events(self, events: object, *, within: object = None) -> None:
        del events, within
        raise AuditUnwritable("the disk is full")


def test_apply_with_an_audit_that_takes_no_decision_fails_closed(project: Path, write_stack: WriteStack) -> None:
    DATABASE.parent.mkdir()
    DATABASE.mkdir()
    with StackLifecycle.from_project(project) as life:
        (one,) = life.apply([write_stack("prod-gpu-a")])
    assert (one.status, one.exit_code, one.result.decision_id) == ("undecided", 3, None)


def test_apply_with_an_audit_that_takes_no_event_fails_closed(project: Path, write_stack: WriteStack) -> None:
    audit = UnwritableAudit(DATABASE)
    engine = PolicyEngine.from_project(project)
    with StackLifecycle(engine, registry=LocalRegistry(DATABASE), audit=audit, locks=StackLockManager()) as life:
        (one,) = life.apply([write_stack("prod-gpu-a")])
    assert (one.status, one.exit_code) == ("undecided", 3)
    assert one.error is not None
    assert one.error.code == "audit_unwritable"
    assert registered() == []


class ForgetfulAudit(AuditStore):
    """An audit that does not take events of the type `refused`."""

    refused = ""

    def append_events(self, events: Sequence[NewEvent], *, within: Transaction | None = None) -> None:
        if any(event.type == self.refused for event in events):
            raise AuditUnwritable(f"the event could not be recorded: {self.path}: no space left")
        super().append_events(events, within=within)


@pytest.fixture
def forgetful(project: Path) -> Iterator[tuple[StackLifecycle, ForgetfulAudit]]:
    """A project's stacks, of whose locks a ForgetfulAudit is told."""
    audit = ForgetfulAudit(DATABASE)
    engine, locks = PolicyEngine.from_project(project), StackLockManager(recorder=audit)
    with StackLifecycle(engine, registry=LocalRegistry(DATABASE), audit=audit, locks=locks) as life:
        yield life, audit


def test_apply_and_retire_record_the_lock_around_all_they_do(life: StackLifecycle, write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-a")
    list(life.apply([path], dry_run=True))
    assert all_events("prod-gpu-a") == [PolicyChecked, StackValidated]
    list(life.apply([path]))
    life.retire("prod-gpu-a", "2.1.0")
    assert all_events("prod-gpu-a")[2:] == [
        *(StackLocked, PolicyChecked, StackValidated, StackApplied, StackUnlocked),
        *(StackLocked, StackRetired, StackUnlocked),
    ]


def test_apply_whose_lock_cannot_be_recorded_fails_closed(
    forgetful: tuple[StackLifecycle, ForgetfulAudit], write_stack: WriteStack
) -> None:
    life, audit = forgetful
    audit.refused = StackLocked.TYPE
    found = list(life.apply([write_stack("prod-gpu-a"), write_stack("prod-gpu-b")]))
    assert [(one.status, one.exit_code) for one in found] == [("undecided", 3)] * 2
    assert [one.result.error and one.result.error.code for one in found] == ["audit_unwritable"] * 2
    assert registered() == []


def test_apply_whose_end_of_the_lock_cannot_be_recorded_tells_what_became_of_the_stack(
    forgetful: tuple[StackLifecycle, ForgetfulAudit], write_stack: WriteStack
) -> None:
    life, audit = forgetful
    audit.refused = StackUnlocked.TYPE
    names = ["prod-gpu-a", "other"]
    found = list(life.apply([write_stack(name) for name in names]))
    assert [(one.status, one.exit_code) for one in found] == [("registered", 0), ("denied", 1)]
    assert registered() == [("prod-gpu-a", "2.1.0")]


def test_retire_whose_end_of_the_lock_cannot_be_recorded_tells_what_became_of_the_stack(
    forgetful: tuple[StackLifecycle, ForgetfulAudit], write_stack: WriteStack
) -> None:
    life, audit = forgetful
    list(life.apply([write_stack("prod-gpu-a")]))
    audit.refused = StackUnlocked.TYPE
    retired = life.retire("prod-gpu-a", "2.1.0")
    assert (retired.changed, retired.stack.is_retired) == (True, True)
    assert events("prod-gpu-a")[-1] is StackRetired


def test_apply_of_a_stack_that_another_holds_fails_closed(
    life: StackLifecycle, project: Path, write_stack: WriteStack
) -> None:
    path = write_stack("prod-gpu-a")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        found = list(life.apply([path, write_stack("prod-gpu-b")], timeout=0.1))
        with pytest.raises(LockTimeout):
            life.retire("prod-gpu-a", "2.1.0", timeout=0.1)
        holder.communicate("\n", timeout=30)
    assert [(one.status, one.exit_code) for one in found] == [("undecided", 3), ("registered", 0)]
    assert found[0].result.error is not None
    assert found[0].result.error.code == "lock_timeout"
    assert f"pid {holder.pid}" in found[0].result.error.message
    assert registered() == [("prod-gpu-b", "2.1.0")]
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated]


def test_apply_with_a_registry_that_cannot_be_written_fails_closed(project: Path, write_stack: WriteStack) -> None:
    elsewhere = project / "registry.db"
    elsewhere.write_bytes(b"no database at all" * 100)
    engine = PolicyEngine.from_project(project)
    with StackLifecycle(
        engine, registry=LocalRegistry(elsewhere), audit=AuditStore(DATABASE), locks=StackLockManager()
    ) as life:
        (one,) = life.apply([write_stack("prod-gpu-a")])
    assert (one.status, one.exit_code) == ("undecided", 3)
    assert one.error is not None
    assert one.error.code.startswith("registry_")
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated]


def test_retire_takes_a_version_out_of_use_and_keeps_its_history(life: StackLifecycle, write_stack: WriteStack) -> None:
    list(life.apply([write_stack("prod-gpu-a")]))
    retired = life.retire("prod-gpu-a", "2.1.0", reason="superseded")

    assert (retired.changed, retired.stack.is_retired) == (True, True)
    assert LocalRegistry(DATABASE).get("prod-gpu-a", "2.1.0", retired=True) == retired.stack
    assert registered() == [("prod-gpu-a", "2.1.0")]
    assert events("prod-gpu-a") == [PolicyChecked, StackValidated, StackApplied, StackRetired]
    with AuditStore(DATABASE) as audit:
        event = audit.get_events(type="StackRetired")[0]
    assert isinstance(event, StackRetired)
    assert (event.version, event.reason, event.definition_digest) == ("2.1.0", "superseded", retired.stack.digest)


def test_retire_again_changes_nothing(life: StackLifecycle, write_stack: WriteStack) -> None:
    list(life.apply([write_stack("prod-gpu-a")]))
    first = life.retire("prod-gpu-a", "2.1.0", reason="old")
    again = life.retire("prod-gpu-a", "2.1.0", reason="another")
    assert again == first.model_copy(update={"changed": False})
    assert events("prod-gpu-a").count(StackRetired) == 1


def test_apply_of_a_retired_version_is_refused(life: StackLifecycle, write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-a")
    list(life.apply([path]))
    life.retire("prod-gpu-a", "2.1.0")
    for dry_run in (True, False):
        (one,) = life.apply([path], dry_run=dry_run)
        assert (one.status, one.exit_code) == ("refused", 1)
        assert one.error is not None
        assert one.error.code == "version_retired"


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("prod-gpu-b", "2.1.0", StackUnknown),
        ("prod-gpu-a", "9.9.9", VersionUnknown),
        ("prod-gpu-a", "nine", VersionMalformed),
    ],
)
def test_retire_of_what_is_not_there_says_so(
    life: StackLifecycle, write_stack: WriteStack, name: str, version: str, error: type[RegistryError]
) -> None:
    list(life.apply([write_stack("prod-gpu-a")]))
    with pytest.raises(error):
        life.retire(name, version)
    assert events("prod-gpu-a").count(StackRetired) == 0


@pytest.mark.parametrize("file", [DATABASE, Path("company.db")], ids=["the audit's file", "another file"])
def test_retire_with_an_audit_that_takes_no_event_fails_closed(
    project: Path, write_stack: WriteStack, file: Path
) -> None:
    engine = PolicyEngine.from_project(project)
    with StackLifecycle(
        engine, registry=LocalRegistry(file), audit=AuditStore(DATABASE), locks=StackLockManager()
    ) as life:
        (one,) = life.apply([write_stack("prod-gpu-a")])
    assert one.status == "registered"
    engine = PolicyEngine.from_project(project)
    with (
        StackLifecycle(
            engine, registry=LocalRegistry(file), audit=UnwritableAudit(DATABASE), locks=StackLockManager()
        ) as life,
        pytest.raises(AuditUnwritable),
    ):
        life.retire("prod-gpu-a", "2.1.0")
    assert not LocalRegistry(file).get("prod-gpu-a").is_retired
