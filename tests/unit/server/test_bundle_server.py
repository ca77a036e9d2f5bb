"""OPA's bundle protocol on the real server, over TLS: what clients see of it, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import pytest
import trustme

from tests.server import Reply, Server
from tests.unit.server.publishing import company

OPA: Final = "application/vnd.openpolicyagent.bundles"
PREFER: Final = "modes=snapshot,delta;wait={}"
FIRST: Final = company("1", sequence=1)
ETAG: Final = f'"{sha256(FIRST).hexdigest()}"'


class Served:
    """A server with one bundle, `acme`, and tokens for it. Clients wait at most `wait`."""

    def __init__(self, folder: Path, wait: str) -> None:
        self.watch = folder / "dist"
        self.watch.mkdir()
        bundles = {"require_signed": False, "watch": str(self.watch), "keep": 3}
        self.server = Server(folder, authority=trustme.CA(), bundles=bundles, limits={"wait": wait})
        self.publisher = self.server.token("bundles:publish", name="ci")
        self.reader = self.server.token("bundles:read:acme")
        self.doomed = self.server.token("bundles:read", name="doomed")
        self.anything = self.server.token("bundles:read")
        self.other = self.server.token("bundles:read:other", "operator", name="other")

    def get(self, path: str = "/bundles/acme", *, token: str | None = None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.ask("GET", path, token=token or self.reader, headers=named, timeout=120)

    def put(self, packed: bytes, name: str = "acme", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.ask("PUT", f"/bundles/{name}", token=self.publisher, body=packed, headers=named, timeout=120)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Not to be changed."""
    made = Served(tmp_path_factory.mktemp("server"), wait="2s")
    with made.server:
        reply = made.put(FIRST)
        assert (reply.status, reply.headers["etag"]) == (201, ETAG)
        yield made


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def parked(served: Served, count: int = 1) -> None:
    """Wait until so many polls wait."""
    until = monotonic() + 20
    wanted = f"\nflowyml_policy_polls {float(count)}\n"
    while wanted not in served.server.ask("GET", "/metrics", token=served.other).body.decode():
        assert monotonic() < until
        sleep(0.02)


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "application/gzip"),
        ({"Prefer": "modes=snapshot,delta"}, OPA),
        ({"Prefer": PREFER.format(60)}, OPA),
        ({"Prefer": "wait=60", "If_None_Match": '"of another"'}, OPA),
        ({"Accept_Encoding": "gzip", "If_None_Match": ""}, "application/gzip"),
    ],
)
def test_archive_is_given_whole_at_once(served: Served, headers: dict[str, str], kind: str) -> None:
    reply = served.get(**headers)
    assert (reply.status, reply.body) == (200, FIRST)
    assert reply.headers["etag"] == ETAG
    assert reply.headers["content-type"] == kind
    assert "content-encoding" not in reply.headers


def test_head_says_what_get_would(served: Served) -> None:
    head = served.server.ask("HEAD", "/bundles/acme", token=served.reader)
    assert (head.status, head.body) == (200, b"")
    assert (head.headers["etag"], head.headers["content-length"]) == (ETAG, str(len(FIRST)))


