"""OPA's whole command line, from the same library as the evaluator.

`run` writes to this process's streams, and some of OPA's commands end the process; what needs the outcome, or must
go on afterwards, uses `run_child`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flowyml_policy.errors.opa import OpaDeadlineExceeded, OpaUnavailable
from flowyml_policy.opa.library import load


def run(argv: Sequence[str]) -> int:
    """Run `opa argv...` in this process and return OPA's exit code. Raises OpaUnavailable."""
    library = load()
    sys.stdout.flush()
    sys.stderr.flush()
    return library.command(argv)


def run_child(
    argv: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `opa argv...` in a child process, in `folder`, and return its exit code and what it wrote.

    Raises OpaDeadlineExceeded after `timeout` seconds, and OpaUnavailable.
    """
    command = [sys.executable, "-m", "flowyml_policy.opa", *argv]
    try:
        return subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=folder, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise OpaDeadlineExceeded(f"`opa {' '.join(argv[:1])}` took longer than {timeout} s") from error
    except OSError as error:
        raise OpaUnavailable(f"OPA's command line cannot be started: {error}") from error
