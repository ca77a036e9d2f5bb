"""The floors of the package: imports only point downwards, and some libraries have one importer.

What this file enforces:
- Every room (folder or module right under flowyml_policy) stands on a floor; a new one must be put into `FLOORS`.
- A room imports rooms of lower floors, never a sibling.
- Nothing imports the package's own `__init__`, whose lazy names would hide a way upwards.
- The libraries of `IMPORTERS` are imported by that one file or folder; those of `SINGLE` by one file at most.
Imports inside functions and under TYPE_CHECKING count like any other.
"""

from __future__ import annotations

import ast
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
IMPORTERS = {
    "_ctypes": "opa/library.py",
    "cffi": "opa/library.py",
    "ctypes": "opa/library.py",
    "flowyml": "integrations/flowyml/",
    "sqlite_utils": "storage/migrations.py",
    "starlette": "server/app.py",
    "urllib3": "network/",
    "uvicorn": "server/app.py",
}
SINGLE = {"docker", "opa_client"}
LOADERS = {"import_module", "__import__"}


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


def test_package_imports_only_point_downwards() -> None:
    assert violations(ROOT) == []


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
