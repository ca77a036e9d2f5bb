"""The company's server for tests: the real program in a process of its own, on a free port of loopback."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import yaml
from typing_extensions import Self

from flowyml_policy.server.tokens import Tokens
from tests.opa_server import free_port

if TYPE_CHECKING:
    import trustme

START_SECONDS = 30


class Reply(NamedTuple):
    """What the server answered. The keys of `headers` are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.json["error"]["code"])


class Server:
    """`flowyml-policy server run` on a server.yaml in `folder`. It is ended by its own process id.

    `settings` stand beside `listen`, `data` and `tls`. With an `authority` it has a certificate of it, and its clients
    trust `ca`. It may be killed, stopped and started again: address, data and tokens stay.
    """

    def __init__(self, folder: Path, *, authority: trustme.CA | None = None, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "server.yaml"
        self.log = folder / "server.log"
        self.ca: Path | None = None
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        written: dict[str, Any] = {"listen": f"127.0.0.1:{self.port}", "data": str(self.data)}
        if authority is not None:
            written["tls"] = self._certificate(authority)
        self.url = f"{'http' if authority is None else 'https'}://127.0.0.1:{self.port}"
        self.config.write_text(yaml.safe_dump({**written, "bundles": {"require_signed": False}, **settings}))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", "flowyml_policy", "server", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ.copy()
            )
        until = time.monotonic() + START_SECONDS
        while b'"event": "started"' not in self.log.read_bytes()[seen:]:
            if self.process.poll() is not None or time.monotonic() > until:
                said = self.log.read_text()[seen:]
                self.kill()
                raise RuntimeError(said)
            time.sleep(0.02)
        return self

    def stop(self, seconds: float = 20) -> int:
        """Tell it to end, and wait; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged: requests, events, and what it told."""
        return [
            json.loads(line) if line.startswith("{") else {"told": line} for line in self.log.read_text().splitlines()
        ]

    def token(self, *scopes: str, name: str | None = None, lifetime: float | None = None) -> str:
        """A new token. A server that runs knows it after half a second: make it before, or `await_token` it."""
        with closing(Tokens(self.data / "server.db")) as tokens:
            return tokens.new(scopes, name=name, lifetime=lifetime)

    def revoke(self, which: str) -> None:
        """End the token with this name or number."""
        with closing(Tokens(self.data / "server.db")) as tokens:
            tokens.revoke(which)

    def await_token(self, token: str) -> str:
        """Wait until the server, which runs, knows a token."""
        until = time.monotonic() + 10
        while self.ask("GET", "/metrics", token=token).status == 401:
            assert time.monotonic() < until
            time.sleep(0.05)
        return token

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Reply:
        """One request, over a connection of its own."""
        request = Request(f"{self.url}{path}", data=body, headers=dict(headers or {}), method=method)  # noqa: S310
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        context = None if self.ca is None else ssl.create_default_context(cafile=str(self.ca))
        try:
            with urlopen(request, timeout=timeout, context=context) as answer:  # noqa: S310  loopback
                return Reply(answer.status, _lowered(answer.headers.items()), answer.read())
        except HTTPError as error:
            with error:
                return Reply(error.code, _lowered(error.headers.items()), error.read())

    def _certificate(self, authority: trustme.CA) -> dict[str, str]:
        issued = authority.issue_cert("127.0.0.1", "localhost")
        pair = {"certificate": "server.pem", "key": "server-key.pem"}
        issued.private_key_pem.write_to_path(str(self.folder / pair["key"]))
        for index, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(self.folder / pair["certificate"]), append=index > 0)
        self.ca = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        return pair


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
