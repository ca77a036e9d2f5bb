"""`make demo-bundles` shows what it says: both judges decide as they should at every step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers.programs import need

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a demonstration of what other tests hold, step by step
def test_every_step_of_the_demonstration_ends_as_it_should() -> None:
    need("docker-registry")
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_bundles.py"], capture_output=True, text=True, timeout=240, check=False
    )
    said = [line.partition(",")[0] for line in ran.stderr.splitlines()]
    moved = "warning: the tag was moved by --force from sequence 3 to sequence 2; the audit has it"
    assert (ran.returncode, said) == (0, [moved, "error: the tag would go back"]), ran.stdout
    assert ran.stdout.count("Both decided alike, finding by finding") == 6
