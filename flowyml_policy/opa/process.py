"""A policy that is judged apart, in a process of ours that can be ended: what it costs is a decision, nothing else.

Rules:
- Policy that does not end, or takes all memory, ends its process and never this one: the deadline is kept from here,
  and the memory by the system.
- One question is on its way at a time. Threads take turns, and a deadline begins with one's turn.
- A process that died is started anew and asked again, once, within the time that was left. It must load what the
  first one did: settings were checked against that policy.
- After any doubt about where the two stand (an interrupt, a late answer, a frame that is none) the process is ended.
- A forked child keeps nothing of its parent's: it closes the socket, so that the process ends with the parent, and
  starts its own. On its way there it takes no lock that another thread may have held at the fork, tempfile's included.
- No file of the working directory is ever taken for a module: Python starts isolated, with this program's sys.path.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from flowyml_policy.errors.opa import (
    OpaDeadlineExceeded,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    PolicyInvalid,
    PolicyRolledBack,
)
from flowyml_policy.opa import frames
from flowyml_policy.opa.activation import MOST_MOVES, STATE, Sequences, too_fast
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.records.result import GlobProblem

if TYPE_CHECKING:
    from flowyml_policy.opa.loading import Policy, PolicySource
    from flowyml_policy.records.protocols import SequenceStore
    from flowyml_policy.records.record import Json

MEMORY: Final = 4 * 2**30
"""Bytes that a process may take, where nothing is set."""

GRACE: Final = 1.0
"""Seconds beyond a deadline, in which OPA says itself that it is over, and at which rule."""

_READY_SECONDS: Final = 60.0
"""How long Python may take to start."""

_LONGEST_END: Final = 10.0
_LONGEST_NOTE: Final = 16_384
_BOARD: Final = 4096
_LONGEST_TEXT: Final = _BOARD // 2 - 4
_FATAL: Final = re.compile(r"^(?:fatal error|panic|MemoryError)\b.*", re.MULTILINE)
"""How Go, or Python, begins the line that says why it ended."""

_PYTHON: Final = re.compile(r"(?:python|pypy)[0-9.]*t?d?", re.IGNORECASE)
_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_BOOT: Final = (
    "import sys; sys.path[:] = sys.argv[4:]; del sys.argv[4:]; from flowyml_policy.opa.forked import main; main()"
)
_ENVIRONMENT: Final = {
    "GOTRACEBACK": "none",  # why it ended is enough: a trace of Go's tells no author of a rule anything
    "MALLOC_ARENA_MAX": "1",  # else each thread reserves 64 MiB, of which the limit takes account
}
_ENDLESS_ADVICE: Final = "give the call that it names less to do: no deadline reaches into it"
_MEMORY_ADVICE: Final = "correct the rule, or raise policy.opa.memory if it needs more"


class PolicyProcess:
    """A policy in a process of its own. Safe from many threads, and after a fork.

    `known` is the policy that it must load, where one is known: the same bytes. Raises OpaError or
    FeatureUnavailable when the policy cannot be loaded, as if it were loaded here.
    """

    def __init__(
        self,
        source: PolicySource,
        memory: int = MEMORY,
        *,
        known: Policy | None = None,
        sequences: SequenceStore | None = None,
    ) -> None:
        self._source = source
        self._encode({})
        self._named = frozenset(one.name for one in source.read().remote)
        self.remote = self._named | (known.remote if known else frozenset())
        self._sequences = Sequences(sequences, required=source.require_signed)
        self._seen = b""
        self._deadline = source.deadline
        self._start_timeout = source.start_timeout
        self._memory = memory
        self.bundles: Mapping[str, str] = known.bundles if known else {}
        self.digest = known.digest if known else ""
        self.opa_version = ""
        self._lock = threading.Lock()
        self._asking = 0
        self._child: _Child | None = None
        self._stopped = False
        _processes.add(self)
        with self._lock:
            self._start()

    @property
    def lasting(self) -> frozenset[str]:
        """The bundles that every decision is made by; which others are, a discovery bundle says."""
        return frozenset(name for name in self.bundles if name in self._named or name not in self.remote)

    def decide(self, path: str | None, document: bytes) -> bytes:
        """The value at `path`, or the decision for None: JSON `{"result": ..., "bundles": {name: revision}}`."""
        kind, payload = (
            (frames.DECIDE, document) if path is None else (frames.QUERY, frames.encode_query(path, document))
        )
        for _ in range(MOST_MOVES):
            answer = self._ask(kind, payload)
            if not self.remote or answer.endswith(self._seen):
                return answer
            self._look()
        raise too_fast()

    def check_globs(self, patterns: Sequence[str]) -> list[dict[str, str]]:
        """Those patterns that `glob.match` refuses: `[{"pattern", "reason"}]`."""
        problems: list[dict[str, str]] = json.loads(self._ask(frames.GLOBS, json.dumps(list(patterns)).encode()))
        return problems

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._stopped = True
            self._end()

    def _look(self) -> None:
        """Ask what is loaded now, and follow it. Raises OpaError."""
        try:
            self._follow(json.loads(self._ask(frames.DESCRIBE, b"")))
        except PolicyRolledBack:  # or another thread, which asked later, kept what is newer in between
            self._follow(json.loads(self._ask(frames.DESCRIBE, b"")))

    def _follow(self, described: Mapping[str, Json]) -> None:
        """Keep what the process loaded, which checked it. Raises PolicyRolledBack, OpaUnavailable."""
        self._sequences.keep(described)
        self.remote |= frozenset(described["remote"])
        self.bundles = described["bundles"]
        self._seen = STATE % described["state"]

    def _encode(self, sequences: Mapping[str, int]) -> bytes:
        try:
            return self._source._replace(remote=self._source.remote._replace(sequences=sequences)).encode()
        except (TypeError, ValueError) as error:
            raise OpaStartFailed(f"the policy could not be staged: {type(error).__name__}: {error}") from error

    def _ask(self, kind: bytes, payload: bytes) -> bytes:
        """What the process answers; a second one where the first dies. Raises OpaError."""
        if self._asking == threading.get_ident():  # a signal handler, or an object's end, in the middle of a question
            raise OpaUnavailable("policy is asked in the middle of a question", advice="ask from another thread")
        with self._lock:
            self._asking = threading.get_ident()
            try:
                return self._asked(kind, payload)
            finally:
                self._asking = 0

    def _asked(self, kind: bytes, payload: bytes) -> bytes:
        if self._stopped:  # by another thread, while this one waited for its turn
            raise OpaUnavailable("the process that judges was stopped", advice="make a new PolicyEngine")
        left = self._deadline + GRACE
        died = None
        for _ in range(2):
            child = self._child or self._start()
            began = monotonic()
            try:
                return child.ask(kind, payload, began + left)
            except frames.Silent as silent:
                place = child.place()
                self._end()
                raise OpaDeadlineExceeded(
                    f"no decision within {_shown(self._deadline)}, and the process that judged was ended{place}",
                    advice=_ENDLESS_ADVICE if place else None,
                ) from silent
            except frames.Gone:
                place = child.place()
                died = self._end() + place
            except frames.Garbled as garbled:
                self._end()
                raise OpaEvaluationFailed(f"the process that judges sent no answer: {garbled}", advice="") from garbled
            except _Refused as refused:
                raise refused.error from None
            except BaseException:
                self._end()
                raise
            left -= monotonic() - began
            if left <= 0:
                break
        raise OpaEvaluationFailed(f"the process that judges ended: {died}", advice=_MEMORY_ADVICE)

    def _start(self) -> _Child:
        """Start a process, and the policy in it. Raises OpaError or FeatureUnavailable."""
        encoded = self._encode(self._sequences.known())
        self._child = child = _Child(self._memory)
        try:
            child.await_ready()
            until = monotonic() + self._start_timeout + GRACE
            started = json.loads(child.ask(frames.START, encoded, until))
        except _Refused as refused:
            self._end()
            raise refused.error from None
        except (frames.Silent, frames.Gone, frames.Garbled) as error:
            raise self._unstarted(error) from error
        except BaseException:
            self._end()
            raise
        described = started["described"]
        remote = self.remote.union(described["remote"])
        is_known = _local(described["bundles"], remote) == _local(self.bundles, remote)
        if self.bundles and not (is_known and started["digest"] == self.digest):
            self._end()
            raise PolicyInvalid(
                "the policy changed while it was in use, and its process had to be started anew",
                advice="run the command again, or make a new PolicyEngine",
            )
        self.digest = started["digest"]
        try:
            self._follow(described)
        except BaseException:
            self._end()
            raise
        self.opa_version = started["opa_version"]
        return child

    def _unstarted(self, error: Exception) -> OpaUnavailable | OpaDeadlineExceeded:
        died = self._end()
        if isinstance(error, frames.Silent):
            return OpaDeadlineExceeded(
                f"the policy was not loaded within {_shown(self._start_timeout)}, and its process was ended",
                advice="raise policy.opa.start_timeout",
            )
        return OpaUnavailable(f"the process that judges ended before it judged: {died}", advice=_MEMORY_ADVICE)

    def _end(self) -> str:
        """End the process, if there is one; answer how it ended."""
        child, self._child = self._child, None
        return child.end() if child else ""

    def forget(self) -> None:
        """In a forked child: leave the parent's process to the parent."""
        self._lock = threading.Lock()  # another thread may have held it at the fork
        self._sequences.forget()
        self._asking = 0
        child, self._child = self._child, None
        if child is not None:
            child.forget()


