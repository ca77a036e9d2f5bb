"""What is installed: the wheel, the source archive and the editable install, built for real from this checkout."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from flowyml_policy.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
INFO = f"flowyml_policy-{VERSION}.dist-info"
BUNDLE = "flowyml_policy/opa/_bundle/flowyml.tar.gz"
LIBRARY_LIMIT = 16_000_000
LIBRARY = re.compile(r"flowyml_policy/opa/_lib/libflowyml_opa\.(so|dylib)")
PLATFORM = r"(linux|manylinux_2_17|macosx_\d+_\d+)_(x86_64|aarch64|arm64)"


def hatchling_build(target: str, folder: Path, *, root: Path = ROOT, **environment: str) -> Path:
    """Build with the packages of this environment, as pip does with those of an isolated one; return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    answer = subprocess.run(
        command, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatchling_build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatchling_build("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, capture_output=True, check=True)
    return folder


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def differing(one: Path, other: Path) -> set[str]:
    """The names of the files that only one of two wheels holds, or that differ between them."""
    ours, theirs = contents(one), contents(other)
    return {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}


def checkout_files() -> set[str]:
    """What the repository holds, as git sees it: neither ignored files nor deleted ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {file for file in listed if (ROOT / file).is_file()}


def package_files() -> set[str]:
    return {file for file in checkout_files() if file.startswith("flowyml_policy/")}


def test_wheel_holds_the_package_the_library_the_policy_and_nothing_else(wheel: Path) -> None:
    names = set(contents(wheel))
    (library,) = (name for name in names if LIBRARY.fullmatch(name))
    info = {f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert names == package_files() | {library, BUNDLE} | info


def test_wheel_library_is_the_one_of_the_checkout_and_small_enough(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (library,) = (item for item in archive.infolist() if LIBRARY.fullmatch(item.filename))
        assert archive.read(library) == (ROOT / library.filename).read_bytes()
    assert library.compress_size <= LIBRARY_LIMIT


def test_wheel_name_fits_every_python_and_one_platform(wheel: Path) -> None:
    assert re.fullmatch(rf"flowyml_policy-{re.escape(VERSION)}-py3-none-{PLATFORM}\.whl", wheel.name)


def test_wheel_policy_is_the_rego_of_the_checkout_without_tests_and_samples(wheel: Path) -> None:
    rego = ROOT / "rego"
    wanted = {
        path.relative_to(rego).as_posix(): path.read_bytes()
        for path in (rego / "flowyml").rglob("*.rego")
        if not path.name.endswith("_test.rego") and "samples" not in path.parts
    }
    with tarfile.open(fileobj=io.BytesIO(contents(wheel)[BUNDLE])) as bundle:
        held = {item.name: bundle.extractfile(item) for item in bundle}
        found = {name: file.read() for name, file in held.items() if file is not None}
    assert set(found) - set(wanted) == {".manifest", "data.json"}
    assert {name: found[name] for name in wanted} == wanted


def test_wheel_built_again_is_the_same(wheel: Path, tmp_path: Path) -> None:
    again = hatchling_build("wheel", tmp_path)
    assert (again.name, differing(again, wheel)) == (wheel.name, set())


def test_wheel_sidecar_only_carries_no_library(tmp_path: Path) -> None:
    built = hatchling_build("wheel", tmp_path, FLOWYML_POLICY_SIDECAR_ONLY="1")
    assert built.name == f"flowyml_policy-{VERSION}-py3-none-any.whl"
    assert [name for name in contents(built) if "/_lib/" in name] == []
    assert BUNDLE in contents(built)


def test_wheel_installed_decides_with_what_it_carries(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "flowyml.yaml", tmp_path)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(installed)}

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, *arguments]
        answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return answer.returncode, answer.stdout + answer.stderr

    where = run("-c", "import flowyml_policy.opa.library as library; print(library.LIBRARY_FILE)")
    assert where == (0, f"{next((installed / 'flowyml_policy/opa/_lib').glob('libflowyml_opa.*'))}\n")
    for stack, code in (("prod-gpu-large", 0), ("prod-gpu-lookalike", 1)):
        assert run("-m", "flowyml_policy", "stack", "validate", f"stacks/{stack}.yaml")[0] == code
    assert run("-m", "flowyml_policy", "audit", "verify")[0] == 0


def test_source_archive_holds_what_the_repository_holds(source_archive: Path) -> None:
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == checkout_files() | {"PKG-INFO"}


def test_source_archive_builds_the_same_wheel(source_archive: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(source_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    built = hatchling_build("wheel", tmp_path / "dist", root=tmp_path / f"flowyml_policy-{VERSION}")
    assert (built.name, differing(built, wheel)) == (wheel.name, set())


def test_editable_wheel_points_to_the_checkout_and_fits_every_platform(tmp_path: Path) -> None:
    script = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == f"flowyml_policy-{VERSION}-py3-none-any.whl"
    found = contents(tmp_path / answer.stdout.splitlines()[-1])
    assert {name for name in found if not name.startswith(INFO)} == {"_editable_impl_flowyml_policy.pth"}
    assert found["_editable_impl_flowyml_policy.pth"].decode().split() == [str(ROOT)]


def test_editable_checkout_holds_the_library_and_no_staged_policy(wheel: Path) -> None:
    assert wheel.is_file()
    assert list((ROOT / "flowyml_policy/opa/_lib").glob("libflowyml_opa.*")) != []
    assert not (ROOT / BUNDLE).exists()
