"""What the guard adds to FlowyML: to its import, and to the start of a run, cold and warm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.clock import Process, Series, in_turns
from benchmarks.report import Row, Target

SETTINGS = """\
project: {name: fraud-detection, org: fintech-corp}
policies: {allowed_stacks: [prod-*], required_labels: [team]}
policy: {images: {inspect: "off"}}
"""
STACK = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: prod-cpu, version: 1.0.0, labels: {team: ml}}
spec: {compute: {backend: local}}
"""
START = """
import json, sys, time
from flowyml import Pipeline, step
from flowyml.stacks.local import LocalStack
from flowyml_policy.integrations.flowyml import disable, enable, require_guard

class Nothing:
    def run_pipeline(self, pipeline, **given):
        return "job"

@step
def nothing(): ...

def start(stack):
    pipeline = Pipeline("bench", stack=stack, enable_cache=False, enable_experiment_tracking=False)
    pipeline.add_step(nothing)
    pipeline.run(orchestrator=Nothing(), auto_start_ui=False)

def seconds(call):
    begun, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - cpu

def check():
    from flowyml_policy import PolicyEngine
    assert PolicyEngine.from_project(".").check("prod-cpu").allowed

require_guard()
"""
COLD = {
    "guarded": 'took = seconds(lambda: start("prod-cpu"))',
    "alone": 'disable()\ntook = seconds(lambda: start(LocalStack(name="prod-cpu")))',
    "check": "took = seconds(check)",
}
"""One figure a process: a run on a stack that is named, FlowyML's own part of that, one decision alone."""

TAKE = "\nprint(json.dumps(took))\n"

WARM = """
from flowyml_policy import PolicyEngine
from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.mask.events import new_event
from flowyml_policy.records.instant import utc_now

engine, events = PolicyEngine.from_project("."), AuditRecorder(".flowyml/policy.db")

def commit():
    events.append_events([new_event("PipelineStarted", at=utc_now(), actor="bench", payload={"run_id": "1"})])

calls = {
    "guarded": lambda: start("prod-cpu"),
    "check": lambda: engine.check("prod-cpu"),
    "commit": commit,
}
took = {name: [] for name in [*calls, "alone"]}
for turn in range(20 + ROUNDS):
    enable()
    for name, call in calls.items():
        took[name].append(seconds(call)[0])
    disable()
    took["alone"].append(seconds(lambda: start(LocalStack(name="prod-cpu")))[0])
took = {name: taken[20:] for name, taken in took.items()}
"""
"""Medians of one process, in which everything was done before."""

ENTRY = """
import json, sys, time
import flowyml
for name in [name for name in sys.modules if name.partition(".")[0] == "flowyml_policy"]:
    del sys.modules[name]
begun = time.perf_counter()
from flowyml_policy.integrations.flowyml import Bridge
Bridge()
took = time.perf_counter() - begun
"""
"""What FlowyML does with the entry point when it is imported, done once more, and nothing else of the import."""


def measure_guard(python: Path, work: Path, rounds: int, calls: int) -> Iterator[Row]:
    """`python` has FlowyML, and this package from its wheel."""
    folder = work / "guard"
    (folder / "stacks").mkdir(parents=True, exist_ok=True)
    (folder / "flowyml.yaml").write_text(SETTINGS, "utf-8")
    (folder / "stacks" / "prod-cpu.yaml").write_text(STACK, "utf-8")
    yield from _import(python, folder, rounds)
    yield from _cold(python, folder, rounds)
    yield from _warm(python, folder, calls)


def _import(python: Path, folder: Path, rounds: int) -> Iterator[Row]:
    def once() -> float:
        return float(_taken(python, folder, ENTRY))

    once()
    (series,) = in_turns(rounds, once)
    yield Row(
        "entry point in `import flowyml`", series.median, "ms", target=Target("at most", 5), samples=series.samples
    )


def _cold(python: Path, folder: Path, rounds: int) -> Iterator[Row]:
    cpu: dict[str, list[float]] = {name: [] for name in COLD}

    def once(name: str) -> float:
        wall, processor = _taken(python, folder, START + COLD[name])
        cpu[name].append(processor)
        return float(wall)

    for name in COLD:
        once(name)
        cpu[name].clear()
    guarded, alone, check = in_turns(rounds, *(lambda name=name: once(name) for name in COLD))
    added = _difference(guarded, alone)
    yield Row(
        "guard, cold: added to a run's start",
        added.median,
        "ms",
        "PolicyEngine.from_project('.').check",
        check.median,
        added.ratio_to(check),
        _difference(Series(tuple(cpu["guarded"])), Series(tuple(cpu["alone"]))).ratio_to(Series(tuple(cpu["check"]))),
        Target("at most", 1.2),
        added.samples,
        check.samples,
    )


def _warm(python: Path, folder: Path, calls: int) -> Iterator[Row]:
    taken = _taken(python, folder, START + WARM.replace("ROUNDS", str(calls)))
    guarded, check, commit, alone = (Series(tuple(taken[name])) for name in ("guarded", "check", "commit", "alone"))
    beyond = _difference(_difference(_difference(guarded, alone), check), commit)
    yield Row("one audit commit", commit.median, "ms", samples=commit.samples)
    yield Row(
        "guard, warm: beyond a check and a second commit",
        beyond.median,
        "ms",
        target=Target("at most", 3),
        samples=beyond.samples,
    )


def _difference(more: Series, less: Series) -> Series:
    return Series(tuple(one - other for one, other in zip(more.samples, less.samples, strict=True)))


def _taken(python: Path, folder: Path, program: str) -> Any:
    """What a program says that it took, in its last line: FlowyML has printed before."""
    process = Process([python, "-W", "ignore", "-c", program + TAKE], folder, environment={"HOME": str(folder)})
    return json.loads(process.read().splitlines()[-1])