class ProcessEvaluator(OpaEvaluator):
    """Judges by OPA in a process that is ended where a rule does not end, or takes more than `memory` bytes.

    The library is never loaded here. Raises OpaError or FeatureUnavailable when the policy cannot be loaded.
    """

    name = "process"

    def __init__(
        self,
        source: PolicySource,
        *,
        memory: int = MEMORY,
        require_revision: Mapping[str, str] | None = None,
        sequences: SequenceStore | None = None,
    ) -> None:
        self._policy = PolicyProcess(source, memory, sequences=sequences)
        super().__init__(
            bundles=self._policy.lasting, version=self._policy.opa_version, require_revision=require_revision
        )

    def _remote(self) -> frozenset[str]:
        return self._policy.remote

    def _query(self, path: str | None, document: bytes) -> bytes:
        return self._policy.decide(path, document)

    def _check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        return tuple(GlobProblem(**problem) for problem in self._policy.check_globs(patterns))

    def _close(self) -> None:
        self._policy.stop()


def _local(bundles: Mapping[str, str], remote: frozenset[str]) -> dict[str, str]:
    """What must stay as it is."""
    return {name: revision for name, revision in bundles.items() if name not in remote}


class _Refused(Exception):
    """The process answered with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class _Child:
    """One process, from its start to its end."""

    def __init__(self, memory: int) -> None:
        command = [_python(), *_flags(), "-c", _BOOT]
        try:
            with _spawning, ExitStack() as undo:
                self._board = _Board()
                undo.callback(self._board.close)
                self._socket, theirs = socket.socketpair()
                undo.callback(self._socket.close)
                with theirs:
                    self._scratch: list[str] = []
                    self._notes, notes = os.pipe()
                    undo.callback(os.close, self._notes)
                    try:
                        self._process = self._popen(command, theirs, notes, memory)
                    finally:
                        os.close(notes)
                undo.pop_all()
        except OSError as error:
            raise OpaUnavailable(
                f"the process that judges cannot be started: {command[0]}: {error}",
                advice="correct what the system names",
            ) from error
        self._finalizer = weakref.finalize(self, _ended, self._process, self._socket, self._notes, self._scratch)

    def _popen(self, command: Sequence[str], theirs: socket.socket, notes: int, memory: int) -> subprocess.Popen[bytes]:
        for end in (self._notes, notes):
            os.set_blocking(end, False)  # what nobody reads must not hold up a process that ends
        board = self._board.descriptor
        path = [place for place in sys.path if isinstance(place, str) and Path(place).is_absolute()]  # "" is any folder
        if _PACKAGES not in path:
            path.append(_PACKAGES)
        return subprocess.Popen(  # noqa: S603  this program itself
            [*command, str(theirs.fileno()), str(memory), str(board), *path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=notes,
            pass_fds=[theirs.fileno(), *([board] if board else [])],
            start_new_session=True,  # an interrupt from the keyboard is for this process to pass on
            env={**os.environ, **_ENVIRONMENT},
        )

    def await_ready(self) -> None:
        """Wait until Python runs, and has made a folder for what it stages. Raises Silent, Gone, Garbled."""
        kind, scratch = frames.receive(self._socket, monotonic() + _READY_SECONDS)
        if kind != frames.READY:
            raise frames.Garbled(repr(kind))
        self._scratch.append(os.fsdecode(scratch))

    def ask(self, kind: bytes, payload: bytes, until: float) -> bytes:
        """The answer to one question. Raises Silent, Gone, Garbled, OpaError, and _Refused for an error in answer."""
        self._board.clear()
        frames.send(self._socket, kind, payload, until)
        kind, answer = frames.receive(self._socket, until)
        if kind == frames.ERROR:
            raise _Refused(frames.decode_error(answer))
        if kind != frames.ANSWER:
            raise frames.Garbled(repr(kind))
        return answer

    def place(self) -> str:
        """Which call of which rule was the last to begin, for the end of a sentence; empty where that is not known."""
        return self._board.read()

    def end(self) -> str:
        """End it, whatever it does; answer how it ended and why, as far as it said."""
        how = self._finalizer() or "before"
        self._board.close()
        return how

    def forget(self) -> None:
        """Close this process's ends, and leave the process to the one that started it."""
        self._finalizer.detach()
        self._socket.close()
        os.close(self._notes)
        self._board.close()
        self._process.returncode = 0  # not this process's child: nothing to wait for


