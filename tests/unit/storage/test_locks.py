"""Locks on stacks: one holder over threads, tasks and processes, however it ends, and told by name."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy import StackLockManager
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.errors.locks import LockError, LockReentered, LockTimeout
from flowyml_policy.errors.root import UsageError
from flowyml_policy.records.events import NewEvent
from flowyml_policy.storage.locks import _file_name as file_name
from flowyml_policy.system.actor import current_actor

PROCESSES = 16
THREADS = 8

PRELUDE = """
import os, sys, time
from pathlib import Path
from flowyml_policy import StackLockManager
folder = Path(sys.argv[1])
manager = StackLockManager(folder / "locks")
"""

COUNTING = """
for _ in range(20):
    with manager.acquire("prod", timeout=120):
        count = folder / "count"
        seen = int(count.read_text())
        os.sched_yield()
        count.write_text(str(seen + 1))
"""

HOLDING = """
with manager.acquire("prod"):
    print("held", flush=True)
    time.sleep(600)
"""

HOLDING_WITH_A_CHILD = """
with manager.acquire("prod"):
    if os.fork() == 0:
        os.close(1)
        time.sleep(600)
        os._exit(0)
    print("held", flush=True)
    time.sleep(600)
"""


class Journal:
    """A recorder that keeps events in memory; `broken` names the types that it refuses."""

    def __init__(self, *broken: str) -> None:
        self.events: list[NewEvent] = []
        self.broken = broken

    def append_events(self, events: Sequence[NewEvent]) -> None:
        if any(event.type in self.broken for event in events):
            raise AuditUnwritable("the audit is full")
        self.events += events

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]


def start(script: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, str(folder)], stdout=subprocess.PIPE, text=True, **options
    )


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `prod`."""
    with start(HOLDING, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def manager(tmp_path: Path) -> StackLockManager:
    return StackLockManager(tmp_path / "locks")


def free(manager: StackLockManager, name: str = "prod") -> bool:
    """Whether somebody else could take the lock now."""
    answers = []

    def ask() -> None:
        try:
            with manager.acquire(name, timeout=0):
                answers.append(True)
        except LockTimeout:
            answers.append(False)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    return answers[0]


def test_acquire_in_one_thread_excludes_others_until_the_end_of_the_block(manager: StackLockManager) -> None:
    with manager.acquire("prod"):
        assert not free(manager)
        assert free(manager, "staging")
    assert free(manager)


def test_acquire_by_another_manager_of_the_same_folder_is_excluded(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "locks")
    with StackLockManager(tmp_path / "locks").acquire("prod"):
        assert not free(StackLockManager(str(tmp_path / "link")))


def test_acquire_without_directory_uses_the_state_directory_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    with StackLockManager().acquire("prod"):
        assert not free(StackLockManager())

    folder = tmp_path / "flowyml-policy" / "locks"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert next(folder.iterdir()).stat().st_mode & 0o777 == 0o600


def test_acquire_in_threads_loses_no_count(manager: StackLockManager) -> None:
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(25):
            with manager.acquire("prod", timeout=120):
                seen = count
                time.sleep(0)
                count = seen + 1

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert count == THREADS * 25


def test_acquire_in_processes_loses_no_count(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")

    processes = [start(COUNTING, tmp_path) for _ in range(PROCESSES)]

    assert [process.wait() for process in processes] == [0] * PROCESSES
    assert (tmp_path / "count").read_text() == str(PROCESSES * 20)
    for process in processes:
        process.communicate()


def test_acquire_held_by_another_process_times_out_naming_it(
    holding: subprocess.Popen[str], manager: StackLockManager
) -> None:
    with pytest.raises(LockTimeout) as caught, manager.acquire("prod", timeout=0.1):
        pytest.fail("the lock was given twice")

    holder = caught.value.holder
    assert holder is not None
    assert (holder.pid, holder.host, holder.user) == (holding.pid, os.uname().nodename, current_actor().name)
    assert caught.value.message == (
        "the lock on stack 'prod' did not come free within 0.1 s: it is held by "
        f"pid {holding.pid} on host {holder.host}, user {holder.user}, since {holder.since}"
    )
    assert caught.value.exit_code == 3


def test_acquire_after_its_holder_was_killed_is_given(
    holding: subprocess.Popen[str], manager: StackLockManager
) -> None:
    holding.send_signal(signal.SIGKILL)

    with manager.acquire("prod", timeout=60) as holder:
        assert holder.pid == os.getpid()
    holding.wait()


def test_acquire_after_a_holder_with_a_forked_child_was_killed_is_given(
    tmp_path: Path, manager: StackLockManager
) -> None:
    with start(HOLDING_WITH_A_CHILD, tmp_path, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
        try:
            with manager.acquire("prod", timeout=60) as holder:
                assert holder.pid == os.getpid()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("reaped", [True, False])
def test_timeout_after_a_kill_does_not_name_the_process_that_is_gone(
    holding: subprocess.Popen[str], manager: StackLockManager, tmp_path: Path, *, reaped: bool
) -> None:
    told = next((tmp_path / "locks").glob("*.json"))
    stale = told.read_bytes()
    holding.send_signal(signal.SIGKILL)
    if reaped:
        holding.wait()

    with manager.acquire("prod", timeout=60):
        told.write_bytes(stale)  # as if this holder had not come to tell of itself yet
        with pytest.raises(LockTimeout) as caught:
            in_thread(lambda: take(manager, timeout=0))

    assert caught.value.holder is None
    assert caught.value.message.endswith("its holder is not known")
    holding.wait()


def take(manager: StackLockManager, timeout: float) -> None:
    with manager.acquire("prod", timeout=timeout):
        pytest.fail("the lock was given twice")


def in_thread(call: Any) -> None:
    """Run `call` in a thread of its own, and raise here what it raises there."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  handed on
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 2**22 + 1, "started": None},
        {"started": "1"},
        {"stack": "another"},
        {"pid": 2**70, "started": None},
        {"pid": -1, "started": None},
        {"pid": True},
        {"extra": 1},
    ],
    ids=str,
)
def test_timeout_with_information_that_cannot_be_so_names_nobody(
    manager: StackLockManager, tmp_path: Path, change: dict[str, Any]
) -> None:
    with manager.acquire("prod"):
        told = next((tmp_path / "locks").glob("*.json"))
        told.write_text(json.dumps({**json.loads(told.read_text()), **change}))
        with pytest.raises(LockTimeout) as caught:
            in_thread(lambda: take(manager, timeout=0))

    assert caught.value.holder is None


def test_timeout_believes_what_a_process_of_another_host_told(manager: StackLockManager, tmp_path: Path) -> None:
    with manager.acquire("prod"):
        told = next((tmp_path / "locks").glob("*.json"))
        told.write_text(json.dumps({**json.loads(told.read_text()), "host": "elsewhere", "pid": 7}))
        with pytest.raises(LockTimeout, match="it is held by pid 7 on host elsewhere"):
            in_thread(lambda: take(manager, timeout=0))


def test_acquire_again_in_one_thread_is_refused_at_once(manager: StackLockManager, tmp_path: Path) -> None:
    with manager.acquire("prod"):
        with (
            pytest.raises(LockReentered, match="'prod' is asked for again while this thread holds it"),
            StackLockManager(tmp_path / "locks").acquire("prod", timeout=600),
        ):
            pytest.fail("the lock was given twice")
        assert not free(manager)
        with manager.acquire("staging"):
            pass
    with manager.acquire("prod"):
        pass


def test_acquire_whose_block_raises_is_given_back(manager: StackLockManager) -> None:
    with pytest.raises(ZeroDivisionError), manager.acquire("prod"):
        raise ZeroDivisionError

    assert free(manager)


def test_aacquire_in_tasks_takes_turns_while_others_go_on(manager: StackLockManager) -> None:
    async def work(turns: list[str], name: str) -> None:
        async with manager.aacquire("prod", timeout=60):
            turns.append(f"{name} in")
            await asyncio.sleep(0.05)
            turns.append(f"{name} out")

    async def main() -> list[str]:
        turns: list[str] = []
        await asyncio.gather(*(work(turns, name) for name in "abc"))
        return turns

    turns = asyncio.run(main())

    assert sorted(turns) == ["a in", "a out", "b in", "b out", "c in", "c out"]
    assert all(turns[index][0] == turns[index + 1][0] for index in (0, 2, 4))
    assert free(manager)


def test_aacquire_again_in_one_task_is_refused(manager: StackLockManager) -> None:
    async def main() -> None:
        async with manager.aacquire("prod"):
            with pytest.raises(LockReentered, match="while this task holds it"):
                async with manager.aacquire("prod"):
                    pytest.fail("the lock was given twice")
            with pytest.raises(LockReentered, match="while this task holds it"), manager.acquire("prod"):
                pytest.fail("the lock was given twice")

    asyncio.run(main())


def test_acquire_that_would_block_the_loop_of_its_holder_is_refused(manager: StackLockManager) -> None:
    async def blocking() -> None:
        with (
            pytest.raises(LockReentered, match="while another task of this thread holds it"),
            manager.acquire("prod", timeout=600),
        ):
            pytest.fail("the lock was given twice")

    async def main() -> None:
        async with manager.aacquire("prod"):
            await asyncio.create_task(blocking())

    asyncio.run(main())


def test_aacquire_held_by_another_process_times_out_naming_it(
    holding: subprocess.Popen[str], manager: StackLockManager
) -> None:
    async def main() -> None:
        async with manager.aacquire("prod", timeout=0.05):
            pytest.fail("the lock was given twice")

    with pytest.raises(LockTimeout, match=f"it is held by pid {holding.pid} on host "):
        asyncio.run(main())


def test_aacquire_of_a_cancelled_task_is_given_back_and_recorded(tmp_path: Path) -> None:
    journal = Journal()
    manager = StackLockManager(tmp_path, journal)

    async def main() -> None:
        inside = asyncio.Event()

        async def work() -> None:
            async with manager.aacquire("prod"):
                inside.set()
                await asyncio.sleep(600)

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert journal.types == ["StackLocked", "StackUnlocked"]
    assert free(StackLockManager(tmp_path))


def test_fork_of_a_holder_neither_holds_nor_gives_back(tmp_path: Path) -> None:
    script = """
class Journal:
    def append_events(self, events):
        with open(folder / "events", "a") as file:
            file.writelines(event.type + "\\n" for event in events)

manager = StackLockManager(folder / "locks", Journal())
with manager.acquire("prod"):
    child = os.fork()
    if child == 0:
        from flowyml_policy.errors.locks import LockTimeout
        try:
            with manager.acquire("prod", timeout=0):
                os._exit(9)
        except LockTimeout as error:
            if error.holder.pid != os.getppid():
                os._exit(8)
    else:
        assert os.waitpid(child, 0)[1] == 0
        import gc, subprocess
        gc.collect()
        other = subprocess.run([sys.executable, "-c", sys.argv[2], str(folder)], capture_output=True, text=True)
        assert "LockTimeout" in other.stderr, other.stderr
print("end", flush=True)
"""
    other = PRELUDE + 'with manager.acquire("prod", timeout=0): pass'

    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, str(tmp_path), other], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "end\nend\n", "")
    assert (tmp_path / "events").read_text() == "StackLocked\nStackUnlocked\n"
    assert free(StackLockManager(tmp_path / "locks"))


def test_acquire_records_locked_and_unlocked_in_turn(tmp_path: Path) -> None:
    journal = Journal()
    with StackLockManager(tmp_path, journal).acquire("prod") as holder:
        assert journal.types == ["StackLocked"]

    locked, unlocked = journal.events
    host, actor = os.uname().nodename, current_actor().name
    assert (locked.stack_name, locked.actor, locked.decision_id) == ("prod", actor, None)
    assert locked.payload == {"pid": os.getpid(), "host": host}
    held = unlocked.payload.pop("held_ms")
    assert isinstance(held, int)
    assert held >= 0
    assert unlocked.model_dump(exclude={"at"}) == {**locked.model_dump(exclude={"at"}), "type": "StackUnlocked"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", locked.at)
    assert holder.since <= locked.at <= unlocked.at


def test_acquire_that_cannot_be_recorded_fails_closed(tmp_path: Path) -> None:
    journal = Journal("StackLocked")
    with pytest.raises(AuditUnwritable), StackLockManager(tmp_path, journal).acquire("prod"):
        pytest.fail("the lock was given without a record")

    assert journal.events == []
    assert free(StackLockManager(tmp_path))


def test_acquire_whose_end_cannot_be_recorded_is_given_back_and_says_so(tmp_path: Path) -> None:
    manager = StackLockManager(tmp_path, Journal("StackUnlocked"))
    with pytest.raises(AuditUnwritable), manager.acquire("prod"):
        pass
    with pytest.raises(ZeroDivisionError), manager.acquire("prod"):
        raise ZeroDivisionError

    assert free(StackLockManager(tmp_path))


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_acquire_with_a_timeout_that_is_no_time_is_a_usage_error(manager: StackLockManager, timeout: float) -> None:
    with pytest.raises(UsageError), manager.acquire("prod", timeout=timeout):
        pytest.fail("the lock was given")


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_acquire_of_what_is_no_name_is_a_usage_error(manager: StackLockManager, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a stack's name"), manager.acquire(name):
        pytest.fail("the lock was given")


def test_acquire_in_a_folder_that_cannot_be_used_fails_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(LockError, match=r"the lock cannot be used: .*file/locks: Not a directory"):
        take(StackLockManager(tmp_path / "file" / "locks"), timeout=0)


def test_acquire_where_a_folder_lies_in_place_of_the_lock_fails_closed(tmp_path: Path) -> None:
    with StackLockManager(tmp_path).acquire("prod"):
        pass
    lock = next(tmp_path.glob("*.lock"))
    lock.unlink()
    lock.mkdir()

    with pytest.raises(LockError, match="the lock cannot be used"):
        take(StackLockManager(tmp_path), timeout=0)


@given(st.text(max_size=300) | st.sampled_from(["../../etc/passwd", "a/b", "CON", ".", "", "x" * 5000]))
def test_file_name_of_any_stack_is_safe(name: str) -> None:
    file = file_name(name)

    assert re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]*-)?[0-9a-f]{32}\.lock", file)
    assert len(file) < 100


@given(st.text(max_size=20), st.text(max_size=20))
def test_file_names_of_different_stacks_differ_also_without_regard_to_case(one: str, other: str) -> None:
    names = {file_name(name).lower() for name in (one, other)}
    assert len(names) == len({one, other})


def test_acquire_of_a_stack_with_an_unsafe_name_stays_in_the_folder(tmp_path: Path) -> None:
    manager = StackLockManager(tmp_path / "locks")
    with manager.acquire("../../evil\n"):
        assert len(list((tmp_path / "locks").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
