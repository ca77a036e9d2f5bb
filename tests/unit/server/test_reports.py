"""Real OPA servers and engines post to a real server, which is killed and started again."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.records.clients import ClientStatus
from flowyml_policy.records.instant import utc_now
from flowyml_policy.server.received import verify_server
from flowyml_policy.server.status import Statuses
from flowyml_policy.server.tokens import Tokens
from tests.bundle_server import BundleServer
from tests.opa_server import OpaServer
from tests.unit.server.conftest import event, packed
from tests.unit.server.test_connections import UNSIGNED, Started, started

REGO = """package flowyml.main
decision := {"allow": input.allow, "findings": []}
"""
SECONDS = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with started(tmp_path_factory.mktemp("server"), UNSIGNED + "limits: {body: 1MiB}\n") as running:
        yield running


def until(holds: Callable[[], Any]) -> Any:
    """What `holds` answers, once that is something."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


def database(server: Started) -> Path:
    return server.folder / "server" / "server.db"


def rows(server: Started, columns: str, token: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database(server))) as connection:
        found = connection.execute(f"SELECT {columns} FROM received WHERE token = ? ORDER BY number", (token,))
        return found.fetchall()


def client(server: Started, name: str, **revisions: str) -> ClientStatus | None:
    with closing(Statuses(database(server))) as statuses:
        return next((one for one in statuses.clients(utc_now(), revisions) if name in (one.id, one.name)), None)


def opa_config(url: str, name: str, token: str, **more: Any) -> dict[str, Any]:
    """As docs/decision-logs.md shows it, but for the delays."""
    quick = {"min_delay_seconds": 1, "max_delay_seconds": 1}
    return {
        "labels": {"app": "fraud", "host": name},
        "services": {"company": {"url": url, "credentials": {"bearer": {"token": token}}}},
        "decision_logs": {"service": "company", "reporting": {"upload_size_limit_bytes": 4 << 20, **quick}},
        "status": {"service": "company"},
        **more,
    }


def ask(opa: OpaServer, document: dict[str, Any]) -> None:
    with closing(HTTPConnection("127.0.0.1", opa.port, timeout=SECONDS)) as connection:
        connection.request("POST", "/v1/data/flowyml/main/decision", json.dumps({"input": document}))
        assert connection.getresponse().status == 200


def new_token(server: Started, name: str, *scopes: str) -> str:
    """A token that the running server knows of."""
    with closing(Tokens(database(server))) as tokens:
        made = tokens.new(scopes, name=name)
    time.sleep(1)
    return made


