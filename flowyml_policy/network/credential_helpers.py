"""The programs `docker-credential-...` that keep logins for Docker, by the protocol of docker-credential-helpers.

A helper gets `get` as its argument and the server on its standard input, and answers with a JSON document. It runs
without a shell, for a few seconds at most, and what it writes beyond some kilobytes is not read, nor what others write
to its output that it leaves behind, such as an agent.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flowyml_policy.mask.quoted import shown
from flowyml_policy.network.logins import AnyLogin, CredentialsUnusable, IdentityToken, Login

if TYPE_CHECKING:
    from subprocess import Popen

_SECONDS: Final = 10.0
_PAUSE: Final = 0.05
_LARGEST_ANSWER: Final = 1 << 16
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_NOT_FOUND: Final = b"credentials not found"
_IDENTITY_TOKEN: Final = "<token>"  # noqa: S105  the user name that says that the secret is one


@dataclass(frozen=True)
class CredentialHelper:
    """The helper `docker-credential-<name>`, and the server that it knows a login for, or not."""

    name: str
    server: str

    def login(self, environ: Mapping[str, str], seconds: float = _SECONDS) -> AnyLogin | None:
        """The login that the helper has, None where it has none. Raises CredentialsUnusable."""
        program = f"docker-credential-{self.name}"
        path = shutil.which(program, path=environ.get("PATH", os.defpath)) if _NAME.fullmatch(self.name) else None
        if path is None:
            raise self._unusable("is not installed")
        status, answer = self._run(path, environ, seconds)
        if status != 0 and answer.lstrip().startswith(_NOT_FOUND):
            return None
        if status != 0:
            raise self._unusable(f"failed with exit code {status}")
        try:
            found: Any = json.loads(answer)
            username, secret = found.get("Username") or "", found.get("Secret") or ""
        except (ValueError, RecursionError, AttributeError):
            raise self._unusable("gave no answer that can be read") from None  # the cause holds the answer
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._unusable("gave no answer that can be read")
        if not username or not secret:
            return None
        return IdentityToken(secret) if username == _IDENTITY_TOKEN else Login(username, secret)

    def _run(self, path: str, environ: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
        from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

        try:
            # A session of its own, so that what the helper itself started ends with it.
            process = Popen(
                [path, "get"], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=dict(environ), start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise self._unusable(f"cannot be started ({type(error).__name__})") from error
        until = time.monotonic() + seconds
        try:
            answer = _answer_of(process, self.server, until)
            if len(answer) > _LARGEST_ANSWER:
                raise self._unusable("gave too long an answer")
            return process.wait(max(until - time.monotonic(), 0.0)), answer
        except TimeoutExpired as error:
            raise self._unusable(f"gave no answer within {seconds:g} s") from error
        finally:
            _end(process)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    _ = pipe and pipe.close()

    def _unusable(self, why: str) -> CredentialsUnusable:
        return CredentialsUnusable(
            f"the credential helper docker-credential-{shown(self.name, 64)[1:-1]} {why}",
            "install or mend it, or take it out of Docker's config.json and log in again",
        )


def _answer_of(process: Popen[bytes], server: str, until: float) -> bytes:
    """What the helper writes before it ends, or until then by the clock, at most a byte more than counts."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    with suppress(OSError):  # one that does not read what it is asked may answer all the same
        process.stdin.write(server.encode())
        process.stdin.close()
    output, found = process.stdout.fileno(), b""
    ready = select.poll()
    ready.register(output, select.POLLIN)
    while len(found) <= _LARGEST_ANSWER and (left := until - time.monotonic()) > 0:
        has_ended = process.poll() is not None  # asked first: what it wrote is then there to be read
        if ready.poll(0 if has_ended else min(left, _PAUSE) * 1000):
            part = os.read(output, _LARGEST_ANSWER + 1 - len(found))
            if not part:
                break
            found += part
        elif has_ended:
            break
    return found


def _end(process: Popen[bytes]) -> None:
    """End the helper and what it started, unless it has ended and its id may be that of another."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
