"""Cases of runs: each starts pipelines whose step writes a file, and says what came of it.

The result goes to the file that the last argument names, as JSON: `{case: [file exists, outcome]}`. An outcome is
`ran`, or the class of what was raised and what of it matters.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flowyml import Pipeline, step

QUIET: dict[str, Any] = {
    "enable_cache": False,
    "enable_experiment_tracking": False,
    "enable_checkpointing": False,
}

Case = Callable[["Work"], object]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


class Work:
    """What the pipelines of one case do: one step that writes `ran/CASE`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.file = folder / name

    def step(self) -> Any:
        file = self.file

        @step(name=f"write_{self.name}", register=False)  # type: ignore[untyped-decorator, unused-ignore]
        def write() -> str:
            with file.open("a") as written:
                written.write("x")
            return "done"

        return write

    def pipeline(self, **made_with: Any) -> Any:
        pipeline = Pipeline(made_with.pop("name", self.name), **{**QUIET, **made_with})
        pipeline.add_step(self.step())
        return pipeline

    def run(self, pipeline: Any = None, **given: Any) -> Any:
        return (pipeline or self.pipeline()).run(auto_start_ui=False, **given)


@contextlib.contextmanager
def inside(folder: str | Path) -> Iterator[None]:
    """Work in another folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables, for a while."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


def said(error: BaseException) -> str:
    """The class of `error`, with the codes of a denial or the code of what is undecided."""
    result = getattr(error, "result", None)
    if result is None:
        return f"{type(error).__name__}: {error}"
    codes = sorted({finding.code for finding in result.denials})
    return f"{type(error).__name__} {', '.join(codes) if result.error is None else result.error.code}"


def main(names: list[str], results: str) -> None:
    folder = Path.cwd() / "ran"
    folder.mkdir(exist_ok=True)
    found: dict[str, list[object]] = {}
    for name in names:
        work = Work(name, folder)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outcome: object = CASES[name](work)
                outcome = "ran" if outcome is None or type(outcome).__name__ == "PipelineResult" else outcome
            except BaseException as error:  # noqa: BLE001  whatever ends a case is its outcome
                outcome = said(error)
        found[name] = [work.file.exists(), outcome]
    Path(results).write_text(json.dumps(found))


def run_as_program() -> None:
    main(list(CASES), sys.argv[-1])
