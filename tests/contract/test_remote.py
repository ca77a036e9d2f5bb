"""Policy that a server gives: what decides, from the first start to the next revision, and what never does."""

from __future__ import annotations

import io
import os
import ssl
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import pytest
import trustme

from flowyml_policy.errors.opa import (
    OpaError,
    OpaStartFailed,
    OpaUnavailable,
    PolicyExpired,
    PolicyInvalid,
    PolicyRolledBack,
)
from flowyml_policy.opa.bundle_files import archive_bytes
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.storage.sequences import FileSequences
from tests.bundle_server import BundleServer
from tests.contract.conftest import MAIN, NAMING, document
from tests.contract.remote import Follow, Publisher, config, eventually, start

LONG = "a-long-name"


@pytest.fixture
def server() -> Iterator[BundleServer]:
    with BundleServer() as made:
        yield made


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    folder = tmp_path / "publisher"
    folder.mkdir()
    return Publisher(folder)


@pytest.fixture(params=["embedded", "process"])
def follow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Follow]:
    """Starts an evaluator of each kind on a configuration; what it makes is closed."""
    made: list[OpaEvaluator] = []

    def started(given: dict[str, Any], **options: Any) -> OpaEvaluator:
        made.append(start(request.param, given, options.pop("state", tmp_path / "state"), **options))
        return made[-1]

    yield started
    for evaluator in made:
        evaluator.close()


def named(name: str = LONG) -> PolicyInput:
    return document(name)


def revision(evaluator: OpaEvaluator) -> str:
    return evaluator.judge(named())[1].bundles["flowyml"]


def test_a_bundle_that_a_server_gives_decides_and_the_next_one_too(
    server: BundleServer, publisher: Publisher, follow: Follow
) -> None:
    server.put("flowyml", publisher.bundle("1", longest=20))
    evaluator = follow(config(server))
    decision, evaluation = evaluator.judge(named())
    assert (decision.allowed, evaluation.bundles, dict(evaluation.remote)) == (True, {"flowyml": "1"}, {"flowyml": "1"})
    assert not evaluation.copies
    server.put("flowyml", publisher.bundle("2", longest=3))
    eventually(lambda: revision(evaluator) == "2")
    assert not evaluator.evaluate(named()).allowed
    assert server.requests[0].path == "/bundles/flowyml"