def bundle(revision: str) -> bytes:
    """The policy as a bundle."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in (("main.rego", REGO), (".manifest", json.dumps({"revision": revision}))):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def test_opa_server_posts_its_decisions_and_how_it_is(server: Started, tmp_path: Path) -> None:
    token = new_token(server, "fleet", "logs:write", "status:write")
    bundles = {"org": {"service": "bundles", "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1}}}
    config = opa_config(f"http://127.0.0.1:{server.port}", "opa-1", token, bundles=bundles)
    with BundleServer(bundles={"/bundles/org": bundle("r1")}) as source:
        config["services"]["bundles"] = {"url": source.url}
        _watch(server, OpaServer(config, tmp_path), source)
    assert verify_server(database(server)).ok


def _watch(server: Started, opa: OpaServer, source: BundleServer) -> None:
    large = {"allow": True, "stack": {"name": "prod", "version": "1.0.0"}, "text": ["word " * 50] * 1000}
    with opa.await_ready():
        for number in range(5):
            ask(opa, {"allow": number % 2 == 0, "stack": {"name": "prod", "version": "1.0.0"}})
        ask(opa, large)
        until(lambda: len(rows(server, "number", "fleet")) == 6)
        said = rows(server, "client, path, bundles, outcome, stack_name, conflict, note", "fleet")
        who = ("fraud@opa-1", "flowyml/main/decision", '{"org":"r1"}')
        outcomes = ("allow", "deny", "allow", "deny", "allow", "allow")
        assert said == [(*who, outcome, "prod", 0, None) for outcome in outcomes]
        assert json.loads(rows(server, "event", "fleet")[-1][0])["input"] == large
        well = until(lambda: client(server, "fraud@opa-1"))
        ((client_id,),) = set(rows(server, "client_id", "fleet"))
        assert (well.health, well.bundles[0].active_revision, well.id, well.dropped) == ("well", "r1", client_id, 0)
        assert (client(server, "fraud@opa-1", org="r2") or well).is_behind
        source.put("org", b"no bundle")
        failing = until(lambda: (one := client(server, "fraud@opa-1")) and one.health == "error" and one)
        assert (failing.bundles[0].code, failing.bundles[0].active_revision) == ("bundle_error", "r1")
        source.put("org", bundle("r2"))
        again = until(lambda: (one := client(server, "fraud@opa-1")) and one.health == "well" and one)
        assert (again.bundles[0].active_revision, again.troubles) == ("r2", ())


def test_opa_server_sends_again_what_a_killed_server_did_not_acknowledge(tmp_path: Path) -> None:
    data = tmp_path / "server"
    with started(tmp_path, UNSIGNED) as first:
        token = new_token(first, "fleet", "logs:write", "status:write")
        config = opa_config(f"http://127.0.0.1:{first.port}", "opa-2", token)
        (tmp_path / "main.rego").write_text(REGO)
        port = first.port
        with OpaServer(config, tmp_path, [str(tmp_path / "main.rego")]).await_ready() as opa:
            for number in range(20):
                ask(opa, {"allow": True, "number": number})
            until(lambda: (data / "server.db").exists() and rows_in(data))
            first.process.kill()
            first.process.wait()
            for number in range(20, 40):
                ask(opa, {"allow": True, "number": number})
            with started(tmp_path, UNSIGNED, port=port):
                until(lambda: len(rows_in(data)) >= 40)
    numbers = [json.loads(text)["input"]["number"] for (text,) in rows_in(data)]
    assert sorted(numbers) == list(range(40))
    assert verify_server(data / "server.db").ok


def rows_in(data: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(data / "server.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'received'").fetchone():
            return []
        return connection.execute("SELECT event FROM received ORDER BY number").fetchall()


def test_engine_reports_to_a_server_and_both_audits_show_it(server: Started, tmp_path: Path) -> None:
    token = new_token(server, "laptop", "logs:write", "status:write")
    (tmp_path / "flowyml.yaml").write_text(
        "policies: {allowed_stacks: [prod-*]}\npolicy:\n  images: {inspect: 'off'}\n"
        f"  audit: {{path: a.db, report_to: {{url: 'http://127.0.0.1:{server.port}', token_env: LOGS}}}}\n"
    )
    stack = "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: %s, version: '1.0.0'}\nspec:\n"
    stack += "  compute: {backend: local}\n  runtime: {docker_image: 'python:3.11'}\n"
    for name in ("prod-a", "test-b"):
        (tmp_path / f"{name}.yaml").write_text(stack % name)

    def validate() -> str:
        """What it says of the report, which a busy machine may leave for the next time."""
        command = [sys.executable, "-m", "flowyml_policy", "stack", "validate", "prod-a.yaml", "test-b.yaml"]
        environ = {**os.environ, "LOGS": token}
        ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert ran.returncode == 1
        return ran.stderr

    times = until(lambda: next((number for number in range(1, 10) if validate() == ""), None))
    assert (
        rows(server, "outcome, stack_name, stack_version", "laptop")
        == [
            ("allow", "prod-a", "1.0.0"),
            ("deny", "test-b", "1.0.0"),
        ]
        * times
    )
    (client_id,) = rows(server, "client_id", "laptop")[0]
    found = client(server, client_id)
    assert found is not None
    assert (found.health, [one.name for one in found.bundles], found.labels["app"]) == (
        "well",
        ["flowyml"],
        "flowyml-policy",
    )


def post(server: Started, path: str, body: bytes, token: str, *headers: str) -> int:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return server.status("\r\n".join(head).encode() + b"\r\n\r\n" + body)


def test_posts_are_answered_by_scope_size_and_form(server: Started) -> None:
    logs = new_token(server, "only-logs", "logs:write")
    status = new_token(server, "only-status", "status:write")
    bomb = gzip.compress(b" " * (4 << 20))
    gzipped = "Content-Encoding: gzip"
    asked = [
        ("/logs", packed(event(1)), logs, (gzipped,), 200),
        ("/logs/", packed(event(1)), logs, (gzipped,), 200),
        ("/logs/eu/west", packed(event(2)), logs, (), 200),
        ("/status/", b'{"labels": {"id": "s"}}', status, (), 200),
        ("/status/eu", gzip.compress(b'{"labels": {"id": "s"}}'), status, (gzipped,), 200),
        ("/logs", packed(event(3)), status, (), 403),
        ("/status", b"{}", logs, (), 403),
        ("/logs", packed(event(3)), "wrong", (), 401),
        ("/logs", bomb, logs, (gzipped,), 413),
        ("/logs", b"{", logs, (), 400),
        ("/logs", b"[]", logs, ("Content-Encoding: br",), 415),
        ("/LOGS", b"[]", logs, (), 404),
    ]
    assert [post(server, path, body, token, *headers) for path, body, token, headers, _ in asked] == [
        code for *_, code in asked
    ]
    assert rows(server, "partition, conflict", "only-logs") == [(None, 0), ("eu/west", 0)]
    operator = new_token(server, "ops", "operator")
    get = f"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {operator}\r\n\r\n"
    metrics = server.ask(get.encode())
    assert b'flowyml_policy_log_events_total{what="repeated"} 1.0' in metrics


def test_configuration_of_opa_in_the_docs_is_the_one_that_is_tested() -> None:
    page = (Path(__file__).parents[3] / "docs" / "decision-logs.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(services:.*?)```", page, re.DOTALL)
    import yaml

    shown = yaml.safe_load(block)
    used = opa_config("https://policy.company.example", "${HOSTNAME}", "${POLICY_TOKEN}")
    assert shown.keys() | {"bundles"} == used.keys() | {"bundles"}
    assert shown["decision_logs"]["reporting"]["upload_size_limit_bytes"] == 4 << 20
    assert set(used["labels"]) <= set(shown["labels"])
