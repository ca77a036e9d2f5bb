"""The shipped policy as every judge gets it: the bundle, and the same files for conftest, which reads no bundle.

`stage` makes, in one folder, `flowyml.tar.gz` (what ships, built as for a wheel), `conftest/` (its Rego, with the
adapter that lets conftest judge a bare manifest by the same entry point) and `data/` (its data documents).
"""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.stacks import PROJECT
from flowyml_policy.opa import bundle_files
from flowyml_policy.opa.shipped import DECISION_PATH, SHAPE_PATH
from flowyml_policy.version import VERSION

ROOT = Path(__file__).resolve().parents[1]

ADAPTER = Path(__file__).with_name("conftest") / "adapter.rego"

DECISION = f"data.{DECISION_PATH} with data.{SHAPE_PATH} as true".replace("/", ".")
"""What the embedded evaluator asks."""


@dataclass(frozen=True)
class StagedPolicy:
    """Where the policy lies in its three forms."""

    bundle: Path
    conftest_rego: Path
    conftest_data: Path


def stage(work: Path) -> StagedPolicy:
    """Build the shipped bundle, and lay its files out beside it."""
    folder = work / "policy"
    shutil.rmtree(folder, ignore_errors=True)
    staged = StagedPolicy(folder / "flowyml.tar.gz", folder / "conftest", folder / "data")
    staged.conftest_rego.mkdir(parents=True)
    bundle_files.stage(ROOT / "rego", staged.bundle, roots=["flowyml"], version=VERSION, only=["flowyml"])
    with tarfile.open(staged.bundle) as archive:
        for member in archive:
            content = archive.extractfile(member)
            name = PurePosixPath(member.name)
            if content is None or (name.name != "data.json" and name.suffix != ".rego"):
                continue
            file = (staged.conftest_data if name.name == "data.json" else staged.conftest_rego) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.read())
    shutil.copyfile(ADAPTER, staged.conftest_rego / "adapter.rego")
    data = staged.conftest_data / "benchmark" / "data.json"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps({"project": PROJECT}), "utf-8")
    return staged
