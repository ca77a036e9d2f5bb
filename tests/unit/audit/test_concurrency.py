"""Many writers, killed writers, forked writers: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.errors.audit import AuditUnreadable
from flowyml_policy.records.result import DecisionRecord

Make = Callable[..., DecisionRecord]

BATCH = 5


class Child:
    """A forked process that does `work`, given where to write what it has done."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work, write)
        os.close(write)
        self._said = b""

    @staticmethod
    def _run(work: Callable[[int], None], write: int) -> None:
        try:
            work(write)
        except BaseException:  # noqa: BLE001  a forked child must end here, whatever happens
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def listen(self, lines: int) -> None:
        """Wait until it has said so many lines."""
        while self._said.count(b"\n") < lines and (said := os.read(self._read, 65_536)):
            self._said += said

    def end(self) -> tuple[int, list[int]]:
        """Its status and all the numbers that it said, once it has ended."""
        while said := os.read(self._read, 65_536):
            self._said += said
        os.close(self._read)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), [int(line) for line in self._said.split()]


def batch(make: Make, first: int) -> list[DecisionRecord]:
    return [make(number) for number in range(first, first + BATCH)]


def numbers(path: Path) -> list[int]:
    """The decisions in the file by their numbers, oldest first."""
    with closing(sqlite3.connect(path)) as connection:
        return [int(row[0][-12:], 16) for row in connection.execute("SELECT decision_id FROM decisions ORDER BY seq")]


def is_whole(path: Path) -> bool:
    with AuditStore(path) as store:
        return store.verify().ok


def writer(path: Path, make: Make, firsts: range) -> Callable[[int], None]:
    """Records a batch for each of `firsts`, and says it only then."""

    def work(write: int) -> None:
        store = AuditStore(path)
        for first in firsts:
            store.record(batch(make, first))
            os.write(write, b"%d\n" % first)
        store.close()

    return work


@pytest.mark.parametrize(("processes", "batches"), [(2, 30), (16, 6)])
def test_record_many_processes_at_once_lose_nothing(path: Path, make: Make, processes: int, batches: int) -> None:
    ranges = [range(1 + 10_000 * n, 1 + 10_000 * n + BATCH * batches, BATCH) for n in range(processes)]
    children = [Child(writer(path, make, firsts)) for firsts in ranges]
    assert [child.end() for child in children] == [(0, list(firsts)) for firsts in ranges]
    written = numbers(path)
    assert sorted(written) == [first + i for firsts in ranges for first in firsts for i in range(BATCH)]
    for firsts in ranges:
        own = [number for number in written if firsts.start <= number < firsts.stop]
        assert own == sorted(own)
    assert is_whole(path)


def test_record_readers_beside_a_writer_see_whole_batches(path: Path, make: Make) -> None:
    AuditStore(path).record(batch(make, 1))  # nobody closes this one
    child = Child(writer(path, make, range(100, 100 + BATCH * 60, BATCH)))
    with AuditStore(path) as store:
        counts = [len(store.decisions(limit=None)) for _ in range(30)]
        assert store.verify().ok
    assert child.end()[0] == 0
    assert (counts == sorted(counts), {count % BATCH for count in counts}) == (True, {0})


@pytest.mark.parametrize("fresh", [True, False])
def test_record_writer_killed_at_any_point_keeps_what_it_acknowledged(path: Path, make: Make, fresh: bool) -> None:
    choice = random.Random(2026)
    acknowledged: list[int] = []
    for attempt in range(30):
        if fresh:
            path = path.with_name(f"{attempt}.db")
            acknowledged = []
        first = 1 + attempt * 100_000
        child = Child(writer(path, make, range(first, first + 100_000, BATCH)))
        child.listen(choice.randrange(4))
        time.sleep(choice.random() * 0.03)
        os.kill(child.pid, signal.SIGKILL)
        status, said = child.end()
        acknowledged += said
        assert status == -signal.SIGKILL
        assert_kept(path, acknowledged)


def assert_kept(path: Path, acknowledged: list[int]) -> None:
    """Every acknowledged batch is there, whole and in order, and at most the one being written besides."""
    with AuditStore(path) as store:
        try:
            written = store.decisions(limit=None)
        except AuditUnreadable:  # killed while the file was being created
            assert acknowledged == []
            return
        assert store.verify().ok
    found = [int(row.decision_id[-12:], 16) for row in reversed(written)]
    assert len(found) % BATCH == 0
    firsts = found[::BATCH]
    assert found == [first + i for first in firsts for i in range(BATCH)]
    assert set(acknowledged) <= set(firsts)


def test_record_many_threads_share_a_store(store: AuditStore, path: Path, make: Make) -> None:
    def work(thread: int) -> None:
        for first in range(1000 * thread, 1000 * thread + 10 * BATCH, BATCH):
            store.record(batch(make, first))
            store.get_events(limit=3)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert sorted(numbers(path)) == [1000 * thread + i for thread in range(1, 9) for i in range(10 * BATCH)]
    assert is_whole(path)


def test_record_after_fork_parent_and_child_share_a_store_object(store: AuditStore, path: Path, make: Make) -> None:
    with store:
        store.record(batch(make, 1))
        store.get_events(limit=1)

        def work(write: int) -> None:
            for first in range(1000, 1000 + 10 * BATCH, BATCH):
                store.record(batch(make, first))
                os.write(write, b"%d\n" % len(store.get_events(limit=1)))

        child = Child(work)
        for first in range(2000, 2000 + 10 * BATCH, BATCH):
            store.record(batch(make, first))
        assert child.end() == (0, [1] * 10)
        assert store.verify().ok
    expected = [*range(1, 1 + BATCH), *range(1000, 1000 + 10 * BATCH), *range(2000, 2000 + 10 * BATCH)]
    assert sorted(numbers(path)) == expected


@pytest.mark.timeout(60)
def test_record_after_fork_beside_a_recording_thread_does_not_hang(store: AuditStore, path: Path, make: Make) -> None:
    stop = threading.Event()

    def keep_recording() -> None:
        for first in range(1, 100_000, BATCH):
            if stop.is_set():
                return
            store.record(batch(make, first))

    thread = threading.Thread(target=keep_recording)
    thread.start()
    try:
        statuses = []
        for attempt in range(10):
            first = 1_000_000 + attempt * BATCH

            def work(_: int, first: int = first) -> None:
                store.record(batch(make, first))

            statuses.append(Child(work).end())
    finally:
        stop.set()
        thread.join()
        store.close()
    assert statuses == [(0, [])] * 10
    assert {number for number in numbers(path) if number >= 1_000_000} == set(range(1_000_000, 1_000_000 + 10 * BATCH))
    assert is_whole(path)
