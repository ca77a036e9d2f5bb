"""A real server that takes new revisions while it is asked: every decision carries the revision that gave it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flowyml_policy.opa.sidecar import SidecarEvaluator
from tests.contract.conftest import NAMING, built, document, manifest, policy, write
from tests.opa_server import OpaServer

LAST = 4


class _Bundles(BaseHTTPRequestHandler):
    """Gives the newest revision, with its ETag."""

    server: _Publisher

    def do_GET(self) -> None:
        revision, content = self.server.newest
        if self.headers.get("If-None-Match") == revision:
            self.send_response(304)
            self.send_header("ETag", revision)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/gzip")
        self.send_header("ETag", revision)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class _Publisher(ThreadingHTTPServer):
    daemon_threads = True
    newest: tuple[str, bytes] = ("", b"")


@pytest.fixture
def publisher() -> Iterator[_Publisher]:
    with _Publisher(("127.0.0.1", 0), _Bundles) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.slow
def test_decisions_while_the_server_takes_new_revisions_name_their_own(publisher: _Publisher, tmp_path: Path) -> None:
    """Each revision says itself in what it finds; none is lost, and none is mixed."""

    def publish(number: int) -> None:
        rule = NAMING.replace("use at most 8 characters", f"r{number}")
        files = {**policy(naming=rule), ".manifest": manifest(f"r{number}", "flowyml")}
        archive = built("flowyml", write(tmp_path / f"policy-{number}", files), tmp_path)
        publisher.newest = (f'"{number}"', archive.read_bytes())

    publish(1)
    polling = {"min_delay_seconds": 1, "max_delay_seconds": 1}
    config = {
        "services": {"company": {"url": f"http://127.0.0.1:{publisher.server_address[1]}"}},
        "bundles": {"flowyml": {"service": "company", "resource": "flowyml.tar.gz", "polling": polling}},
    }
    seen: set[str] = set()

    def ask(evaluator: SidecarEvaluator) -> int:
        asked = 0
        while f"r{LAST}" not in seen and time.monotonic() < until:
            decision, evaluation = evaluator.judge(document("much-too-long"))
            revision = evaluation.bundles["flowyml"]
            assert [finding.fix for finding in decision.findings] == [revision]
            seen.add(revision)
            asked += 1
        return asked

    with (
        OpaServer(config, tmp_path) as server,
        SidecarEvaluator(server.url, start_timeout=30, deadline=20) as evaluator,
    ):
        until = time.monotonic() + 60
        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(ask, evaluator) for _ in range(8)]
            for number in range(2, LAST + 1):
                while f"r{number - 1}" not in seen and time.monotonic() < until:
                    time.sleep(0.05)
                publish(number)
            assert sum(one.result() for one in asking) > LAST
    assert seen == {f"r{number}" for number in range(1, LAST + 1)}
