"""What clients say of themselves, and what their silence says."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.records.clients import BundleStatus, LogsReport
from flowyml_policy.records.instant import instant
from flowyml_policy.server import status
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.status import Statuses

START = datetime(2026, 11, 20, 10, tzinfo=timezone.utc)
NEVER = "0001-01-01T00:00:00Z"


def after(seconds: float) -> str:
    return instant(START + timedelta(seconds=seconds))


def bundle(revision: str | None = "r1", **more: Any) -> dict[str, Any]:
    """A bundle's status, as OPA's plugin posts it."""
    active = {} if revision is None else {"active_revision": revision}
    return {
        "name": "org",
        **active,
        "last_successful_activation": NEVER if revision is None else "2026-11-20T09:59:00.1Z",
        "last_successful_download": NEVER if revision is None else "2026-11-20T09:59:00Z",
        "last_successful_request": "2026-11-20T09:59:00Z",
        "last_request": "2026-11-20T09:59:00Z",
        "metrics": {"timer_bundle_request_ns": 1},
        "size": 4711,
        "type": "snapshot",
        **more,
    }


def report(client: str = "c1", **more: Any) -> dict[str, Any]:
    labels = {"id": client, "version": "1.22.4", "app": "fraud", "host": "node-1"}
    return {
        "labels": labels,
        "bundles": {"org": bundle()},
        "plugins": {"bundle": {"state": "OK"}, "status": {"state": "OK"}},
        "metrics": {"prometheus": {"go_gc_duration_seconds": {"name": "x" * 50_000}}},
        **more,
    }


@pytest.fixture
def statuses(path: Path) -> Iterator[Statuses]:
    with closing(Statuses(path)) as made:
        yield made


def post(statuses: Statuses, said: Any, seconds: float = 0, *, by: str = "fleet") -> None:
    statuses.take(json.dumps(said).encode(), partition=None, token=by, at=after(seconds))


def test_clients_report_of_opa_is_told_whole(statuses: Statuses) -> None:
    post(statuses, report(decision_logs={"metrics": {"counter_decision_logs_encoding_failure": 1}}))
    (client,) = statuses.clients(after(5), {"org": "r2"})
    assert client.model_dump(exclude={"bundles"}) == {
        "token": "fleet",
        "id": "c1",
        "name": "fraud@node-1",
        "health": "well",
        "heard_at": after(0),
        "age": 5.0,
        "interval": None,
        "labels": {"id": "c1", "version": "1.22.4", "app": "fraud", "host": "node-1"},
        "discovery": None,
        "decision_logs": LogsReport().model_dump(),
        "plugins": {"bundle": "OK", "status": "OK"},
        "dropped": 1,
        "troubles": (),
    }
    assert client.bundles == (
        BundleStatus(
            name="org",
            active_revision="r1",
            since=after(0),
            last_successful_activation="2026-11-20T09:59:00.1Z",
            last_successful_download="2026-11-20T09:59:00Z",
            last_successful_request="2026-11-20T09:59:00Z",
            last_request="2026-11-20T09:59:00Z",
            type="snapshot",
            size=4711,
            expected="r2",
        ),
    )
    assert client.is_behind


def test_clients_error_is_over_with_the_report_that_leaves_it_out(statuses: Statuses) -> None:
    failing = bundle(
        "r1",
        code="bundle_error",
        message="server replied with Not Found",
        http_code="404",
        errors=[{"code": "rego_parse_error", "location": {"row": 1}}, "free text", 7],
    )
    post(statuses, report(bundles={"org": failing}))
    (client,) = statuses.clients(after(1))
    assert (client.health, client.troubles, client.bundles[0].errors) == (
        "error",
        ("bundle org: bundle_error: server replied with Not Found (HTTP 404)",),
        ('{"code":"rego_parse_error","location":{"row":1}}', "free text", "7"),
    )
    post(statuses, report(), 10)
    (client,) = statuses.clients(after(11))
    assert (client.health, client.bundles[0].since) == ("well", after(0))


@pytest.mark.parametrize(
    ("said", "troubles"),
    [
        ({"bundles": {"org": bundle(None, code="bundle_error", message="no", http_code=503)}}, ("bundle org", "503")),
        ({"discovery": bundle(None, code="bundle_error", message="no")}, ("bundle discovery", "no")),
        ({"decision_logs": {"code": "decision_log_error", "message": "full", "http_code": "507"}}, ("logs", "507")),
        ({"plugins": {"bundle": {"state": "ERROR"}}}, ("plugin bundle", "ERROR")),
    ],
)
def test_clients_every_kind_of_error_is_told(statuses: Statuses, said: dict[str, Any], troubles: tuple[str]) -> None:
    post(statuses, report(**said))
    (client,) = statuses.clients(after(1))
    assert client.health == "error"
    assert all(text in client.troubles[0] for text in troubles)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"labels": None, "bundles": None, "decision_logs": [], "plugins": 1, "metrics": "x", "discovery": "y"},
        {"labels": [], "bundles": {"org": None, "b": 7}},
        {"labels": {"id": 5}, "bundles": {"org": {}}},
        {"bundles": {"org": {"http_code": None, "errors": {}, "size": "big", "code": 1, "last_request": 5}}},
    ],
)
def test_take_absent_and_odd_values_say_nothing(statuses: Statuses, said: dict[str, Any]) -> None:
    post(statuses, said)
    (client,) = statuses.clients(after(1))
    assert (client.name, client.health, client.dropped) == ("fleet", "well", 0)


def test_take_older_form_with_one_bundle(statuses: Statuses) -> None:
    post(statuses, {"labels": {"id": "c1"}, "bundle": bundle("r9")})
    assert statuses.clients(after(0))[0].bundles[0].active_revision == "r9"


def test_clients_silence_is_told_from_being_well(statuses: Statuses) -> None:
    for seconds in (0, 100, 200, 200.1, 200.2, 300):
        post(statuses, report(labels={"id": "often", "app": "a"}), seconds)
    post(statuses, report(labels={"id": "once", "app": "b"}), 300)
    post(statuses, report("engine", labels={"id": "engine", "app": "flowyml-policy"}), 300)
    post(statuses, report("engine", labels={"id": "engine", "app": "flowyml-policy"}), 310)
    assert health(statuses, 320) == {"often": "well", "once": "well", "engine": "well"}
    assert health(statuses, 300 + 295) == {"often": "well", "once": "well", "engine": "idle"}
    assert health(statuses, 300 + 305) == {"often": "silent", "once": "well", "engine": "idle"}
    assert health(statuses, 300 + 3601) == {"often": "silent", "once": "silent", "engine": "idle"}
    post(statuses, report(labels={"id": "often", "app": "a"}), 300 + 4000)
    assert health(statuses, 300 + 4001)["often"] == "well"


def health(statuses: Statuses, seconds: float) -> dict[str | None, str]:
    return {client.id: client.health for client in statuses.clients(after(seconds))}


def test_client_that_was_started_anew_is_one(statuses: Statuses) -> None:
    """OPA has another id after each start; two that report are two."""
    lost = {"decision_logs": {"metrics": {"counter_decision_logs_encoding_failure": 2}}}
    for start, name in enumerate(("first", "second", "third")):
        for seconds in (0, 30):
            post(statuses, report(name) | lost, start * 1000 + seconds)
    post(statuses, report("elsewhere", labels={"id": "elsewhere", "app": "fraud", "host": "node-2"}), 0)
    post(statuses, report("bare", labels={"id": "bare"}), 0)
    found = {one.id: (one.health, one.dropped) for one in statuses.clients(after(5000))}
    assert found == {"bare": ("silent", 0), "elsewhere": ("silent", 0), "third": ("silent", 6)}
    post(statuses, report("second") | lost, 5000)
    post(statuses, report("third") | lost, 5001)
    found = {one.id: (one.health, one.dropped) for one in statuses.clients(after(5002))}
    assert found == {"bare": ("silent", 0), "elsewhere": ("silent", 0), "second": ("well", 2), "third": ("well", 4)}


def test_clients_are_behind_only_where_the_server_publishes(statuses: Statuses) -> None:
    """What ships with an engine, and what a company built of it, have revisions that nobody can put in order."""
    post(statuses, report("a"), 0)
    post(statuses, report("b"), 1)
    post(statuses, report("b", bundles={"org": bundle("r2")}), 2)
    assert {one.id: one.bundles[0].expected for one in statuses.clients(after(3), {"other": "r1"})} == dict.fromkeys(
        "ab"
    )
    assert {one.id: one.is_behind for one in statuses.clients(after(3))} == {"a": False, "b": False}
    assert {one.id: one.is_behind for one in statuses.clients(after(3), {"org": "r1"})} == {"a": False, "b": True}


def test_changes_of_revisions_are_kept_within_bounds(statuses: Statuses, path: Path) -> None:
    for number in range(status.MOST_CHANGES + 5):
        post(statuses, report(bundles={"org": bundle(f"r{number}")}), number)
        post(statuses, report(bundles={"org": bundle(f"r{number}")}), number + 0.5)
    changes = statuses.changes("fleet", "c1")
    assert (len(changes), changes[0].revision, changes[0].at) == (status.MOST_CHANGES, "r104", after(104))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM clients").fetchone() == (1,)


def test_dropped_counts_on_where_a_client_starts_anew(statuses: Statuses) -> None:
    for seconds, count in ((0, 5), (1, 7), (2, 1), (3, 2), (4, None)):
        metrics: dict[str, Any] = {
            "counter_decision_logs_dropped_buffer_size_limit_exceeded": count,
            "counter_decision_logs_nd_builtin_cache_dropped": 99,
            "counter_enc_uncompressed_limit_stable": 3,
        }
        logs = {} if count is None else {"decision_logs": {"metrics": metrics}}
        post(statuses, report() | logs, seconds)
    assert statuses.clients(after(5))[0].dropped == 7 + 2


def test_clients_of_two_tokens_with_one_id_are_two(statuses: Statuses) -> None:
    post(statuses, report())
    post(statuses, report(), by="other")
    assert [client.token for client in statuses.clients(after(0))] == ["fleet", "other"]


def test_clients_heard_longest_ago_go_first(statuses: Statuses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MOST_CLIENTS", 3)
    for number in range(5):
        post(statuses, report(f"c{number}"), number)
    assert [client.id for client in statuses.clients(after(9))] == ["c2", "c3", "c4"]


def test_clients_of_one_token_push_out_none_of_another(statuses: Statuses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one that makes up clients would hide those that fell silent."""
    monkeypatch.setattr(status, "MOST_CLIENTS", 3)
    post(statuses, report("quiet"), 0, by="other")
    for number in range(5):
        post(statuses, report(f"c{number}"), number + 1)
    assert [client.id for client in statuses.clients(after(9))] == ["c3", "c4", "quiet"]


