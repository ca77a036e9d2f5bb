"""Runs the whole program as a process, in a folder of its own, and compares what it said with what is kept.

Kept screens are rewritten with `FLOWYML_POLICY_GOLDEN=write pytest tests/cli`; read the diff before you commit
it. What differs from run to run is replaced by zeros of the same length, so that columns stay where they are.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import IO, Final

import pytest

from flowyml_policy.system.actor import current_actor
from tests.forked import forking, launcher
from tests.pycache import COMPILED

REPOSITORY: Final = Path(__file__).parents[2]
SCRIPT: Final = "from flowyml_policy.cli import script; script()"
WRITE: Final = os.environ.get("FLOWYML_POLICY_GOLDEN") == "write"

_VOLATILE: Final = (
    re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),  # ids
    re.compile(r"\b[0-9a-f]{64}\b"),  # digests and hashes
    re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?)?(?= \(UTC\)| UTC|Z)"),  # instants, days
    re.compile(r"(?<= )\d\d:\d\d:\d\d(?= )"),  # times of a day
    re.compile(r"(?<=/tmp/flowyml-)\w{8}"),  # this run's folder
    re.compile(r'(?<="embedded","version":")[^"]*'),
    re.compile(r"(?<=OPA )\d+\.\d+\.\d+"),
    re.compile(r"(?<=\+)[0-9a-f]{16}\b"),  # the shipped policy's revision
)
_ACTOR: Final = re.compile(r"^(by +)[^,\n]+", re.MULTILINE)
_USER: Final = re.compile(rf"(?<=\bby ){re.escape(current_actor().name)}\b")
_MACHINE: Final = re.compile(
    r"^((?:\x1b\[\d+m)?ok(?:\x1b\[0m)? +(?:python|package|opa|flowyml) +)\S.*(?:\n {17}.*)*", re.MULTILINE
)
"""Lines of the doctor that tell of this machine."""


@dataclass(frozen=True)
class Ran:
    """What a run of the program came to, as it was; `str` of it is what is kept of it, the same on every run."""

    exit_code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return _steady(f"exit {self.exit_code}\n--- stdout\n{self.stdout}--- stderr\n{self.stderr}")


@dataclass(frozen=True)
class Program:
    """The program in the folder `here`, as a user's shell would start it."""

    here: Path

    def run(
        self, *args: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None, timeout: float = 120
    ) -> Ran:
        """Run the program to its end; no stream is a terminal."""
        code, stdout, stderr = forking().run(
            SCRIPT, args, folder=self.here, environ={**self.environ, **(environ or {})}, stdin=stdin, timeout=timeout
        )
        return Ran(code, stdout.decode(), stderr.decode())

    def start(
        self,
        *args: str,
        environ: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] = subprocess.PIPE,
        redirections: str = "",
    ) -> subprocess.Popen[bytes]:
        """The program in a Python of its own: standard input and error are pipes, and so is the output unless given.

        `redirections` are a shell's, `2>&-` for example.
        """
        return subprocess.Popen(
            [*launcher(), "sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", SCRIPT, *args],
            cwd=self.here,
            env={**self.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def on_terminal(self, *args: str, columns: int = 80, environ: Mapping[str, str] | None = None) -> Ran:
        """As `run`, on a terminal of its own; what it shows, colours included, is `stdout`."""
        leader, follower = pty.openpty()
        ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {**self.environ, "TERM": "xterm-256color", **(environ or {})}
        forking().start(SCRIPT, args, folder=self.here, environ=environ, streams=[follower] * 3)
        os.close(follower)
        shown = b"".join(_read(leader))
        os.close(leader)
        return Ran(forking().exit_code(60), shown.decode().replace("\r\n", "\n"), "")

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.here / ".home"),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
            "USER": "somebody",
            "LOGNAME": "somebody",
            **COMPILED,
        }


@pytest.fixture
def program() -> Iterator[Program]:
    """The program in an empty folder whose path is always equally long."""
    here = Path(tempfile.mkdtemp(prefix="flowyml-", dir="/tmp"))
    yield Program(here)
    for folder, names, _ in os.walk(here):
        for name in names:
            (Path(folder) / name).chmod(0o700)
    shutil.rmtree(here)


@pytest.fixture
def examples(program: Program) -> Program:
    """The program in a copy of this repository's example project."""
    copy_examples(program.here)
    return program


def copy_examples(folder: Path) -> None:
    shutil.copytree(REPOSITORY / "stacks", folder / "stacks")
    shutil.copy(REPOSITORY / "flowyml.yaml", folder)


@pytest.fixture
def kept() -> Callable[[Path, str], None]:
    """Compares what was said with what is kept in a file; or, when asked to, keeps it."""

    def compare(file: Path, said: str) -> None:
        if WRITE:
            file.parent.mkdir(exist_ok=True)
            file.write_text(said, encoding="utf-8")
        assert said == file.read_text(encoding="utf-8"), f"differs from {file.relative_to(REPOSITORY)}"

    return compare


def _steady(text: str) -> str:
    for volatile in _VOLATILE:
        text = volatile.sub(lambda match: re.sub(r"\w", "0", match.group()), text)
    text = re.sub(r"\b\d+\.\d{3} ms", "0.000 ms", text)
    text = _USER.sub("somebody", text)
    return _ACTOR.sub(r"\1somebody", _MACHINE.sub(r"\1...", text))


def _read(leader: int) -> Iterator[bytes]:
    while select.select([leader], [], [], 60)[0]:
        try:
            data = os.read(leader, 65536)
        except OSError:  # Linux says EIO when the last writer closes
            return
        if not data:
            return
        yield data
