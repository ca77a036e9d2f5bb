"""A real OPA server for tests, on a free port of loopback: the library's own, or another program's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from typing_extensions import Self

START_SECONDS = 30

LIBRARY: Final = (sys.executable, "-m", "flowyml_policy.opa")
"""The program that is `opa` from the same library as the evaluators."""


class OpaServer:
    """`opa run --server` with this configuration. It is ended by its own process id."""

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: Path,
        arguments: Sequence[str] = (),
        *,
        scheme: str = "http",
        log_level: str = "error",
        program: Sequence[str] = LIBRARY,
    ) -> None:
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        file = folder / f"opa-{self.port}.json"
        file.write_text(json.dumps(config))
        self.log = folder / f"opa-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*program, "run", "--server", "--skip-version-check", "--log-level", log_level),
                    *("--addr", f"127.0.0.1:{self.port}", "--config-file", str(file), *arguments),
                ],
                cwd=folder,  # where OPA keeps copies, unless it is told
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "GOGC": "400"},
            )

    def await_listening(self) -> Self:
        """Wait until it takes connections, whether or not its bundles are active."""
        until = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.02)

    def await_ready(self) -> Self:
        """Wait until its bundles are active; for a server that takes plain http from anybody."""
        self.await_listening()
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            with suppress(HTTPError, URLError), urlopen(f"{self.url}/health?bundles", timeout=5):  # noqa: S310
                return self
            time.sleep(0.02)
        raise RuntimeError(self.log.read_text())

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