def test_tls_with_a_private_ca_and_a_token(publisher: Publisher, follow: Follow, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (tmp_path / "token").write_text("open-sesame")
    with BundleServer(context=context, token="open-sesame") as server:
        server.put("flowyml", publisher.bundle("1"))
        service = {"tls": {"ca_cert": "ca.pem"}, "credentials": {"bearer": {"token_path": "token"}}}
        assert revision(follow(config(server, service=service), root=tmp_path)) == "1"
        with pytest.raises(OpaStartFailed, match="certificate signed by unknown authority"):
            follow(config(server), start_timeout=0.5)


@pytest.mark.parametrize(("status", "reason"), [(401, "Unauthorized"), (503, "Service Unavailable")])
def test_a_start_says_what_the_server_said(server: BundleServer, follow: Follow, status: int, reason: str) -> None:
    server.broken = status
    began = monotonic()
    with pytest.raises(OpaStartFailed, match=reason):
        follow(config(server), start_timeout=0.6)
    assert monotonic() - began < 5


def test_a_start_without_a_server_waits_for_one(server: BundleServer, publisher: Publisher, follow: Follow) -> None:
    server.put("flowyml", publisher.bundle("1"))
    server.stop()
    with pytest.raises(OpaStartFailed, match="connection refused"):
        follow(config(server), start_timeout=0.5)
    threading.Timer(0.3, server.start).start()
    assert revision(follow(config(server))) == "1"


def test_a_server_that_hangs_ends_the_start_at_its_deadline(server: BundleServer, follow: Follow) -> None:
    server.hangs = True
    with pytest.raises(OpaStartFailed, match=r"not active after 500ms: nothing came of \"flowyml\""):
        follow(config(server), start_timeout=0.5)


def test_what_a_server_may_not_give_is_not_activated(
    server: BundleServer, publisher: Publisher, follow: Follow
) -> None:
    server.put("flowyml", publisher.bundle("1"))
    evaluator = follow(config(server))
    for bad in (
        publisher.bundle("2", roots=("flowyml", "system")),
        publisher.bundle("2", input_schema=2),
        publisher.bundle("2", expires="2020-01-01T00:00:00Z"),
        publisher.bundle("2", files={"broken.rego": "package flowyml.main\n\ndecision := nothing(1)"}),
        publisher.bundle("2").read_bytes()[:-200],
    ):
        seen = len(server.requests)
        server.put("flowyml", bad)
        eventually(lambda seen=seen: len(server.requests) > seen + 1)  # type: ignore[misc]
        assert revision(evaluator) == "1"
    server.put("flowyml", publisher.bundle("3"))
    eventually(lambda: revision(evaluator) == "3")


def test_a_policy_whose_rules_would_not_be_judged_is_undecided(
    server: BundleServer, publisher: Publisher, follow: Follow
) -> None:
    server.put("flowyml", publisher.bundle("1", longest=20))
    evaluator = follow(config(server))
    assert evaluator.evaluate(named()).allowed
    files = {"main.rego": MAIN, "naming.rego": NAMING, "deep.rego": "package flowyml.rules.a.b\n\nfindings := set()"}
    bad = publisher.folder / "bad.tar.gz"
    bad.write_bytes(_without_conventions(files))
    server.put("flowyml", bad)

    def undecided() -> bool:
        try:
            evaluator.judge(named())
        except PolicyInvalid:
            return True
        return False

    eventually(undecided)
    assert undecided()
    server.put("flowyml", publisher.bundle("3", longest=20))
    eventually(lambda: not undecided())
    assert revision(evaluator) == "3"


def _without_conventions(files: dict[str, str]) -> bytes:
    manifest = '{"revision": "2", "roots": ["flowyml"]}'
    data = '{"flowyml": {"catalogue": {"rules": ["naming"], "codes": {}}}}'
    content = {**files, ".manifest": manifest, "data.json": data}
    return archive_bytes({name: text.encode() for name, text in content.items()})


def signed(server: BundleServer, publisher: Publisher, *keys: str, **options: Any) -> dict[str, Any]:
    return config(server, keys={key: publisher.key(key) for key in keys}, signing={}, **options)


def test_signed_bundles_decide_and_nothing_else_does(
    server: BundleServer, publisher: Publisher, follow: Follow
) -> None:
    server.put("flowyml", publisher.bundle("1", key="a", sequence=1))
    evaluator = follow(signed(server, publisher, "a"), require_signed=True)
    assert revision(evaluator) == "1"
    good = publisher.bundle("2", key="a", sequence=2).read_bytes()
    for bad in (
        publisher.bundle("2", sequence=2).read_bytes(),  # by nobody
        publisher.bundle("2", key="b", sequence=2).read_bytes(),  # by somebody else
        _tampered(good),
    ):
        seen = len(server.requests)
        server.put("flowyml", bad)
        eventually(lambda seen=seen: len(server.requests) > seen + 1)  # type: ignore[misc]
        assert revision(evaluator) == "1"
        with pytest.raises(OpaStartFailed, match=r"signature|key|digest mismatch"):
            follow(signed(server, publisher, "a"), start_timeout=0.5)
    server.put("flowyml", good)
    eventually(lambda: revision(evaluator) == "2")


def _tampered(bundle: bytes) -> bytes:
    """The same bundle with another rule, and the old signature."""
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        content = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    return archive_bytes({**content, "naming.rego": content["naming.rego"].replace(b"> 8", b"> 99")})


def test_keys_rotate_in_both_directions(server: BundleServer, publisher: Publisher, follow: Follow) -> None:
    server.put("flowyml", publisher.bundle("1", key="a", sequence=1))
    evaluator = follow(signed(server, publisher, "a", "b"))
    for number, key in enumerate(("b", "a"), start=2):
        server.put("flowyml", publisher.bundle(str(number), key=key, sequence=number))
        eventually(lambda number=number: revision(evaluator) == str(number))  # type: ignore[misc]


def test_an_older_signed_bundle_is_refused_while_running_and_at_the_next_start(
    server: BundleServer, publisher: Publisher, follow: Follow, tmp_path: Path
) -> None:
    old = publisher.bundle("4", key="a", sequence=4)
    server.put("flowyml", publisher.bundle("5", key="a", sequence=5))
    evaluator = follow(signed(server, publisher, "a"))
    assert revision(evaluator) == "5"
    for replayed in (old, publisher.bundle("6", key="a")):  # older, and one that does not say
        seen = len(server.requests)
        server.put("flowyml", replayed)
        eventually(lambda seen=seen: len(server.requests) > seen + 1)  # type: ignore[misc]
        assert revision(evaluator) == "5"
        with pytest.raises(PolicyRolledBack, match="one of sequence 5 was seen before"):
            follow(signed(server, publisher, "a"), start_timeout=0.5)
    assert revision(follow(signed(server, publisher, "a"), state=tmp_path / "another")) == "6"


def test_what_another_process_saw_counts(
    server: BundleServer, publisher: Publisher, follow: Follow, tmp_path: Path
) -> None:
    server.put("flowyml", publisher.bundle("1", key="a", sequence=1))
    given = signed(server, publisher, "a")
    evaluator = follow(given)
    assert revision(evaluator) == "1"
    FileSequences(tmp_path / "state").advance(f"{server.url} bundles/flowyml", 9)
    server.put("flowyml", publisher.bundle("2", key="a", sequence=2))
    with pytest.raises(PolicyRolledBack, match="sequence 9"):
        eventually(lambda: revision(evaluator) == "2")


def test_sequences_that_cannot_be_kept_are_undecided_where_signatures_are_required(
    server: BundleServer, publisher: Publisher, follow: Follow, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    server.put("flowyml", publisher.bundle("1", key="a", sequence=1))
    given = signed(server, publisher, "a")
    unkept = FileSequences(tmp_path / "file")
    with pytest.raises(OpaUnavailable, match=r"sequences? of"):
        follow(given, sequences=unkept, require_signed=True)
    assert revision(follow(given, sequences=unkept)) == "1"


def test_an_expired_bundle_is_not_started_on(server: BundleServer, publisher: Publisher, follow: Follow) -> None:
    server.put("flowyml", publisher.bundle("1", expires="2021-01-01T00:00:00Z"))
    with pytest.raises(PolicyExpired, match="expired at 2021-01-01T00:00:00Z"):
        follow(config(server), start_timeout=0.5)


@pytest.mark.parametrize("is_signed", [True, False])
def test_a_kept_copy_decides_where_the_server_is_gone(
    server: BundleServer, publisher: Publisher, follow: Follow, is_signed: bool
) -> None:
    key = "a" if is_signed else None
    server.put("flowyml", publisher.bundle("1", longest=20, key=key, sequence=1))
    options: dict[str, Any] = {"persist": True}
    given = signed(server, publisher, "a", **options) if is_signed else config(server, **options)
    follow(given).close()
    server.put("flowyml", publisher.bundle("2", longest=3, key=key, sequence=2))
    evaluator = follow(given)
    assert (revision(evaluator), dict(evaluator.judge(named())[1].copies)) == ("2", {})  # never the copy first
    server.stop()
    assert revision(evaluator) == "2"
    alone = follow(given)
    decision, evaluation = alone.judge(named())
    assert (decision.allowed, evaluation.bundles, list(evaluation.copies)) == (False, {"flowyml": "2"}, ["flowyml"])
    server.put("flowyml", publisher.bundle("3", longest=20, key=key, sequence=3))
    server.start()
    for one in (alone, evaluator):
        eventually(lambda one=one: revision(one) == "3")  # type: ignore[misc]
        assert not one.judge(named())[1].copies


def copy_in(folder: Path) -> Path:
    (found,) = folder.rglob("bundle.tar.gz")
    return found


def test_a_copy_that_is_too_old_or_tampered_does_not_decide(
    server: BundleServer, publisher: Publisher, follow: Follow, tmp_path: Path
) -> None:
    server.put("flowyml", publisher.bundle("1", key="a", sequence=1))
    given = signed(server, publisher, "a", persist=True)
    follow(given).close()
    server.stop()
    kept = copy_in(tmp_path / "state")
    os.utime(kept, (time() - 7200, time() - 7200))
    with pytest.raises(OpaError, match=r"connection refused.*max_age"):
        follow(given, start_timeout=0.5)
    with pytest.raises(OpaUnavailable, match="longer ago than"):
        follow(given, offline=True)
    assert revision(follow(given, start_timeout=0.5, max_age=9000)) == "1"
    kept.write_bytes(_tampered(kept.read_bytes()))
    for offline in (True, False):
        with pytest.raises(OpaError, match=r"signature|digest|refused"):
            follow(given, offline=offline, start_timeout=0.5)


def test_a_rolled_back_copy_does_not_decide(
    server: BundleServer, publisher: Publisher, follow: Follow, tmp_path: Path
) -> None:
    server.put("flowyml", publisher.bundle("1", key="a", sequence=1))
    given = signed(server, publisher, "a", persist=True)
    follow(given).close()
    FileSequences(tmp_path / "state").advance(f"{server.url} bundles/flowyml", 2)
    server.stop()
    with pytest.raises(PolicyRolledBack):
        follow(given, offline=True)
    with pytest.raises(OpaError):
        follow(given, start_timeout=0.5)


def test_offline_asks_no_server(server: BundleServer, publisher: Publisher, follow: Follow) -> None:
    server.put("flowyml", publisher.bundle("1"))
    with pytest.raises(OpaUnavailable, match="no copy is kept"):
        follow(config(server), offline=True)
    given = config(server, persist=True)
    with pytest.raises(OpaUnavailable, match="there is no copy"):
        follow(given, offline=True)
    assert server.requests == []
    follow(given).close()
    asked = len(server.requests)
    evaluator = follow(given, offline=True)
    assert list(evaluator.judge(named())[1].copies) == ["flowyml"]
    sleep(1.5)
    assert revision(evaluator) == "1"
    assert len(server.requests) == asked


def test_a_server_that_is_gone_for_too_long_leaves_nothing_to_decide_by(
    server: BundleServer, publisher: Publisher, follow: Follow
) -> None:
    server.put("flowyml", publisher.bundle("1"))
    evaluator = follow(config(server), max_age=3.0)
    sleep(3.5)
    assert revision(evaluator) == "1"  # the server says again and again that it is the newest
    server.stop()
    with pytest.raises(OpaUnavailable, match="max_age"):
        eventually(lambda: revision(evaluator) == "2", 10)
    server.start()
    sleep(3)
    assert revision(evaluator) == "1"
