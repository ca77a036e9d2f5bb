"""Decision logs at a rate, into a server that is killed on the way: events a minute, and whether all are there.

Clients are processes of their own. Each posts chunks of a single event, as busy OPA servers do, over one connection,
and posts again what was not acknowledged. The server gets SIGKILL in the middle, and is started again on its port.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

WANTED = 20_000
"""Events a minute."""
REFUSED = (400, 401, 403, 404, 413)
"""Answers that no second try makes better."""
_SPEC = {f"key_{number}": "a value of it" for number in range(130)}
_SETTINGS = "listen: 127.0.0.1:{port}\nbundles: {{require_signed: false}}\n"


def event(client: int, number: int) -> dict[str, Any]:
    """An event of some 4 kB."""
    return {
        "labels": {"id": f"00000000-0000-4000-8000-{client:012x}", "app": "load", "host": f"node-{client}"},
        "decision_id": f"{client:08x}-0000-4000-8000-{number:012x}",
        "path": "flowyml/main/decision",
        "bundles": {"org": {"revision": "1.4.0"}},
        "input": {
            "stack": {"name": "prod", "version": "1.0.0", "spec": {f"key_{n}": "a value of it" for n in range(130)}}
        },
        "result": {"allow": True, "findings": []},
        "timestamp": "2026-11-20T10:00:00.123456789Z",
    }


def post_all(port: int, token: str, client: int, events: int) -> None:
    """Post until each event is acknowledged."""
    headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip", "Content-Type": "application/json"}
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    for number in range(events):
        body = gzip.compress(json.dumps([event(client, number)]).encode(), 1)
        while not is_taken(connection, body, headers):
            time.sleep(0.05)


def is_taken(connection: HTTPConnection, body: bytes, headers: dict[str, str]) -> bool:
    """Whether a chunk is acknowledged."""
    try:
        connection.request("POST", "/logs", body, headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, HTTPException):
        connection.close()
        return False
    if answer.status in REFUSED:
        raise SystemExit(f"the server answered {answer.status}")
    return answer.status == 200


class Server:
    """`flowyml-policy server run` in a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        (folder / "server.yaml").write_text(_SETTINGS.format(port=port))
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "flowyml_policy", "server", "run"]
            self.process = subprocess.Popen(command, cwd=folder, stderr=log)
        while (found := self._port()) is None:
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text())
            time.sleep(0.02)
        self.port = found

    def _port(self) -> int | None:
        lines = (line for line in self.log.read_text().splitlines() if '"started"' in line)
        return next((int(json.loads(line)["address"].rpartition(":")[2]) for line in lines), None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def received(folder: Path) -> tuple[int, int]:
    """How many events are kept, and how many different ones."""
    with closing(sqlite3.connect(folder / "server" / "server.db")) as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT decision_id) FROM received").fetchone()
        return int(found[0]), int(found[1])


def run(folder: Path, events: int, clients: int) -> bool:
    """Whether all is there, at the rate that is wanted."""
    server = Server(folder, 0)
    command = [sys.executable, "-m", "flowyml_policy", "server", "token", "new", "--scope", "logs:write"]
    token = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    time.sleep(1)
    each = events // clients
    context = multiprocessing.get_context("spawn")
    posting = [
        context.Process(target=post_all, args=(server.port, token, one, each), daemon=True) for one in range(clients)
    ]
    for process in posting:
        process.start()
    while received(folder)[0] == 0:
        time.sleep(0.05)
    started = time.monotonic()
    while received(folder)[0] < events // 2:
        time.sleep(0.05)
    server.kill()
    server = Server(folder, server.port)
    for process in posting:
        process.join()
    seconds = time.monotonic() - started
    server.kill()
    kept, different = received(folder)
    verified = subprocess.run(
        [sys.executable, "-m", "flowyml_policy", "audit", "verify", "--server-data", "server"], cwd=folder, check=False
    )
    rate = kept / seconds * 60
    print(f"{kept} events kept, {different} different, of {each * clients} acknowledged; {rate:,.0f} a minute")
    return (kept, different, verified.returncode) == (each * clients, each * clients, 0) and rate >= WANTED


def main() -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        return 0 if run(Path(folder), given.events, given.clients) else 1


if __name__ == "__main__":
    sys.exit(main())