class _Board:
    """Memory shared with the process, where OPA says which call it begins (libopa/internal/engine/board.go).

    Only Linux has memory with a descriptor and no name; elsewhere nothing is told.
    """

    def __init__(self) -> None:
        self.descriptor = 0
        self._memory: mmap.mmap | None = None
        if hasattr(os, "memfd_create"):  # not every Python on Linux has it
            self.descriptor = os.memfd_create("flowyml-policy")
            try:
                os.ftruncate(self.descriptor, _BOARD)
                self._memory = mmap.mmap(self.descriptor, _BOARD)
            except BaseException:
                os.close(self.descriptor)
                raise

    def clear(self) -> None:
        if self._memory is not None:
            self._memory[:4] = bytes(4)

    def read(self) -> str:
        if self._memory is None:
            return ""
        written = self._memory[:]
        (row,) = struct.unpack_from(">I", written)
        texts, end = [], 4
        for _ in range(2):
            (size,) = struct.unpack_from(">H", written, end)
            begin, end = end + 2, end + 2 + min(size, _LONGEST_TEXT)
            texts.append(written[begin:end].decode(errors="replace"))
        return f" in {texts[0]}: {texts[1]}:{row}" if row else ""

    def close(self) -> None:
        if self._memory is not None:
            self._memory.close()
            os.close(self.descriptor)
            self._memory = None


