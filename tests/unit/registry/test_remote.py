"""The company's registry over HTTP: against a server that keeps the wire, and against every way not to."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import (
    RegistryAccessDenied,
    RegistryAnswerInvalid,
    RegistryError,
    RegistryUnreachable,
    StackUnknown,
    StackUnregistrable,
    VersionRetired,
    VersionTaken,
    VersionUnknown,
)
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.registry import AlreadyThere, NewStack, Registered, RegisteredStack, Retirement
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.remote import RemoteRegistry
from flowyml_policy.storage.cache import ContentCache
from tests.registry_server import answering

Make = Callable[..., NewStack]
PutAll = Callable[..., None]
LATER = "2026-12-01T00:00:00Z"
TOKEN = "t0ken-of-the-test"


@pytest.fixture
def remote(server: Any) -> RemoteRegistry:
    return RemoteRegistry(server.url, timeout=5)


def registered(stack: NewStack) -> RegisteredStack:
    return RegisteredStack.model_validate(dict(stack))


# what a good server gives


def test_remote_registry_is_a_stack_registry(remote: RemoteRegistry, server: Any) -> None:
    as_protocol: StackRegistry = remote
    assert as_protocol.uri == server.url


def test_put_and_get_over_the_wire(remote: RemoteRegistry, registry: LocalRegistry, stack: Make) -> None:
    new = stack("1.0.0+linux", team="ml é")
    assert remote.put(new) == Registered(stack=registered(new))
    assert remote.put(new.model_copy(update={"applied_by": "bob"})) == AlreadyThere(stack=registered(new))
    assert remote.get("prod-gpu") == remote.get("prod-gpu", "^1") == registry.get("prod-gpu")


def test_put_other_content_is_refused_with_the_difference(remote: RemoteRegistry, stack: Make) -> None:
    remote.put(stack(nodes=4))
    with pytest.raises(VersionTaken) as caught:
        remote.put(stack(nodes=8))
    assert "-    max_nodes: 4\n+    max_nodes: 8\n" in caught.value.diff
    assert caught.value.registered == registered(stack(nodes=4))


def test_put_definition_that_holds_a_secret_is_refused_before_anything_is_sent(
    remote: RemoteRegistry, server: Any, stack: Make
) -> None:
    clean = stack()
    labels = {"api_key": "hunter22hunter22"}
    document = {**clean.document, "metadata": {**clean.document["metadata"], "labels": labels}}
    new = clean.model_copy(
        update={"document": document, "labels": labels, "digest": canonical_digest(document)},
    )
    with pytest.raises(StackUnregistrable, match=r"metadata\.labels\.api_key") as caught:
        remote.put(new)
    assert "hunter22" not in f"{caught.value} {caught.value.message}"
    assert server.requests == []


def test_retire_over_the_wire(remote: RemoteRegistry, put_all: PutAll, stack: Make) -> None:
    put_all("1.0.0", "1.1.0")
    retired = remote.retire("prod-gpu", "1.1.0", by="bob", at=LATER, reason="leaks")
    assert retired.retired == Retirement(at=LATER, by="bob", reason="leaks")
    assert remote.get("prod-gpu").version == "1.0.0"
    assert remote.get("prod-gpu", "1.1.0", retired=True) == retired
    with pytest.raises(VersionRetired, match=r"use prod-gpu@1\.0\.0"):
        remote.get("prod-gpu", "1.1.0")
    with pytest.raises(VersionRetired, match="register it under a new"):
        remote.put(stack("1.1.0"))
    for name, version, error in (
        ("prod-gpu", "9.0.0", VersionUnknown),
        ("prod", "1.0.0", StackUnknown),
        ("prod-gpu", "^1", VersionMalformed),
    ):
        with pytest.raises(error):
            remote.retire(name, version, by="bob", at=LATER)


def test_errors_are_those_of_the_local_registry(
    remote: RemoteRegistry, registry: LocalRegistry, put_all: PutAll
) -> None:
    put_all("1.9.0", "1.10.0", "2.0.0-rc.1")
    for name, wanted in (
        ("prod-gpo", None),
        ("..", None),
        ("a/../b", "1.0.0"),
        ("prod-gpu", "^7"),
        ("prod-gpu", "latest"),
        ("x" * 5000, None),
        ("\udcff", None),
    ):
        answers = []
        for each in (remote, registry):
            with pytest.raises(RegistryError) as caught:
                each.get(name, wanted)
            answers.append((type(caught.value), getattr(caught.value, "versions", ())))
        if name != "\udcff":
            assert answers[0] == answers[1]
    with pytest.raises(StackUnknown, match=r"did you mean prod-gpu\?"):
        remote.get("prod-gpo")


def test_list_is_that_of_the_local_registry_page_by_page(
    remote: RemoteRegistry, registry: LocalRegistry, put_all: PutAll, stack: Make, server: Any
) -> None:
    put_all("1.0.0", "1.1.0", "2.0.0-rc.1")
    put_all("0.1.0", "0.2.0", name="staging")
    registry.put(stack("3.0.0", "labelled", team="a=b&c"))
    registry.retire("staging", "0.1.0", by="bob", at=LATER)
    server.page = 2
    for asked in (
        {},
        {"all_versions": True},
        {"name": "prod*"},
        {"name": "staging", "all_versions": True},
        {"labels": {"team": "a=b&c"}},
        {"labels": {"team": "x"}},
    ):
        assert remote.list(**asked) == registry.list(**asked)
    assert remote.versions("staging") == registry.versions("staging")


def test_get_again_is_asked_for_conditionally(
    server: Any, put_all: PutAll, tmp_path: Path, registry: LocalRegistry
) -> None:
    put_all("1.0.0")
    statuses: list[str | None] = []
    server.misbehave = lambda handler: statuses.append(handler.headers.get("If-None-Match"))
    cache = ContentCache(tmp_path / "cache")
    first = RemoteRegistry(server.url, cache=cache)
    assert first.get("prod-gpu") == first.get("prod-gpu")
    assert RemoteRegistry(server.url, cache=cache).get("prod-gpu") == first.get("prod-gpu")
    assert [one is not None for one in statuses] == [False] * 2 + [True] * 6
    put_all("1.1.0")
    assert first.get("prod-gpu").version == "1.1.0"
    registry.retire("prod-gpu", "1.1.0", by="bob", at=LATER)
    assert first.get("prod-gpu").version == "1.0.0"


def test_token_is_sent_and_never_shown(server: Any, put_all: PutAll) -> None:
    put_all("1.0.0")
    server.token = TOKEN
    known = RemoteRegistry(server.url, token_env="REGISTRY_TOKEN", environ={"REGISTRY_TOKEN": f"{TOKEN}\n"})
    assert known.get("prod-gpu").version == "1.0.0"
    wrong = {"REGISTRY_TOKEN": "another-one"}
    for environ, name, said in (
        ({}, "REGISTRY_TOKEN", "REGISTRY_TOKEN is not set"),
        ({"REGISTRY_TOKEN": "a\r\nX: b"}, "REGISTRY_TOKEN", "holds no token"),
        (wrong, "REGISTRY_TOKEN", "does not know the token in REGISTRY_TOKEN"),
        ({}, None, "the server wants a token"),
    ):
        with pytest.raises(RegistryAccessDenied) as caught:
            RemoteRegistry(server.url, token_env=name, environ=environ).get("prod-gpu")
        assert said in str(caught.value)
        assert "another-one" not in str(caught.value)


def test_tls_is_checked_against_the_given_ca(server: Any, put_all: PutAll, tmp_path: Path) -> None:
    put_all("1.0.0")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert RemoteRegistry(url, ca=tmp_path / "ca.pem").get("prod-gpu").version == "1.0.0"
    with pytest.raises(RegistryUnreachable, match="certificate is not trusted"):
        RemoteRegistry(url).get("prod-gpu")
    (tmp_path / "junk.pem").write_text("junk")
    for name in ("junk.pem", "missing.pem"):
        with pytest.raises(RegistryUnreachable, match="CA certificates cannot be read"):
            RemoteRegistry(url, ca=tmp_path / name).get("prod-gpu")


# what must not be believed


CALLS: dict[str, Callable[[RemoteRegistry, NewStack], object]] = {
    "get": lambda remote, _: remote.get("prod-gpu"),
    "versions": lambda remote, _: remote.versions("prod-gpu"),
    "list": lambda remote, _: remote.list(),
    "put": lambda remote, new: remote.put(new),
    "retire": lambda remote, _: remote.retire("prod-gpu", "1.0.0", by="bob", at=LATER),
}

ANSWERS: dict[str, tuple[type[RegistryError], Callable[[Any], bool]]] = {
    "401": (RegistryAccessDenied, answering(401, {})),
    "403": (RegistryAccessDenied, answering(403, b"no")),
    "404 of some other server": (RegistryAnswerInvalid, answering(404, b"<html>", Content_Type="text/html")),
    "404 with another code": (RegistryAnswerInvalid, answering(404, {"error": {"code": "x\x1b[31m"}})),
    "429": (RegistryUnreachable, answering(429, {})),
    "500": (RegistryUnreachable, answering(500, b"boom")),
    "503": (RegistryUnreachable, answering(503, {})),
    "redirect": (RegistryAnswerInvalid, answering(302, b"", Location="https://evil.example/")),
    "204": (RegistryAnswerInvalid, answering(204, b"")),
    "304 unasked": (RegistryAnswerInvalid, answering(304, b"")),
    "no JSON": (RegistryAnswerInvalid, answering(200, b"{")),
    "deep JSON": (RegistryAnswerInvalid, answering(200, b"[" * 200_000)),
    "not UTF-8": (RegistryAnswerInvalid, answering(200, b'{"stacks": "\xff"}')),
    "other shape": (RegistryAnswerInvalid, answering(200, {"stacks": [{"name": 1}]})),
    "HTML with 200": (RegistryAnswerInvalid, answering(200, b"<html>", Content_Type="text/html")),
    "gzip": (RegistryAnswerInvalid, answering(200, b"\x1f\x8b", Content_Encoding="gzip")),
    "too large": (RegistryAnswerInvalid, answering(200, b" " * (17 << 20))),
    "cut off": (RegistryUnreachable, answering(200, b'{"stacks": []}', Content_Length="5000")),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_answer_that_is_none_fails_closed(
    server: Any, remote: RemoteRegistry, put_all: PutAll, stack: Make, call: str, answer: str
) -> None:
    put_all("1.0.0")
    expected, server.misbehave = ANSWERS[answer]
    with pytest.raises(expected) as caught:
        CALLS[call](remote, stack("2.0.0"))
    assert type(caught.value) is expected
    assert str(caught.value).isprintable()


def _drip(handler: Any) -> bool:
    """An answer that never ends, a byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(600):
        try:
            handler.wfile.write(b" ")
        except OSError:
            break
        time.sleep(0.05)
    handler.close_connection = True
    return True


