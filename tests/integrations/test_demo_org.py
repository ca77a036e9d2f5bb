"""`make demo-org` shows what it says: both judges decide as they should, and the server tells of both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a demonstration of what other tests hold, step by step
def test_every_step_of_the_demonstration_ends_as_it_should() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_org.py"], capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 clients: 3 well" in ran.stdout
