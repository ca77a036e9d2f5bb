"""Time and memory of whole processes, and of calls, taken in pairs.

Rules:
- What is compared is measured in turns, in one run, and the order is reversed at every other turn: what else the
  machine does meets both sides.
- A ratio is the median of the ratios of the turns; a figure is the median of its samples.
- A process is started by a small one (launch.py): a child's peak memory starts at that of whoever forks it.
- Processor time is taken beside wall time. Targets are about wall time; on a busy machine the other says more.
- Python may keep its bytecode, as it does for users: the run that warms up has compiled what the others load.
- What ended with another exit code than it should has measured nothing, and raises CannotMeasure.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")


class CannotMeasure(Exception):
    """A figure that was promised is not there; the message says which, and why."""


@dataclass(frozen=True)
class Ended:
    """One process: wall time and processor time in seconds, and the largest resident memory in bytes."""

    seconds: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Process:
    """A command line to measure. `prepare` runs before each start, outside the measured time."""

    command: Sequence[str | Path]
    folder: Path
    codes: Collection[int] = (0,)
    environment: Mapping[str, str] | None = None
    prepare: Callable[[], None] | None = None

    def measure(self) -> Ended:
        """Run it once, its output thrown away."""
        if self.prepare is not None:
            self.prepare()
        answer = subprocess.run(
            [sys.executable, "-I", "-S", LAUNCHER, *self.command],
            cwd=self.folder,
            env=self._environ(),
            check=False,
            capture_output=True,
            text=True,
        )
        if answer.returncode != 0:
            raise CannotMeasure(f"{self}: {answer.stderr.strip()[-2000:]}")
        report = json.loads(answer.stdout)
        if report["code"] not in self.codes:
            raise CannotMeasure(f"{self} ended with exit code {report['code']}: {answer.stderr.strip()[-2000:]}")
        return Ended(report["seconds"], report["cpu"], report["peak"])

    def read(self) -> str:
        """Run it once, and answer its stdout."""
        if self.prepare is not None:
            self.prepare()
        try:
            answer = subprocess.run(
                self.command, cwd=self.folder, env=self._environ(), check=False, capture_output=True, text=True
            )
        except OSError as error:
            raise CannotMeasure(f"{self} cannot be started: {error.strerror}") from error
        if answer.returncode not in self.codes:
            raise CannotMeasure(f"{self} ended with exit code {answer.returncode}: {answer.stderr.strip()[-2000:]}")
        return answer.stdout

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "NO_COLOR": "1", **(self.environment or {})}

    def __str__(self) -> str:
        return " ".join(str(part) for part in self.command)


@dataclass(frozen=True)
class Series:
    """Samples of one figure, in the order of the turns."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def ratio_to(self, other: Series) -> float:
        """How many times `other` this is: the median over the turns."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.samples, other.samples, strict=True))


def in_turns(rounds: int, *figures: Callable[[], float]) -> tuple[Series, ...]:
    """`rounds` samples of each figure, one of each at every turn, forwards and backwards alternately."""
    taken: list[list[float]] = [[] for _ in figures]
    for turn in range(rounds):
        order = range(len(figures))
        for index in order if turn % 2 == 0 else reversed(order):
            taken[index].append(figures[index]())
    return tuple(Series(tuple(samples)) for samples in taken)


@dataclass(frozen=True)
class Timed:
    """A process run several times: wall times, and processor times, which say more on a busy machine."""

    wall: Series
    cpu: Series


def processes_in_turns(rounds: int, *processes: Process) -> tuple[Timed, ...]:
    """Times of whole processes, each run once before the first turn to warm the machine's caches."""
    for process in processes:
        process.measure()
    cpu: list[list[float]] = [[] for _ in processes]

    def sample(index: int) -> float:
        ended = processes[index].measure()
        cpu[index].append(ended.cpu)
        return ended.seconds

    walls = in_turns(rounds, *(partial(sample, index) for index in range(len(processes))))
    return tuple(Timed(wall, Series(tuple(taken))) for wall, taken in zip(walls, cpu, strict=True))
