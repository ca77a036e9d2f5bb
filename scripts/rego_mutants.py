"""Take out every expression of the shipped policy, one at a time, and demand that a test notices.

For each expression of each rule body, also within comprehensions and `every`, the expression becomes `true`, and
the tests of its package run, with those of `main` (for `main` and the library: all tests). A mutant is killed when
a test fails, or a builtin does, or the policy no longer compiles. One that survives is a condition that no test
needs: write the test, or take the condition out. Equivalent mutants stand, each with its reason, in `EQUIVALENT`.

Exit 1 when one survives, or when an entry of `EQUIVALENT` is no longer needed.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any, Final

from rego_opa import POLICY, OpaFailed, fail_strictly, failed, opa_json, run_tests

EQUIVALENT: Final[dict[tuple[str, str], str]] = {}
"""Mutants that behave as the original does: (file below rego/flowyml, expression) and why."""


@dataclass(frozen=True)
class Mutant:
    """One expression of one file, by its place in bytes."""

    file: str
    row: int
    start: int
    end: int
    expression: str

    @property
    def tests(self) -> str:
        """The names of the tests that must notice, as a pattern."""
        parts = Path(self.file).parts
        return rf"^data\.flowyml\.(rules\.{parts[1]}|main)\." if parts[0] == "rules" else "."

    def applied(self, source: bytes) -> bytes:
        """`source` without the expression."""
        return source[: self.start] + b"true" + source[self.end :]

    def __str__(self) -> str:
        return f"rego/flowyml/{self.file}:{self.row}: {self.expression}"


def mutants(file: Path) -> list[Mutant]:
    """Every mutant of one file, in order."""
    source = file.read_bytes()
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    found = {}
    for expression in expressions(opa_json("parse", str(file), "--format", "json", "--json-include", "locations")):
        place = expression["location"]
        text = base64.b64decode(place["text"])
        start = lines[place["row"] - 1] + place["col"] - 1
        if source[start : start + len(text)] != text:
            raise OpaFailed(f"{file}:{place['row']}: the place of an expression is not where the parser says")
        found[start, len(text)] = Mutant(
            file.relative_to(POLICY).as_posix(), place["row"], start, start + len(text), text.decode()
        )
    return [found[key] for key in sorted(found)]


def expressions(node: Any) -> Iterator[dict[str, Any]]:
    """Every expression of every body below a node of the syntax tree that is a condition."""
    if isinstance(node, list):
        for item in node:
            yield from expressions(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "body" and isinstance(value, list):
                yield from (item for item in value if is_condition(item))
            yield from expressions(value)


def is_condition(expression: dict[str, Any]) -> bool:
    """Not the `true` that stands for the body of a rule without one, nor a bare declaration (`some key`)."""
    terms = expression["terms"]
    if not isinstance(terms, dict):
        return True
    declared = terms.get("symbols")
    return any(term["type"] != "var" for term in declared) if declared else terms.get("value") is not True


class Bench:
    """A copy of the policy for each thread, in which one mutant at a time is tried."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = local()

    def survives(self, mutant: Mutant) -> bool:
        """Whether every test passes without the expression. Raises OpaFailed when OPA gives no answer."""
        copy = self._copy()
        file = copy / "flowyml" / mutant.file
        source = (POLICY / mutant.file).read_bytes()
        file.write_bytes(mutant.applied(source))
        try:
            return self.passes(mutant.tests, copy)
        finally:
            file.write_bytes(source)

    def passes(self, tests: str, copy: Path | None = None) -> bool:
        """Whether the tests named by a pattern pass on a copy of the policy, also where builtin errors are errors."""
        bundle = copy or self._copy()
        results = run_tests(bundle, tests)
        return results is not None and not failed(results) and fail_strictly(bundle, results) is None

    def _copy(self) -> Path:
        made: Path | None = getattr(self._own, "copy", None)
        if made is None:
            made = Path(tempfile.mkdtemp(dir=self._folder))
            shutil.copytree(POLICY, made / "flowyml", ignore=shutil.ignore_patterns("samples"))
            self._own.copy = made
        return made


def policy_files(only: str) -> list[Path]:
    """The files of the policy whose name below rego/flowyml contains `only`."""
    files = (path for path in sorted(POLICY.rglob("*.rego")) if not path.name.endswith("_test.rego"))
    return [path for path in files if only in path.relative_to(POLICY).as_posix()]


def unnoticed(only: str = "") -> list[str]:
    """Mutants that survive without a reason, and reasons without a survivor."""
    tried = [mutant for file in policy_files(only) for mutant in mutants(file)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        bench = Bench(Path(folder))
        if not bench.passes("."):
            return ["the tests fail on the policy as it is"]
        alive = [mutant for mutant, lives in zip(tried, pool.map(bench.survives, tried), strict=True) if lives]
    excused = {(mutant.file, mutant.expression) for mutant in alive} & EQUIVALENT.keys()
    problems = [f"{mutant}: no test needs it" for mutant in alive if (mutant.file, mutant.expression) not in excused]
    idle = [] if only else sorted(EQUIVALENT.keys() - excused)
    problems += [f"{file}: {text}: is listed as equivalent, but a test needs it, or it is gone" for file, text in idle]
    return problems


def main() -> int:
    """Try every mutant and print those that survive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("only", nargs="?", default="", help="only files whose name contains this")
    problems = unnoticed(parser.parse_args().only)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
