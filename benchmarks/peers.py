"""What this program is compared with, installed on demand into the (git-ignored) working folder.

Rules:
- A peer that cannot be had is CannotMeasure, never a row that is left out in silence.
- Versions are pinned here; what is installed already is used again.
- This program is measured as users have it, installed from a wheel: an editable install stages its policy anew.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process
from libopa.build import BuildError, find_go

ROOT = Path(__file__).resolve().parents[1]

CONFTEST = "v0.71.1"
FLOWYML = "2.2.1"
OPA_CLIENT = "3.0.0"


@dataclass(frozen=True)
class FlowymlEnvironment:
    """A virtual environment with FlowyML, pandas (which it brings) and this package."""

    folder: Path

    @property
    def upstream(self) -> Path:
        return self.folder / "bin" / "flowyml"

    @property
    def own(self) -> Path:
        return self.folder / "bin" / "flowyml-policy"


def own_program(work: Path) -> Path:
    """`flowyml-policy` of this checkout, installed from its wheel over the packages that run the benchmarks."""
    return _installed(work / "installed", Path(sys.executable))


def own_program_beside(environment: FlowymlEnvironment, work: Path) -> Path:
    """The same over the packages of `environment`, pandas among them."""
    return _installed(work / "installed-beside-flowyml", environment.folder / "bin" / "python")


def _installed(folder: Path, beside: Path) -> Path:
    """`flowyml-policy` in a virtual environment of its own, which finds all other packages where `beside` does."""
    _install([str(beside), "-m", "venv", "--clear", str(folder)])
    python = str(folder / "bin" / "python")
    _install([python, "-m", "pip", "install", "-q", "--no-deps", str(ROOT)])
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    mine, others = (Path(Process([one, "-c", where], ROOT).read().strip()) for one in (python, beside))
    (mine / "others.pth").write_text(f"{others}\n", "utf-8")
    program = folder / "bin" / "flowyml-policy"
    if not str(
        Process([python, "-c", "import flowyml_policy; print(flowyml_policy.__file__)"], folder).read()
    ).startswith(str(folder)):
        raise CannotMeasure(f"{program} does not run what was installed into {folder}")
    return program


def conftest(work: Path) -> Path:
    """The conftest program, built from source by Go."""
    folder = work / f"conftest-{CONFTEST}"
    program = folder / "conftest"
    if program.is_file():
        return program
    module = f"github.com/open-policy-agent/conftest@{CONFTEST}"
    try:
        go = find_go()
    except BuildError as error:
        raise CannotMeasure(str(error)) from error
    if go is None:
        raise CannotMeasure(f"no Go is at hand to install {module}; put `go` on PATH")
    environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    _install([str(go[0]), "install", module], environment)
    return program


def flowyml_environment() -> FlowymlEnvironment:
    """FlowyML beside this package: the one that FLOWYML_PYTHON names, else build/flowyml-env, made if absent."""
    named = os.environ.get("FLOWYML_PYTHON")
    folder = Path(named).absolute().parents[1] if named else ROOT / "build" / "flowyml-env"
    environment = FlowymlEnvironment(folder)
    if not (environment.upstream.is_file() and environment.own.is_file()):
        if named:
            raise CannotMeasure(f"{folder}, which FLOWYML_PYTHON names, holds not both flowyml and flowyml-policy")
        _install([sys.executable, "-m", "venv", str(folder)])
        _install([str(folder / "bin" / "pip"), "install", "-q", f"flowyml=={FLOWYML}", "-e", str(ROOT)])
    probe = "import flowyml, pandas; print(flowyml.__version__)"
    found = Process([folder / "bin" / "python", "-c", probe], ROOT).read().strip()
    if found != FLOWYML:
        raise CannotMeasure(f"{folder} holds FlowyML {found}, not {FLOWYML}; remove the folder")
    return environment


def require_opa_client() -> None:
    """Refuse to go on without opa-python-client."""
    if importlib.util.find_spec("opa_client") is None:
        raise CannotMeasure(f"opa-python-client is missing; pip install opa-python-client=={OPA_CLIENT}")


def _install(command: list[str], environment: dict[str, str] | None = None) -> None:
    answer = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if answer.returncode != 0:
        raise CannotMeasure(f"{' '.join(command)} failed: {(answer.stderr or answer.stdout).strip()[-2000:]}")
