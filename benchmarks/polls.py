"""Ten thousand OPAs that wait on one server: `python -m benchmarks.polls`.

Rules:
- The server is the whole program, with tokens and its log; the clients are processes of their own.
- The bundle is the example company's. What counts is the time from its publication, which the server states, to the
  last client that has the whole of it.
- With the polls parked, other requests go on at a steady rate; each is timed from the instant at which it was due.
- Memory is what the server's process keeps resident when all are parked, and its peak at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trustme

from benchmarks.clock import CannotMeasure
from benchmarks.peers import ROOT
from benchmarks.report import Report, Row, Target
from benchmarks.run import RESULTS
from flowyml_policy.bundles.build import build_bundle
from flowyml_policy.bundles.recipe import read_recipe
from tests.server import Server

SPARE_FILES = 500
"""Descriptors of a process beside its connections."""
PARK_SECONDS = 300.0


class Load:
    """One server, and what is asked of it."""

    def __init__(self, folder: Path, *, polls: int, is_tls: bool) -> None:
        self._folder = folder
        self.polls = polls
        authority = trustme.CA() if is_tls else None
        self.server = Server(folder / "server", authority=authority, limits={"wait": "1h", "polls": 20_000})
        self._publisher = self.server.token("bundles:publish", name="ci")
        self._reader = folder / "reader"
        self._reader.write_text(self.server.token("bundles:read"))
        self._operator = self.server.token("operator", name="operator")
        self._sequence = 0

    def publish(self) -> tuple[str, float]:
        """Publish the next bundle: its ETag, and the instant."""
        self._sequence += 1
        recipe = read_recipe(ROOT / "bundles" / "company.yaml")
        built = build_bundle(recipe, sequence=self._sequence, output=self._folder / "company.tar.gz")
        packed = built.file.read_bytes()
        reply = self.server.ask("PUT", "/bundles/company", token=self._publisher, body=packed, timeout=120)
        if reply.status != 201:
            raise CannotMeasure(f"the bundle was not published: {reply}")
        at = datetime.fromisoformat(reply.json["bundle"]["published_at"].replace("Z", "+00:00"))
        return reply.headers["etag"], at.timestamp()

    @contextmanager
    def clients(self, etag: str, *what: object) -> Iterator[subprocess.Popen[str]]:
        """Clients at their work, as poll_clients takes it."""
        command = [sys.executable, "-m", "benchmarks.poll_clients", f"{self.server.url}/bundles/company"]
        command += [str(self._reader), etag, str(self.server.ca or ""), *map(str, what)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def parked(self) -> int:
        """How many polls wait now."""
        text = self.server.ask("GET", "/metrics", token=self._operator).body.decode()
        return round(float(text.split("\nflowyml_policy_polls ")[1].split("\n")[0]))

    def await_parked(self) -> None:
        until = time.monotonic() + PARK_SECONDS
        while self.parked() < self.polls:
            if time.monotonic() > until:
                raise CannotMeasure(f"only {self.parked()} of {self.polls} polls wait")
            time.sleep(0.2)

    def cpu(self) -> float:
        """Seconds of a processor that the server has had, without its children."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field: str) -> float:
        """Bytes of the server's process, VmRSS or VmHWM."""
        for line in Path(f"/proc/{self.server.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise CannotMeasure(f"/proc does not say {field}")


def measure(polls: int, *, is_tls: bool, seconds: float) -> Iterator[Row]:
    """All figures for so many polls."""
    kind = f"{polls:,} polls, {'TLS' if is_tls else 'plain'}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < polls + SPARE_FILES:
        raise CannotMeasure(f"{polls:,} polls need `ulimit -n {polls + SPARE_FILES}` or more, and {hard} is allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, polls + SPARE_FILES), hard))
    with TemporaryDirectory() as scratch:
        load = Load(Path(scratch), polls=polls, is_tls=is_tls)
        with load.server:
            etag, _ = load.publish()
            empty = load.memory("VmRSS")
            with load.clients(etag, "park", polls) as crowd:
                asked = _read(crowd)
                load.await_parked()
                print(f"{kind}: parked after {asked['seconds']:.1f} s; {empty / 1e6:.0f} MB before", file=sys.stderr)
                memory = Target("at most", (1024 if is_tls else 400) * 1.048576)
                yield Row(f"server's memory, {kind}", load.memory("VmRSS"), "MB", target=memory)
                yield from _rate(load, etag, kind, seconds)
                yield from _woken(load, crowd, kind)
                load.await_parked()
                yield Row(f"  its peak, {kind}", load.memory("VmHWM"), "MB", target=memory)


def _rate(load: Load, etag: str, kind: str, seconds: float) -> Iterator[Row]:
    with load.clients(etag, "rate", 1000, seconds) as process:
        told = _read(process)
    taken = sorted(told["seconds"])
    if told["statuses"] != {"304": len(taken)}:
        raise CannotMeasure(f"conditional requests were answered {told['statuses']}")
    p99 = taken[round(len(taken) * 0.99) - 1]
    print(f"{kind}: {len(taken)} requests in {told['took']:.1f} s", file=sys.stderr)
    yield Row(f"1,000 requests/s, median, {kind}", statistics.median(taken), "ms")
    yield Row(f"1,000 requests/s, p99, {kind}", p99, "ms", target=Target("at most", 20))


def _woken(load: Load, crowd: subprocess.Popen[str], kind: str) -> Iterator[Row]:
    """Two revisions, one after the other: the first finds all waiting, the second those who asked again."""
    taken, cpu = [], []
    for _ in range(2):
        load.await_parked()
        before = load.cpu()
        etag, at = load.publish()
        told = _read(crowd)
        load.await_parked()
        cpu.append(load.cpu() - before)
        if told["answers"] != {f"200 {etag}": load.polls}:
            raise CannotMeasure(f"a revision was answered {told['answers']}")
        taken.append(told["last"] - at)
    yield Row(f"all have a new revision, {kind}", max(taken), "s", target=Target("at most", 3), samples=tuple(taken))
    yield Row(f"  server's processor, until all ask again, {kind}", max(cpu), "s", samples=tuple(cpu))


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = "" if process.stdout is None else process.stdout.readline()
    if not line:
        raise CannotMeasure(f"the clients ended with {process.wait(5)}")
    told: dict[str, Any] = json.loads(line)
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, plain and over TLS; answer the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.polls", description=__doc__)
    parser.add_argument("--polls", type=int, default=10_000, help="how many wait at once")
    parser.add_argument("--seconds", type=float, default=20, help="how long other requests go on beside them")
    parser.add_argument("--only", choices=("plain", "tls"), help="one of the two alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args(arguments)
    report = Report()
    for kind in ("plain", "tls"):
        if options.only in {None, kind}:
            try:
                report.rows.extend(measure(options.polls, is_tls=kind == "tls", seconds=options.seconds))
            except CannotMeasure as reason:
                report.unmeasured.append(f"{kind}: {reason}")
    print(report.table())
    print(f"\nwritten to {report.write(options.results)}")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
