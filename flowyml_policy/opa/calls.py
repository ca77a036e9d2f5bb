"""Calls that end in time for who made them, whatever they wait for: each is made on a thread of ours.

Rules:
- Time begins with the call, so that it holds the wait for a thread as well.
- A call that is late goes on by itself, and keeps its thread until it ends; there are never more threads than `most`.
- The threads are daemons, and end with what they belong to: no late call keeps a program from ending.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import TypeVar, cast

_Result = TypeVar("_Result")


class BoundedCalls:
    """At most `most` calls at once. Safe from many threads; in a forked child make another."""

    def __init__(self, most: int, *, name: str) -> None:
        self._name = name
        self._free = threading.Semaphore(most)
        self._idle: deque[_Worker] = deque()
        self._workers: list[_Worker] = []
        weakref.finalize(self, _end, self._workers)

    def run(self, work: Callable[[], _Result], seconds: float) -> _Result:
        """What `work` returns or raises. Raises TimeoutError where that takes longer than `seconds`."""
        until = monotonic() + seconds
        if seconds <= 0 or not self._free.acquire(timeout=seconds):
            raise TimeoutError
        call = _Call(work)
        self._worker().queue.put(call)
        if not call.done.acquire(timeout=max(0.0, until - monotonic())):
            raise TimeoutError
        if call.error is not None:
            raise call.error
        return cast("_Result", call.result)

    def close(self) -> None:
        """End the threads, each after its call."""
        _end(self._workers)

    def _worker(self) -> _Worker:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        worker = _Worker(self._idle, self._free)
        thread = threading.Thread(target=worker.serve, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._free.release()
            raise
        self._workers.append(worker)
        return worker


class _Call:
    """One call: what is to be done, then what came of it. `done` is a lock that is let go at the end."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.result: object = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class _Worker:
    """A thread's own queue. It knows the pool's parts and not the pool, which can so be forgotten."""

    def __init__(self, idle: deque[_Worker], free: threading.Semaphore) -> None:
        self.queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = idle
        self._free = free

    def serve(self) -> None:
        while (call := self.queue.get()) is not None:
            try:
                call.result = call.work()
            except BaseException as error:  # noqa: BLE001  it is raised where the call was made
                call.error = error
            self._idle.append(self)  # before anybody hears of it: the next call finds this thread
            self._free.release()
            call.done.release()
            del call


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.queue.put(None)
