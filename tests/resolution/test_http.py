"""Definitions over http(s), from a real server with a company's own CA."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceTooLarge,
    SourceUnreachable,
    SourceUnreadable,
)
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.sources.http import HttpSource
from flowyml_policy.sources.search import StackSearch
from flowyml_policy.sources.source import FetchRules, SourceLimits
from flowyml_policy.storage.cache import ContentCache

STACK = b'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod, version: "1.0.0"}\nspec: {}\n'
OTHER = STACK.replace(b"1.0.0", b"2.0.0")
PIN = hashlib.sha256(STACK).hexdigest()
TOKEN = "t0ken-of-the-test"
ENVIRON = {"STACKS_TOKEN": TOKEN}
WITH_TOKEN: dict[str, Any] = {"token_env": "STACKS_TOKEN"}
Answer = Callable[[Any], None]


@pytest.fixture(name="server")
def _server(start_server: Any, authority: Any) -> Any:
    """An https server that has the stack at every path."""
    server = start_server(authority.server)
    server.answer = lambda handler: handler.reply(200, STACK, Content_Type="application/yaml")
    return server


@pytest.fixture(name="source")
def _source(authority: Any, cache: ContentCache) -> Callable[..., HttpSource]:
    """Makes sources that trust the company's CA."""

    def make(url: str, **given: Any) -> HttpSource:
        return HttpSource(url, **{"cache": cache, "ca": authority.file, "environ": ENVIRON, **given})

    return make


def read(source: HttpSource) -> bytes:
    revision = source.fetch()
    assert revision.only_file is not None
    return revision.read(revision.only_file)


def error_of(source: HttpSource) -> SourceError:
    with pytest.raises(SourceError) as raised:
        source.fetch()
    return raised.value


def test_http_file_is_found_with_its_provenance(server: Any, source: Callable[..., HttpSource]) -> None:
    found = StackSearch(source(server.url("/a/prod.yaml?ref=main")).fetch()).find("prod")
    url = server.url("/a/prod.yaml?ref=main")
    assert found.provenance == Provenance(
        kind="http",
        uri=url,
        path="prod.yaml",
        digest=digest(STACK),
        pinned=False,
        fetched_at=found.provenance.fetched_at,
    )
    assert str(found.definition.location(("metadata", "name"))) == f"{url}:3:18"


def test_http_source_asks_once_and_a_new_one_asks_anew(server: Any, source: Callable[..., HttpSource]) -> None:
    first = source(server.url())
    assert (read(first), read(first), len(server.requests)) == (STACK, STACK, 1)
    server.answer = lambda handler: handler.reply(200, OTHER)
    assert (read(first), read(source(server.url())), len(server.requests)) == (STACK, OTHER, 2)


def test_http_unknown_certificate_fails_closed(server: Any, cache: ContentCache) -> None:
    with pytest.raises(SourceUnreachable) as raised:
        HttpSource(server.url(), cache=cache).fetch()
    assert raised.value.advice == "name the company's CA certificates in `ca`"
    assert server.requests == []


