"""What the server must bear; what it measures is printed by benchmarks/decision_logs.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_decision_logs_at_a_rate_survive_a_kill_without_loss(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "decision_logs.py"), "--events", "20000"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
