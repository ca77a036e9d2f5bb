"""Programs in processes that are forked from one that has loaded the package: Python starts once, not for each.

Each is a process of its own, with its own folder, arguments, environment and streams, and ends as `python -c` ends.
What a test says of the start itself needs a new Python: what is loaded, streams that are closed, many at once.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn

import flowyml_policy

ROOT: Final = Path(__file__).parents[1]
LONGEST: Final = 200_000
"""Bytes of a request."""


class Forking:
    """Runs programs, one process at a time, each a fork of one Python that this starts."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._parent = subprocess.Popen(
                [*launcher(), sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(
        self,
        code: str,
        args: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        stdin: bytes = b"",
        timeout: float = 120,
    ) -> tuple[int, bytes, bytes]:
        """What `python -c code args` ends with and writes to standard output and error; no stream is a terminal."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            given.write(stdin)
            given.seek(0)
            streams = [stream.fileno() for stream in (given, stdout, stderr)]
            self.start(code, args, folder=folder, environ=environ, streams=streams)
            exit_code = self.exit_code(timeout)
            stdout.seek(0)
            stderr.seek(0)
            return exit_code, stdout.read(), stderr.read()

    def start(
        self, code: str, args: Sequence[str], *, folder: Path, environ: Mapping[str, str], streams: Sequence[int]
    ) -> None:
        """Start `python -c code args` on these as its standard input, output and error."""
        asked = json.dumps([code, args, str(folder), dict(environ)]).encode()
        assert len(asked) < LONGEST
        socket.send_fds(self._control, [asked], streams)

    def exit_code(self, timeout: float) -> int:
        """The exit code of the process that was started, once it has ended; a signal that ended it is negative."""
        self._control.settimeout(timeout)
        try:
            said = self._control.recv(100)
        except BaseException:  # what goes on for ever is not to answer the next one
            os.killpg(self._parent.pid, signal.SIGKILL)
            forking.cache_clear()
            raise
        assert said, "the process that forks has ended"
        return int(said)

    def close(self) -> None:
        self._control.close()
        self._parent.wait(60)


@cache
def forking() -> Forking:
    """The one of this process."""
    made = Forking()
    atexit.register(made.close)
    return made


@cache
def launcher() -> list[str]:
    """What starts a command so that file modes hold for root too, as they do for everybody else, where it may."""
    setpriv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    if os.geteuid() or shutil.which(setpriv[0]) is None:
        return []
    return [] if subprocess.run([*setpriv, "true"], check=False, capture_output=True).returncode else setpriv


def serve(control: socket.socket) -> None:
    """Fork for every request until the other side closes."""
    load()
    gc.freeze()  # what is loaded is never garbage, and a look at it would copy its memory
    while True:
        asked, streams, *_ = socket.recv_fds(control, LONGEST, 3)
        if not asked:
            return
        child = os.fork()
        if child == 0:
            control.close()
            become(streams, *json.loads(asked))
        for stream in streams:
            os.close(stream)
        control.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def load() -> None:
    """Import what most commands import; OPA's library is not among it, for it does not outlive a fork."""
    for command in ("audit", "doctor", "policy", "stack"):
        importlib.import_module(f"flowyml_policy.cli.{command}")
    for name in flowyml_policy.__all__:
        getattr(flowyml_policy, name)


def become(streams: Sequence[int], code: str, args: list[str], folder: str, environ: dict[str, str]) -> NoReturn:
    """Be what a shell would have started."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["-c", *args]
    sys.stdin, sys.stdout, sys.stderr = reopened(sys.stdin), reopened(sys.stdout), reopened(sys.stderr, buffering=1)
    exec(code, {"__name__": "__main__"})  # noqa: S102  this is what it is for
    sys.exit()


def reopened(stream: Any, buffering: int | None = None) -> Any:
    """A stream of Python anew, since it depends on whether it is a terminal's."""
    if buffering is None:
        buffering = 1 if stream.writable() and os.isatty(stream.fileno()) else -1
    return open(stream.fileno(), stream.mode, buffering, encoding=stream.encoding, errors=stream.errors, closefd=False)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
