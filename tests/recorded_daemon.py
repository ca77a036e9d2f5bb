"""A daemon whose answers are written as the documentation of Docker's API 1.55 shows them, or as none should be."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

DOCKER: Final = {"ApiVersion": "1.55", "MinAPIVersion": "1.44", "Components": [{"Name": "Engine", "Version": "29.4.0"}]}
"""`GET /version` of a Docker of 2026, as far as it matters."""


NAME = "registry.example.com/team/app:1"
REPOSITORY = "registry.example.com/team/app"
INDEX = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
LAYER = "sha256:" + "a" * 64


def image(**changed: Any) -> dict[str, Any]:
    """What Docker 29 says of an image that it keeps by its index, and that sets little."""
    said = {
        "Id": INDEX,
        "RepoTags": [NAME],
        "RepoDigests": [f"{REPOSITORY}@{INDEX}"],
        "Created": "2026-01-02T03:04:05.123456789Z",
        "Config": {"Env": ["PATH=/bin"], "Labels": {"team": "ml"}},
        "Architecture": "arm64",
        "Variant": "v8",
        "Os": "linux",
        "Size": 1234,
        "RootFS": {"Type": "layers", "Layers": [LAYER]},
        "Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": INDEX, "size": 855},
        "Identity": {"Pull": [{"Repository": REPOSITORY}]},
    }
    return {key: value for key, value in (said | changed).items() if value is not ...}


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's `version` and `images`, or leaves it to its `misbehave`, which says whether it did."""

    protocol_version = "HTTP/1.1"
    server: RecordedDaemon

    def log_message(self, *_: object) -> None: ...

    def address_string(self) -> str:
        return "a unix socket"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        if self.server.misbehave is not None and self.server.misbehave(self):
            return
        if self.path == "/version":
            self.reply(200, self.server.version)
            return
        found = re.fullmatch(r"/v([0-9.]+)/images/(.*)/json", self.path)
        assert found, self.path
        assert found[1] == self.server.version["ApiVersion"]
        name = unquote(found[2])
        image = self.server.images.get(name)
        self.reply(*((404, {"message": f"No such image: {name}"}) if image is None else (200, image)))

    def reply(self, status: int, body: object, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | given).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class RecordedDaemon(ThreadingHTTPServer):
    """A daemon at `url`. `images` are its answers by the name that is asked for, `requests` paths and headers."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, place: Path | tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.version: Any = dict(DOCKER)
        self.images: dict[str, Any] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.misbehave: Callable[[Handler], bool] | None = None
        self.ended = threading.Event()
        self.tls = tls
        if isinstance(place, Path):
            self.address_family = socket.AF_UNIX
        super().__init__(str(place) if isinstance(place, Path) else place, Handler)  # type: ignore[arg-type]
        self.url = f"unix://{place}" if isinstance(place, Path) else f"tcp://127.0.0.1:{self.server_address[1]}"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own wants a host's name

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls is not None:
            connection.settimeout(5)
            connection = self.tls.wrap_socket(connection, server_side=True)
        return connection, address

    def handle_error(self, *_: object) -> None:
        """What a client broke off is no news."""


@contextmanager
def recorded(place: Path | tuple[str, int], tls: ssl.SSLContext | None = None) -> Iterator[RecordedDaemon]:
    server = RecordedDaemon(place, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's, 108 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="fp-", dir="/tmp") as folder:
        yield Path(folder)
