"""Publishing to a server: one PUT, to that server alone, and what its answers mean."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.bundles.publication import Published
from flowyml_policy.bundles.server import put_bundle
from flowyml_policy.errors.bundles import (
    BundleAccessDenied,
    BundleError,
    BundleMissing,
    BundleUnreachable,
    BundleUnreadable,
    PushRefused,
)
from flowyml_policy.errors.root import UsageError
from tests.oci_registry import digest_of
from tests.unit.bundles.archives import archive

TOKEN = "t0ken-of-the-test"


class Server(ThreadingHTTPServer):
    """Answers every request with `status`, `body` and `headers`; `asked` are what it was sent."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status, self.body, self.headers = 201, b"", {"X-Of": "the tests"}

    @property
    def bundle(self) -> str:
        return f"{self.url}/bundles/company"

    def handle_error(self, *_: object) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        for name, value in ({"Content-Length": str(len(self.server.body))} | self.server.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(tls) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return archive(tmp_path / "b.tar.gz", 7)


Put = Callable[..., Published]


@pytest.fixture(name="put")
def _put(server: Server, file: Path) -> Put:
    def put(url: str | None = None, **more: Any) -> Published:
        return put_bundle(file, url or server.bundle, **{"environ": {"TOKEN": f"{TOKEN}\n"}, **more})

    return put


@pytest.mark.parametrize("status", [200, 201])
def test_archive_is_put_as_it_is(server: Server, put: Put, file: Path, status: int) -> None:
    server.status = status
    published = put(token_env="TOKEN")
    ((method, path, headers, body),) = server.asked
    assert (method, path, body) == ("PUT", "/bundles/company", file.read_bytes())
    assert (headers["authorization"], headers["content-type"]) == (f"Bearer {TOKEN}", "application/gzip")
    assert published == Published(server.bundle, "1.0.0+19", 7, None, digest_of(body), None, changed=status == 201)


def test_no_token_is_sent_that_is_not_named(server: Server, put: Put, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password secret")
    put(environ={"HOME": str(tmp_path), "TOKEN": TOKEN})
    assert "authorization" not in server.asked[0][2]


def test_server_with_a_private_ca(put: Put, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(context) as server:
        assert put(server.bundle, ca=tmp_path / "ca.pem").changed
        with pytest.raises(BundleUnreachable, match=r"not trusted .*; name the server's CA certificates with --ca"):
            put(server.bundle)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "leaf"),
    [
        (400, PushRefused),
        (409, PushRefused),
        (412, PushRefused),
        (422, PushRefused),
        (401, BundleAccessDenied),
        (403, BundleAccessDenied),
        (404, BundleMissing),
        (429, BundleUnreachable),
        (500, BundleUnreachable),
        (204, BundleUnreachable),
    ],
)
def test_answer_of_the_server_has_its_error(server: Server, put: Put, status: int, leaf: type[BundleError]) -> None:
    server.status = status
    error = {"code": "sequence_not_higher", "message": "7 is active; password=hunter2hunter2"}
    server.body = b"" if status == 204 else json.dumps({"error": error}).encode()
    with pytest.raises(leaf) as caught:
        put(token_env="TOKEN")
    assert type(caught.value) is leaf
    reason = "" if status == 204 else ", sequence_not_higher: 7 is active; password=masked:assigned_secret"
    assert caught.value.message.startswith(f"the server answered {status}{reason}")
    assert caught.value.message.endswith(f": {server.bundle}")
    assert "hunter2" not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"error": 1}', b'{"error": {"code": 1}}', b"{" * 100_000])
def test_reason_that_is_none_is_left_out(server: Server, put: Put, body: bytes) -> None:
    server.status, server.body = 409, body
    with pytest.raises(PushRefused) as caught:
        put()
    assert caught.value.message == f"the server answered 409: {server.bundle}"


def test_redirect_is_not_followed(server: Server, put: Put) -> None:
    with serving() as other:
        server.status, server.headers = 307, {"Location": other.bundle}
        with pytest.raises(BundleUnreachable, match=r"answered 307: .*no redirect is followed"):
            put(token_env="TOKEN")
        assert other.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/bundles/company",
        "http://example.com/bundles/company",
        "https://user:hunter2@example.com/bundles/company",
        "https://example.com/company",
        "https://example.com/bundles/",
        "https://example.com/bundles/a/b",
        "https://example.com/bundles/a?token=hunter2",
        "registry.example.com/policy:1",
    ],
)
def test_address_that_is_no_bundles_is_a_usage_error(put: Put, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        put(url)
    assert "write https://SERVER/bundles/NAME" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("environ", [{}, {"TOKEN": " "}, {"TOKEN": "two words"}])
def test_variable_without_a_token_asks_nothing(server: Server, put: Put, environ: dict[str, str]) -> None:
    with pytest.raises(BundleAccessDenied, match="the variable TOKEN"):
        put(token_env="TOKEN", environ=environ)
    assert server.asked == []


def test_what_cannot_be_published_asks_nothing(server: Server, put: Put, file: Path) -> None:
    with pytest.raises(BundleUnreachable, match="offline"):
        put(offline=True)
    archive(file)
    with pytest.raises(PushRefused, match="no sequence"):
        put()
    file.write_bytes(b"no archive")
    with pytest.raises(BundleUnreadable):
        put()
    assert server.asked == []


def test_server_that_is_not_there_is_unreachable(server: Server, put: Put) -> None:
    server.server_close()
    with pytest.raises(BundleUnreachable):
        put()
