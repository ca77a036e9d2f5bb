"""What an http source reuses of earlier answers: only what was believed for the reasons that hold now."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from flowyml_policy.errors.sources import SourceUnreachable
from flowyml_policy.sources.http import HttpSource
from flowyml_policy.storage.cache import ContentCache

if TYPE_CHECKING:
    from tests.resolution.conftest import Authority, Server, StartServer

STACK = b'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod, version: "1.0.0"}\nspec: {}\n'
FORGED = STACK.replace(b"spec: {}", b"spec: {compute: {max_nodes: 99}}")
ETAG = '"v1"'
Make = Callable[..., HttpSource]


@pytest.fixture(name="server")
def _server(start_server: StartServer, authority: Authority) -> Server:
    server: Server = start_server(authority.server)
    server.answer = conditional(STACK)
    return server


@pytest.fixture(name="source")
def _source(authority: Authority, cache: ContentCache) -> Make:
    """Makes sources that trust the company's CA."""

    def make(url: str, **given: Any) -> HttpSource:
        return HttpSource(url, **{"cache": cache, "ca": authority.file, **given})

    return make


def conditional(data: bytes, etag: str = ETAG) -> Callable[[Any], None]:
    """A server that has `data`, and answers 304 to whoever names its ETag."""

    def answer(handler: Any) -> None:
        if handler.headers.get("If-None-Match") == etag:
            handler.reply(304, ETag=etag, Content_Length="")
        else:
            handler.reply(200, data, ETag=etag)

    return answer


def read(source: HttpSource) -> bytes:
    revision = source.fetch()
    assert revision.only_file is not None
    return revision.read(revision.only_file)


def asked_with(server: Server) -> list[str | None]:
    """The ETag that each request named."""
    return [headers.get("If-None-Match") for _, headers in server.requests]


def test_file_of_another_projects_ca_is_not_reused(
    source: Make, start_server: StartServer, authority: Authority, tmp_path: Path
) -> None:
    """An attacker's server, trusted by its own project only, cannot fill the cache for the company's."""
    attacker = trustme.CA()
    attacker.cert_pem.write_to_path(str(tmp_path / "attacker.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    attacker.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    forger: Server = start_server(context)
    forger.answer = conditional(FORGED)
    url = forger.url()
    assert read(source(url, ca=tmp_path / "attacker.pem")) == FORGED
    with pytest.raises(SourceUnreachable):
        read(source(url))
    forger.shutdown()
    forger.server_close()
    company: Server = start_server(authority.server, port=forger.port)
    company.answer = conditional(STACK)
    assert read(source(url)) == STACK
    assert asked_with(company) == [None]


def test_file_is_not_reused_when_the_token_changes(server: Server, source: Make) -> None:
    for token in ("first-token", "first-token", "second-token", None):
        given: dict[str, Any] = {} if token is None else {"token_env": "T", "environ": {"T": token}}
        assert read(source(server.url(), **given)) == STACK
    assert asked_with(server) == [None, ETAG, None, None]


def test_file_is_not_reused_when_the_ca_file_changes(server: Server, source: Make, authority: Authority) -> None:
    read(source(server.url()))
    authority.file.write_bytes(authority.file.read_bytes() + b"# rotated\n")
    read(source(server.url()))
    read(source(server.url()))
    assert asked_with(server) == [None, None, ETAG]


def test_etag_is_not_sent_to_where_a_redirect_leads(
    server: Server, source: Make, start_server: StartServer, authority: Authority
) -> None:
    other: Server = start_server(authority.server)
    other.answer = conditional(STACK)
    server.answer = lambda handler: handler.reply(302, Location=other.url("/final.yaml"), ETag=ETAG)
    assert [read(source(server.url())) for _ in range(2)] == [STACK, STACK]
    assert (asked_with(server), asked_with(other)) == ([None, None], [None, None])


def test_etag_stays_with_its_address_when_that_redirects(
    server: Server, source: Make, start_server: StartServer, authority: Authority
) -> None:
    read(source(server.url()))
    other: Server = start_server(authority.server)
    other.answer = conditional(FORGED)
    server.answer = lambda handler: handler.reply(302, Location=other.url())
    assert read(source(server.url())) == FORGED
    assert (asked_with(server), asked_with(other)) == ([None, ETAG], [None])


def test_etag_is_sent_to_the_redirects_goal_asked_itself(
    server: Server, source: Make, start_server: StartServer, authority: Authority
) -> None:
    other: Server = start_server(authority.server)
    other.answer = conditional(STACK)
    server.answer = lambda handler: handler.reply(302, Location=other.url())
    read(source(server.url()))
    assert read(source(other.url())) == STACK
    assert asked_with(other) == [None, ETAG]


@pytest.mark.parametrize("headers", [{"ETag": 'W/"v1"'}, {"Last_Modified": "Mon, 23 Nov 2026 10:00:00 GMT"}])
def test_validator_that_is_weak_is_not_sent(headers: dict[str, str], server: Server, source: Make) -> None:
    server.answer = lambda handler: handler.reply(200, STACK, **headers)
    assert [read(source(server.url())) for _ in range(2)] == [STACK, STACK]
    assert [set(given) & {"If-None-Match", "If-Modified-Since"} for _, given in server.requests] == [set(), set()]


def test_cache_entry_of_the_old_form_is_not_read(server: Server, source: Make, cache: ContentCache) -> None:
    key = ("http", hashlib.sha256(server.url().encode()).hexdigest())
    cache.put(*key, data=FORGED, notes={"etag": ETAG})
    assert read(source(server.url())) == STACK
    pin = hashlib.sha256(FORGED).hexdigest()
    server.answer = lambda handler: handler.reply(404)
    with pytest.raises(Exception, match="no such file"):
        read(source(server.url(), sha256=pin))
    assert asked_with(server) == [None, None]


def test_file_is_not_reused_when_the_systems_cas_change(
    server: Server, source: Make, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """OpenSSL takes them from where SSL_CERT_FILE says."""
    other = tmp_path / "other.pem"
    other.write_bytes(authority.file.read_bytes() + b"# another store\n")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    for file in (authority.file, authority.file, other):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert read(source(server.url(), ca=None)) == STACK
    assert asked_with(server) == [None, ETAG, None]
    for folder in (tmp_path, tmp_path, tmp_path / "none"):
        monkeypatch.setenv("SSL_CERT_DIR", str(folder))
        assert read(source(server.url(), ca=None)) == STACK
    assert asked_with(server)[3:] == [None, ETAG, None]


@pytest.mark.parametrize(
    ("issued", "said", "advice"),
    [
        (["other.test"], "IP address mismatch", "name the server as its certificate does"),
        (["127.0.0.1", timedelta(days=-1)], "certificate has expired", "have the server's certificate renewed"),
        (["127.0.0.1", None], "unable to get local issuer|self.signed", "`ca`"),
    ],
    ids=["name", "time", "chain"],
)
def test_source_advice_fits_what_is_wrong_with_a_certificate(
    start_server: StartServer, cache: ContentCache, tmp_path: Path, issued: list[Any], said: str, advice: str
) -> None:
    name, *age = issued
    ca, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    expires = {"not_after": datetime.now(timezone.utc) + age[0]} if age and age[0] else {}
    (stranger if age == [None] else ca).issue_cert(name, **expires).configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = start_server(context).url("/stack.yaml")
    with pytest.raises(SourceUnreachable, match=said) as caught:
        HttpSource(url, cache=cache, ca=tmp_path / "ca.pem").fetch()
    assert advice in (caught.value.advice or "")