def test_http_certificate_of_another_name_fails_closed(
    start_server: Any, tmp_path: Path, source: Callable[..., HttpSource]
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("elsewhere.example").configure_cert(context)
    server = start_server(context)
    assert isinstance(error_of(source(server.url(), ca=tmp_path / "other.pem")), SourceUnreachable)
    assert server.requests == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_http_unusable_ca_file_fails_closed(
    content: str | None, server: Any, source: Callable[..., HttpSource], tmp_path: Path
) -> None:
    ca = tmp_path / "broken.pem"
    if content is not None:
        ca.write_text(content)
    error = error_of(source(server.url(), ca=ca))
    assert isinstance(error, SourceUnreadable)
    assert str(ca) in error.message


# Asking again


def conditional(handler: Any) -> None:
    """A server that keeps to its ETag."""
    if handler.headers.get("If-None-Match") == '"v1"':
        handler.reply(304, ETag='"v1"', Content_Length="")
    else:
        handler.reply(200, STACK, ETag='"v1"')


def test_http_unchanged_file_is_read_from_the_cache(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = conditional
    assert (read(source(server.url())), read(source(server.url()))) == (STACK, STACK)
    assert [headers.get("If-None-Match") for _, headers in server.requests] == [None, '"v1"']


def test_http_not_modified_of_another_version_is_asked_again(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = lambda handler: handler.reply(200, STACK, ETag='"v1"')
    read(source(server.url()))

    def answer(handler: Any) -> None:
        if "If-None-Match" in handler.headers:
            handler.reply(304, ETag='"v2"', Content_Length="")
        else:
            handler.reply(200, OTHER, ETag='"v2"')

    server.answer = answer
    assert read(source(server.url())) == OTHER


def test_http_not_modified_that_was_not_asked_for_fails_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = lambda handler: handler.reply(304, Content_Length="")
    assert isinstance(error_of(source(server.url())), SourceUnreadable)


def test_http_damaged_cache_is_fetched_again(
    server: Any, source: Callable[..., HttpSource], cache: ContentCache
) -> None:
    server.answer = conditional
    read(source(server.url()))
    for blob in (cache.directory / "blobs").rglob("*"):
        if blob.is_file():
            blob.write_bytes(OTHER)
    assert read(source(server.url())) == STACK
    assert "If-None-Match" not in server.requests[1][1]


# Pins, and no network


@pytest.mark.parametrize("pin", [PIN, f"sha256:{PIN}"])
def test_http_pinned_file_is_asked_for_once(pin: str, server: Any, source: Callable[..., HttpSource]) -> None:
    revision = source(server.url(), sha256=pin).fetch()
    assert revision.provenance("stack.yaml", STACK).pinned
    offline = source(server.url(), sha256=pin, rules=FetchRules(offline=True))
    assert (read(offline), len(server.requests)) == (STACK, 1)


def test_http_file_that_is_not_the_pinned_one_fails_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = lambda handler: handler.reply(200, OTHER)
    for _ in range(2):
        error = error_of(source(server.url(), sha256=PIN))
        assert isinstance(error, SourceChanged)
        assert error.message == f"pinned to sha256:{PIN}, and its content is {digest(OTHER)}: {server.url()}"


def test_http_offline_what_is_not_pinned_fails_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    read(source(server.url()))
    assert isinstance(error_of(source(server.url(), rules=FetchRules(offline=True))), SourceUnreachable)
    assert isinstance(
        error_of(source(server.url(), sha256="0" * 64, rules=FetchRules(offline=True))), SourceUnreachable
    )
    assert len(server.requests) == 1


# Tokens


def test_http_token_is_sent_to_its_host(server: Any, source: Callable[..., HttpSource]) -> None:
    read(source(server.url(), **WITH_TOKEN))
    assert server.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("value", [None, "", "two words", "line\nend", "ü"])
def test_http_token_that_is_none_fails_closed(
    value: str | None, server: Any, source: Callable[..., HttpSource]
) -> None:
    environ = {} if value is None else {"STACKS_TOKEN": value}
    error = error_of(source(server.url(), **WITH_TOKEN, environ=environ))
    assert isinstance(error, SourceAccessDenied)
    assert "STACKS_TOKEN" in error.message
    assert not value or value not in str(error)
    assert server.requests == []


def test_http_token_over_plain_http_of_a_network_fails_closed(cache: ContentCache) -> None:
    rules = FetchRules(plain_http=frozenset({"stacks.example"}))
    source = HttpSource("http://stacks.example/x.yaml", cache=cache, **WITH_TOKEN, environ=ENVIRON, rules=rules)
    assert isinstance(error_of(source), SourceRefused)


# Redirects


def redirecting(to: str, status: int = 302) -> Answer:
    def answer(handler: Any) -> None:
        if handler.path == "/stack.yaml":
            handler.reply(status, Location=to)
        else:
            handler.reply(200, STACK)

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_http_redirect_in_one_host_keeps_the_token(status: int, server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = redirecting("/other.yaml", status)
    assert read(source(server.url(), **WITH_TOKEN)) == STACK
    assert [headers.get("Authorization") for _, headers in server.requests] == [f"Bearer {TOKEN}"] * 2


def test_http_redirect_to_another_host_loses_the_token_for_good(
    server: Any, source: Callable[..., HttpSource], start_server: Any, authority: Any
) -> None:
    other = start_server(authority.server)
    other.answer = lambda handler: handler.reply(302, Location=server.url("/final.yaml"))
    server.answer = redirecting(other.url())
    assert read(source(server.url(), **WITH_TOKEN)) == STACK
    assert [headers.get("Authorization") for _, headers in other.requests] == [None]
    assert [headers.get("Authorization") for _, headers in server.requests] == [f"Bearer {TOKEN}", None]


def test_http_redirect_to_the_same_port_of_another_name_loses_the_token(
    server: Any, source: Callable[..., HttpSource]
) -> None:
    server.answer = redirecting(server.url("/other.yaml", host="localhost"))
    assert read(source(server.url(), **WITH_TOKEN)) == STACK
    assert [headers.get("Authorization") for _, headers in server.requests] == [f"Bearer {TOKEN}", None]


@pytest.mark.parametrize("to", ["http://127.0.0.1:{port}/x", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_http_redirect_to_another_scheme_fails_closed(to: str, server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = redirecting(to.format(port=server.port))
    assert isinstance(error_of(source(server.url())), SourceRefused)
    assert len(server.requests) == 1


def test_http_redirect_with_credentials_fails_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = redirecting(f"https://user:pass-word-1@127.0.0.1:{server.port}/x")
    error = error_of(source(server.url()))
    assert isinstance(error, SourceRefused)
    assert "pass-word-1" not in str(error)


def test_http_redirect_over_plain_http_to_another_host_fails_closed(start_server: Any, cache: ContentCache) -> None:
    server = start_server()
    server.answer = redirecting("http://stacks.example/x.yaml")
    assert isinstance(error_of(HttpSource(server.url(), cache=cache)), SourceRefused)


def test_http_redirects_in_a_circle_fail_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = lambda handler: handler.reply(302, Location="/stack.yaml")
    error = error_of(source(server.url()))
    assert error.message == f"more than 5 redirects: {server.url()}"
    assert len(server.requests) == 6


def test_http_redirect_that_leads_nowhere_fails_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = lambda handler: handler.reply(302)
    assert isinstance(error_of(source(server.url())), SourceUnreadable)


# Answers that do not count


def raw(text: bytes) -> Answer:
    def answer(handler: Any) -> None:
        handler.wfile.write(text)

    return answer


def dripping(handler: Any) -> None:
    """Sends its headers, then one byte at a time, as long as the server runs."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not handler.server.ended.wait(0.05):
        handler.wfile.write(b"#")
        handler.wfile.flush()


def dripping_headers(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.ended.wait(0.05):
        handler.wfile.write(b"s")
        handler.wfile.flush()


def never(handler: Any) -> None:
    handler.server.ended.wait(60)


@pytest.mark.parametrize("answer", [dripping, dripping_headers, never])
def test_http_slow_server_is_given_up_in_time(answer: Answer, server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = answer
    error = error_of(source(server.url(), rules=FetchRules(limits=SourceLimits(timeout=0.4))))
    assert isinstance(error, SourceUnreachable)
    assert error.message == f"no complete answer within 0.4 s: {server.url()}"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + STACK), SourceUnreachable),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\napiVe\r\n"), SourceUnreachable),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n" + STACK), SourceUnreadable),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + STACK), SourceUnreadable),
        (raw(b""), SourceUnreachable),
        (raw(b"SSH-2.0-server\r\n"), SourceUnreachable),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"), SourceTooLarge),
        (lambda handler: handler.reply(200, b"#" * ((1 << 20) + 1)), SourceTooLarge),
        (lambda handler: handler.reply(200, STACK, Content_Encoding="gzip"), SourceUnreadable),
        (lambda handler: handler.reply(200, b"<html>", Content_Type="text/html; charset=utf-8"), SourceUnreadable),
        (lambda handler: handler.reply(204, Content_Length=""), SourceUnreadable),
        (lambda handler: handler.reply(206, STACK), SourceUnreadable),
        (lambda handler: handler.reply(400), SourceUnreadable),
        (lambda handler: handler.reply(401), SourceAccessDenied),
        (lambda handler: handler.reply(403), SourceAccessDenied),
        (lambda handler: handler.reply(404), SourceMissing),
        (lambda handler: handler.reply(410), SourceMissing),
        (lambda handler: handler.reply(429, Retry_After="70"), SourceUnreachable),
        (lambda handler: handler.reply(500), SourceUnreachable),
        (lambda handler: handler.reply(503), SourceUnreachable),
    ],
)
def test_http_answer_that_does_not_count_fails_closed(
    answer: Answer, error: type[SourceError], server: Any, source: Callable[..., HttpSource]
) -> None:
    read(source(server.url()))
    server.answer = answer
    assert type(error_of(source(server.url()))) is error


def test_http_endless_body_fails_closed(server: Any, source: Callable[..., HttpSource]) -> None:
    def answer(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not handler.server.ended.is_set():
            handler.wfile.write(b"10000\r\n" + b"#" * 65536 + b"\r\n")

    server.answer = answer
    assert isinstance(error_of(source(server.url())), SourceTooLarge)


def test_http_body_without_a_length_counts_when_it_is_the_pinned_one(
    server: Any, source: Callable[..., HttpSource]
) -> None:
    server.answer = raw(b"HTTP/1.1 200 OK\r\n\r\n" + STACK)
    assert read(source(server.url(), sha256=PIN)) == STACK


def test_http_whole_chunked_body_counts(server: Any, source: Callable[..., HttpSource]) -> None:
    size = f"{len(STACK):x}".encode()
    server.answer = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + STACK + b"\r\n0\r\n\r\n"
    )
    assert read(source(server.url())) == STACK


def test_http_errors_say_what_to_do(server: Any, source: Callable[..., HttpSource]) -> None:
    server.answer = lambda handler: handler.reply(429, Retry_After="70")
    assert error_of(source(server.url())).advice == "try again in 70 s"
    server.answer = lambda handler: handler.reply(401)
    error = error_of(source(server.url(), **WITH_TOKEN))
    assert error.message == f"the server wants other credentials (401, with the token that was given): {server.url()}"
    assert TOKEN not in str(error)


def test_http_nobody_listens_fails_closed(cache: ContentCache, start_server: Any) -> None:
    server = start_server()
    port = server.port
    server.shutdown()
    server.server_close()
    assert isinstance(error_of(HttpSource(f"http://127.0.0.1:{port}/x.yaml", cache=cache)), SourceUnreachable)


def test_http_unknown_host_fails_closed(cache: ContentCache) -> None:
    assert isinstance(error_of(HttpSource("https://stacks.invalid/x.yaml", cache=cache)), SourceUnreachable)


@pytest.mark.parametrize(
    "url",
    [
        "http://stacks.example/x.yaml",
        "https://user:pass-word-1@stacks.example/x.yaml",
        "https://token@stacks.example/x.yaml",
        "ftp://stacks.example/x.yaml",
        "file:///etc/passwd",
        "https:///x.yaml",
        "https://stacks.example/x y.yaml",
        "https://stacks.example/x.yaml\r\nHost: other",
        "https://stacks.example:port/x.yaml",
        "https://[::1/x.yaml",
        "https://stacks.example/x.yaml#prod",
        "stacks.example/x.yaml",
        "",
    ],
)
def test_http_address_that_is_not_fetched_from_fails_closed(url: str, cache: ContentCache) -> None:
    with pytest.raises(SourceRefused) as raised:
        HttpSource(url, cache=cache)
    assert "pass-word-1" not in str(raised.value)
    assert "token@" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_http_plain_http_is_used_to_named_hosts_and_this_machine(cache: ContentCache, start_server: Any) -> None:
    server = start_server()
    server.answer = lambda handler: handler.reply(200, STACK)
    assert read(HttpSource(server.url(), cache=cache)) == STACK
    rules = FetchRules(plain_http=frozenset({"stacks.example:8080"}))
    assert HttpSource("http://stacks.example:8080/x.yaml", cache=cache, rules=rules).uri.startswith("http://")
    with pytest.raises(SourceRefused):
        HttpSource("http://stacks.example/x.yaml", cache=cache, rules=rules)
