"""The floors of the package: imports only point downwards, and some libraries have one importer.

What this file enforces:
- Every room (folder or module right under flowyml_policy) stands on a floor; a new one must be put into `FLOORS`.
- A room imports rooms of lower floors, never a sibling.
- Nothing imports the package's own `__init__`, whose lazy names would hide a way upwards.
- The libraries of `IMPORTERS` are imported by that one file or folder; those of `SINGLE` by one file at most.
- An import inside a function stands in `cli`, `integrations` and the package's `__init__`, and where `LAZY` says; ruff
  lets it stand in the same files.
Imports inside functions and under TYPE_CHECKING count like any other.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "flowyml_policy"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE

FLOORS = (
    ("version", "records"),
    ("errors", "mask"),
    ("documents", "references", "system", "opa"),
    ("settings", "definitions", "storage", "network", "authoring"),
    ("sources", "registry", "images", "audit", "bundles"),
    ("resolution",),
    ("decision",),
    ("outputs", "server"),
    ("cli",),
    ("integrations", "__main__"),
)
IMPORTERS: dict[str, str | tuple[str, ...]] = {
    "_ctypes": "opa/library.py",
    "cffi": "opa/library.py",
    "cryptography": ("images/signatures.py", "bundles/keys.py"),
    "ctypes": "opa/library.py",
    "flowyml": "integrations/flowyml/",
    "prometheus_client": "server/metrics.py",
    "sqlite_utils": "storage/migrations.py",
    "starlette": "server/app.py",
    "urllib3": "network/",
    "uvicorn": "server/app.py",
}
SINGLE = {"docker", "opa_client"}
LOADERS = {"import_module", "__import__"}
MAY_BE_LAZY = ("__init__.py", "cli/", "integrations/")
LAZY = {
    # what is loaded late: by which files; why most commands do without
    "asyncio": ("decision/engine.py",),  # 70 ms, and only `acheck` has an event loop
    "cryptography": ("bundles/keys.py",),  # an extra, which only who makes keys needs
    "html": ("records/html.py",),  # 2 ms, and only a notebook shows values so
    "http": ("network/failures.py",),  # a server that was asked gave no answer
    "ssl": ("network/failures.py", "network/tls.py"),  # 8 ms with http, and what is remembered of servers needs none
    "opa_client": ("opa/sidecar.py",),  # 300 ms, and an extra: a server judges
    "requests": ("opa/sidecar.py",),  # as opa_client, which brings it
    "importlib": ("definitions/stack.py",),  # 30 ms, and only `to_stack` asks what else is installed
    "gzip": ("opa/bundle_files.py",),  # a wheel's bundle is packed already
    "tarfile": ("opa/bundle_files.py",),  # as gzip
    "tempfile": ("opa/loading.py", "opa/shipped.py"),  # as gzip; a policy of the project's own is staged
    "subprocess": ("network/credential_helpers.py",),  # a credential helper is asked
    "sqlite_utils": ("storage/migrations.py",),  # 150 ms, and only a file without its tables needs them made
    f"{PACKAGE}.audit.reporting": ("decision/engine.py",),  # decisions are reported to a server
    f"{PACKAGE}.definitions.schema_b_model": ("definitions/stack.py",),  # a definition in FlowyML's own schema
    f"{PACKAGE}.documents.mistakes": ("documents/reader.py",),  # a document that is no YAML
    f"{PACKAGE}.images.daemon": ("images/opening.py",),  # the docker SDK, 200 ms: a daemon is asked
    f"{PACKAGE}.images.scans": ("decision/engine.py",),  # a call names scan reports
    f"{PACKAGE}.images.signing": ("images/inspection.py",),  # cryptography: keys are named that must have signed
    f"{PACKAGE}.network.http": (  # urllib3, 100 ms
        "audit/reporting.py",
        "network/oci_registry.py",
        "registry/remote.py",
        "sources/http.py",
    ),
    f"{PACKAGE}.opa.client": ("opa/__init__.py",),  # `from flowyml_policy.opa import Opa`
    f"{PACKAGE}.opa.process": ("decision/policy.py", "opa/embedded.py"),  # policy is judged apart
    f"{PACKAGE}.opa.sidecar": ("decision/policy.py",),  # a server judges
    f"{PACKAGE}.resolution.environments": ("decision/normaliser.py",),  # an environment runs on a distant stack
    f"{PACKAGE}.resolution.lockfile": ("resolution/pins.py",),  # the project has a lockfile
    f"{PACKAGE}.resolution.resolver": ("decision/engine.py",),  # a stack is named by a reference, not by its path
    f"{PACKAGE}.storage.sequences": ("decision/policy.py",),  # filelock, and only what servers give has sequences
    f"{PACKAGE}.sources.git.source": ("sources/fetcher.py",),  # a reference leads into a repository
}
"""Each module that is not loaded at the top, and the files that load it when they first need it."""


def imported_names(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield the line and full name of everything that a module imports, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, base] if base else kept)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in LOADERS and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def violations(root: Path) -> list[str]:
    """Return every import under `root`, a tree of this package's layout, that breaks a rule of this file."""
    places = {room: floor for floor, rooms in enumerate(FLOORS, 1) for room in rooms}
    rooms = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    rooms.discard("__init__")
    found = [f"{room}: stands on no floor" for room in sorted(rooms - set(places))]
    importers: dict[str, set[str]] = defaultdict(set)
    for path in sorted(root.rglob("*.py")):
        file = path.relative_to(root).as_posix()
        parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        room = parts[1]
        for line, name in imported_names(ast.parse(path.read_bytes()), module, is_package=is_package):
            head, _, rest = name.partition(".")
            if head in IMPORTERS and not file.startswith(IMPORTERS[head]):
                found.append(f"{file}:{line}: only {IMPORTERS[head]} imports {head}")
            if head in SINGLE:
                importers[head].add(file)
            if head == PACKAGE and room != "__init__":
                found += [f"{file}:{line}: {why}" for why in _upwards(room, rest.partition(".")[0], rooms, places)]
    found += [f"{name}: imported by {', '.join(sorted(files))}" for name, files in importers.items() if len(files) > 1]
    return found


