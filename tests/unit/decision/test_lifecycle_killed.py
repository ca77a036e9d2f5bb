"""Stacks are applied and retired by processes that are killed, and by many at once: nothing is lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.lifecycle import StackLifecycle
from flowyml_policy.decision.registrar import Recorded
from flowyml_policy.records.events import (
    Event,
    PolicyChecked,
    StackApplied,
    StackLocked,
    StackRetired,
    StackRetiring,
    StackUnlocked,
    StackValidated,
)
from flowyml_policy.records.registry import RegisteredStack, Retirement
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.remote import RemoteRegistry
from tests.forked import forking
from tests.registry_server import RegistryServer, serving

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

DATABASE: Final = Path(".flowyml/policy.db")
COMPANY: Final = Path("company.db")
PROCESSES: Final = 16
APPLIES: Final = 50
SERVERS: Final[dict[str, RegistryServer]] = {}
"""The servers that `elsewhere` started, by address."""

CHILD: Final = """\
import os, signal, sys
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.lifecycle import StackLifecycle
from flowyml_policy.storage.locks import StackLockManager
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.remote import RemoteRegistry

step, registry, operation, named = sys.argv[1:]
STEPS = {"StackRetiring": "begun", "StackApplied": "announced", "StackRetired": "announced", "StackLocked": "held"}


def reached(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)


class Engine(PolicyEngine):
    def answer(self, *args, **kwargs):
        reached("locked")
        result = super().answer(*args, **kwargs)
        reached("recorded")
        return result

    def _record(self, batch):
        reached("judged")
        return super()._record(batch)


def between(along_with=None):
    def along(transaction):
        reached("inserted")
        along_with(transaction)
        reached("appended")

    return {"along_with": along} if along_with else {}


class Registry(RemoteRegistry if registry.startswith("http:") else LocalRegistry):
    def get(self, *args, **kwargs):
        found = super().get(*args, **kwargs)
        reached("looked up")
        return found

    def put(self, stack, **more):
        answer = super().put(stack, **between(**more))
        reached("changed")
        return answer

    def retire(self, name, version, *, by, at, reason, **more):
        stack = super().retire(name, version, by=by, at=at, reason=reason, **between(**more))
        reached("changed")
        return stack

    def retire_once(self, *args, **kwargs):
        found = super().retire_once(*args, **kwargs)
        reached("changed")
        return found


class Audit(AuditStore):
    def append_events(self, events, *, within=None):
        super().append_events(events, within=within)
        if within is None:
            reached(STEPS.get(events[0].type))


audit = Audit(".flowyml/policy.db")
with StackLifecycle(
    Engine.from_project("."),
    registry=Registry(registry),
    audit=audit,
    locks=StackLockManager(recorder=audit),
) as life:
    if operation == "apply":
        list(life.apply([named]))
    else:
        life.retire(named, "2.1.0", reason="superseded")
"""


@pytest.fixture(autouse=True)
def state(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's state directory, where locks lie."""
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))


@pytest.fixture(params=["file", "server"])
def elsewhere(request: pytest.FixtureRequest, project: Path) -> Iterator[str]:
    """A registry that is not in the audit's file, but in another one, which the project or a server keeps."""
    if request.param == "file":
        yield str(COMPANY)
        return
    with serving(LocalRegistry(COMPANY)) as server:
        settings = (project / "flowyml.yaml").read_text()
        (project / "flowyml.yaml").write_text(f"{settings}  registry: {{url: '{server.url}'}}\n")
        SERVERS[server.url] = server
        yield server.url


def crash(step: str, registry: str, operation: str, named: str) -> int:
    code, _, stderr = forking().run(CHILD, [step, registry, operation, named], folder=Path.cwd(), environ=os.environ)
    assert stderr == b""
    return code


def done(registry: str, operation: str, named: str) -> None:
    assert crash("none", registry, operation, named) == 0


def events(*kinds: type[Event]) -> list[type[Event]]:
    """The types of all events, or of those of these types, oldest first."""
    with AuditStore(DATABASE) as audit:
        assert audit.verify().ok
        found = [type(event) for event in reversed(audit.get_events())]
    return [kind for kind in found if not kinds or kind in kinds]


def registered(registry: Path = DATABASE) -> list[tuple[str, str, bool]]:
    with LocalRegistry(registry) as opened:
        return [(one.name, one.version, one.retired is not None) for one in opened.list(all_versions=True)]


# Apply


