"""`stack list` of a registry with many versions, beyond what starting the program costs.

Rules:
- The registry is filled by `stack apply`, so that every version has its decision in the audit, which the listing tells.
- Starting is the same command in a project where nothing is registered.
- Before anything is timed, each listing must have shown every version that it is about.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process, Series, processes_in_turns
from benchmarks.report import Row, Target
from benchmarks.stacks import SETTINGS, manifest, refuse_memory

VERSIONS = 10_000
VERSIONS_OF_EACH = 5
BEYOND_STARTING = Target("at most", 0.5)


def measure_list(own: Path, work: Path, rounds: int) -> Iterator[Row]:
    """The newest version of every name, and all versions."""
    empty, full = _project(work / "listing-none"), _project(work / "listing")
    _register(own, full)
    command: list[str | Path] = [own, "stack", "list"]
    nothing, newest = Process(command, empty), Process(command, full)
    everything = Process([*command, "--all-versions"], full)
    names = VERSIONS // VERSIONS_OF_EACH
    for process, count in ((nothing, 0), (newest, names), (everything, VERSIONS)):
        _require(process, count)
    start, *listings = processes_in_turns(rounds, nothing, newest, everything)
    rows = (
        f"stack list, {VERSIONS:,} versions of {names:,} stacks",
        f"the same with --all-versions, {VERSIONS:,} lines",
    )
    for name, timed in zip(rows, listings, strict=True):
        pairs = zip(timed.wall.samples, start.wall.samples, strict=True)
        beyond = Series(tuple(whole - starting for whole, starting in pairs))
        yield Row(
            name,
            beyond.median,
            "s",
            "beyond starting, which is",
            start.wall.median,
            target=BEYOND_STARTING,
            samples=beyond.samples,
            reference_samples=start.wall.samples,
        )


def _project(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    refuse_memory(folder)
    (folder / "flowyml.yaml").write_text(SETTINGS, "utf-8")
    return folder


def _register(own: Path, project: Path) -> None:
    """Apply VERSIONS manifests, none of which is denied."""
    (project / "stacks").mkdir()
    for number in range(VERSIONS):
        text = manifest(2 * number).replace(f"prod-gpu-{2 * number:05}", f"prod-gpu-{number // VERSIONS_OF_EACH:05}")
        (project / "stacks" / f"stack-{number:05}.yaml").write_text(text, "utf-8")
    Process([own, "stack", "apply", "stacks/"], project).measure()


def _require(process: Process, count: int) -> None:
    """Raise CannotMeasure where not `count` versions are listed, in a line each, and each with its decision."""
    lines = [line for line in process.read().splitlines() if line.startswith("prod-gpu-")]
    as_json = Process([*process.command, "--format", "json"], process.folder).read()
    decided = [one for one in json.loads(as_json)["stacks"] if one["last_decision"] is not None]
    if (len(lines), len(decided)) != (count, count):
        raise CannotMeasure(f"{process} shows {len(lines)} versions, {len(decided)} with a decision, and not {count}")