def _upwards(room: str, other: str, rooms: set[str], places: dict[str, int]) -> Iterator[str]:
    if other not in rooms | set(places):
        yield "imports the package's own __init__"
    elif other != room and room in places and other in places:
        if places[other] > places[room]:
            yield f"{room} (floor {places[room]}) imports {other} (floor {places[other]})"
        elif places[other] == places[room]:
            yield f"{room} imports its sibling {other} (floor {places[room]})"


def lazy_imports(root: Path) -> dict[str, set[str]]:
    """Return what the files under `root` import inside functions, and which files do, but for MAY_BE_LAZY."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(root.rglob("*.py")):
        file = path.relative_to(root).as_posix()
        if file.startswith(MAY_BE_LAZY):
            continue
        module = ".".join([PACKAGE, *path.relative_to(root).with_suffix("").parts])
        for function in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                for _, name in imported_names(function, module, is_package=path.name == "__init__.py"):
                    found[_module_of(name, root)].add(file)
    return dict(found)


def _module_of(name: str, root: Path) -> str:
    """Return the module of this package that `name` is or is in; of another package, its first part."""
    head, *parts = name.split(".")
    if head != PACKAGE:
        return head
    return name if root.joinpath(*parts).with_suffix(".py").is_file() else name.rpartition(".")[0]


def files_without(rule: str) -> set[str]:
    """Return the files of the package in which pyproject.toml switches a rule of ruff off."""
    text = (ROOT.parent / "pyproject.toml").read_text("utf-8")
    globs = re.findall(rf'^"{PACKAGE}/([^"]+)" = \[[^]]*"{rule}"', text, re.MULTILINE)
    alternatives = [re.fullmatch(r"([^{]*)\{([^}]*)\}(.*)", glob) for glob in globs]
    return {
        name
        for glob, parts in zip(globs, alternatives, strict=True)
        for name in ([f"{parts[1]}{one}{parts[3]}" for one in parts[2].split(",")] if parts else [glob])
    }


def test_package_imports_only_point_downwards() -> None:
    assert violations(ROOT) == []


def test_lazy_imports_are_those_of_the_table() -> None:
    assert lazy_imports(ROOT) == {name: set(files) for name, files in LAZY.items()}
    named = {file for files in LAZY.values() for file in files}
    assert files_without("PLC0415") == named | {"__init__.py", "cli/**", "integrations/**"}


def test_lazy_imports_synthetic_tree_are_found(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "root.py").write_text("def run():\n    import yaml\n", "utf-8")
    (tmp_path / "audit" / "chain.py").write_text(
        "import json\n"
        "def one():\n    from .rows import Row\n    import docker.errors\n"
        "def two():\n    from flowyml_policy.audit import rows\n",
        "utf-8",
    )
    (tmp_path / "audit" / "rows.py").write_text("", "utf-8")
    assert lazy_imports(tmp_path) == {"flowyml_policy.audit.rows": {"audit/chain.py"}, "docker": {"audit/chain.py"}}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"records/one.py": "from flowyml_policy.cli import main", "cli/__init__.py": ""},
            ["records/one.py:1: records (floor 1) imports cli (floor 9)"],
            id="upwards",
        ),
        pytest.param(
            {"registry/one.py": "def late():\n    from flowyml_policy import audit", "audit/__init__.py": ""},
            ["registry/one.py:2: registry imports its sibling audit (floor 5)"],
            id="sibling, in a function",
        ),
        pytest.param(
            {"registry/one.py": "from ..audit.chain import link", "audit/__init__.py": "", "audit/chain.py": ""},
            ["registry/one.py:1: registry imports its sibling audit (floor 5)"],
            id="sibling, relative",
        ),
        pytest.param(
            {"opa/__init__.py": "from ..cli import x\nfrom .one import y", "cli/__init__.py": ""},
            ["opa/__init__.py:1: opa (floor 3) imports cli (floor 9)"],
            id="upwards, relative from a package",
        ),
        pytest.param(
            {"settings.py": "from importlib import import_module\nimport_module('flowyml_policy.cli')", "cli.py": ""},
            ["settings.py:2: settings (floor 4) imports cli (floor 9)"],
            id="by name",
        ),
        pytest.param(
            {"cli/stack.py": "from flowyml_policy import PolicyEngine", "decision/engine.py": ""},
            ["cli/stack.py:1: imports the package's own __init__"],
            id="through the package",
        ),
        pytest.param({"helpers.py": ""}, ["helpers: stands on no floor"], id="a room without a floor"),
        pytest.param(
            {"audit/journal.py": "import sqlite_utils.db", "storage/migrations.py": "import sqlite_utils"},
            ["audit/journal.py:1: only storage/migrations.py imports sqlite_utils"],
            id="second importer",
        ),
        pytest.param(
            {"opa/fork.py": "from ctypes import c_int"},
            ["opa/fork.py:1: only opa/library.py imports ctypes"],
            id="ctypes elsewhere",
        ),
        pytest.param(
            {"images/a.py": "import docker", "images/b.py": "from docker.errors import APIError"},
            ["docker: imported by images/a.py, images/b.py"],
            id="two importers of docker",
        ),
        pytest.param(
            {
                "__init__.py": "from flowyml_policy.decision.engine import PolicyEngine",
                "decision/engine.py": "import flowyml_policy.decision.results\nfrom flowyml_policy.audit import chain",
                "audit/chain.py": "from flowyml_policy.records.one import One",
                "records/one.py": "from .two import Two",
                "opa/library.py": "import ctypes, docker",
                "integrations/flowyml/guard.py": "import flowyml.core",
            },
            [],
            id="a tree that is right",
        ),
    ],
)
def test_violations_synthetic_tree_are_named(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.relative_to(tmp_path).parents[:-1]:
            (tmp_path / folder / "__init__.py").touch()
        path.write_text(text, "utf-8")
    assert violations(tmp_path) == expected


@pytest.mark.parametrize("arguments", [["--help"], ["stack", "--help"], ["stack", "validate", "--help"]])
def test_help_heavy_imports_are_not_loaded(arguments: list[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", PACKAGE, *arguments], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if line.startswith("import time:")}
    assert f"{PACKAGE}.cli" in loaded
    heavy = {
        "pydantic",
        "pydantic_core",
        "yaml",
        "sqlite_utils",
        "sqlite3",
        "ctypes",
        f"{PACKAGE}.opa",
        "docker",
        "urllib3",
    }
    assert loaded & heavy == set()