def _drip_headers(handler: Any) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    return _drip(handler)


def _say_nothing(handler: Any) -> bool:
    handler.close_connection = True
    time.sleep(1)
    return True


def _no_http(handler: Any) -> bool:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True
    return True


@pytest.mark.parametrize("misbehave", [_drip, _drip_headers, _say_nothing])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.timeout(30)
def test_server_that_is_slow_fails_closed_in_time(
    server: Any, put_all: PutAll, stack: Make, call: str, misbehave: Callable[[Any], bool]
) -> None:
    put_all("1.0.0")
    server.misbehave = misbehave
    with pytest.raises(RegistryUnreachable, match=r"no complete answer within 0\.3 s"):
        CALLS[call](RemoteRegistry(server.url, timeout=0.3), stack("2.0.0"))
    deadline = time.monotonic() + 10
    while any(thread.name == "flowyml-policy-http" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a thread is left behind"
        time.sleep(0.01)


def test_server_that_is_none_fails_closed(server: Any, stack: Make) -> None:
    server.misbehave = _no_http
    with pytest.raises(RegistryAnswerInvalid, match="does not speak HTTP"):
        RemoteRegistry(server.url, timeout=5).put(stack())
    with pytest.raises(RegistryUnreachable, match="cannot be reached"):
        RemoteRegistry("http://127.0.0.1:9", timeout=5).list()
    with pytest.raises(RegistryUnreachable, match="cannot be reached"):
        RemoteRegistry("https://registry.invalid", timeout=20).list()


@pytest.mark.parametrize(
    "url",
    [
        "http://registry.example.com",
        "ftp://localhost",
        "https://",
        "",
        "https://ada:hunter22hunter22@host",
        "https://host/?x",
        "file:///etc/passwd",
        "https://[",
        "http://localhost.evil.com",
        "https://host:99999",
    ],
)
def test_address_that_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(RegistryUnreachable) as caught:
        RemoteRegistry(url)
    assert "hunter22" not in str(caught.value)


def changed(**changes: object) -> Callable[[Any], bool]:
    """A misbehaviour: a version is answered with these fields changed, as whoever owns the server could."""

    def misbehave(handler: Any) -> bool:
        name_and_version = 2
        if len(handler.path.split("/")[3:]) < name_and_version:
            return False
        found = handler.server.registry.get("prod-gpu", retired=True).model_dump() | changes
        if handler.command == "PUT":
            return answering(200, {"kind": "already_there", "stack": found})(handler)
        return answering(200, found)(handler)

    return misbehave


@pytest.mark.parametrize("call", ["get", "put", "retire"])
@pytest.mark.parametrize(
    "change",
    [
        {"document": {"metadata": {"name": "prod-gpu", "version": "1.0.0", "labels": {}}, "spec": {"evil": True}}},
        {"digest": "sha256:" + "0" * 64},
        {"name": "staging"},
        {"version": "1.0.1"},
        {"labels": {"approved": "true"}},
        {"document": {}},
    ],
)
def test_stack_that_is_not_what_its_digest_says_fails_closed(
    server: Any, remote: RemoteRegistry, put_all: PutAll, stack: Make, call: str, change: dict[str, object]
) -> None:
    put_all("1.0.0")
    server.misbehave = changed(**change)
    with pytest.raises(RegistryAnswerInvalid, match="not what its name, version and digest say"):
        CALLS[call](remote, stack())


def test_stack_swapped_for_another_whole_one_fails_closed(
    server: Any, remote: RemoteRegistry, registry: LocalRegistry, stack: Make
) -> None:
    registry.put(stack(nodes=4))
    other = registered(stack(nodes=99)).model_dump()
    server.misbehave = changed(**other)
    with pytest.raises(RegistryAnswerInvalid, match="not what its name, version and digest say"):
        remote.get("prod-gpu")


@pytest.mark.parametrize("there", [None, "same"])
def test_put_conflict_that_is_none_fails_closed(
    server: Any, remote: RemoteRegistry, stack: Make, there: object
) -> None:
    body = {"error": {"code": "version_taken"}, "registered": there and registered(stack()).model_dump()}
    server.misbehave = answering(409, body)
    with pytest.raises(RegistryAnswerInvalid):
        remote.put(stack())


def test_put_server_that_refuses_says_why(server: Any, remote: RemoteRegistry, stack: Make) -> None:
    why = {"code": "stack_unregistrable", "message": "no such team\n\x1b[31m" + "x" * 9000}
    server.misbehave = answering(422, {"error": why})
    with pytest.raises(StackUnregistrable) as caught:
        remote.put(stack())
    assert "no such team" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_listing_that_does_not_end_fails_closed(server: Any, remote: RemoteRegistry) -> None:
    server.misbehave = answering(200, {"stacks": [], "next": "1"})
    with pytest.raises(RegistryAnswerInvalid, match="does not end"):
        remote.list()
    pages = iter(range(10_000))

    def another_page(handler: Any) -> bool:
        return answering(200, {"stacks": [], "next": str(next(pages))})(handler)

    server.misbehave = another_page
    with pytest.raises(RegistryAnswerInvalid, match="more than 200 parts"):
        RemoteRegistry(server.url, timeout=30).list()


def test_not_modified_of_something_else_fails_closed(server: Any, remote: RemoteRegistry, put_all: PutAll) -> None:
    put_all("1.0.0")
    remote.get("prod-gpu")
    server.misbehave = answering(304, b"", ETag='"another"')
    with pytest.raises(RegistryAnswerInvalid, match="304"):
        remote.get("prod-gpu")


def test_versions_that_are_no_versions_fail_closed(
    server: Any, remote: RemoteRegistry, registry: LocalRegistry, stack: Make
) -> None:
    registry.put(stack())
    (one,) = [listed.model_dump() for listed in registry.versions("prod-gpu")]
    for stacks in ([one | {"version": "latest"}], [one, one], [one | {"name": "other"}], []):
        server.misbehave = answering(200, {"stacks": stacks})
        with pytest.raises(RegistryAnswerInvalid):
            remote.get("prod-gpu")
