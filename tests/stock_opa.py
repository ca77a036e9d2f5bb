"""The stock `opa`, of the very version that the library is built from.

It is OPA's own main package, unchanged, built from the module that libopa's go.mod names and go.sum vouches for: what
`go install github.com/open-policy-agent/opa@VERSION` makes. `python -m tests.stock_opa` builds it, and `make test` does
that beforehand; after `make go`, which compiles most of it, that takes seconds.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
MODULE: Final = "github.com/open-policy-agent/opa"
PROGRAM: Final = ROOT / "build" / "opa" / "opa"


@cache
def stock_opa() -> Path:
    """The program. Go builds it where it is missing or old; of several processes one does."""
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    with (PROGRAM.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build = [sys.executable, str(ROOT / "libopa" / "build.py"), "go", "build", "-o", str(PROGRAM), MODULE]
        subprocess.run(build, check=True)
    return PROGRAM


if __name__ == "__main__":
    stock_opa()
