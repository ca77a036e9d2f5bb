"""StackLockManager: one at a time, over threads and processes, for each stack of this user.

Rules:
- The system's own lock (flock, through filelock) decides. It ends with its holder, however that ends; a lock by
  mere existence of a file would not, so filelock's fallback to one is switched off.
- Locks lie under the user's state directory, so two checkouts of a project exclude each other. A file is called by
  a readable beginning of the stack's name and a digest of all of it, so that any name is safe and none meets another.
- Who holds a lock is told beside it, in a file that only the holder writes, whole or not at all. It is information
  and never the lock: what is told of a process that is gone is not believed.
- A thread or task that holds a lock and asks for it again is refused; it would wait for itself.
- A child that is forked while a lock is held does not hold it: it releases nothing and records nothing.
- StackLocked is recorded after the lock is taken and StackUnlocked before it is given back, so that the journal
  shows them in turn. A lock whose taking cannot be recorded is not given.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, NamedTuple

from filelock import FileLock, Timeout
from pydantic import ValidationError

from flowyml_policy.errors.locks import LockError, LockReentered, LockTimeout
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.mask.events import new_event
from flowyml_policy.records.events import LockHolder, StackLocked, StackUnlocked
from flowyml_policy.records.instant import instant, utc_now
from flowyml_policy.records.protocols import EventRecorder
from flowyml_policy.system.actor import current_actor
from flowyml_policy.system.directories import state_directory
from flowyml_policy.system.files import replace_private

DEFAULT_TIMEOUT: Final = 30.0
POLL: Final = 0.02
"""Seconds between two looks at a lock that another holds."""

_FOLDER: Final = "locks"
_LONGEST_TOLD: Final = 65536
_READABLE: Final = 40
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_START_TIME: Final = 19
"""Where /proc/PID/stat, after the name in brackets, says when the process was started (proc_pid_stat(5), field 22)."""


class _Owner(NamedTuple):
    """Who asks in this process: a thread, and the task that runs in it, where one does."""

    pid: int
    thread: int
    task: int | None


_held: Final[dict[str, _Owner]] = {}
"""The locks that this process holds. Each entry is written by its owner alone; a fork's child ignores them."""


class StackLockManager:
    """Gives out the locks of stacks. `directory` holds them, by default one under the user's state directory.

    `recorder`, such as an AuditStore, gets the events StackLocked and StackUnlocked. Safe from many threads, and after
    fork.
    """

    def __init__(self, directory: str | Path | None = None, recorder: EventRecorder | None = None) -> None:
        self._directory = None if directory is None else Path(directory)
        self._recorder = recorder

    @contextlib.contextmanager
    def acquire(self, name: str, timeout: float = DEFAULT_TIMEOUT) -> Iterator[LockHolder]:
        """Hold the lock of the stack `name` inside the block; wait for it at most `timeout` seconds.

        Raises LockTimeout, which names the holder; LockReentered where this thread holds it already; LockError
        where the folder cannot be used; AuditError where there is a recorder that fails; UsageError for a
        timeout that is no time and for text that is no name.
        """
        lock = self._lock(name, timeout)
        lock.refuse_reentry(blocks_thread=True)
        with lock.held(lock.wait(timeout)) as holder:
            self._record(StackLocked.TYPE, holder)
            try:
                yield holder
            except BaseException:
                with contextlib.suppress(FlowymlPolicyError):
                    self._record(StackUnlocked.TYPE, holder)
                raise
            self._record(StackUnlocked.TYPE, holder)

    @contextlib.asynccontextmanager
    async def aacquire(self, name: str, timeout: float = DEFAULT_TIMEOUT) -> AsyncIterator[LockHolder]:
        """As `acquire`, for a task: while it waits, and while its events are recorded, other tasks go on."""
        lock = self._lock(name, timeout)
        lock.refuse_reentry(blocks_thread=False)
        with lock.held(await lock.wait_in_task(timeout)) as holder:
            await _finished(lambda: self._record(StackLocked.TYPE, holder))
            try:
                yield holder
            except BaseException:
                with contextlib.suppress(FlowymlPolicyError):
                    await _finished(lambda: self._record(StackUnlocked.TYPE, holder))
                raise
            await _finished(lambda: self._record(StackUnlocked.TYPE, holder))

    def _lock(self, name: str, timeout: float) -> _StackLock:
        if not math.isfinite(timeout) or timeout < 0:
            raise UsageError(
                f"a lock cannot be waited for {timeout} s", advice="give seconds, 0 for not waiting at all"
            )
        if not name or any("\ud800" <= character <= "\udfff" for character in name):
            raise UsageError(f"{name!r} cannot be a stack's name", advice="name the stack to be locked")
        folder = state_directory() / _FOLDER if self._directory is None else self._directory
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _StackLock(name, Path(os.path.realpath(folder)) / _file_name(name))
        except (OSError, ValueError) as error:
            raise _unusable(folder, error) from error

    def _record(self, kind: str, holder: LockHolder) -> None:
        if self._recorder is None or holder.pid != os.getpid():
            return
        now = datetime.now(timezone.utc)
        payload: dict[str, str | int] = {"pid": holder.pid, "host": holder.host}
        if kind == StackUnlocked.TYPE:
            held = now - datetime.fromisoformat(holder.since.replace("Z", "+00:00"))
            payload["held_ms"] = max(0, int(held.total_seconds() * 1000))
        event = new_event(kind, at=instant(now), actor=holder.user, stack_name=holder.stack, payload=payload)
        self._recorder.append_events([event])