def _ended(process: subprocess.Popen[bytes], connection: socket.socket, notes: int, scratch: Sequence[str]) -> str:
    """End `process`, and answer how it ended."""
    connection.close()
    process.kill()  # one that has ended keeps its exit code
    try:
        code = process.wait(_LONGEST_END)
        said = _FATAL.search(os.read(notes, _LONGEST_NOTE).decode(errors="replace"))
    except subprocess.TimeoutExpired:
        return "by nothing: the system does not end it"
    except BlockingIOError:
        said = None
    finally:
        os.close(notes)
        for folder in scratch:
            shutil.rmtree(folder, ignore_errors=True)
    if code < 0:
        how = f"by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"by signal {-code}"
    else:
        how = f"with exit code {code}"
    return how + (f", {said.group()}" if said else "")


def _flags() -> list[str]:
    """How Python is to start: isolated, with compiled files where this one keeps them."""
    flags = ["-I", "-X", f"utf8={sys.flags.utf8_mode}"]
    if sys.dont_write_bytecode:
        flags.append("-B")
    if sys.pycache_prefix:
        flags += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return flags


def _python() -> str:
    """The Python that this program runs on. Raises OpaUnavailable where a host has put its own name in its place."""
    for candidate in (sys.executable, getattr(sys, "_base_executable", None)):
        if candidate and _PYTHON.fullmatch(Path(candidate).name) and os.access(candidate, os.X_OK):
            return candidate
    raise OpaUnavailable(
        f"no Python is known that could judge apart: sys.executable is {sys.executable!r}",
        advice="set sys.executable to a Python with flowyml-policy, or let the platform's settings name the policy",
    )


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


_processes: weakref.WeakSet[PolicyProcess] = weakref.WeakSet()
_spawning = threading.RLock()
"""Held while ends are open that a child forked meanwhile would keep, and so keep a process from ending."""


def _hold() -> None:
    _spawning.acquire()


def _release() -> None:
    _spawning.release()


def _forget() -> None:
    global _spawning  # noqa: PLW0603  a lock of the parent's threads
    _spawning = threading.RLock()
    for process in list(_processes):
        process.forget()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
