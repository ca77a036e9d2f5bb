"""The process that judges apart: one policy, asked by frames over the socket that it was started with.

Rules:
- It ends when the other end of its socket closes, whatever it is doing: a thread watches for nothing else.
- It limits its own memory before it loads anything, and is the first that a kernel short of memory ends.
- Its standard output is nowhere, and nothing that policy prints can reach the socket.
- Only the standard library and what `loading` needs is imported: its start is part of a command's.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from typing import NoReturn

from flowyml_policy.errors.opa import OpaEvaluationFailed
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.opa import frames
from flowyml_policy.opa.activation import SeenSequences
from flowyml_policy.opa.discovery import DiscoveredPolicy, load_policy
from flowyml_policy.opa.library import load
from flowyml_policy.opa.limits import limit_memory
from flowyml_policy.opa.loading import LoadedPolicy, PolicySource


def main() -> NoReturn:
    """Serve: the arguments are the number of the socket, the bytes of memory, and the number of the board."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch(connection)
    is_limited = limit_memory(int(sys.argv[2]))
    with suppress(frames.Gone):
        _serve(connection, int(sys.argv[3]), is_limited=is_limited)
    os._exit(0)  # without waiting for OPA's threads


def _watch(connection: socket.socket) -> None:
    """End this process when the other end closes, also in the middle of a call that does not end."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP)

    def wait() -> None:
        poll.poll()
        if tempfile.tempdir is not None:  # who would remove it is gone
            shutil.rmtree(tempfile.tempdir, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, name="flowyml-policy-parent", daemon=True).start()


def _serve(connection: socket.socket, board: int, *, is_limited: bool) -> None:
    """Answer every frame by one. The first starts the policy."""
    tempfile.tempdir = tempfile.mkdtemp(prefix="flowyml-policy-")  # removed by the other process, come what may
    frames.send(connection, frames.READY, os.fsencode(tempfile.tempdir))
    policy: LoadedPolicy | DiscoveredPolicy | None = None
    while True:
        kind, payload = frames.receive(connection)
        answer = b""
        try:
            if policy is None:
                source = PolicySource.decode(payload)
                seen = SeenSequences(source.remote.sequences)
                policy = load_policy(source, load(is_limited=is_limited), board=board, sequences=seen)
                told = {"digest": policy.digest, "opa_version": policy.opa_version, "described": policy.describe()}
                answer = json.dumps(told).encode()
            else:
                answer = _answer(policy, kind, payload)
            frames.send(connection, frames.ANSWER, answer)
        except frames.Gone:
            raise
        except FlowymlPolicyError as error:
            frames.send(connection, frames.ERROR, frames.encode_error(error))
        except Exception as error:  # noqa: BLE001  whatever it is, the other process must be told
            failed = OpaEvaluationFailed(f"judging apart failed: {type(error).__name__}: {error}")
            frames.send(connection, frames.ERROR, frames.encode_error(failed))


def _answer(policy: LoadedPolicy | DiscoveredPolicy, kind: bytes, payload: bytes) -> bytes:
    if kind == frames.DECIDE:
        return policy.decide(None, payload)
    if kind == frames.QUERY:
        return policy.decide(*frames.decode_query(payload))
    if kind == frames.DESCRIBE:
        return json.dumps(policy.describe()).encode()
    if kind == frames.GLOBS:
        return json.dumps(policy.check_globs(json.loads(payload))).encode()
    raise frames.Garbled(repr(kind))


if __name__ == "__main__":
    main()
