"""Real repositories and servers, on this machine alone: each on a port of its own, ended with its test."""

from __future__ import annotations

import base64
import gzip
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.storage.cache import ContentCache


@pytest.fixture(autouse=True)
def git_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's git settings: a file of the test's own, and no others of this machine."""
    file = tmp_path / "gitconfig"
    file.write_text("[user]\n  name = Tester\n  email = tester@example.com\n[init]\n  defaultBranch = main\n")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return file


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


@dataclass
class Repository:
    """A repository with a work tree, as its authors have it."""

    folder: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def commit(self, files: dict[str, bytes] | None = None) -> str:
        for path, data in (files or {}).items():
            self.write(path, data)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change")
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository on the branch `main`."""
    made = Repository(tmp_path / "served" / "stacks")
    made.folder.mkdir(parents=True)
    made.git("init", "--quiet")
    return made


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the server's `answer`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        self.close_connection = True
        self.server.answer(self)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; header names are written with underscores, a null length leaves it out."""
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | given).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A server on loopback. `requests` are the paths and headers of all it was asked, `ended` is set at its end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[Handler], None] = lambda handler: handler.reply(404)
        self.ended = threading.Event()
        self.scheme = "http" if tls is None else "https"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str = "/stack.yaml", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are what is tested."""


StartServer = Callable[..., Server]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers; they end with the test."""
    servers: list[tuple[Server, threading.Thread]] = []

    def start(tls: ssl.SSLContext | None = None, port: int = 0) -> Server:
        server = Server(tls, port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Authority:
    """A company's own CA: the file that clients are given, and what its server speaks TLS with."""

    file: Path
    server: ssl.SSLContext


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    ca = trustme.CA()
    file = tmp_path / "company-ca.pem"
    ca.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Authority(file, context)


@dataclass
class GitHost:
    """`git http-backend` behind the server, for all repositories of `root`.

    `password` is asked for where it is set (user `robot`); `status` is answered to everything where it is set;
    `old` speaks the protocol before version 2, in which commits are not given by their id. `fetches` counts what
    was asked for beyond lists of refs.
    """

    root: Path
    server: Server
    password: str | None = None
    status: int | None = None
    old: bool = False
    fetches: list[str] = field(default_factory=list)

    def url(self, name: str = "stacks") -> str:
        return self.server.url(f"/{name}")

    def answer(self, handler: Handler) -> None:
        given = handler.headers.get("Authorization", "")
        wanted = "Basic " + base64.b64encode(f"robot:{self.password}".encode()).decode()
        body = self._body(handler)
        said = gzip.decompress(body) if handler.headers.get("Content-Encoding") == "gzip" else body
        if self.status is not None:
            handler.reply(self.status)
        elif self.password is not None and given != wanted:
            handler.reply(401, WWW_Authenticate='Basic realm="git"')
        else:
            if b"want " in said:
                self.fetches.append(handler.path)
            self._run(handler, body)

    @staticmethod
    def _body(handler: Handler) -> bytes:
        if handler.headers.get("Transfer-Encoding") != "chunked":
            return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return body

    def _run(self, handler: Handler, body: bytes) -> None:
        path, _, query = handler.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": handler.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        if not self.old:
            environment["GIT_PROTOCOL"] = handler.headers.get("Git-Protocol", "")
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split(" ")[0])
        handler.reply(status, content, **headers)


@pytest.fixture
def git_host(repository: Repository, start_server: StartServer) -> GitHost:
    """A host that serves `repository` as /stacks."""
    server = start_server()
    host = GitHost(repository.folder.parent, server)
    server.answer = host.answer
    return host
