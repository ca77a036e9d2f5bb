"""The one HTTP client, against real servers of this machine that keep to the rules or break them."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from flowyml_policy.network.address import AddressRefused
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import HttpFailure, late
from flowyml_policy.network.http import Client, Request, Response

if TYPE_CHECKING:
    from tests.resolution.conftest import Authority, Server, StartServer
    from tests.unit.network.conftest import Proxy

TOKEN = "Bearer t0ken-of-the-test"
ETAG = '"v1"'
Answer = Callable[[Any], None]


@pytest.fixture(name="server")
def _server(start_server: StartServer, authority: Authority) -> Server:
    """An https server that has `fine` at every path."""
    server: Server = start_server(authority.server)
    server.answer = lambda handler: handler.reply(200, b"fine")
    return server


@pytest.fixture(name="client")
def _client(authority: Authority) -> Iterator[Client]:
    made = Client(ca=authority.file, environ={})
    yield made
    made.close()


def get(url: str, **given: Any) -> Request:
    return Request("GET", url, **{"largest": 1000, **given})


def send(client: Client, request: Request, seconds: float = 10) -> Response:
    return client.send(request, Deadline(seconds))


def failure_of(client: Client, request: Request, seconds: float = 10) -> HttpFailure:
    with pytest.raises(HttpFailure) as caught:
        send(client, request, seconds)
    return caught.value


def sent(server: Server, name: str) -> list[str | None]:
    """What each request to the server had in one header."""
    return [headers.get(name) for _, headers in server.requests]


def in_turn(*answers: Answer) -> Answer:
    """A server that gives one answer after the other."""
    left = iter(answers)

    def answer(handler: Any) -> None:
        next(left)(handler)

    return answer


def fine(handler: Any) -> None:
    handler.reply(200, b"fine")


def broken(handler: Any) -> None:
    """The connection ends where an answer should begin."""


def silent(handler: Any) -> None:
    handler.server.ended.wait(60)


def raw(text: bytes) -> Answer:
    return lambda handler: handler.wfile.write(text)


def assert_no_thread_is_left() -> None:
    end = time.monotonic() + 10
    while any(thread.name == "flowyml-policy-http" for thread in threading.enumerate()):
        assert time.monotonic() < end, "a thread is left behind"
        time.sleep(0.01)


# Requests and answers


def test_request_is_sent_as_it_is(client: Client, server: Server) -> None:
    bodies: list[tuple[str, bytes]] = []

    def answer(handler: Any) -> None:
        bodies.append((handler.command, handler.rfile.read(int(handler.headers["Content-Length"]))))
        handler.reply(201, b"made", X_Made="1", ETag=ETAG)

    server.answer = answer
    request = Request("PUT", server.url("/a?b=%2F"), 10, headers={"X-One": "1"}, body=b"body", authorization=TOKEN)
    response = send(client, request)
    assert (response.status, response.body, response.url) == (201, b"made", request.url)
    assert (response.headers["x-made"], response.etag, response.not_modified) == ("1", ETAG, False)
    path, headers = server.requests[0]
    assert (path, headers["X-One"], headers["Authorization"]) == ("/a?b=%2F", "1", TOKEN)
    assert (headers["Accept-Encoding"], headers["User-Agent"].partition("/")[0]) == ("identity", "flowyml-policy")
    assert bodies == [("PUT", b"body")]
    assert TOKEN not in repr(request)


def test_connection_is_used_again(client: Client, server: Server) -> None:
    ports: list[int] = []

    def answer(handler: Any) -> None:
        ports.append(handler.client_address[1])
        handler.close_connection = False
        handler.reply(200, b"fine", Connection="")

    server.answer = answer
    for _ in range(3):
        send(client, get(server.url()))
    assert len(set(ports)) == 1


def test_head_is_answered_without_a_body(client: Client, server: Server) -> None:
    server.answer = lambda handler: handler.reply(200, Content_Length="5000000", Docker_Content_Digest="sha256:0")
    response = send(client, Request("HEAD", server.url(), 1000))
    assert (response.status, response.body) == (200, b"")
    assert response.headers["docker-content-digest"] == "sha256:0"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raw(b"SSH-2.0-server\r\n"), "not_http"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine"), "cut_off"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n"), "cut_off"),
        (broken, "cut_off"),
        (lambda handler: handler.reply(200, b"\x1f\x8b", Content_Encoding="gzip"), "encoded"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), "too_large"),
        (lambda handler: handler.reply(200, b"#" * 1001), "too_large"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"#" * 1001), "too_large"),
    ],
)
def test_answer_that_is_none_is_a_failure(answer: Answer, reason: str, client: Client, server: Server) -> None:
    server.answer = answer
    assert failure_of(client, get(server.url())).reason == reason


def test_body_without_an_end_is_a_failure(client: Client, server: Server) -> None:
    def answer(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not handler.server.ended.is_set():
            handler.wfile.write(b"10000\r\n" + b"#" * 65536 + b"\r\n")

    server.answer = answer
    assert failure_of(client, get(server.url())).reason == "too_large"
    assert_no_thread_is_left()


def test_body_of_no_success_is_cut(client: Client, server: Server) -> None:
    server.answer = lambda handler: handler.reply(404, b"#" * 5000)
    response = send(client, get(server.url()))
    assert (response.status, response.body) == (404, b"#" * 1000)


@pytest.mark.parametrize(
    ("headers", "etag", "is_delimited"),
    [
        ({"ETag": '"a"', "Content_Length": "4"}, '"a"', True),
        ({"ETag": 'W/"a"', "Content_Length": ""}, None, False),
        ({"ETag": "a", "Content_Length": "-1"}, None, False),
    ],
)
def test_etag_and_end_of_the_body_are_told(
    headers: dict[str, str], etag: str | None, is_delimited: object, client: Client, server: Server
) -> None:
    server.answer = lambda handler: handler.reply(200, b"fine", **headers)
    response = send(client, get(server.url()))
    assert (response.etag, response.is_delimited, response.body) == (etag, is_delimited, b"fine")


# What is not asked


def test_offline_nothing_is_asked(server: Server, authority: Authority) -> None:
    client = Client(ca=authority.file, offline=True)
    assert failure_of(client, get(server.url())).reason == "offline"
    assert server.requests == []


def test_plain_http_is_for_this_machine_and_named_hosts(start_server: StartServer) -> None:
    server: Server = start_server()
    server.answer = fine
    assert send(Client(), get(server.url())).body == b"fine"
    elsewhere = server.url(host="0.0.0.0")  # noqa: S104  nothing is bound to it
    with pytest.raises(AddressRefused):
        send(Client(), get(elsewhere))
    named = Client(plain_http={"0.0.0.0"})  # noqa: S104
    assert send(named, get(elsewhere)).body == b"fine"
    assert failure_of(named, get(elsewhere, authorization=TOKEN)).reason == "plain_token"
    assert sent(server, "Authorization") == [None, None]


@pytest.mark.parametrize("name", ["authorization", "Proxy-Authorization", "If-None-Match", "If-Modified-Since"])
def test_request_takes_no_credentials_as_a_header(name: str) -> None:
    """The client would not know where they may go."""
    with pytest.raises(ValueError, match="fields of their own"):
        get("https://stacks.example/", headers={name: "x"})


# Redirects


def redirecting(to: str, status: int = 302) -> Answer:
    return lambda handler: handler.reply(status, Location=to) if handler.path == "/stack.yaml" else fine(handler)


def test_redirect_to_another_host_carries_nothing(
    client: Client, server: Server, start_server: StartServer, authority: Authority
) -> None:
    """Neither there nor where that one redirects back."""
    other: Server = start_server(authority.server)
    other.answer = lambda handler: handler.reply(307, Location=server.url("/back"))
    server.answer = redirecting(other.url())
    headers = {"Accept": "text/plain", "Cookie": "c=1", "X-Key": "k"}
    request = get(server.url(), headers=headers, authorization=TOKEN, etag=ETAG, redirects=5)
    assert send(client, request).url == server.url("/back")
    for name, value in (("Authorization", TOKEN), ("Cookie", "c=1"), ("X-Key", "k"), ("If-None-Match", ETAG)):
        assert (sent(server, name), sent(other, name)) == ([value, None], [None])
    assert (sent(server, "Accept"), sent(other, "Accept")) == (["text/plain"] * 2, ["text/plain"])


def test_redirect_to_another_name_or_port_carries_no_token(client: Client, server: Server) -> None:
    server.answer = redirecting(server.url("/other", host="localhost"))
    send(client, get(server.url(), authorization=TOKEN, redirects=1))
    assert sent(server, "Authorization") == [TOKEN, None]


def test_redirect_in_one_place_carries_the_token(client: Client, server: Server) -> None:
    server.answer = redirecting("/other")
    response = send(client, get(server.url(), authorization=TOKEN, etag=ETAG, redirects=1))
    assert (response.url, response.body) == (server.url("/other"), b"fine")
    assert (sent(server, "Authorization"), sent(server, "If-None-Match")) == ([TOKEN] * 2, [ETAG, None])


@pytest.mark.parametrize(("method", "redirects"), [("GET", 0), ("PUT", 5), ("POST", 5)])
def test_redirect_is_the_answer(method: str, redirects: int, client: Client, server: Server) -> None:
    server.answer = redirecting("/other", 307)
    response = send(client, Request(method, server.url(), 10, redirects=redirects))
    assert (response.status, response.headers["location"], len(server.requests)) == (307, "/other", 1)


@pytest.mark.parametrize(
    ("to", "reason"),
    [("/stack.yaml", "redirect"), ("", "redirect"), ("http://127.0.0.1/", "scheme"), ("file:///etc/passwd", "scheme")],
)
def test_redirect_that_is_not_followed_fails(to: str, reason: str, client: Client, server: Server) -> None:
    server.answer = redirecting(to)
    assert failure_of(client, get(server.url(), redirects=2)).reason == reason


def test_redirect_with_credentials_is_refused(client: Client, server: Server) -> None:
    server.answer = redirecting(f"https://user:pass-word-1@127.0.0.1:{server.port}/")
    with pytest.raises(AddressRefused) as caught:
        send(client, get(server.url(), redirects=1))
    assert "pass-word-1" not in str(caught.value)


# Validators and trust


def test_not_modified_is_of_the_etag_that_was_sent(client: Client, server: Server) -> None:
    for given, expected in ((ETAG, True), ("", True), ('"v2"', False)):
        server.answer = lambda handler, given=given: handler.reply(304, ETag=given, Content_Length="")  # type: ignore[misc]
        assert send(client, get(server.url(), etag=ETAG)).not_modified is expected
        assert send(client, get(server.url())).not_modified is False


def test_trust_is_of_server_ca_login_and_mirror(
    server: Server, authority: Authority, tmp_path: Path, client: Client
) -> None:
    request = get(server.url(), authorization=TOKEN)
    other_ca = tmp_path / "other.pem"
    other_ca.write_bytes(authority.file.read_bytes() + b"\n")
    found = [
        client.trust_of(request),
        client.trust_of(replace(request, authorization=None)),
        client.trust_of(replace(request, authorization="Bearer another")),
        client.trust_of(replace(request, mirror="https://mirrored.example")),
        client.trust_of(replace(request, url=server.url(host="localhost"))),
        client.trust_of(replace(request, url=f"https://127.0.0.1:{server.port + 1}/stack.yaml")),
        client.trust_of(replace(request, url=f"http://127.0.0.1:{server.port}/stack.yaml")),
        Client(ca=other_ca).trust_of(request),
        Client().trust_of(request),
    ]
    assert len(set(found)) == len(found)
    assert client.trust_of(replace(request, url=server.url("/other"))) == found[0]
    assert send(client, request).trust == found[0]


def test_trust_is_that_of_who_answered_last(
    client: Client, server: Server, start_server: StartServer, authority: Authority
) -> None:
    other: Server = start_server(authority.server)
    other.answer = fine
    server.answer = redirecting(other.url())
    response = send(client, get(server.url(), authorization=TOKEN, redirects=1))
    assert response.trust == client.trust_of(get(other.url()))


# TLS


def test_certificate_of_an_unknown_ca_is_not_trusted(server: Server) -> None:
    failure = failure_of(Client(), get(server.url()))
    assert (failure.reason, server.requests) == ("untrusted", [])


def test_ca_of_one_host_is_not_that_of_another(server: Server, authority: Authority) -> None:
    client = Client(ca={f"127.0.0.1:{server.port}": authority.file})
    assert send(client, get(server.url())).body == b"fine"
    assert failure_of(client, get(server.url(host="localhost"))).reason == "untrusted"


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_ca_file_that_is_none_is_a_failure(content: bytes | None, server: Server, tmp_path: Path) -> None:
    """An empty one is not the system's certificates."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    failure = failure_of(Client(ca=file), get(server.url()))
    assert (failure.reason, str(file) in failure.what, server.requests) == ("certificates", True, [])


