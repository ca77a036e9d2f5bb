"""Decisions reach the server of `report_to`, each once there, and nothing that is wrong with it changes a decision."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.audit.reporting import Destination, Reporter, ReportingRecorder
from flowyml_policy.audit.store import AuditStore
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.server.intake import Intake
from flowyml_policy.version import VERSION

Make = Callable[..., DecisionRecord]
Answered = tuple[int, dict[str, str]]

AT = "2026-11-20T10:00:00.000000Z"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LogServer

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = self.server
        asked.requests.append((self.path, self.headers.get("Authorization"), json.loads(gzip.decompress(body))))
        status, headers = asked.answer(self.path, body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()


class LogServer(ThreadingHTTPServer):
    """A server that takes decision logs as the company's does, or answers as a test says."""

    daemon_threads = True

    def __init__(self, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.file = file
        self.intake = Intake(file)
        self.requests: list[tuple[str, str | None, Any]] = []
        self.misbehave: Callable[[str, bytes], Answered | None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: bytes) -> Answered:
        said = None if self.misbehave is None else self.misbehave(path, body)
        if said is None and path == "/logs":
            self.intake.take(body, content_encoding="gzip", partition=None, token="ci", at=AT, largest=1 << 24)
        return said or (200, {})

    def handle_error(self, *_: object) -> None: ...

    def received(self) -> list[str]:
        """The ids that are kept, in order."""
        with closing(sqlite3.connect(self.file)) as connection:
            return [row[0] for row in connection.execute("SELECT decision_id FROM received ORDER BY number")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LogServer]:
    with LogServer(tmp_path / "server.db") as running, closing(running.intake):
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def always(status: int, headers: dict[str, str], wait: threading.Event | None = None) -> Callable[..., Answered]:
    """This answer to everything, once there was the event."""

    def misbehave(*_: object) -> Answered:
        if wait is not None:
            wait.wait(20)
        return status, headers

    return misbehave


def recorder(path: Path, url: str, *, every: float = 30, **more: Any) -> ReportingRecorder:
    environ = more.pop("environ", {})
    return ReportingRecorder(
        AuditRecorder(path), Reporter(path, Destination(url, **more), environ=environ, every=every)
    )


def ids(*numbers: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{number:012x}" for number in numbers]


def record_and_close(path: Path, make: Make, url: str, *numbers: int, **more: Any) -> None:
    with closing(recorder(path, url, **more)) as made:
        for number in numbers:
            made.record([make(number)])


def waiting(path: Path, url: str) -> int:
    return Reporter(path, Destination(url), environ={}).try_out(Deadline(5))


def test_close_sends_what_was_recorded_in_the_form_of_opas_log(path: Path, make: Make, server: LogServer) -> None:
    with closing(recorder(path, server.url + "/")) as made:
        made.record([make(1), make(2, outcome="error", error="OPA did not answer")])
        assert server.requests == []
    (logs, _, events), (status, _, said) = server.requests
    labels = said["labels"]
    assert (logs, status) == ("/logs", "/status")
    assert {**labels, "id": "", "host": ""} == {"id": "", "version": VERSION, "app": "flowyml-policy", "host": ""}
    assert said["bundles"] == {"flowyml": {"name": "flowyml", "active_revision": "r1"}}
    denied, undecided = events
    result = denied.pop("result")
    assert (result["allow"], [one["code"] for one in result["findings"]]) == (
        False,
        ["images_registry.not_allowed", "images_inspected.off"],
    )
    assert denied == {
        "labels": labels,
        "decision_id": ids(1)[0],
        "bundles": {"flowyml": {"revision": "r1"}},
        "path": "flowyml/main/decision",
        "timestamp": "2026-11-20T10:00:00Z",
        "metrics": {"timer_rego_query_eval_ns": 210_000},
        "custom": {
            "stack": {"name": "prod-gpu-large", "version": "2.1.0"},
            "operation": "validate",
            "actor": "ada",
            "authority": "project",
            "definition_digest": "sha256:" + f"{1:064x}",
            "environments": ["production"],
            "source": denied["custom"]["source"],
            "hypothetical": False,
        },
        "input": {"stack": {"name": "prod-gpu-large"}, "images": [], "number": 1},
    }
    assert denied["custom"]["source"]["uri"] == "stacks/prod.yaml"
    assert (undecided["error"]["message"], "result" in undecided) == ("OPA did not answer", False)
    with closing(sqlite3.connect(server.file)) as connection:
        kept = connection.execute("SELECT outcome, stack_name, stack_version, error, client_id FROM received")
        assert kept.fetchall() == [
            ("deny", "prod-gpu-large", None, None, labels["id"]),
            ("error", "prod-gpu-large", None, "OPA did not answer", labels["id"]),
        ]


def test_close_sends_what_is_new_since_and_touches_no_chain(path: Path, make: Make, server: LogServer) -> None:
    record_and_close(path, make, server.url, 1, 2)
    record_and_close(path, make, server.url, 3)
    record_and_close(path, make, server.url)
    assert [[one["decision_id"] for one in body] for where, _, body in server.requests if where == "/logs"] == [
        ids(1, 2),
        ids(3),
    ]
    assert len({body["labels"]["id"] for where, _, body in server.requests if where == "/status"}) == 1
    with AuditStore(path) as audit:
        assert (audit.verify().ok, audit.verify().events) == (True, 6)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((503, {}), "the server answered 503"),
        ((401, {}), "the server answered 401"),
        ((307, {"Location": "/elsewhere"}), "the server answered 307"),
        ((200, {"Content-Type": "text/html; charset=utf-8"}), "the server answered with a page of HTML"),
    ],
)
def test_what_was_not_taken_is_told_once_and_sent_the_next_time(
    path: Path,
    make: Make,
    server: LogServer,
    answer: Answered,
    why: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowyml_policy.audit.reporting._told", set())
    server.misbehave = always(*answer)
    record_and_close(path, make, server.url, 1)
    record_and_close(path, make, server.url, 2)
    out, told = capfd.readouterr()
    assert (out, told.count("\n"), why in told, server.url in told) == ("", 1, True, True)
    assert ({where for where, *_ in server.requests}, waiting(path, server.url)) == ({"/logs"}, 2)
    server.misbehave = None
    record_and_close(path, make, server.url, 3)
    assert (server.received(), waiting(path, server.url)) == (ids(1, 2, 3), 0)


def test_server_that_says_nothing_keeps_nobody_longer(path: Path, make: Make, server: LogServer) -> None:
    over = threading.Event()
    server.misbehave = always(503, {}, over)
    made = recorder(path, server.url)
    started = time.monotonic()
    made.record([make(1)])
    recorded = time.monotonic()
    made.close()
    ended = time.monotonic()
    over.set()
    assert (recorded - started < 1, 1.5 < ended - recorded < 3) == (True, True)
    assert waiting(path, server.url) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://logs.example"])
def test_server_that_is_not_there_changes_nothing(path: Path, make: Make, url: str) -> None:
    record_and_close(path, make, url, 1)
    with AuditStore(path) as audit:
        assert ([one.decision_id for one in audit.decisions()], audit.verify().ok) == (ids(1), True)


def test_token_is_read_from_its_variable_and_never_left_out(path: Path, make: Make, server: LogServer) -> None:
    record_and_close(path, make, server.url, 1, token_env="LOGS")
    assert server.requests == []
    record_and_close(path, make, server.url, 2, token_env="LOGS", environ={"LOGS": "s3cret"})
    assert {token for _, token, _ in server.requests} == {"Bearer s3cret"}
    assert server.received() == ids(1, 2)


def test_chunk_that_is_too_large_is_halved_and_one_event_sent_without_input(
    path: Path, make: Make, server: LogServer
) -> None:
    def small(path: str, body: bytes) -> Answered | None:
        events = json.loads(gzip.decompress(body))
        too_large = path == "/logs" and (len(events) > 2 or any("input" in one for one in events))
        return (413, {}) if too_large else None

    server.misbehave = small
    record_and_close(path, make, server.url, 1, 2, 3)
    assert server.received() == ids(1, 2, 3)
    sent = [body for where, _, body in server.requests if where == "/logs" and "input" not in body[0]]
    assert [(one[0]["erased"], one[0]["result"]["allow"]) for one in sent] == [(["/input"], False)] * 3


def test_many_decisions_go_in_chunks(path: Path, make: Make, server: LogServer) -> None:
    with closing(recorder(path, server.url)) as made:
        made.record([make(number) for number in range(450)])
    assert [len(body) for where, _, body in server.requests if where == "/logs"] == [200, 200, 50]
    assert server.received() == ids(*range(450))


def test_process_that_goes_on_sends_now_and_then(path: Path, make: Make, server: LogServer) -> None:
    made = recorder(path, server.url, every=0.05)
    for number in (1, 2):
        made.record([make(number)])
        until = time.monotonic() + 20
        while len(server.requests) < number * 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert server.received() == ids(*range(1, number + 1))
    made.close()
    assert len(server.requests) == 4


def test_two_reporters_at_once_leave_each_decision_once(path: Path, make: Make, server: LogServer) -> None:
    with AuditRecorder(path) as audit:
        audit.record([make(number) for number in range(300)])
    reporters = [Reporter(path, Destination(server.url), environ={}) for _ in range(4)]
    threads = [threading.Thread(target=one.report, args=(Deadline(20),)) for one in reporters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(server.received()) == ids(*range(300))
    assert waiting(path, server.url) == 0


def test_child_of_a_fork_reports_its_own_decisions(path: Path, make: Make, server: LogServer) -> None:
    made = recorder(path, server.url, every=0.05)
    made.record([make(1)])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            made.record([make(2)])
            made.close()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    made.close()
    assert (status, sorted(server.received())) == (0, ids(1, 2))


def test_engine_that_nobody_closes_reports_when_its_process_ends(tmp_path: Path, server: LogServer) -> None:
    """Also from an own thread of a program, and after a fork whose child ends without a decision."""
    (tmp_path / "stack.yaml").write_text("kind: StackDefinition\n")
    (tmp_path / "flowyml.yaml").write_text(f"policy: {{audit: {{path: a.db, report_to: '{server.url}'}}}}\n")
    program = """
import os, sys
from flowyml_policy import PolicyEngine
from flowyml_policy.audit import reporting
reporting.SECONDS = 20.0  # for a machine that is busy
engine = PolicyEngine.from_project(".")
print(engine.check("stack.yaml", operation="validate").allowed)
if os.fork() == 0:
    sys.exit()
os.wait()
"""
    for environ, received in (({"FLOWYML_POLICY_OFFLINE": "1"}, 0), ({}, 2)):
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=tmp_path,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "False\n", "")
        assert len(server.received() if server.requests else ()) == received
