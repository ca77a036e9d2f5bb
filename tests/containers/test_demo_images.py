"""`make demo-images` shows what it says: each stack of examples/images gets the decision that it expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers.programs import need

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a demonstration of what other tests hold, step by step
def test_every_image_of_the_demonstration_gets_its_decision() -> None:
    need("docker-registry", "dockerd", "containerd", root=True)
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_images.py"], capture_output=True, text=True, timeout=240, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert ran.stdout.count("exit code 0") == 6
    assert ran.stdout.count("exit code 1") == 5
