"""Building bundles: whole processes, with every test and convention that must hold before a file is written.

Each build writes the same file anew; what it wrote must be the same bytes every time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process, processes_in_turns
from benchmarks.peers import ROOT
from benchmarks.report import Row, Target


def measure_build(work: Path, rounds: int) -> Iterator[Row]:
    """`bundle build` of what ships, and of the example company."""
    for name, target in (("flowyml", Target("at most", 3)), ("company", None)):
        output = work / f"{name}.tar.gz"
        recipe = ROOT / "bundles" / f"{name}.yaml"
        options: list[str | Path] = ["--sequence", "1", "--output", output]
        process = Process([sys.executable, "-m", "flowyml_policy", "bundle", "build", recipe, *options], ROOT)
        process.read()
        first = output.read_bytes()
        (timed,) = processes_in_turns(rounds, process)
        if output.read_bytes() != first:
            raise CannotMeasure(f"{recipe} gives other bytes every time")
        yield Row(f"bundle build, {name}", timed.wall.median, "s", target=target, samples=timed.wall.samples)
