"""Whole processes: `stack validate` with its audit, conftest on the same folder, FlowyML's own policy check.

Rules of this room:
- Before anything is timed, both judges must have given the right answer for every manifest, and our audit must verify.
- Every run of ours starts with an empty audit and commits each decision durably; conftest records nothing.
- conftest gets fewer tasks, never more: see conftest/adapter.rego.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process, Series, processes_in_turns
from benchmarks.peers import FlowymlEnvironment
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
    """The two programs that judge folders."""

    own: Path
    conftest: Path
    staged: StagedPolicy

    def validate(self, project: StackProject, program: Path | None = None, *, json_output: bool = False) -> Process:
        """`stack validate` of all of `project`, which must deny some; of its first, allowed one if it has but one."""
        command: list[str | Path] = [program or self.own, "stack", "validate", "stacks/"]
        if json_output:
            command += ["--format", "json"]
        return Process(command, project.folder, codes=(int(project.denied > 0),), prepare=project.forget)

    def conftest_test(self, project: StackProject, *, output: str = "stdout") -> Process:
        policy: list[str | Path] = ["--policy", self.staged.conftest_rego, "--data", self.staged.conftest_data]
        command: list[str | Path] = [self.conftest, "test", *policy, "--no-color", "--output", output, "stacks/"]
        return Process(command, project.folder, codes=(int(project.denied > 0),))


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
        Target("at most", 1.2),
        many.samples,
        few.samples,
    )


def measure_upstream(
    judges: Judges, environment: FlowymlEnvironment, project: StackProject, work: Path, rounds: int
) -> Iterator[Row]:
    """One manifest, against `flowyml policy check` of one stack: ours in its own environment, and beside pandas."""
    folder = work / "upstream"
    (folder / "stacks").mkdir(parents=True, exist_ok=True)
    (folder / "stacks" / "prod-gpu-large.yaml").write_text(UPSTREAM_STACK, "utf-8")
    (folder / "flowyml.yaml").write_text(UPSTREAM_SETTINGS, "utf-8")
    check: list[str | Path] = [environment.upstream, "policy", "check", "--stack", "prod-gpu-large"]
    upstream = Process(check, folder, environment={"HOME": str(folder)})
    if "Policy check PASSED" not in upstream.read():
        raise CannotMeasure(f"{upstream} did not pass")
    inside, outside = judges.validate(project, environment.own), judges.validate(project)
    ours_inside, ours, theirs = processes_in_turns(rounds, inside, outside, upstream)
    quarter = Target("at most", 0.25)
    yield _versus("stack validate, 1 manifest", ours, "flowyml policy check", theirs, quarter)
    yield _versus("the same beside pandas", ours_inside, "flowyml policy check", theirs, quarter)


def _versus(name: str, own: Series, against: str, peer: Series, target: Target | None) -> Row:
    return Row(name, own.median, "ms", against, peer.median, own.ratio_to(peer), target, own.samples, peer.samples)
