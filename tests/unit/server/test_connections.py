"""What hostile, slow and broken clients send: the server refuses it, and goes on serving others."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowyml_policy.records.instant import utc_now
from flowyml_policy.server.status import Statuses
from flowyml_policy.server.tokens import Tokens

UNSIGNED = "bundles: {require_signed: false}\n"


class Started(NamedTuple):
    """A server that runs, and the lines that it wrote so far."""

    process: subprocess.Popen[str]
    port: int
    folder: Path

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines() if line.startswith("{")]

    def ask(self, request: bytes, *, seconds: float = 10.0) -> bytes:
        """Send bytes; answer all that comes until the server closes, or nothing comes any more."""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as connection:
            connection.sendall(request)
            return received(connection)

    def status(self, request: bytes) -> int:
        return int(self.ask(request).split()[1])

    def new_token(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "flowyml_policy", "server", "token", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()


def received(connection: socket.socket) -> bytes:
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except (TimeoutError, ConnectionError):
        pass
    return data


@contextmanager
def started(folder: Path, settings: str, *, port: int = 0) -> Iterator[Started]:
    (folder / "server.yaml").write_text(f"listen: 127.0.0.1:{port}\n" + settings)
    command = [sys.executable, "-m", "flowyml_policy", "server", "run"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stderr=log, text=True) as process:
        try:
            yield Started(process, port_of(process, folder / "log"), folder)
        finally:
            process.kill()


def port_of(process: subprocess.Popen[str], log: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"started"' in line:
                return int(json.loads(line)["address"].rpartition(":")[2])
        time.sleep(0.02)
    pytest.fail(f"the server did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    limits = "limits: {header_timeout: 500ms, body_timeout: 500ms, body: 1MiB, failures_per_minute: 100}\n"
    with started(tmp_path_factory.mktemp("server"), UNSIGNED + limits) as running:
        yield running


@pytest.fixture(scope="module")
def bearer(server: Started) -> bytes:
    """The header of a token that the server knows."""
    with closing(Tokens(server.folder / "server" / "server.db")) as tokens:
        secret = tokens.new(["logs:write", "operator"], name="fleet")
    header = b"Authorization: Bearer " + secret.encode() + b"\r\n"
    deadline = time.monotonic() + 10
    while server.status(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n") == 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return header


GET = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def is_well(server: Started) -> bool:
    return server.status(GET + b"\r\n") == 200


HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"
ODD = {
    "both lengths": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a signed length": HEAD + b"Content-Length: +1\r\n\r\na",
    "a list of lengths": HEAD + b"Content-Length: 1,1\r\n\r\na",
    "a chunk without size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a blank before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": HEAD + b" folded: y\r\n\r\n",
    "NUL in a name": HEAD + b"A\x00B: y\r\n\r\n",
    "a blank in the path": b"GET /hea lth HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    "TLS to a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a large header": HEAD + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": HEAD + b"".join(b"A%d: x\r\n" % number for number in range(9000)) + b"\r\n",
    "a long path": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", ODD.values(), ids=ODD)
def test_request_of_another_form_is_refused(server: Started, request_: bytes) -> None:
    """A request that a proxy and this server could read differently is answered by nobody."""
    answer = server.ask(request_ + GET + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert is_well(server)


def test_what_stands_behind_a_body_is_no_header(server: Started, bearer: bytes) -> None:
    """A proxy checks the head alone, and passes trailers on."""
    head = b"POST /logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    body = b"2\r\n[]\r\n0\r\n"
    assert server.status(head + b"\r\n" + body + bearer + b"\r\n") == 401
    assert server.status(head + bearer + b"\r\n" + body + b"Content-Encoding: br\r\n\r\n") == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/metrics", 401),
        (b"//metrics", 404),
        (b"/metrics/", 404),
        (b"/METRICS", 404),
        (b"/%6detrics", 401),
        (b"/x/../metrics", 404),
        (b"/health/../metrics", 404),
        (b"/health%2f..%2fmetrics", 404),
        (b"/health?/metrics", 200),
        (b"http://x/metrics", 401),
        (b"*", 404),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_operation_counts_and_not_the_spelling_of_its_path(
    server: Started, method: bytes, path: bytes, status: int
) -> None:
    request_ = method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert server.status(request_) in {status, 400 if path == b"*" else status}


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nA: b"])
def test_head_that_does_not_come_ends_the_connection(server: Started, begun: bytes) -> None:
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(begun)
        assert received(connection) == b""
    assert 0.3 < time.monotonic() - start < 8


def test_head_that_drips_is_no_way_round(server: Started) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        sent = 0
        with suppress(ConnectionError):
            while sent < 80:
                connection.sendall(b"A%d: x\r\n" % sent if sent else b"GET /health HTTP/1.1\r\n")
                sent += 1
                time.sleep(0.1)
    assert sent < 80


def test_second_request_of_a_connection_must_come_in_time_too(server: Started) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = connection.recv(65536)
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        assert received(connection) == b""


@pytest.mark.parametrize(
    ("asked", "drip"), [(GET, b"\r\n"), (HEAD + b"Content-Length: 1000000\r\n", b"x")], ids=["blank lines", "a body"]
)
def test_connection_is_not_kept_by_what_is_no_request(server: Started, asked: bytes, drip: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(asked.replace(b"Connection: close\r\n", b"") + b"\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 40:
                time.sleep(0.1)
                connection.sendall(drip)
                sent += 1
    assert sent < 40


def test_answer_that_nobody_takes_ends_the_connection(server: Started, bearer: bytes) -> None:
    said = {"code": "x", "message": "x" * 500, "errors": ["x" * 500] * 5}
    with closing(Statuses(server.folder / "server" / "server.db")) as statuses:
        for number in range(14):
            report = {"labels": {"id": str(number)}, "bundles": {f"b{index}": said for index in range(100)}}
            statuses.take(json.dumps(report).encode(), token="fleet", at=utc_now())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", server.port))
        asked = b"GET /clients HTTP/1.1\r\nHost: x\r\n" + bearer + b"\r\n"
        connection.sendall(asked)
        time.sleep(2)
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(answer) < int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def resident(server: Started) -> int:
    """Bytes of memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_body_that_is_too_large_or_too_slow_is_refused_and_not_kept(server: Started, bearer: bytes) -> None:
    head = b"POST /logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + bearer
    before = resident(server)
    assert server.status(head + b"Content-Length: 1073741824\r\n\r\n[") == 413
    part = b"40000\r\n" + bytes(0x40000) + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):  # refused long before the end
            for _ in range(1 << 12):
                connection.sendall(part)
        assert received(connection)[:13] in {b"HTTP/1.1 413 ", b""}
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(head + b"Content-Length: 1000\r\n\r\n")
        for _ in range(3):
            connection.sendall(b"[")
            time.sleep(0.1)
        assert received(connection).startswith(b"HTTP/1.1 408 ")
    assert 413 in {line["status"] for line in server.log() if line.get("path") == "/logs"}
    assert resident(server) - before < 16 << 20