@pytest.mark.parametrize("step", ["held", "locked", "judged", "recorded", "inserted", "appended", "changed"])
def test_apply_killed_between_two_steps_leaves_registry_and_audit_consistent(
    project: Path, write_stack: WriteStack, step: str
) -> None:
    path = write_stack("prod-gpu-a")
    assert crash(step, str(DATABASE), "apply", path) == -signal.SIGKILL

    if step in {"held", "locked", "judged"}:
        assert events() == [StackLocked]
    else:
        seen = events()
        assert seen[:3] == [StackLocked, PolicyChecked, StackValidated]
        assert (StackApplied in seen) == (registered() != []) == (step == "changed")

    with StackLifecycle.from_project(project) as life:
        (one,) = life.apply([path], timeout=5)
    assert (one.status, one.made_good) == ("unchanged" if step == "changed" else "registered", False)
    assert registered() == [("prod-gpu-a", "2.1.0", False)]
    assert events(StackApplied) == [StackApplied]


@pytest.mark.parametrize("step", ["locked", "judged", "recorded", "changed", "announced"])
def test_apply_to_a_registry_elsewhere_that_was_killed_is_made_good_by_the_next(
    write_stack: WriteStack, elsewhere: str, step: str
) -> None:
    path = write_stack("prod-gpu-a")
    assert crash(step, elsewhere, "apply", path) == -signal.SIGKILL
    done(elsewhere, "apply", path)
    done(elsewhere, "apply", path)

    assert registered(COMPANY) == [("prod-gpu-a", "2.1.0", False)]
    assert events(StackApplied) == [StackApplied]
    with AuditStore(DATABASE) as audit:
        (event,) = audit.get_events(type="StackApplied")
    there = LocalRegistry(COMPANY).get("prod-gpu-a")
    assert (event.decision_id, event.payload["definition_digest"]) == (there.decision_id, there.digest)


def test_apply_that_is_made_good_is_told_of_whoever_was_allowed_to(write_stack: WriteStack, elsewhere: str) -> None:
    path = write_stack("prod-gpu-a")
    assert crash("changed", elsewhere, "apply", path) == -signal.SIGKILL
    with AuditStore(DATABASE) as audit:
        (before,) = audit.decisions()
    with StackLifecycle.from_project(".") as life:
        life.engine.actor = life.engine.actor.model_copy(update={"name": "bob"})
        if elsewhere == str(COMPANY):
            life.registry = LocalRegistry(COMPANY)
        (again,) = life.apply([path])
        (once_more,) = life.apply([path])
    with AuditStore(DATABASE) as audit:
        (event,) = audit.get_events(type="StackApplied")
    assert (again.status, event.actor, event.decision_id) == ("unchanged", before.actor, before.decision_id)
    assert (again.made_good, once_more.status, once_more.made_good) == (True, "unchanged", False)


def test_registration_by_a_decision_that_denied_is_not_told(write_stack: WriteStack) -> None:
    """A registry that says it has a stack already names the decision, and may name any of this audit."""
    with StackLifecycle.from_project(".") as life:
        (denied,) = life.apply([write_stack("prod-gpu-b", image="docker.io/evil/x:1")])
    with StackLifecycle.from_project(".") as elsewhere:
        elsewhere.registry = LocalRegistry(COMPANY)
        path = write_stack("prod-gpu-a")
        list(elsewhere.apply([path]))
    with closing(sqlite3.connect(COMPANY)) as registry:
        registry.execute("DROP TRIGGER stacks_refuse_update")
        registry.execute("UPDATE stacks SET decision_id = ?", [denied.result.decision_id])
        registry.commit()
    before = events(StackApplied)
    with StackLifecycle.from_project(".") as life:
        life.registry = LocalRegistry(COMPANY)
        (again,) = life.apply([path])
    assert (denied.result.outcome, again.made_good, events(StackApplied)) == ("deny", False, before)


# Retire


def retired(registry: str) -> Recorded:
    """What retiring once more comes to, by somebody else and for another reason."""
    with StackLifecycle.from_project(".") as life:
        life.engine.actor = life.engine.actor.model_copy(update={"name": "bob"})
        if not registry.startswith("http:"):
            life.registry = LocalRegistry(registry)
        return life.retire("prod-gpu-a", "2.1.0", reason="another", timeout=5)


@pytest.mark.parametrize("step", ["looked up", "inserted", "appended", "changed"])
def test_retire_killed_between_two_steps_leaves_registry_and_audit_consistent(
    write_stack: WriteStack, step: str
) -> None:
    done(str(DATABASE), "apply", write_stack("prod-gpu-a"))
    assert crash(step, str(DATABASE), "retire", "prod-gpu-a") == -signal.SIGKILL
    was_done = step == "changed"
    assert registered() == [("prod-gpu-a", "2.1.0", was_done)]
    assert events(StackRetiring, StackRetired) == [StackRetired] * was_done

    found = retired(str(DATABASE))
    assert (found.changed, found.made_good, found.stack.is_retired) == (not was_done, False, True)
    assert retired(str(DATABASE)).changed is False
    assert registered() == [("prod-gpu-a", "2.1.0", True)]
    assert events(StackRetiring, StackRetired) == [StackRetired]


