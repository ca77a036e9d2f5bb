"""Measures this program beside what a user would pick instead, in one run: `make bench`.

Prints a table with every target of the project, writes all samples as JSON to benchmarks/results/, and ends with 0
unless something could not be measured. A missed target is printed, and is a matter for people.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import bundles, decisions, guard, images, listing, peers, policy, processes, resolving, starting
from benchmarks.clock import CannotMeasure
from benchmarks.report import Report, Row, Target
from benchmarks.stacks import StackProject, write_project

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Effort:
    """How often things are done. More turns make steadier medians."""

    decision_rounds: int
    decision_calls: int
    short_rounds: int
    folder_rounds: int
    large_rounds: int
    memory_rounds: int


THOROUGH = Effort(7, 5_000, 15, 9, 3, 3)
QUICK = Effort(3, 1_000, 5, 3, 1, 1)


class Bench:
    """Everything that several measurements share, made when it is first needed."""

    def __init__(self, work: Path, effort: Effort) -> None:
        self.work = work
        self.effort = effort
        work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def staged(self) -> policy.StagedPolicy:
        return policy.stage(self.work)

    @cached_property
    def own(self) -> Path:
        return peers.own_program(self.work)

    @cached_property
    def judges(self) -> processes.Judges:
        own = self.own
        audit = processes.make_audit(own, self.one, self.work / "audit")
        return processes.Judges(own, peers.conftest(self.work), self.staged, audit)

    @cached_property
    def one(self) -> StackProject:
        return write_project(self.work / "stacks-1", 1)

    @cached_property
    def thousand(self) -> StackProject:
        return write_project(self.work / "stacks-1000", 1_000)

    @cached_property
    def ten_thousand(self) -> StackProject:
        return write_project(self.work / "stacks-10000", 10_000)

    @cached_property
    def cases(self) -> list[decisions.Case]:
        return decisions.cases(self.thousand)

    def one_decision(self) -> Iterator[Row]:
        for case in self.cases[:2]:
            yield from decisions.measure_one(
                self.staged, self.work, case, self.effort.decision_rounds, self.effort.decision_calls
            )
            calls = max(self.effort.decision_calls // 5, 200)
            yield from decisions.measure_helper(case, self.effort.decision_rounds * 3, calls)

    def sidecar(self) -> Iterator[Row]:
        for case in self.cases[:2]:
            calls = max(self.effort.decision_calls // 20, 50)
            yield from decisions.measure_sidecar(self.staged, case, self.effort.decision_rounds, calls)

    def threads(self) -> Iterator[Row]:
        return decisions.measure_threads(self.cases, self.effort.decision_rounds)

    def exec(self) -> Iterator[Row]:
        return decisions.measure_exec(self.staged, self.work, self.cases, self.effort.folder_rounds)

    def ready(self) -> Iterator[Row]:
        return starting.measure_ready(self.own.with_name("python"), self.work, self.effort.short_rounds)

    def size(self) -> Iterator[Row]:
        return starting.measure_size()

    def help(self) -> Iterator[Row]:
        return starting.measure_help(self.own, self.effort.short_rounds)

    def upstream(self) -> Iterator[Row]:
        environment = peers.flowyml_environment()
        beside = peers.own_program_beside(environment, self.work)
        return processes.measure_upstream(
            self.judges, environment.upstream, beside, self.one, self.work, self.effort.short_rounds
        )

    def folders(self) -> Iterator[Row]:
        yield from processes.measure_folder(self.judges, self.one, self.effort.short_rounds, None)
        yield from processes.measure_folder(
            self.judges, self.thousand, self.effort.folder_rounds, Target("at most", 1.6)
        )
        yield from processes.measure_folder(self.judges, self.ten_thousand, self.effort.large_rounds, None)

    def memory(self) -> Iterator[Row]:
        return processes.measure_memory(self.judges, self.thousand, self.ten_thousand, self.effort.memory_rounds)

    def resolve(self) -> Iterator[Row]:
        return resolving.measure_offline(self.own, self.work, self.effort.short_rounds * 10)

    def images(self) -> Iterator[Row]:
        return images.measure_images(self.own, self.work, self.effort.short_rounds)

    def bundles(self) -> Iterator[Row]:
        return bundles.measure_build(self.work, self.effort.short_rounds)

    def guard(self) -> Iterator[Row]:
        beside = peers.own_program_beside(peers.flowyml_environment(), self.work)
        return guard.measure_guard(
            beside.with_name("python"), self.work, self.effort.short_rounds, self.effort.short_rounds * 20
        )

    def list(self) -> Iterator[Row]:
        return listing.measure_list(self.own, self.work, self.effort.short_rounds)

    def parts(self) -> dict[str, Callable[[], Iterator[Row]]]:
        """Every measurement, by the name that --only takes, in the order of a run."""
        return {
            "decision": self.one_decision,
            "sidecar": self.sidecar,
            "threads": self.threads,
            "exec": self.exec,
            "ready": self.ready,
            "size": self.size,
            "help": self.help,
            "upstream": self.upstream,
            "folders": self.folders,
            "memory": self.memory,
            "resolve": self.resolve,
            "images": self.images,
            "list": self.list,
            "bundles": self.bundles,
            "guard": self.guard,
        }


def measure(bench: Bench, only: Sequence[str]) -> Report:
    """Run every part, or those named; what cannot be measured is noted, and the others go on."""
    report = Report()
    for name, part in bench.parts().items():
        if only and name not in only:
            continue
        start = time.monotonic()
        try:
            report.rows.extend(part())
        except CannotMeasure as reason:
            report.unmeasured.append(f"{name}: {reason}")
        except Exception as error:  # noqa: BLE001  one part's fault must not hide the others' figures
            report.unmeasured.append(f"{name}: {type(error).__name__}: {error}")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; answer the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns: for trying, not for quoting")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="this part alone; repeatable")
    parser.add_argument("--work", type=Path, default=peers.ROOT / "build" / "bench", help="a folder on a disk")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args(arguments)
    bench = Bench(options.work.absolute(), QUICK if options.quick else THOROUGH)
    if unknown := set(options.only) - set(bench.parts()):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(bench.parts())}")
    report = measure(bench, options.only)
    print(report.table())
    print(f"\nwritten to {report.write(options.results)}")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
