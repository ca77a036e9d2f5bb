"""What holds for every test.

- How long an example of a property takes says nothing of whether it holds. A machine that does much else besides lets
  any one example wait, and hypothesis would call that a failure of the test. The time that a whole test may take is
  pytest's `timeout`.
- A program that a test starts can be interrupted, also where a shell runs the tests in the background, which makes
  them, and what they start, ignore interrupts.
- The real FlowyML lives in an environment of its own: `FLOWYML_PYTHON` names its Python (`make flowyml`).
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def flowyml_python() -> Path:
    """A Python with FlowyML and this package. Once it is named it must work: only its absence skips."""
    named = os.environ.get("FLOWYML_PYTHON")
    if not named:
        pytest.skip("FLOWYML_PYTHON names no environment with FlowyML; `make flowyml` makes one")
    python = Path(named).absolute()
    program = "from importlib.metadata import version; print(version('flowyml'), version('flowyml-policy') > '')"
    probe = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (probe.returncode, probe.stdout.strip()) == (0, "2.2.1 True"), probe.stderr
    return python