@pytest.mark.parametrize(
    ("step", "left", "said"),
    [
        ("looked up", [], (True, False)),
        ("begun", [StackRetiring], (True, False)),
        ("changed", [StackRetiring], (False, True)),
        ("announced", [StackRetiring, StackRetired], (False, False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_retire_in_a_registry_elsewhere_that_was_killed_is_made_good_by_the_next(
    write_stack: WriteStack, elsewhere: str, step: str, left: list[type[Event]], said: tuple[bool, bool]
) -> None:
    """`said` is whether the next one changed something, and whether it made something good."""
    changed, _ = said
    done(elsewhere, "apply", write_stack("prod-gpu-a"))
    assert crash(step, elsewhere, "retire", "prod-gpu-a") == -signal.SIGKILL
    assert registered(COMPANY) == [("prod-gpu-a", "2.1.0", not changed)]
    assert events(StackRetiring, StackRetired) == left

    found = retired(elsewhere)
    assert (found.changed, found.made_good, found.stack.is_retired) == (*said, True)
    again = retired(elsewhere)
    assert again == Recorded(stack=found.stack, changed=False, made_good=False)
    assert registered(COMPANY) == [("prod-gpu-a", "2.1.0", True)]
    assert events(StackRetired) == [StackRetired]
    with AuditStore(DATABASE) as audit:
        (event,) = audit.get_events(type="StackRetired")
        first = audit.get_events(type="StackRetiring")[-1]
    assert isinstance(event, StackRetired)
    assert (event.version, event.definition_digest) == ("2.1.0", found.stack.digest)
    assert (event.actor, event.reason) == (("bob", "another") if changed else (first.actor, "superseded"))


def test_retire_of_what_another_project_retired_records_nothing(write_stack: WriteStack, elsewhere: str) -> None:
    done(elsewhere, "apply", write_stack("prod-gpu-a"))
    with LocalRegistry(COMPANY) as registry:
        registry.retire("prod-gpu-a", "2.1.0", by="carol", at="2026-11-23T10:00:00Z")
    found = retired(elsewhere)
    assert (found.changed, found.made_good) == (False, False)
    assert events(StackRetiring, StackRetired) == []
    DATABASE.unlink()
    assert retired(elsewhere) == found
    assert events() == [StackLocked, StackUnlocked]


def test_retire_begun_here_and_done_by_another_is_not_told(write_stack: WriteStack, elsewhere: str) -> None:
    """Neither the same reason nor a later time makes it what was begun here."""
    done(elsewhere, "apply", write_stack("prod-gpu-a"))
    assert crash("begun", elsewhere, "retire", "prod-gpu-a") == -signal.SIGKILL
    with LocalRegistry(COMPANY) as registry:
        registry.retire("prod-gpu-a", "2.1.0", by="carol", at="2099-11-23T10:00:00Z", reason="superseded")
    if elsewhere.startswith("http:"):
        SERVERS[elsewhere].keys["prod-gpu-a", "2.1.0"] = "carol's key"

    found = retired(elsewhere)

    assert (found.changed, found.made_good) == (False, False)
    assert events(StackRetired) == []


@pytest.mark.parametrize(("reason", "told"), [("hers", []), ("superseded", [("carol", "superseded")])])
def test_retire_begun_here_is_told_by_its_reason_without_keys(
    write_stack: WriteStack, reason: str, told: list[tuple[str, str]]
) -> None:
    """A server may call who retired by a name of its own, so that the same reason may be what was begun here."""
    with serving(LocalRegistry(COMPANY)) as server:
        done(server.url, "apply", write_stack("prod-gpu-a"))
        assert crash("begun", server.url, "retire", "prod-gpu-a") == -signal.SIGKILL
        with LocalRegistry(COMPANY) as registry:
            registry.retire("prod-gpu-a", "2.1.0", by="carol", at="2099-11-23T10:00:00Z", reason=reason)
        with StackLifecycle.from_project(".") as life:
            life.registry = RemoteRegistry(server.url)
            found = life.retire("prod-gpu-a", "2.1.0", reason="another", timeout=5)

    assert (found.changed, found.made_good) == (False, bool(told))
    with AuditStore(DATABASE) as audit:
        found_events = audit.get_events(type="StackRetired")
    assert [(event.actor, event.reason) for event in found_events if isinstance(event, StackRetired)] == told


class Overtaken(LocalRegistry):
    """A registry in which somebody else retires the version between two questions."""

    reason = ""

    def retire(self, name: str, version: str, **more: Any) -> RegisteredStack:
        with LocalRegistry(self.path) as other:
            other.retire(name, version, by="carol", at="2026-11-23T10:00:00Z", reason=self.reason)
        return super().retire(name, version, **more)


@pytest.mark.parametrize("reason", ["hers", "mine", ""])
@pytest.mark.parametrize("path", [DATABASE, COMPANY], ids=["with the audit", "elsewhere"])
def test_retire_that_somebody_else_overtook_changes_and_tells_nothing(
    write_stack: WriteStack, path: Path, reason: str
) -> None:
    done(str(path), "apply", write_stack("prod-gpu-a"))
    with StackLifecycle.from_project(".") as life:
        life.registry = overtaken = Overtaken(path)
        overtaken.reason = reason
        found = life.retire("prod-gpu-a", "2.1.0", reason="mine" if reason else "")
    assert (found.changed, found.made_good) == (False, False)
    assert found.stack.retired == Retirement(by="carol", at="2026-11-23T10:00:00Z", reason=reason)
    assert events(StackRetired) == []


class Renaming(LocalRegistry):
    """A server's registry that keeps who retired and when by its own knowledge."""

    kept: Mapping[str, str] = MappingProxyType({"by": "Root of Example", "at": "2099-11-23T10:00:00Z"})

    def retire(self, name: str, version: str, **more: Any) -> RegisteredStack:
        return super().retire(name, version, **{**more, **self.kept})


def test_retire_by_a_server_with_names_and_a_clock_of_its_own_is_told_of_whom_it_names(write_stack: WriteStack) -> None:
    with serving(Renaming(COMPANY)) as server:
        done(server.url, "apply", write_stack("prod-gpu-a"))
        with StackLifecycle.from_project(".") as life:
            life.registry = RemoteRegistry(server.url)
            found = life.retire("prod-gpu-a", "2.1.0")
    assert (found.changed, found.made_good) == (True, False)
    assert found.stack.retired == Retirement(by="Root of Example", at="2099-11-23T10:00:00Z", reason="")
    with AuditStore(DATABASE) as audit:
        (event,) = audit.get_events(type="StackRetired")
    assert event.actor == "Root of Example"


@pytest.mark.parametrize(("by", "changed"), [("carol", False), ("", True)], ids=["by another", "by the same"])
def test_retire_by_a_server_without_keys_is_of_whom_it_names(
    write_stack: WriteStack, by: str, *, changed: bool
) -> None:
    """Its time is before the one at which it was asked."""
    registry = Renaming(COMPANY)
    with serving(registry) as server:
        server.repeats_keys = False
        done(server.url, "apply", write_stack("prod-gpu-a"))
        with StackLifecycle.from_project(".") as life:
            life.registry = RemoteRegistry(server.url)
            registry.kept = {"by": by or life.engine.actor.name, "at": "2026-11-23T10:00:00Z"}
            found = life.retire("prod-gpu-a", "2.1.0")
    assert found.changed is changed
    assert events(StackRetired) == [StackRetired] * changed


# Many at once


def _apply_many(number: int) -> None:
    with StackLifecycle.from_project(".") as life:
        paths = [f"stacks/{number}-{index}.yaml" for index in range(APPLIES - 1)]
        assert {one.status for one in life.apply([*paths, "stacks/shared.yaml"])} <= {"registered", "unchanged"}


def test_apply_from_sixteen_processes_loses_and_doubles_nothing(write_stack: WriteStack) -> None:
    """Each applies 49 stacks of its own and one that all share."""
    own = [(number, index) for number in range(PROCESSES) for index in range(APPLIES - 1)]
    for number, index in own:
        write_stack(f"prod-gpu-{number}-{index}", file=f"{number}-{index}.yaml")
    write_stack("prod-gpu-shared", file="shared.yaml")
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_apply_many, args=(number,)) for number in range(PROCESSES)]
    for process in running:
        process.start()
    for process in running:
        process.join(240)
    assert [process.exitcode for process in running] == [0] * PROCESSES

    expected = Counter(["prod-gpu-shared", *(f"prod-gpu-{number}-{index}" for number, index in own)])
    assert Counter(name for name, _, _ in registered()) == expected
    with AuditStore(DATABASE) as audit:
        applied = Counter(event.stack_name for event in audit.get_events(type="StackApplied"))
        decided = Counter(event.stack_name for event in audit.get_events(type="PolicyChecked"))
        assert audit.verify().ok
    assert applied == expected
    assert decided == expected + Counter({"prod-gpu-shared": PROCESSES - 1})
