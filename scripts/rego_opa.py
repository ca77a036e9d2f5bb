"""How the scripts of this folder run OPA: one place, one command.

`OPA` of the environment names the command, which defaults to this package's own OPA in a child process. A
failure to run at all is never mistaken for an answer: it raises.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
REGO: Final = ROOT / "rego"
POLICY: Final = REGO / "flowyml"
_COMPILE_ERROR: Final = re.compile(r"\brego_(parse|compile|type|unsafe_var|recursion)_error\b")


LENIENT: Final = frozenset({"data.flowyml.main.test_unreadable_globs_names_those_that_opa_refuses"})
"""Tests of what is asked without strict builtin errors, because a builtin's error is what it tells of."""


class OpaFailed(RuntimeError):
    """OPA did not do what a script asked of it; the message is OPA's own."""


def opa_command() -> list[str]:
    """The command that is OPA."""
    named = os.environ.get("OPA")
    return shlex.split(named) if named else [sys.executable, "-m", "flowyml_policy.opa"]


def run_opa(*arguments: str, cwd: Path = ROOT, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run OPA and give back what it said, whatever its exit code."""
    environ = {**os.environ, "GOGC": "off"}  # it ends before its garbage matters; to collect it takes a quarter more
    return subprocess.run(
        [*opa_command(), *arguments], cwd=cwd, input=stdin, env=environ, capture_output=True, text=True, check=False
    )


def opa_json(*arguments: str, cwd: Path = ROOT, stdin: str | None = None) -> Any:
    """Run OPA and parse what it prints as JSON; raises OpaFailed when it fails."""
    done = run_opa(*arguments, cwd=cwd, stdin=stdin)
    if done.returncode != 0:
        raise OpaFailed(f"opa {shlex.join(arguments)}: exit {done.returncode}\n{done.stderr or done.stdout}")
    return json.loads(done.stdout)


def run_tests(bundle: Path, pattern: str = ".") -> list[dict[str, Any]] | None:
    """What each Rego test whose name fits `pattern` came to; None where the policy does not compile.

    Raises OpaFailed when OPA gives no report, or one that its exit code contradicts.
    """
    done = run_opa("test", "--bundle", str(bundle), "--format", "json", "--run", pattern)
    if not done.stdout.lstrip().startswith("["):
        if _COMPILE_ERROR.search(done.stdout + done.stderr):
            return None
        raise OpaFailed(f"opa test: exit {done.returncode}\n{done.stderr}{done.stdout}")
    results: list[dict[str, Any]] = json.loads(done.stdout)
    if not results or failed(results) != (done.returncode != 0):
        raise OpaFailed(f"opa test: exit {done.returncode} does not agree with its report\n{done.stdout}")
    return results


def failed(results: Sequence[dict[str, Any]]) -> bool:
    """Whether one of these tests failed."""
    return any(result.get("fail") or result.get("error") for result in results)


def fail_strictly(bundle: Path, results: Sequence[dict[str, Any]]) -> str | None:
    """Why tests that passed do not pass where errors of builtins are errors; None when they do.

    `opa test` takes a failing builtin for undefined, the evaluators of this program take it for an error.
    """
    names = [name for result in results if (name := f"{result['package']}.{result['name']}") not in LENIENT]
    done = run_opa(
        "eval", "--bundle", str(bundle), "--strict-builtin-errors", "--format", "json", f"[{', '.join(names)}]"
    )
    answer = json.loads(done.stdout)
    if done.returncode == 0 and answer.get("result"):
        return None
    errors = answer.get("errors", [{"message": "a test is undefined"}])
    return "; ".join(f"{error['message']} {error.get('location', {})}" for error in errors)


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
