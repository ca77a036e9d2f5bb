"""One decision: embedded, by OPA's own benchmark, by a warm client of an OPA server, by `opa exec`; and by threads.

Rules:
- The same bundle and the same bytes of input for all of them. `opa bench` runs from the library that decides here,
  without its own metrics, which would slow it, and asks what the embedded evaluator asks.
- Embedded starts at a dict and ends at a typed Decision: validating the input and the answer is in the time.
- No decision is remembered, nor any part of one: every call evaluates.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.clock import CannotMeasure, Process, Series, in_turns, processes_in_turns
from benchmarks.peers import ROOT, require_opa_client
from benchmarks.policy import DECISION, StagedPolicy
from benchmarks.report import Row, Target
from benchmarks.stacks import StackProject, must_be_denied
from flowyml_policy.decision.normaliser import Normaliser
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import ProcessEvaluator
from flowyml_policy.opa.sidecar import SidecarEvaluator
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.system.actor import current_actor

OPA: list[str | Path] = [sys.executable, "-m", "flowyml_policy.opa"]

EVALUATED_AT = "2026-01-01T00:00:00.000000Z"

START_SECONDS = 20.0


@dataclass(frozen=True)
class Case:
    """One PolicyInput, as the bytes that OPA gets, with the answer that it must have."""

    content: bytes
    denied: bool

    def as_dict(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.content)
        return value


def cases(project: StackProject) -> list[Case]:
    """The PolicyInput of every manifest, made as `stack validate` makes it."""
    settings = load_settings(project=project.folder)
    normaliser = Normaliser(settings, current_actor())
    made = []
    for number, file in enumerate(project.files):
        document = normaliser.policy_input(
            StackDefinition.from_file(file), operation="validate", evaluated_at=EVALUATED_AT
        )
        made.append(Case(document.encoded, must_be_denied(number)))
    return made


def embedded_evaluator() -> EmbeddedEvaluator:
    """The evaluator of a project without settings: the shipped policy."""
    return EmbeddedEvaluator(root=ROOT)


def decide(evaluator: OpaEvaluator, value: dict[str, Any], *, denied: bool) -> None:
    """From a dict to a Decision, which must be the right one."""
    decision = evaluator.evaluate(PolicyInput.model_validate(value, strict=False))
    if decision.allowed is denied:
        raise CannotMeasure(f"{value['stack']['name']} should be {'denied' if denied else 'allowed'}: {decision}")


def measure_one(staged: StagedPolicy, work: Path, case: Case, rounds: int, calls: int) -> Iterator[Row]:
    """Embedded against `opa bench` and against a client of a server, in turns."""
    kind = "denied" if case.denied else "allowed"
    file = work / f"input-{kind}.json"
    file.write_bytes(case.content)
    value = case.as_dict()
    with embedded_evaluator() as evaluator, opa_client(staged) as ask:

        def embedded() -> float:
            return _each(calls, lambda: decide(evaluator, value, denied=case.denied))

        def client() -> float:
            return _each(max(calls // 20, 50), lambda: _require(ask(value), denied=case.denied))

        own, native, remote = in_turns(rounds, embedded, lambda: native_bench(staged, file), client)
    yield _versus(f"embedded, {kind}", own, "opa bench", native, Target("at most", 1.5))
    yield Row(
        f"opa-python-client, {kind}",
        remote.median,
        "us",
        f"embedded, {kind}",
        own.median,
        remote.ratio_to(own),
        samples=remote.samples,
        reference_samples=own.samples,
    )


def measure_helper(case: Case, rounds: int, calls: int) -> Iterator[Row]:
    """The process that judges for a forked child, and for a project's own policy, against the OPA in this one."""
    kind, value = "denied" if case.denied else "allowed", case.as_dict()
    with embedded_evaluator() as here, ProcessEvaluator(PolicySource.of(root=ROOT)) as apart:

        def judged_by(evaluator: OpaEvaluator) -> Callable[[], float]:
            return lambda: _each(calls, lambda: decide(evaluator, value, denied=case.denied))

        own, embedded = in_turns(rounds, judged_by(apart), judged_by(here))
    yield _versus(f"in a process apart, {kind}", own, f"embedded, {kind}", embedded, Target("at most", 1.5))