def test_take_secrets_are_masked(statuses: Statuses, path: Path) -> None:
    secret = "ghp_" + "A1b2C3d4E5f6G7h8I9j0" * 2
    post(
        statuses, report(bundles={"org": bundle(message=f"https://u:{secret}@x.io", code=secret)}, labels={"a": secret})
    )
    statuses.close()
    assert secret.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_take_packed_report_and_bodies_that_are_none(statuses: Statuses) -> None:
    packed = gzip.compress(json.dumps(report()).encode())
    statuses.take(packed, content_encoding="gzip", partition="eu", token="fleet", at=after(0))
    for body, code in ((b"[]", "no_status"), (b"{", "json_invalid"), (b"[" * 100_000, "json_too_deep")):
        with pytest.raises(Refused) as refused:
            statuses.take(body, partition=None, token="fleet", at=after(0))
        assert (refused.value.status, refused.value.code) == (400, code)
    assert len(statuses.clients(after(0))) == 1


def test_take_from_many_threads_keeps_every_client(statuses: Statuses) -> None:
    def work(name: str) -> None:
        for seconds in range(10):
            post(statuses, report(name), seconds)

    threads = [threading.Thread(target=work, args=(f"c{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [client.heard_at for client in statuses.clients(after(10))] == [after(9)] * 8


def test_clients_before_any_report_are_none(statuses: Statuses) -> None:
    assert (statuses.clients(after(0)), statuses.changes("fleet", "c1")) == ((), ())