@dataclass(frozen=True)
class _StackLock:
    """One stack's lock file, before and while it is held."""

    stack: str
    path: Path

    @property
    def told(self) -> Path:
        """Where the holder tells who it is."""
        return self.path.with_suffix(".json")

    def refuse_reentry(self, *, blocks_thread: bool) -> None:
        """Raise LockReentered if whoever asks holds the lock, or would block the thread that has to give it back."""
        owner, me = _held.get(str(self.path)), _owner()
        if owner is None or (owner.pid, owner.thread) != (me.pid, me.thread):
            return
        if owner.task == me.task:
            who = "this thread" if me.task is None else "this task"
        elif blocks_thread or owner.task is None:
            who = "another task of this thread"
        else:
            return
        raise LockReentered(f"the lock on stack {self.stack!r} is asked for again while {who} holds it")

    def wait(self, timeout: float) -> FileLock:
        """The lock, taken. Raises LockTimeout or LockError."""
        native = self._native()
        if not self._try(native, timeout):
            raise LockTimeout(self.stack, timeout, self.holder())
        return native

    async def wait_in_task(self, timeout: float) -> FileLock:
        """The lock, taken; nothing is awaited between the taking and the answer."""
        native, deadline = self._native(), time.monotonic() + timeout
        while not self._try(native, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTimeout(self.stack, timeout, self.holder())
            await asyncio.sleep(min(POLL, left))
        return native

    @contextlib.contextmanager
    def held(self, native: FileLock) -> Iterator[LockHolder]:
        """The time between taking and giving back. A forked child that comes to the end leaves all as it is."""
        key, owner = str(self.path), _owner()
        try:
            _held[key] = owner
            holder = _this_process(self.stack)
            self._tell(holder)
            yield holder
        finally:
            if owner.pid == os.getpid():
                _held.pop(key, None)
                with contextlib.suppress(OSError):
                    self.told.unlink(missing_ok=True)
                native.release()

    def holder(self) -> LockHolder | None:
        """Who holds the lock, as it told itself; None where nobody did, or who did is gone."""
        try:
            with self.told.open("rb") as file:
                holder = LockHolder.model_validate_json(file.read(_LONGEST_TOLD))
        except (OSError, ValidationError):
            return None
        return holder if holder.stack == self.stack and _is_alive(holder) else None

    def _native(self) -> FileLock:
        return FileLock(self.path, mode=0o600, thread_local=False, fallback_to_soft=False)

    def _try(self, native: FileLock, timeout: float) -> bool:
        try:
            native.acquire(timeout=timeout, poll_interval=POLL)
        except Timeout:
            return False
        except (OSError, RuntimeError, NotImplementedError) as error:
            raise _unusable(self.path, error) from error
        return True

    def _tell(self, holder: LockHolder) -> None:
        """Write who holds the lock."""
        try:
            replace_private(self.told, holder.model_dump_json().encode())
        except OSError as error:
            raise _unusable(self.told, error) from error


def _file_name(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{_UNSAFE.sub('-', name)[:_READABLE].strip('-.')}-{digest}.lock".lstrip("-")


def _owner() -> _Owner:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return _Owner(os.getpid(), threading.get_ident(), None if task is None else id(task))


def _this_process(stack: str) -> LockHolder:
    pid = os.getpid()
    return LockHolder(
        stack=stack,
        pid=pid,
        host=socket.gethostname(),
        user=current_actor().name,
        since=utc_now(),
        started=_started(pid),
    )


def _is_alive(holder: LockHolder) -> bool:
    """Whether the process still runs, as far as it can be seen from here: that of another host is believed."""
    if holder.host != socket.gethostname():
        return True
    if holder.started is not None:
        return _started(holder.pid) == holder.started
    try:
        os.kill(holder.pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _started(pid: int) -> str | None:
    """When the system started a process; None where there is no /proc, no such process, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in {b"Z", b"X"} else fields[_START_TIME].decode()
    except (OSError, IndexError, UnicodeError):
        return None


def _unusable(path: Path, error: Exception) -> LockError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return LockError(f"the lock cannot be used: {path}: {reason}")


async def _finished(call: Callable[[], None]) -> None:
    """Run `call` in a thread; a task that is cancelled meanwhile waits for its end all the same."""
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
