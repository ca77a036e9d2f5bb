"""A real server of bundles for tests, on a free port of loopback: it can lie, refuse, go away and come back."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep

from typing_extensions import Self


@dataclass
class Request:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    status: int


@dataclass
class BundleServer:
    """Gives what `bundles` holds by path, with ETags. With `token` only to who shows it; `broken` fails every request.

    `hangs` lets requests wait for ever; `slow` says which paths are answered after how many seconds, and `redirects`
    which by a status and another address.
    """

    token: str | None = None
    context: ssl.SSLContext | None = None
    bundles: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    broken: int | None = None
    hangs: bool = False
    slow: dict[str, float] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{self.host}:{self.port}"

    @property
    def is_up(self) -> bool:
        return self._server is not None

    def put(self, name: str, bundle: bytes | Path) -> None:
        """Publish a bundle below /bundles."""
        self.bundles[f"/bundles/{name}"] = bundle.read_bytes() if isinstance(bundle, Path) else bundle

    def answer(self, path: str, headers: Message) -> tuple[int, bytes, str]:
        """Status, body and ETag."""
        if self.broken is not None or not self.is_up:
            return self.broken or 503, b"", ""
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, b"", ""
        if path in self.redirects:
            return self.redirects[path][0], b"", ""
        body = self.bundles.get(path, self.bundles.get(path.partition("?")[0]))
        if body is None:
            return 404, b"", ""
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        return (304, b"", tag) if tag in headers.get("If-None-Match", "") else (200, body, tag)

    def start(self) -> None:
        """Listen, on the same port as before."""
        server = ThreadingHTTPServer((self.host, self.port), _handler(self))
        server.daemon_threads = True
        server.block_on_close = False
        if self.context is not None:
            server.socket = self.context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = server.socket.getsockname()[1]
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away: connections are refused until the next `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def _handler(owner: BundleServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the standard library's name
            if owner.hangs:
                threading.Event().wait(60)
            sleep(owner.slow.get(self.path, 0))
            status, body, tag = owner.answer(self.path, self.headers)
            owner.requests.append(Request(self.path, dict(self.headers), status))
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            if self.path in owner.redirects:
                self.send_header("Location", owner.redirects[self.path][1])
            self.send_header("Content-Type", "application/gzip")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    return Handler


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
