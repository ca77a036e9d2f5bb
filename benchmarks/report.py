"""What was measured: one row a figure, with the target that the project has set for it, if any.

Rules:
- A target that is missed is printed, and is no failure of the run; a figure that could not be taken is one.
- The JSON holds every sample, so that another reader can draw conclusions of their own.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

Unit = Literal["s", "ms", "us", "MB", "x"]

BUSY = 0.5
"""The load average from which the machine is not quiet enough to quote its figures."""

_SCALE: dict[Unit, float] = {"s": 1, "ms": 1e3, "us": 1e6, "MB": 1e-6, "x": 1}


@dataclass(frozen=True)
class Target:
    """What a row must reach: its ratio (or, for a row without one, its value) is at most or at least `limit`."""

    kind: Literal["at most", "at least"]
    limit: float

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.kind == "at most" else value >= self.limit


@dataclass(frozen=True)
class Row:
    """One figure. `value` and `reference` are in seconds or bytes; `ratio` is the one that the target is about.

    `cpu_ratio` compares processor time instead of wall time.
    """

    name: str
    value: float
    unit: Unit
    against: str | None = None
    reference: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    target: Target | None = None
    samples: tuple[float, ...] = ()
    reference_samples: tuple[float, ...] = ()

    @property
    def verdict(self) -> Literal["pass", "MISS", ""]:
        if self.target is None:
            return ""
        judged = self.ratio if self.ratio is not None else self.value * _SCALE[self.unit]
        return "pass" if self.target.met_by(judged) else "MISS"


@dataclass
class Report:
    """Every row of a run, and what could not be measured."""

    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    rows: list[Row] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return 1 if self.unmeasured else 0

    def table(self) -> str:
        """All rows as text, in columns."""
        lines: list[tuple[str, ...]] = [("what", "measured", "against", "measured", "ratio", "cpu", "target", "")]
        lines += [_cells(row) for row in self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        text = [_line(line, widths) for line in lines]
        text.insert(1, "-" * max(len(line) for line in text))
        if self.load_before > BUSY:
            text.append(
                f"BUSY          {self.load_before:.1f} others wanted a processor at the start; do not quote this"
            )
        text += [f"NOT MEASURED  {reason}" for reason in self.unmeasured]
        return "\n".join(text)

    def write(self, folder: Path) -> Path:
        """Write everything as JSON into `folder`; answer the file."""
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc)
        document = {
            "version": 1,
            "at": now.isoformat(timespec="seconds"),
            "machine": {"system": platform.platform(), "processors": os.cpu_count(), "python": sys.version.split()[0]},
            "load_before": self.load_before,
            "rows": [{**asdict(row), "verdict": row.verdict} for row in self.rows],
            "unmeasured": self.unmeasured,
        }
        file = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
        file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        return file


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        _quantity(row.value, row.unit),
        row.against or "",
        "" if row.reference is None else _quantity(row.reference, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}x",
        "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}x",
        "" if row.target is None else f"{row.target.kind} {row.target.limit:g}{'x' if row.ratio is not None else ''}",
        row.verdict,
    )


def _quantity(value: float, unit: Unit) -> str:
    scaled = value * _SCALE[unit]
    return f"{scaled:.{1 if scaled >= 10 else 2}f} {unit}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = {1, 3, 4, 5}
    padded = [
        cell.rjust(width) if column in numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
