"""How the scripts of this folder run OPA: one place, one command.

`OPA` of the environment names the command, which defaults to this package's own OPA in a child process. A
failure to run at all is never mistaken for an answer: it raises.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
REGO: Final = ROOT / "rego"
POLICY: Final = REGO / "flowyml"


class OpaFailed(RuntimeError):
    """OPA did not do what a script asked of it; the message is OPA's own."""


def opa_command() -> list[str]:
    """The command that is OPA."""
    named = os.environ.get("OPA")
    return shlex.split(named) if named else [sys.executable, "-m", "flowyml_policy.opa"]


def run_opa(*arguments: str, cwd: Path = ROOT, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run OPA and give back what it said, whatever its exit code."""
    return subprocess.run(  # noqa: S603  the command is the developer's own
        [*opa_command(), *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, check=False
    )


def opa_json(*arguments: str, cwd: Path = ROOT, stdin: str | None = None) -> Any:
    """Run OPA and parse what it prints as JSON; raises OpaFailed when it fails."""
    done = run_opa(*arguments, cwd=cwd, stdin=stdin)
    if done.returncode != 0:
        raise OpaFailed(f"opa {shlex.join(arguments)}: exit {done.returncode}\n{done.stderr or done.stdout}")
    return json.loads(done.stdout)


def evaluate(query: str, *, data: Sequence[Path] = (), document: Any = None, bundle: Path | None = None) -> Any:
    """The value of `query`, None where it is undefined. `document` is the input; builtin errors are errors."""
    arguments = ["eval", "--format", "json", "--strict-builtin-errors"]
    arguments += ["--bundle", str(bundle)] if bundle else []
    for path in data:
        arguments += ["--data", str(path)]
    stdin = None
    if document is not None:
        arguments.append("--stdin-input")
        stdin = json.dumps(document)
    answer = opa_json(*arguments, query, stdin=stdin)
    results = answer.get("result")
    return results[0]["expressions"][0]["value"] if results else None
