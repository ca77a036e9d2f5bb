"""Many writers and killed writers: nothing acknowledged is lost, nothing is doubled, registry and audit agree."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.errors.registry import RegistryError, VersionTaken
from flowyml_policy.records.events import NewEvent, StackApplied
from flowyml_policy.records.registry import NewStack, Registered
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.storage.database import Transaction

PROCESSES: Final = 16
PUTS: Final = 50
KILLS: Final = 20

Make = Callable[..., NewStack]
Answers = dict[str, list[str]]


def apply(registry: LocalRegistry, audit: AuditStore, stack: NewStack) -> str:
    """What `apply` does once policy allows: register, and say so in the audit, both or neither."""

    def announce(transaction: Transaction) -> None:
        payload = {"version": stack.version, "definition_digest": stack.digest}
        event = NewEvent(
            type=StackApplied.TYPE, at=stack.applied_at, actor="ada", stack_name=stack.name, payload=payload
        )
        audit.append_events([event], within=transaction)

    try:
        return registry.put(stack, along_with=announce).kind
    except VersionTaken:
        return "taken"


def announced(audit: AuditStore) -> list[tuple[str | None, str | None, str | None]]:
    events = [event for event in audit.get_events() if isinstance(event, StackApplied)]
    return sorted((event.stack_name, event.version, event.definition_digest) for event in events)


def there(registry: LocalRegistry) -> list[tuple[str, str, str]]:
    return sorted((one.name, one.version, one.digest) for one in registry.list(all_versions=True))


def _work(path: Path, number: int, stacks: list[NewStack], said: multiprocessing.Queue[tuple[int, list[str]]]) -> None:
    with LocalRegistry(path) as registry, AuditStore(path) as audit:
        said.put((number, [apply(registry, audit, stack) for stack in stacks]))


def test_put_sixteen_processes_lose_and_double_nothing(path: Path, stack: Make) -> None:
    """Each puts 25 versions of its own, and the same 25 contested ones: even ones alike, odd ones each its own way."""
    half = PUTS // 2
    work: dict[int, list[NewStack]] = {}
    for process in range(PROCESSES):
        own = [stack(f"1.0.{number}", f"own-{process}") for number in range(half)]
        same = [stack(f"2.0.{number}", nodes=process if number % 2 else 99) for number in range(half)]
        work[process] = [one for pair in zip(own, same, strict=True) for one in pair]
    context = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[tuple[int, list[str]]] = context.Queue()
    started = [context.Process(target=_work, args=(path, number, stacks, said)) for number, stacks in work.items()]
    for each in started:
        each.start()
    answers = dict(said.get(timeout=240) for _ in started)
    for each in started:
        each.join()
    assert [each.exitcode for each in started] == [0] * PROCESSES

    assert [answers[number][::2] for number in range(PROCESSES)] == [["registered"] * half] * PROCESSES
    for number in range(half):
        contested = Counter(answers[process][2 * number + 1] for process in range(PROCESSES))
        other = "taken" if number % 2 else "already_there"
        assert contested == {"registered": 1, other: PROCESSES - 1}
    with LocalRegistry(path) as registry, AuditStore(path) as audit:
        won = {
            (one.name, one.version, one.digest)
            for process, stacks in work.items()
            for one, answer in zip(stacks, answers[process], strict=True)
            if answer == Registered.model_fields["kind"].default
        }
        assert there(registry) == sorted(won)
        assert announced(audit) == sorted(won)
        assert len(won) == PROCESSES * half + half
        assert audit.verify().ok


def _apply_for_ever(path: Path, stacks: list[NewStack], acknowledged: int) -> None:
    with LocalRegistry(path) as registry, AuditStore(path) as audit:
        for stack in stacks:
            apply(registry, audit, stack)
            os.write(acknowledged, b".")


def test_put_killed_at_any_point_leaves_registry_and_audit_agreeing(path: Path, stack: Make) -> None:
    chance = random.Random(20261123)
    partly = 0
    for attempt in range(KILLS):
        stacks = [stack(f"1.{attempt}.{number}") for number in range(400)]
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                _apply_for_ever(path, stacks, write)
            os._exit(0)
        os.close(write)
        first = os.read(read, 1)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said = len(first)
        while more := os.read(read, 65_536):
            said += len(more)
        os.close(read)
        with LocalRegistry(path) as registry, AuditStore(path) as audit:
            registered = there(registry)
            assert announced(audit) == registered
            assert audit.verify().ok
            now = sum(version.startswith(f"1.{attempt}.") for _, version, _ in registered)
            assert said <= now <= said + 1
            partly += 0 < now < len(stacks)
            for one in stacks[:now]:
                assert registry.get(one.name, one.version).digest == one.digest
    assert partly >= KILLS // 2, "hardly any process was killed in the middle of its work"


def _stop_between_the_steps(path: Path, stack: NewStack, ready: int, point: str) -> None:
    registry, audit = LocalRegistry(path), AuditStore(path)

    def wait() -> None:
        os.write(ready, b".")
        time.sleep(60)

    def announce(transaction: Transaction) -> None:
        if point == "registered":
            wait()
        audit.append_events([NewEvent(type=StackApplied.TYPE, at=stack.applied_at, actor="ada")], within=transaction)
        if point == "announced":
            wait()

    registry.put(stack, along_with=announce)
    wait()


def test_put_killed_between_its_steps_is_done_wholly_or_not_at_all(path: Path, stack: Make) -> None:
    for number, (point, expected) in enumerate((("registered", 0), ("announced", 0), ("committed", 1))):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                _stop_between_the_steps(path, stack(f"{number}.0.0"), write, point)
            os._exit(1)
        os.close(write)
        assert os.read(read, 1) == b"."
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with LocalRegistry(path, timeout=5) as registry, AuditStore(path) as audit:
            assert (len(there(registry)), len(audit.last_decisions([])), audit_events(audit)) == (expected, 0, expected)
            if not expected:
                continue
            assert audit.verify().ok
            assert apply(registry, audit, stack(f"{number}.0.0")) == "already_there"


def audit_events(audit: AuditStore) -> int:
    with suppress(Exception):
        return len(audit.get_events())
    return 0


def test_put_killed_first_writer_leaves_a_file_that_can_be_used(path: Path, stack: Make) -> None:
    """Killed while the file and its tables are made."""
    chance = random.Random(7)
    for attempt in range(KILLS):
        fresh = path.with_name(f"{attempt}.db")
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                LocalRegistry(fresh).put(stack())
            os._exit(0)
        time.sleep(chance.uniform(0, 0.03))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with LocalRegistry(fresh) as registry:
            with suppress(RegistryError):
                registry.list()
            registry.put(stack())
            assert [one[:2] for one in there(registry)] == [("prod-gpu", "1.0.0")]
