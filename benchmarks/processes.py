"""Whole processes: `stack validate` with its audit, conftest on the same folder, FlowyML's own policy check.

Rules:
- Before anything is timed, both judges must have given the right answer for every manifest, and our audit must verify.
- Every run of ours starts with the same audit, which holds one decision, and commits each decision durably;
  conftest records nothing. What the very first run costs, which makes the audit, is a figure of its own.
- conftest gets fewer tasks, never more: see conftest/adapter.rego.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process, Series, Timed, processes_in_turns
from benchmarks.policy import StagedPolicy
from benchmarks.report import Row, Target
from benchmarks.stacks import StackProject

UPSTREAM_STACK = """\
apiVersion: flowyml.io/v1
kind: Stack
metadata: {name: prod-gpu-large, version: "2.1.0"}
spec:
  backend: azureml
  compute: {type: gpu, size: Standard_NC6s_v3, minInstances: 0, maxInstances: 4}
  runtime: {pythonVersion: "3.11", baseImage: "myregistry.azurecr.io/flowyml:latest"}
  storage: {artifactStore: azure_blob, uri: "abfs://artifacts@mystorage.dfs.core.windows.net"}
"""

UPSTREAM_SETTINGS = "project: {name: fraud-detection}\ndefaults: {stack: prod-gpu-large}\n"


@dataclass(frozen=True)
class Judges:
    """The two programs that judge folders, and the audit that every run of ours starts with."""

    own: Path
    conftest: Path
    staged: StagedPolicy
    audit: Path

    def validate(self, project: StackProject, program: Path | None = None, *, json_output: bool = False) -> Process:
        """`stack validate` of all of `project`, on an audit that exists."""
        command = [*_validate(program or self.own), *(["--format", "json"] if json_output else [])]
        return Process(command, project.folder, _codes(project), prepare=partial(project.restart_from, self.audit))

    def conftest_test(self, project: StackProject, *, output: str = "stdout") -> Process:
        policy: list[str | Path] = ["--policy", self.staged.conftest_rego, "--data", self.staged.conftest_data]
        command: list[str | Path] = [self.conftest, "test", *policy, "--no-color", "--output", output, "stacks/"]
        return Process(command, project.folder, _codes(project))


def make_audit(own: Path, project: StackProject, folder: Path) -> Path:
    """The audit of one run of `project`, copied to `folder`."""
    first_validate(own, project).read()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project.audit, folder)
    return folder


def first_validate(own: Path, project: StackProject) -> Process:
    """`stack validate` of all of `project`, which makes the audit first."""
    return Process(_validate(own), project.folder, _codes(project), prepare=project.forget)


def require_right_answers(judges: Judges, project: StackProject) -> None:
    """Both judges deny exactly the manifests that must be denied, and every decision is in the audit."""
    expected = {file.name for number, file in enumerate(project.files) if number % 2 == 1}
    report = json.loads(judges.validate(project, json_output=True).read())
    outcomes = {Path(result["source"]["uri"]).name: result["outcome"] for result in report["results"]}
    own = {name for name, outcome in outcomes.items() if outcome == "deny"}
    if own != expected or report["summary"]["errors"] or len(outcomes) != project.count:
        raise CannotMeasure(f"stack validate judges {project.stacks} wrongly: {report['summary']}")
    peer = json.loads(judges.conftest_test(project, output="json").read())
    theirs = {Path(file["filename"]).name for file in peer if file.get("failures")}
    if theirs != expected or len(peer) != project.count:
        raise CannotMeasure(f"conftest judges {project.stacks} wrongly: {sorted(theirs ^ expected)[:5]} differ")
    Process([judges.own, "audit", "verify"], project.folder).read()


def measure_folder(judges: Judges, project: StackProject, rounds: int, target: Target | None) -> Iterator[Row]:
    """`stack validate` against conftest on one folder."""
    require_right_answers(judges, project)
    own, peer = processes_in_turns(rounds, judges.validate(project), judges.conftest_test(project))
    name = f"stack validate, {project.count:,} manifest{'s' if project.count > 1 else ''}"
    yield _versus(name, own, "conftest", peer, target)


def measure_memory(judges: Judges, small: StackProject, large: StackProject, rounds: int) -> Iterator[Row]:
    """The largest resident memory of `stack validate` on many manifests against that on few."""
    peaks: list[Series] = []
    for project in (large, small):
        process = judges.validate(project)
        peaks.append(Series(tuple(float(process.measure().peak) for _ in range(rounds))))
    many, few = peaks
    yield Row(
        f"peak memory, {large.count:,} manifests",
        many.median,
        "MB",
        f"{small.count:,} manifests",
        few.median,
        many.median / few.median,
        target=Target("at most", 1.2),
        samples=many.samples,
        reference_samples=few.samples,
    )


def measure_upstream(
    judges: Judges, program: Path, beside: Path, project: StackProject, work: Path, rounds: int
) -> Iterator[Row]:
    """One manifest, against `flowyml policy check` (of `program`): ours alone, and the one `beside` pandas."""
    folder = work / "upstream"
    (folder / "stacks").mkdir(parents=True, exist_ok=True)
    (folder / "stacks" / "prod-gpu-large.yaml").write_text(UPSTREAM_STACK, "utf-8")
    (folder / "flowyml.yaml").write_text(UPSTREAM_SETTINGS, "utf-8")
    check: list[str | Path] = [program, "policy", "check", "--stack", "prod-gpu-large"]
    upstream = Process(check, folder, environment={"HOME": str(folder)})
    if "Policy check PASSED" not in upstream.read():
        raise CannotMeasure(f"{upstream} did not pass")
    inside, outside = judges.validate(project, beside), judges.validate(project)
    first = first_validate(beside, project)
    ours_inside, ours, ours_first, theirs = processes_in_turns(rounds, inside, outside, first, upstream)
    quarter = Target("at most", 0.25)
    yield _versus("stack validate, 1 manifest", ours, "flowyml policy check", theirs, quarter)
    yield _versus("the same beside pandas", ours_inside, "flowyml policy check", theirs, quarter)
    yield _versus("the very first, beside pandas", ours_first, "flowyml policy check", theirs, None)


def _versus(name: str, own: Timed, against: str, peer: Timed, target: Target | None) -> Row:
    return Row(
        name,
        own.wall.median,
        "ms",
        against,
        peer.wall.median,
        own.wall.ratio_to(peer.wall),
        own.cpu.ratio_to(peer.cpu),
        target,
        own.wall.samples,
        peer.wall.samples,
    )


def _validate(program: Path) -> list[str | Path]:
    return [program, "stack", "validate", "stacks/"]


def _codes(project: StackProject) -> tuple[int]:
    """1 where something must be denied, else 0: the exit code that both judges must end with."""
    return (int(project.denied > 0),)
