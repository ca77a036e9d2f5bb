"""What is paid before the first decision: OPA's start, the library's size, and the help text."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process, Series, processes_in_turns
from benchmarks.peers import ROOT, own_program
from benchmarks.report import Row, Target

LIBRARY_FOLDER = ROOT / "flowyml_policy" / "opa" / "_lib"

READY = """
import time
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from pathlib import Path
start = time.perf_counter()
evaluator = EmbeddedEvaluator(root=Path.cwd())
print(time.perf_counter() - start)
evaluator.close()
"""
"""In a fresh process: loads the library, starts OPA and waits until the shipped bundle is active."""


def measure_ready(rounds: int) -> Iterator[Row]:
    """From nothing to an evaluator that can answer, without the time of Python's own imports."""
    process = Process([sys.executable, "-c", READY], ROOT)
    process.read()
    series = Series(tuple(float(process.read()) for _ in range(rounds)))
    yield Row("OPA ready, in ms", series.median, "ms", target=Target("at most", 60), samples=series.samples)


def measure_size() -> Iterator[Row]:
    """The library as a wheel carries it: deflated, at the level that wheels use."""
    libraries = [file for file in LIBRARY_FOLDER.glob("libflowyml_opa.*") if file.suffix in {".so", ".dylib"}]
    if len(libraries) != 1:
        raise CannotMeasure(f"{LIBRARY_FOLDER} holds not one library; run `make install`")
    yield Row("library deflated, in MB", deflated(libraries[0]), "MB", target=Target("at most", 16))


def deflated(file: Path) -> int:
    """How many bytes `file` takes up in a zip archive."""
    packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            size += len(packer.compress(block))
    return size + len(packer.flush())


def measure_help(rounds: int) -> Iterator[Row]:
    """`--help` against importing click, which it cannot do without."""
    own = Process([own_program(), "--help"], ROOT)
    click = Process([sys.executable, "-c", "import click"], ROOT)
    mine, theirs = processes_in_turns(rounds, own, click)
    yield Row(
        "flowyml-policy --help",
        mine.wall.median,
        "ms",
        'python -c "import click"',
        theirs.wall.median,
        mine.wall.ratio_to(theirs.wall),
        mine.cpu.ratio_to(theirs.cpu),
        Target("at most", 2),
        mine.wall.samples,
        theirs.wall.samples,
    )
