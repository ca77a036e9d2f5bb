"""The user's own git, run so that it neither asks, nor stays, nor runs what a repository or an address names.

Rules:
- Git's own configuration, proxies, credential helpers and ssh keys are the user's and are used as they are.
- Nothing prompts: no terminal (a session of its own), no askpass program, no window of a credential manager.
- Only the transports of one address's scheme may be used; hooks, file system monitors, submodules and background
  maintenance are off; variables that point git at another repository are taken out.
- A command ends with its deadline, with all the processes that it started, and so does one that says too much.
- `GitFailed` stays inside this package; `failures` makes the errors from it.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from flowyml_policy.errors.sources import SourceUnreachable
from flowyml_policy.sources.source import FetchDeadline

_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.recurseSubmodules=no",
    "fetch.writeCommitGraph=false",
    "transfer.bundleURI=false",
    "credential.interactive=false",
    "protocol.version=2",
    "advice.detachedHead=false",
)
_TAKEN_OUT: Final = (
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_TEMPLATE_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_PROTOCOL_FROM_USER",
    "GIT_CURL_VERBOSE",
    "SSH_ASKPASS",
    "LANGUAGE",
)
_FIXED: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
_BLOCK: Final = 512
_CHUNK: Final = 65536
_ERROR_TEXT: Final = 65536
_PAUSE: Final = 0.02
_OUTPUT: Final = 4 << 20


class GitFailed(Exception):
    """Git ended with an error, or said more than it was to (`too_much`). `text` is what it wrote to stderr."""

    def __init__(self, text: str, *, too_much: bool = False) -> None:
        self.text = text
        self.too_much = too_much
        super().__init__(text)


def run_git(
    arguments: Sequence[str],
    *,
    repository: Path,
    deadline: FetchDeadline,
    transports: str = "",
    stdin: bytes = b"",
    most: int = _OUTPUT,
    largest_file: int | None = None,
) -> bytes:
    """What git writes to stdout, at most `most` bytes.

    `transports` are those it may use, none by default. `stdin` must fit into a pipe (64 KiB). `largest_file`
    bounds every file that it writes. Raises GitFailed, or SourceUnreachable when time is over or git is missing.
    """
    git = shutil.which("git")
    if git is None:
        raise SourceUnreachable(
            "git is needed for this source, and there is none on PATH", advice="install git 2.29 or newer"
        )
    command = [git, f"--git-dir={repository}"]
    for setting in _SETTINGS:
        command += ["-c", setting]
    command += arguments
    if largest_file is not None:
        # The shell only lowers its own limit and becomes git; what git is given are arguments, never text.
        command = ["/bin/sh", "-c", 'ulimit -f "$0" 2>/dev/null; exec "$@"', str(largest_file // _BLOCK), *command]
    process = _started(command, repository, transports)
    with process:
        try:
            output, text, too_much = _conversation(process, stdin, deadline, most)
        except BaseException:
            _end(process)
            raise
        if too_much:
            _end(process)
        try:
            code = process.wait(deadline.remaining())
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise deadline.passed() from error
    if code or too_much:
        raise GitFailed(text.decode(errors="replace"), too_much=too_much)
    return output


def _started(command: Sequence[str], repository: Path, transports: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if _is_kept(name)}
    environment |= _FIXED | {"GIT_ALLOW_PROTOCOL": transports or "none"}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=repository if repository.is_dir() else repository.parent,
        env=environment,
        start_new_session=True,
    )


def _is_kept(name: str) -> bool:
    return name not in _TAKEN_OUT and not name.startswith("GIT_TRACE")


def _conversation(
    process: subprocess.Popen[bytes], stdin: bytes, deadline: FetchDeadline, most: int
) -> tuple[bytes, bytes, bool]:
    """Stdout and stderr of the process, and whether it was stopped because of too much on stdout."""
    source, output, text = _pipe(process.stdin), _pipe(process.stdout), _pipe(process.stderr)
    with suppress(BrokenPipeError):
        source.write(stdin)
        source.flush()
    with suppress(BrokenPipeError):
        source.close()
    parts = {output: bytearray(), text: bytearray()}
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(text, selectors.EVENT_READ)
        # Stderr may stay open after git: an ssh connection that is kept for the next time has it too.
        while output in selector.get_map() or (selector.get_map() and process.poll() is None):
            waited = deadline.remaining() if output in selector.get_map() else min(_PAUSE, deadline.remaining())
            for key, _ in selector.select(waited):
                pipe = output if key.fileobj is output else text
                data = os.read(pipe.fileno(), _CHUNK)
                if not data:
                    selector.unregister(pipe)
                elif pipe is output or len(parts[text]) < _ERROR_TEXT:
                    parts[pipe] += data
                if len(parts[output]) > most:
                    return b"", bytes(parts[text]), True
        if selector.get_map() and selector.select(0):
            parts[text] += os.read(text.fileno(), _CHUNK)
    return bytes(parts[output]), bytes(parts[text]), False


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("every stream of git is a pipe")
    return stream


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill git and whatever it started: its transports are processes of their own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
