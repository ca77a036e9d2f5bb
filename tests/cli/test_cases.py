"""Bad input and faults, as whole processes: each folder of cases/ is one.

`command` is what is typed, `files/` what lies in the working directory, `setup.sh` (run there by sh) makes what
cannot be committed, `expected` is the exit code and all that was said; it is kept as conftest.py tells.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

CASES: Final = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())


@pytest.fixture(params=CASES, ids=lambda path: path.name)
def case(request: pytest.FixtureRequest, program: Any) -> Path:
    folder: Path = request.param
    if (folder / "files").is_dir():
        shutil.copytree(folder / "files", program.here, dirs_exist_ok=True, symlinks=True)
    if (folder / "setup.sh").is_file():
        subprocess.run(["sh", "-eu", str(folder / "setup.sh")], cwd=program.here, check=True)
    return folder


def test_case_says_and_exits_as_kept(program: Any, kept: Any, case: Path) -> None:
    ran = program.run(*shlex.split((case / "command").read_text()))
    assert "Traceback" not in ran.stdout + ran.stderr
    kept(case / "expected", str(ran))


def test_case_in_json_exits_alike_and_is_a_document_or_nothing(program: Any, case: Path) -> None:
    command = shlex.split((case / "command").read_text())
    said = (case / "expected").read_text().splitlines()[0]
    if "--format" in command:
        pytest.fail("the other test compares tables; this one adds --format json")
    ran = program.run(*command, "--format", "json")
    assert f"exit {ran.exit_code}" == said
    assert "Traceback" not in ran.stdout + ran.stderr
    if ran.stdout:
        assert json.loads(ran.stdout)["version"] == 1
    else:
        assert ran.stderr.startswith("error: ")