def test_posts_that_wait_for_the_file_keep_nobody_waiting(server: Started, bearer: bytes) -> None:
    head = b"POST /logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + bearer
    with closing(sqlite3.connect(server.folder / "server" / "server.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        posts = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(40)]
        for number, post in enumerate(posts):
            post.sendall(head + b'Content-Length: 14\r\n\r\n[{"a": %05d}]' % (10_000 + number))
        time.sleep(0.5)
        begun = time.monotonic()
        assert is_well(server)
        assert time.monotonic() - begun < 3
        other.execute("ROLLBACK")
    for post in posts:
        with post:
            assert received(post).startswith(b"HTTP/1.1 200 ")


def test_address_behind_a_proxy_is_the_one_that_the_proxy_added(tmp_path: Path) -> None:
    """Before it stands what the client itself sent: wrong tokens would be counted for nobody."""
    settings = UNSIGNED + "behind_proxy: true\nlimits: {failures_per_minute: 2}\n"
    with started(tmp_path, settings) as server:

        def wrong(said: str) -> int:
            return server.status(GET + f"Authorization: Bearer x\r\nX-Forwarded-For: {said}\r\n\r\n".encode())

        assert [wrong(f"192.0.2.{number}, 10.0.0.9") for number in range(3)] == [401, 401, 429]
        assert wrong("10.0.0.9, 10.0.0.10") == 401
        assert [line["client"] for line in server.log() if "client" in line] == ["10.0.0.9"] * 3 + ["10.0.0.10"]


def test_many_slow_clients_keep_nobody_out(server: Started) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
    assert is_well(server)
    for connection in slow:
        connection.close()


def test_secret_never_reaches_the_log(server: Started) -> None:
    server.ask(GET + b"Authorization: Bearer fps_abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq\r\n\r\n")
    server.ask(
        b"GET /fps_abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq?token=hunter22 HTTP/1.1\r\nHost: x\r\n"
        b"Connection: close\r\n\r\n"
    )
    text = (server.folder / "log").read_text()
    assert "fps_" not in text
    assert "hunter22" not in text


def test_token_that_is_revoked_ends_within_a_second(server: Started) -> None:
    secret = server.new_token("new", "--scope", "operator", "--name", "ops")
    asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + secret.encode()
    deadline = time.monotonic() + 10
    while server.status(asked + b"\r\n\r\n") == 401 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert b"flowyml_policy_requests_total" in server.ask(asked + b"\r\n\r\n")
    server.new_token("revoke", "ops")
    revoked = time.monotonic()
    while server.status(asked + b"\r\n\r\n") == 200:
        assert time.monotonic() - revoked < 5
        time.sleep(0.02)


def test_stop_ends_with_the_exit_of_its_signal(tmp_path: Path) -> None:
    with started(tmp_path, UNSIGNED) as server:
        assert is_well(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_address_or_folder_that_is_taken_is_told(tmp_path: Path) -> None:
    with started(tmp_path, UNSIGNED) as server:
        command = [sys.executable, "-m", "flowyml_policy", "server", "run"]
        told = f"error: the server cannot listen at 127.0.0.1:{server.port}"
        for more, said in (
            ("data: other\n", told),
            ("", f"error: another server runs on this folder: {tmp_path}/server"),
        ):
            (tmp_path / "server.yaml").write_text(f"listen: 127.0.0.1:{server.port}\n{more}{UNSIGNED}")
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stdout) == (3, "")
            assert said in done.stderr
        assert is_well(server)