@pytest.mark.parametrize("condition", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*"])
def test_who_has_it_is_told_so_with_its_etag(served: Served, condition: str) -> None:
    reply = served.get(If_None_Match=condition)
    assert (reply.status, reply.headers.get("etag"), reply.body) == (304, ETAG, b"")


def test_wait_is_held_whole(served: Served) -> None:
    began = monotonic()
    reply = served.get(If_None_Match=ETAG, Prefer=PREFER.format(1))
    assert (reply.status, reply.headers["etag"]) == (304, ETAG)
    assert 1 <= monotonic() - began < 4


def test_wait_is_at_most_the_servers(served: Served) -> None:
    began = monotonic()
    assert served.get(If_None_Match=ETAG, Prefer=PREFER.format(600)).status == 304
    assert 2 <= monotonic() - began < 6


def test_name_that_is_not_published_is_told_at_once(served: Served) -> None:
    began = monotonic()
    reply = served.server.ask(
        "GET", "/bundles/nobody", token=served.anything, headers={"Prefer": PREFER.format(5), "If-None-Match": ETAG}
    )
    assert (reply.status, reply.code) == (404, "no_such_bundle")
    assert monotonic() - began < 3


@pytest.mark.parametrize(
    "path",
    [
        "/bundles/..",
        "/bundles/%2e%2e",
        "/bundles/../server.db",
        "/bundles/%2e%2e%2fserver.db",
        "/bundles/acme/../../server.db",
        "//bundles/acme",
        "/bundles//acme",
        "/bundles/acme/",
        "/bundles/acme%00",
        "/bundles/acme%2F",
        "/bundles/acme/revisions/..%2f..%2fserver.db",
        "/bundles/%c0%ae%c0%ae",
    ],
)
def test_path_that_leads_nowhere(served: Served, path: str) -> None:
    for method, token, body in (("GET", served.anything, None), ("PUT", served.publisher, FIRST)):
        reply = served.server.ask(method, path, token=token, body=body)
        assert reply.status in {404, 405}, (method, reply)
        assert b"SQLite" not in reply.body


@pytest.mark.parametrize(
    ("method", "path", "who", "status"),
    [
        ("GET", "/bundles/acme", None, 401),
        ("GET", "/bundles/acme", "other", 403),
        ("GET", "/bundles/acme", "publisher", 403),
        ("PUT", "/bundles/acme", "reader", 403),
        ("GET", "/bundles/acme/history", "reader", 403),
        ("GET", "/bundles/acme/history", "other", 403),
        ("GET", "/bundles/acme/revisions/1", "reader", 403),
    ],
)
def test_scopes(served: Served, method: str, path: str, who: str | None, status: int) -> None:
    token = None if who is None else getattr(served, who)
    body = FIRST if method == "PUT" else None
    assert served.server.ask(method, path, token=token, body=body).status == status


def test_token_that_is_revoked_ends_its_polls(served: Served, beside: ThreadPoolExecutor) -> None:
    poll = beside.submit(served.get, token=served.doomed, If_None_Match=ETAG, Prefer=PREFER.format(5))
    parked(served)
    served.server.revoke("doomed")
    began = monotonic()
    reply: Reply = poll.result(20)
    assert (reply.status, reply.code) == (401, "wrong_token")
    assert monotonic() - began < 2.5  # one second, and what else the machine does


def test_history_and_archives_are_for_who_publishes(served: Served) -> None:
    history = served.get("/bundles/acme/history", token=served.publisher)
    (one,) = history.json["history"]
    del one["published_at"]
    assert one == {
        "name": "acme",
        "revision": "1",
        "sequence": 1,
        "expires": None,
        "digest": f"sha256:{sha256(FIRST).hexdigest()}",
        "size": len(FIRST),
        "published_by": "ci",
        "etag": ETAG,
        "active": True,
        "kept": True,
        "expired": False,
    }
    assert served.get("/bundles/acme/revisions/1", token=served.publisher).body == FIRST
    missing = served.get("/bundles/acme/revisions/2", token=served.publisher)
    assert (missing.status, missing.code) == (404, "no_such_revision")


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"", {}, (400, "no_body")),
        (FIRST, {"Content_Encoding": "gzip"}, (415, "encoded")),
        (company("2", sequence=2), {"If_Match": '"of another"'}, (412, "not_active")),
    ],
)
def test_put_that_is_refused(served: Served, body: bytes, headers: dict[str, str], expected: tuple[int, str]) -> None:
    reply = served.put(body, **headers)
    assert (reply.status, reply.code) == expected


def test_publications_wake_who_waits_and_so_does_the_end(tmp_path: Path, beside: ThreadPoolExecutor) -> None:
    """Once by PUT, and once by the watched folder; an old ETag never passes for the new one."""
    changing = Served(tmp_path, wait="5m")
    with changing.server:
        assert changing.put(FIRST).status == 201
        etag = ETAG
        old: list[str] = []
        for number, publish in ((2, _put), (3, _drop)):
            packed = company(str(number), sequence=number)
            condition = ", ".join([etag, *old])
            polls = _polls(changing, beside, condition)
            publish(changing, packed)
            old, etag = [etag, *old], f'"{sha256(packed).hexdigest()}"'
            answers = {(one.status, one.headers["etag"], one.body) for one in (poll.result(90) for poll in polls)}
            assert answers == {(200, etag, packed)}
            assert changing.get(If_None_Match=", ".join(old)).status == 200
            assert changing.get(If_None_Match=", ".join([*old, etag])).status == 304
        polls = _polls(changing, beside, etag)
        changing.server.stop()
        assert {(one.status, one.headers["etag"]) for one in (poll.result(10) for poll in polls)} == {(304, etag)}


def _polls(served: Served, beside: ThreadPoolExecutor, condition: str) -> list[Future[Reply]]:
    polls = [beside.submit(served.get, If_None_Match=condition, Prefer=PREFER.format(120)) for _ in range(3)]
    parked(served, len(polls))
    return polls


def _put(served: Served, packed: bytes) -> None:
    assert served.put(packed).status == 201


def _drop(served: Served, packed: bytes) -> None:
    (served.watch / "acme.tar.gz").write_bytes(packed)