def test_client_certificate_is_shown_to_its_host(start_server: StartServer, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = ca.issue_cert("client@stacks.example")
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    made.private_key_pem.write_to_path(str(tmp_path / "client.key"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    server: Server = start_server(context)
    shown: list[bool] = []

    def answer(handler: Any) -> None:
        shown.append(bool(handler.connection.getpeercert()))
        fine(handler)

    server.answer = answer
    certificates = {"127.0.0.1": (tmp_path / "client.pem", tmp_path / "client.key")}
    client = Client(ca=tmp_path / "ca.pem", certificates=certificates)
    request = get(server.url())
    assert send(client, request).trust != Client(ca=tmp_path / "ca.pem").trust_of(request)
    send(client, get(server.url(host="localhost")))
    assert shown == [True, False]


# Proxies


NAMED = "stacks.example"
ROBOT = "proxy-authorization: Basic cm9ib3Q6cGFzcyB3b3Jk"


@pytest.fixture(name="named")
def _named(start_server: StartServer, proxy: Proxy, tmp_path: Path) -> tuple[Server, Client]:
    """A server that is called stacks.example and other.example, behind the environment's proxy, and a client of it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(NAMED, "other.example").configure_cert(context)
    server: Server = start_server(context)
    server.answer = fine
    proxy.port = server.port
    environ = {"HTTPS_PROXY": proxy.url.replace("//", "//robot:pass%20word@"), "HTTP_PROXY": proxy.url}
    return server, Client(ca=tmp_path / "ca.pem", environ=environ)


def test_proxy_gets_no_token_of_ours(named: tuple[Server, Client], proxy: Proxy) -> None:
    server, client = named
    server.answer = redirecting("https://other.example/x")
    assert send(client, get(f"https://{NAMED}/stack.yaml", authorization=TOKEN, redirects=1)).body == b"fine"
    assert sent(server, "Authorization") == [TOKEN, None]
    assert [head.split()[:2] for head in proxy.heads] == [
        ["CONNECT", f"{NAMED}:443"],
        ["CONNECT", "other.example:443"],
    ]
    assert [head.split("\r\n")[1:] for head in proxy.heads] == [[ROBOT, "", ""]] * 2
    assert sent(server, "Proxy-Authorization") == [None, None]


def test_proxy_is_not_asked_of_this_machine(
    server: Server, proxy: Proxy, authority: Authority, start_server: StartServer
) -> None:
    plain: Server = start_server()
    plain.answer = fine
    environ = {"https_proxy": proxy.url, "http_proxy": proxy.url, "all_proxy": proxy.url}
    client = Client(ca=authority.file, environ=environ, plain_http={"0.0.0.0"})  # noqa: S104  nothing is bound to it
    for url in (server.url(), plain.url(), plain.url(host="0.0.0.0")):  # noqa: S104
        assert send(client, get(url)).body == b"fine"
    assert proxy.heads == []


@pytest.mark.parametrize("excepted", ["*", NAMED, ".example", "example", f"a.example, {NAMED}:443"])
def test_proxy_is_not_asked_of_excepted_hosts(
    excepted: str, proxy: Proxy, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client = Client(ca=authority.file, environ={"HTTPS_PROXY": proxy.url, "NO_PROXY": excepted})
    failure = failure_of(client, get(f"https://{NAMED}/"))
    assert (failure.reason, proxy.heads) == ("unreachable", [])


@pytest.mark.parametrize("refusal", [b"HTTP/1.1 407 Denied\r\n\r\n", b"nonsense\r\n"])
def test_proxy_that_refuses_is_a_failure(refusal: bytes, named: tuple[Server, Client], proxy: Proxy) -> None:
    server, client = named
    proxy.refusal = refusal
    failure_of(client, get(f"https://{NAMED}/", authorization=TOKEN))
    assert server.requests == []


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "http://[::1", "ftp://x"])
def test_proxy_that_is_none_is_a_failure(address: str) -> None:
    failure = failure_of(Client(environ={"HTTPS_PROXY": address}), get(f"https://{NAMED}/"))
    assert failure.reason == "proxy"


# Once more


def test_retry_after_is_waited_for(client: Client, server: Server) -> None:
    server.answer = in_turn(lambda handler: handler.reply(429, Retry_After="1"), fine)
    started = time.monotonic()
    assert send(client, get(server.url())).body == b"fine"
    assert time.monotonic() - started >= 1


def test_retry_after_as_a_date_is_waited_for(client: Client, server: Server) -> None:
    later = formatdate(time.time() + 2, usegmt=True)
    server.answer = in_turn(lambda handler: handler.reply(503, Retry_After=later), fine)
    started = time.monotonic()
    assert send(client, get(server.url())).body == b"fine"
    assert time.monotonic() - started >= 0.9


IN_TEN_MINUTES = formatdate(time.time() + 600, usegmt=True)


@pytest.mark.parametrize("after", ["60", "9" * 400, IN_TEN_MINUTES], ids=["seconds", "digits", "date"])
def test_retry_after_past_the_deadline_is_not_waited_for(after: str, client: Client, server: Server) -> None:
    server.answer = lambda handler: handler.reply(429, Retry_After=after)
    started = time.monotonic()
    response = send(client, get(server.url()), 5)
    assert (response.status, len(server.requests), time.monotonic() - started < 4) == (429, 1, True)
    assert (response.retry_after or 0) > 5


@pytest.mark.parametrize("answer", [broken, lambda handler: handler.reply(502)])
def test_request_is_asked_again_three_times_in_all(answer: Answer, client: Client, server: Server) -> None:
    server.answer = in_turn(answer, answer, fine)
    assert send(client, get(server.url())).body == b"fine"
    server.answer = answer
    if answer is broken:
        assert failure_of(client, get(server.url())).reason == "cut_off"
    else:
        assert send(client, get(server.url())).status == 502
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("method", "given", "times"), [("POST", {}, 1), ("PUT", {}, 1), ("PUT", {"repeatable": True}, 2)]
)
def test_change_is_asked_again_where_that_is_said_to_be_safe(
    method: str, given: dict[str, Any], times: int, client: Client, server: Server
) -> None:
    server.answer = in_turn(lambda handler: handler.reply(503), fine)
    response = send(client, Request(method, server.url(), 10, body=b"", **given))
    assert (response.status, len(server.requests)) == (503 if times == 1 else 200, times)


# Time


def dripping(*headers: str) -> Answer:
    """Sends its headers, then one byte at a time, as long as the server runs."""

    def answer(handler: Any) -> None:
        handler.wfile.write("\r\n".join(("HTTP/1.1 200 OK", *headers, "")).encode() + b"\r\n" * bool(headers))
        while not handler.server.ended.wait(0.02):
            handler.wfile.write(b"1")
            handler.wfile.flush()

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        dripping("Content-Length: 1000"),
        dripping("Content-Length: 1000", "Connection: close"),
        dripping("Transfer-Encoding: chunked"),
        dripping(),
        silent,
    ],
)
@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.timeout(30)
def test_slow_server_is_given_up_when_time_is_over(
    answer: Answer, scheme: str, start_server: StartServer, authority: Authority
) -> None:
    server: Server = start_server(authority.server if scheme == "https" else None)
    server.answer = answer
    started = time.monotonic()
    failure = failure_of(Client(ca=authority.file), get(server.url()), 0.3)
    assert (failure.reason, failure.what) == ("late", "no complete answer within 0.3 s")
    assert time.monotonic() - started < 5
    assert_no_thread_is_left()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("through", ["server", "proxy"])
def test_server_that_only_listens_is_given_up_in_time(through: str) -> None:
    """Neither TLS nor a proxy's tunnel ever begins."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        client = Client(environ={"HTTPS_PROXY": place} if through == "proxy" else {})
        url = f"https://{place if through == 'server' else NAMED}/"
        assert failure_of(client, get(url), 0.3).reason == "late"
        assert_no_thread_is_left()


def test_server_that_is_silent_for_too_long_is_given_up(server: Server, authority: Authority) -> None:
    server.answer = silent
    failure = failure_of(Client(ca=authority.file, silence=0.2), get(server.url()), 20)
    assert (failure.reason, len(server.requests)) == ("silent", 1)


@pytest.mark.timeout(30)
def test_slow_name_service_is_given_up_and_nothing_is_sent_later(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, really = threading.Event(), socket.getaddrinfo

    def slow(*given: Any, **named: Any) -> Any:
        let_go.wait(20)
        return really(*given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert failure_of(client, Request("PUT", server.url(), 10, body=b"x"), 0.2).reason == "late"
    let_go.set()
    assert_no_thread_is_left()
    assert server.requests == []


def test_time_that_is_over_asks_nothing(server: Server, client: Client) -> None:
    assert failure_of(client, get(server.url()), 0).reason == "late"
    assert server.requests == []


@pytest.mark.timeout(30)
def test_interrupt_ends_the_wait_at_once(server: Server, client: Client) -> None:
    server.answer = dripping("Content-Length: 1000")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    started = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        send(client, get(server.url()), 25)
    timer.join()
    assert time.monotonic() - started < 10
    assert_no_thread_is_left()


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/", "https://stacks.invalid/"])
def test_server_that_is_not_there_is_unreachable(url: str) -> None:
    failure = failure_of(Client(environ={}), get(url), 20)
    assert failure.reason == "unreachable"
    assert failure.what.startswith("the server cannot be reached (")


@pytest.mark.parametrize(("seconds", "said"), [(1.99975, "2"), (0.12345, "0.123"), (30.0, "30"), (1800.0, "1800")])
def test_time_that_is_over_is_told_in_few_digits(seconds: float, said: str) -> None:
    assert late(Deadline(seconds)).what == f"no complete answer within {said} s"
