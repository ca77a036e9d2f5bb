"""Prove that the package installs on a machine with nothing but Python, and that what was installed decides.

In a scratch folder, from the source archive of this checkout:
- `pip install` of the archive and of its folder, each in a fresh environment, with an empty PATH: no Go, no C compiler;
- the installed program then answers `opa version`, allows one example stack in process and denies another;
- the library in the wheel is at most 16 MB deflated, built with the machine's own compilers and with zig.

Takes several minutes where Go's build cache is empty; `make slow` runs it. Exits 0 when all of it holds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LIBRARY_LIMIT: Final = 16_000_000
# The caller's own choices of tools; everything else of the environment (caches, proxies, pip's settings) is kept.
CHOICES: Final = {
    "CC",
    "FLOWYML_POLICY_CC",
    "FLOWYML_POLICY_SETTINGS",
    "FLOWYML_POLICY_SIDECAR_ONLY",
    "GOFLAGS",
    "GOROOT",
    "GOTOOLCHAIN",
    "PYTHONPATH",
    "VIRTUAL_ENV",
}


class CheckFailed(Exception):
    """Something that must hold does not."""


def run(*command: str | Path, env: Mapping[str, str], cwd: Path, code: int = 0) -> str:
    """Run a command that must exit with `code`; return what it printed."""
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != code:
        said = f"{answer.stdout}\n{answer.stderr}".strip()
        raise CheckFailed(f"{' '.join(map(str, command))} exited with {answer.returncode}, not {code}\n{said}")
    return answer.stdout


def caller_environment() -> dict[str, str]:
    """The environment without the caller's choices of tools."""
    return {key: value for key, value in os.environ.items() if key not in CHOICES}


def bare_environment(scratch: Path) -> dict[str, str]:
    """An environment whose PATH holds nothing at all; that there is no compiler on it is checked, not assumed."""
    empty = scratch / "empty"
    empty.mkdir(exist_ok=True)
    for tool in ("go", "cc", "gcc", "clang", "zig", "git"):
        if shutil.which(tool, path=str(empty)):
            raise CheckFailed(f"{tool} is on a PATH that should be empty")
    return {**caller_environment(), "PATH": str(empty)}


def make_archive(scratch: Path) -> tuple[Path, Path]:
    """Make the source archive; return it and the folder that it unpacks to."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", scratch, env=caller_environment(), cwd=ROOT)
    (archive,) = scratch.glob("flowyml_policy-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(scratch / "source", filter="data")
    (folder,) = (scratch / "source").iterdir()
    return archive, folder


def check_size(scratch: Path, folder: Path, name: str, env: Mapping[str, str]) -> None:
    """Build a wheel of `folder` and see that the library in it is small enough."""
    wheels = scratch / f"wheel-{name}"
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, folder, env=env, cwd=scratch)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (library,) = (item for item in archive.infolist() if "/_lib/libflowyml_opa." in item.filename)
    print(f"{name}: {wheel.name}: library {library.file_size:,} bytes, deflated {library.compress_size:,}")
    if library.compress_size > LIBRARY_LIMIT:
        raise CheckFailed(f"the library built with {name} is over {LIBRARY_LIMIT:,} bytes deflated")


def check_install(scratch: Path, what: Path, name: str, env: Mapping[str, str]) -> None:
    """Install `what` into a fresh environment, and see that the installed program decides."""
    home = scratch / f"venv-{name}"
    venv.create(home, with_pip=True)
    started = time.monotonic()
    run(home / "bin" / "python", "-m", "pip", "install", what, env=env, cwd=scratch)
    print(f"{name}: installed in {time.monotonic() - started:.0f} s")
    program = home / "bin" / "flowyml-policy"
    project = scratch / f"project-{name}"
    project.mkdir()
    shutil.copy(ROOT / "flowyml.yaml", project)
    shutil.copytree(ROOT / "stacks", project / "stacks")
    where = run(
        home / "bin" / "python", "-c", "import flowyml_policy; print(flowyml_policy.__file__)", env=env, cwd=project
    )
    if not where.startswith(str(home)):
        raise CheckFailed(f"the program that answers is not the installed one: {where}")
    print(f"{name}: OPA {run(program, 'opa', 'version', env=env, cwd=project).splitlines()[0]}")
    for stack, code in (("prod-gpu-large", 0), ("prod-gpu-lookalike", 1)):
        run(program, "stack", "validate", f"stacks/{stack}.yaml", env=env, cwd=project, code=code)
        print(f"{name}: {stack} is {'denied' if code else 'allowed'}")
    run(program, "audit", "verify", env=env, cwd=project)


def main() -> int:
    """Check everything that the module's docstring names; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="flowyml-policy-") as folder:
        scratch = Path(folder)
        try:
            bare = bare_environment(scratch)
            archive, source = make_archive(scratch)
            check_size(scratch, source, "machine", caller_environment())
            check_size(scratch, source, "zig", bare)
            check_install(scratch, archive, "archive", bare)
            check_install(scratch, source, "folder", bare)
        except CheckFailed as failure:
            print(f"error: {failure}", file=sys.stderr)
            return 1
    print("It installs with an empty PATH, and decides.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