def measure_sidecar(staged: StagedPolicy, case: Case, rounds: int, calls: int) -> Iterator[Row]:
    """The sidecar's evaluator against `requests` with one session, to the same server: both end at what was decided."""
    require_opa_client()
    requests = importlib.import_module("requests")
    document = PolicyInput.model_validate_json(case.content)
    value = case.as_dict()
    with opa_server(staged) as port, requests.Session() as session:
        url = f"http://127.0.0.1:{port}"
        with SidecarEvaluator(url, deadline=10) as evaluator:

            def sidecar() -> float:
                return _each(calls, lambda: _require_allowed(evaluator.evaluate(document).allowed, case))

            def bare() -> float:
                return _each(calls, lambda: _require_allowed(_posted(session, url, value)["allow"], case))

            own, client = in_turns(rounds, sidecar, bare)
    kind = "denied" if case.denied else "allowed"
    yield _versus(f"sidecar, {kind}", own, "requests", client, Target("at most", 1.3))


def _posted(session: Any, url: str, value: dict[str, Any]) -> Any:
    response = session.post(f"{url}/v1/data/flowyml/main/decision", json={"input": value}, timeout=10)
    response.raise_for_status()
    return response.json()["result"]


def _require_allowed(allowed: object, case: Case) -> None:
    if allowed is case.denied:
        raise CannotMeasure("the server should have decided otherwise")


def native_bench(staged: StagedPolicy, file: Path) -> float:
    """Seconds for one evaluation by `opa bench`."""
    command: list[str | Path] = [
        *OPA,
        "bench",
        "-b",
        staged.bundle,
        "-i",
        file,
        "--metrics=false",
        "--benchmem=false",
        "-f",
        "json",
    ]
    report = json.loads(Process([*command, DECISION], ROOT).read())
    return float(report["T"]) / float(report["N"]) / 1e9


def measure_exec(staged: StagedPolicy, work: Path, inputs: Sequence[Case], rounds: int) -> Iterator[Row]:
    """`opa exec` on finished PolicyInputs, whole process: it parses no YAML and records nothing."""
    folder = work / "inputs"
    folder.mkdir(exist_ok=True)
    for number, case in enumerate(inputs):
        (folder / f"{number:05}.json").write_bytes(case.content)
    command: list[str | Path] = [
        *OPA,
        "exec",
        "-b",
        staged.bundle,
        "--decision",
        "flowyml/main/decision",
        "--log-level",
        "error",
    ]
    for count, files in ((1, folder / "00000.json"), (len(inputs), folder)):
        (timed,) = processes_in_turns(rounds, Process([*command, files], ROOT))
        name = f"opa exec, {count:,} input{'s' if count > 1 else ''}"
        yield Row(name, timed.wall.median, "ms", samples=timed.wall.samples)


def measure_threads(inputs: Sequence[Case], rounds: int, threads: int = 8) -> Iterator[Row]:
    """The same decisions on one thread and on several, every answer looked at."""
    values = [(case.as_dict(), case.denied) for case in inputs]

    def on(workers: int) -> float:
        with ThreadPoolExecutor(workers) as pool:
            start = time.perf_counter()
            for _ in pool.map(lambda item: decide(evaluator, item[0], denied=item[1]), values):
                pass
            return time.perf_counter() - start

    with embedded_evaluator() as evaluator:
        on(threads)
        many, one = in_turns(rounds, lambda: on(threads), lambda: on(1))
    yield Row(
        f"{len(values):,} decisions on {threads} threads",
        many.median,
        "ms",
        "on 1 thread",
        one.median,
        many.ratio_to(one),
        target=Target("at most", 1),
        samples=many.samples,
        reference_samples=one.samples,
    )


@contextmanager
def opa_client(staged: StagedPolicy) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """A call that asks an OPA server, on loopback and warm, through one reused opa-python-client."""
    require_opa_client()
    peer = importlib.import_module("opa_client.opa")
    with opa_server(staged) as port:
        client = peer.OpaClient(host="127.0.0.1", port=port, timeout=10)
        yield lambda value: client.query_rule(input_data=value, package_path="flowyml.main", rule_name="decision")


@contextmanager
def opa_server(staged: StagedPolicy) -> Iterator[int]:
    """`opa run --server` of the library with the bundle, on a free port; ended with what it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "flowyml_policy.opa",
        "run",
        "--server",
        "--skip-version-check",
        "--addr",
        f"127.0.0.1:{port}",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(
        [*command, "--bundle", staged.bundle], cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_until_healthy(process, port)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise CannotMeasure(f"the OPA server ended at once with exit code {process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/health?bundles")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise CannotMeasure(f"the OPA server was not ready within {START_SECONDS:g} s")


def _require(answer: Any, *, denied: bool) -> None:
    if answer["result"]["allow"] is denied:
        raise CannotMeasure(f"the server's answer is wrong: {answer}")


def _each(calls: int, call: Callable[[], None]) -> float:
    """Seconds for one of `calls` calls."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def _versus(name: str, own: Series, against: str, other: Series, target: Target) -> Row:
    return Row(
        name, own.median, "us", against, other.median, own.ratio_to(other), None, target, own.samples, other.samples
    )
