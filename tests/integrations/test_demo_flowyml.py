"""`make demo-flowyml` shows what it says: what is denied or undecided does not start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.flowyml, pytest.mark.slow]


def test_every_pipeline_of_the_demonstration_ends_as_it_should(flowyml_python: Path) -> None:
    program = ROOT / "scripts" / "demo_flowyml.py"
    ran = subprocess.run([flowyml_python, program], capture_output=True, text=True, timeout=240, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert [line for line in ran.stdout.splitlines() if line.startswith(("ls:", "good.model"))] == [
        "good.model",
        "ls: no such file",
        "ls: no such file",
    ]
