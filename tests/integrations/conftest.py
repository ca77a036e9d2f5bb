"""What starts programs beside the real FlowyML, and a project for them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pycache import COMPILED

Run = Callable[..., "subprocess.CompletedProcess[str]"]

QUIET = {"NO_COLOR": "1", "PYTHONWARNINGS": "ignore", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command without the settings of whoever runs the tests, stdout and stderr apart."""

    def run_process(*command: str | Path, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "HOME": str(cwd), **COMPILED, **QUIET, **extra},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_process


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one allowed and one denied stack; no image is inspected."""
    (tmp_path / "flowyml.yaml").write_text(
        "project: {name: fraud-detection, org: fintech-corp}\n"
        "policies: {allowed_stacks: [prod-*], required_labels: [team]}\n"
        "policy: {images: {inspect: 'off'}}\n"
    )
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    for name in ("prod-cpu", "toy-cpu"):
        (stacks / f"{name}.yaml").write_text(
            "apiVersion: flowyml/v1\n"
            "kind: StackDefinition\n"
            f'metadata: {{name: {name}, version: "1.0.0", labels: {{team: ml}}}}\n'
            "spec: {compute: {backend: kubernetes}}\n"
        )
    return tmp_path
