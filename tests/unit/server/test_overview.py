"""`server status`: from the server's file, and from another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowyml_policy.server.status import Statuses
from flowyml_policy.server.store import open_database
from tests.forked import forking
from tests.server import Server

SCRIPT = "from flowyml_policy.cli import script; script()"

STATUS = {
    "labels": {"id": "1", "app": "fraud", "host": "gpu-1"},
    "bundles": {"company": {"name": "company", "active_revision": "1.0.0+a"}},
}
FAILED = {
    "labels": {"id": "2", "app": "fraud", "host": "gpu-2"},
    "bundles": {
        "company": {
            "name": "company",
            "active_revision": "0.9.0+z",
            "code": "bundle_error",
            "message": "verification failed: \x1b[31mwrong key",
        }
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.token("operator", name="ops")
    with closing(open_database(server.data / "server.db")) as database, database.writing() as transaction:
        for name, revision, number, expires in (
            ("company", "0.9.0+z", 1, None),
            ("company", "1.0.0+a", 2, None),
            ("old", "1.0.0+b", 3, "2026-01-31T00:00:00Z"),
        ):
            transaction.connection.execute(
                "INSERT INTO publications (name, revision, sequence, expires, digest, size, published_at, published_by)"
                " VALUES (?, ?, ?, ?, 'sha256:0', 1, '2026-01-30T10:00:00.000000Z', 'ada')",
                (name, revision, number, expires),
            )
    with closing(Statuses(server.data / "server.db")) as statuses:
        statuses.open()
        for report, at in ((STATUS, "2026-01-30T10:00:01.000000Z"), (FAILED, "2026-01-30T10:00:02.000000Z")):
            body = json.dumps(report).encode()
            statuses.take(body, content_encoding=None, partition=None, token="fleet", at=at)
    with server:
        yield server


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Ran:
    told = ("server", "status", *arguments)
    code, stdout, stderr = forking().run(SCRIPT, told, folder=Path.cwd(), environ=dict(os.environ))
    return Ran(code, stdout.decode(), stderr.decode())


def without_ages(text: str) -> Any:
    status = json.loads(text)["status"]
    del status["at"]
    for client in status["clients"]:
        del client["age"]
    return status


def test_status_says_who_runs_what_and_who_is_behind(server: Server) -> None:
    shown = run("--config", str(server.config))
    assert (shown.returncode, shown.stderr) == (0, "")
    said = [line.split("  heard")[0] for line in shown.stdout.splitlines()]
    assert said == [
        "published",
        "  company  1.0.0+a  sequence 2  since 2026-01-30T10:00:00Z",
        "  old      1.0.0+b  sequence 3  since 2026-01-30T10:00:00Z  EXPIRED 2026-01-31T00:00:00Z: its clients deny",
        "",
        "clients",
        "  silent  fraud@gpu-1  token fleet",
        "     company  1.0.0+a  as published  since 2026-01-30T10:00:01Z",
        "  silent  fraud@gpu-2  token fleet",
        "     company  0.9.0+z  behind 1.0.0+a  since 2026-01-30T10:00:02Z",
        "    ! bundle company: bundle_error: verification failed: \\x1b[31mwrong key",
        "2 clients: 2 silent, 1 behind",
    ]


def test_server_tells_the_same_to_operators_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, other = server.token("operator", name="bob"), server.token("bundles:read")
    server.await_token(operator)
    local = run("--config", str(server.config), "--format", "json")
    monkeypatch.setenv("OPS", operator)
    asked = run("--url", server.url, "--token-env", "OPS", "--format", "json")
    assert without_ages(asked.stdout) == without_ages(local.stdout)
    monkeypatch.setenv("OPS", other)
    for arguments, code, said in (
        (["--url", server.url, "--token-env", "OPS"], 3, "the server answered 403"),
        (["--url", server.url], 3, "the server answered 401"),
        (["--url", server.url, "--token-env", "NONE"], 2, "the variable NONE holds no token"),
        (["--url", "http://policy.example.com"], 2, "this is no address of a server"),
        (["--url", f"{server.url}/nix", "--token-env", "OPS"], 3, "the server answered 404"),
        (["--url", server.url, "--config", "x"], 2, "--config and --url name two servers"),
        (["--token-env", "OPS"], 2, "--token-env and --ca are for --url"),
    ):
        refused = run(*arguments)
        assert (refused.returncode, refused.stdout) == (code, "")
        assert said in refused.stderr


def test_status_of_a_server_that_never_ran_is_empty(tmp_path: Path) -> None:
    shown = run("--config", str(Server(tmp_path).config))
    assert (shown.returncode, shown.stdout) == (0, "published\n  nothing\n\nclients\n0 clients\n")


def test_clients_are_counted_for_monitoring(server: Server) -> None:
    operator = server.await_token(server.token("operator", name="monitoring"))
    text = server.ask("GET", "/metrics", token=operator).body.decode()
    assert 'flowyml_policy_clients{health="silent"} 2.0' in text
    assert "flowyml_policy_clients_behind 1.0" in text
