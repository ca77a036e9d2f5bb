"""Programs of Debian's packages that tests run: started on this machine alone, and ended by their process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import pytest

_START: Final = 30.0
_END: Final = 20.0
_SHOWN: Final = 2000


def missing(reason: str) -> NoReturn:
    """Skip what cannot run here, with its reason; on a build machine that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and a build machine skips nothing", pytrace=False)
    pytest.skip(reason)


def need(*programs: str, root: bool = False) -> None:
    """Skip where one of `programs` is missing, or root's rights."""
    lacking = [program for program in programs if found(program) is None]
    if lacking:
        missing(f"{' and '.join(lacking)} is not installed")
    if root and os.geteuid() != 0:
        missing(f"{' and '.join(programs)} must be started by root")


def found(program: str) -> str | None:
    """Where a program is; daemons lie where not every user's PATH leads."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's (108 bytes); whatever is mounted in it is unmounted first."""
    folder = Path(tempfile.mkdtemp(prefix="fp-", dir="/tmp"))
    try:
        yield folder
    finally:
        for place in sorted(_mounted_below(folder), key=len, reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    arguments: Sequence[str | Path],
    log: Path,
    *,
    is_ready: Callable[[], bool],
    environ: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ready, ended with the block. What it prints goes to `log`."""
    program = found(str(arguments[0]))
    assert program is not None
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environ is None else dict(environ),
            start_new_session=True,
        )
    try:
        if not _waited(process, is_ready):
            last = log.read_text("utf-8", "replace")[-_SHOWN:]
            missing(f"{arguments[0]} does not start here: {last}")
        yield process
    finally:
        _end(process)


def _waited(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> bool:
    end = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            if is_ready():
                return True
        time.sleep(0.02)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and the session that it started, which is its own."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_END)


def _mounted_below(folder: Path) -> list[str]:
    table = Path("/proc/self/mountinfo")
    lines = table.read_text("utf-8").splitlines() if table.exists() else []
    places = (line.split()[4] for line in lines)
    return [place for place in places if place.startswith(f"{folder}/")]
