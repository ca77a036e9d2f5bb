"""Stacks are registered by an explicit allow and by nothing else, and the audit says so of each of them."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy.audit import AuditStore
from flowyml_policy.errors import (
    AuditUnwritable,
    EnvironmentUnknown,
    LockTimeout,
    RegistryError,
    StackUnknown,
    UsageError,
    VersionMalformed,
    VersionUnknown,
)
from flowyml_policy.lifecycle import Applied, StackLifecycle
from flowyml_policy.locks import StackLockManager
from flowyml_policy.policy_engine import PolicyEngine
from flowyml_policy.records import (
    Event,
    PolicyChecked,
    StackApplied,
    StackRetired,
    StackValidated,
)
from flowyml_policy.registry import LocalRegistry

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
    """The types of a stack's events, oldest first."""
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


def test_retire_with_an_audit_that_takes_no_event_fails_closed(project: Path, write_stack: WriteStack) -> None:
    with StackLifecycle.from_project(project) as life:
        list(life.apply([write_stack("prod-gpu-a")]))
    engine = PolicyEngine.from_project(project)
    with (
        StackLifecycle(
            engine, registry=LocalRegistry(DATABASE), audit=UnwritableAudit(DATABASE), locks=StackLockManager()
        ) as life,
        pytest.raises(AuditUnwritable),
    ):
        life.retire("prod-gpu-a", "2.1.0")
    assert not LocalRegistry(DATABASE).get("prod-gpu-a").is_retired


# A crash between any two steps


STEPS = ("locked", "judged", "recorded", "inserted", "appended", "registered", "announced")

CHILD = """\
import os, signal, sys
from flowyml_policy.audit import AuditStore
from flowyml_policy.lifecycle import StackLifecycle
from flowyml_policy.locks import StackLockManager
from flowyml_policy.policy_engine import PolicyEngine
from flowyml_policy.registry import LocalRegistry

step, registry, path = sys.argv[1:]


def at(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)


class Engine(PolicyEngine):
    def answer(self, *args, **kwargs):
        at("locked")
        result = super().answer(*args, **kwargs)
        at("recorded")
        return result

    def _recorded(self, batch):
        at("judged")
        return super()._recorded(batch)


class Registry(LocalRegistry):
    def put(self, stack, *, along_with=None):
        def along(transaction):
            at("inserted")
            along_with(transaction)
            at("appended")

        answer = super().put(stack, along_with=along if along_with else None)
        at("registered")
        return answer


class Audit(AuditStore):
    def append_events(self, events, *, within=None):
        super().append_events(events, within=within)
        if within is None:
            at("announced")


with StackLifecycle(
    Engine.from_project("."),
    registry=Registry(registry),
    audit=Audit(".flowyml/policy.db"),
    locks=StackLockManager(),
) as life:
    list(life.apply([path]))
"""


def crash(step: str, registry: str, path: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, step, registry, path], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    return ran.returncode


@pytest.mark.parametrize("step", STEPS[:-1])
def test_apply_killed_between_two_steps_leaves_registry_and_audit_consistent(
    project: Path, write_stack: WriteStack, step: str
) -> None:
    path = write_stack("prod-gpu-a")
    assert crash(step, str(DATABASE), path) == -signal.SIGKILL

    if step not in {"locked", "judged"}:
        seen = events("prod-gpu-a")
        assert seen[:2] == [PolicyChecked, StackValidated]
        assert (StackApplied in seen) == (registered() != []) == (step == "registered")

    with StackLifecycle.from_project(project) as life:
        (one,) = life.apply([path], timeout=5)
    assert one.status == ("unchanged" if step == "registered" else "registered")
    assert registered() == [("prod-gpu-a", "2.1.0")]
    assert events("prod-gpu-a").count(StackApplied) == 1
    with AuditStore(DATABASE) as audit:
        assert audit.verify().ok


@pytest.mark.parametrize("step", ["locked", "judged", "recorded", "registered", "announced"])
def test_apply_to_another_file_that_was_killed_is_made_good_by_the_next(write_stack: WriteStack, step: str) -> None:
    path = write_stack("prod-gpu-a")
    assert crash(step, "registry.db", path) == -signal.SIGKILL
    assert crash("none", "registry.db", path) == 0
    assert crash("none", "registry.db", path) == 0

    assert [one.version for one in LocalRegistry("registry.db").versions("prod-gpu-a")] == ["2.1.0"]
    with AuditStore(DATABASE) as audit:
        (event,) = audit.get_events(type="StackApplied")
        assert audit.verify().ok
    there = LocalRegistry("registry.db").get("prod-gpu-a")
    assert (event.decision_id, event.payload["definition_digest"]) == (there.decision_id, there.digest)


# Many at once


def _apply_many(number: int, count: int) -> None:
    with StackLifecycle.from_project(".") as life:
        paths = [f"stacks/{number}-{index}.yaml" for index in range(count)]
        assert {one.status for one in life.apply([*paths, "stacks/shared.yaml"])} <= {"registered", "unchanged"}


def test_apply_from_many_processes_loses_and_doubles_nothing(write_stack: WriteStack) -> None:
    processes, count = 6, 5
    for number in range(processes):
        for index in range(count):
            write_stack(f"prod-gpu-{number}-{index}", file=f"{number}-{index}.yaml")
    write_stack("prod-gpu-shared", file="shared.yaml")
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_apply_many, args=(number, count)) for number in range(processes)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * processes

    expected = {f"prod-gpu-{number}-{index}" for number in range(processes) for index in range(count)}
    assert sorted(name for name, _ in registered()) == sorted({*expected, "prod-gpu-shared"})
    with AuditStore(DATABASE) as audit:
        applied = [event.stack_name for event in audit.get_events(type="StackApplied")]
        assert audit.verify().ok
    assert sorted(str(name) for name in applied) == sorted({*expected, "prod-gpu-shared"})
