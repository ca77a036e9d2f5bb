"""Files that version 0.1.0 wrote before the package was laid out anew are read, checked and continued.

`kept/` holds a project with its audit and registry (policy.db) and its lockfile. They are never written again: whoever
changes a format adds a second set beside them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEPT = Path(__file__).parent / "kept"
HASH_OF_THE_LAST_EVENT = "feb8d40e8c3191abc685d61d755068fce7535ee45d5d24aaf71f0152c1298a4a"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """The program in a copy of the kept project."""
    project = tmp_path / "project"
    shutil.copytree(KEPT, project)

    def ran(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "flowyml_policy", *arguments]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return ran


def read(answer: tuple[int, str]) -> Any:
    assert answer[0] == 0, answer[1]
    return json.loads(answer[1])


def test_kept_audit_is_whole(run: Callable[..., tuple[int, str]]) -> None:
    verified = read(run("audit", "verify", "--format", "json"))
    assert (verified["ok"], verified["events"], verified["decisions"], verified["findings"]) == (True, 19, 5, 5)
    assert (verified["head_seq"], verified["head_hash"]) == (19, HASH_OF_THE_LAST_EVENT)


def test_kept_decisions_are_read(run: Callable[..., tuple[int, str]]) -> None:
    listed = read(run("audit", "list", "--format", "json"))
    assert [one["outcome"] for one in listed["decisions"]] == ["error", "deny", "deny", "allow", "allow"]
    denied = read(run("audit", "show", "3f05d098-18f2-49aa-9ba9-70983b8def64", "--format", "json"))
    assert [one["code"] for one in denied["decision"]["findings"]] == [
        "images_inspected.off",
        "images_registry.not_allowed",
    ]


def test_kept_registry_is_read(run: Callable[..., tuple[int, str]]) -> None:
    listed = read(run("stack", "list", "--all-versions", "--format", "json"))
    assert [(one["version"], one["retired"] is not None) for one in listed["stacks"]] == [
        ("2.1.0", False),
        ("2.0.0", True),
    ]


def test_kept_lockfile_holds(run: Callable[..., tuple[int, str]]) -> None:
    assert run("stack", "verify")[0] in {0, 1}  # 1: the shipped policy has another revision by now
    validated = read(run("stack", "validate", "prod-gpu-large", "--environment", "production", "--format", "json"))
    assert [one["outcome"] for one in validated["results"]] == ["allow"]


def test_kept_audit_is_continued(run: Callable[..., tuple[int, str]]) -> None:
    assert run("stack", "apply", "stacks/prod-gpu-large.yaml")[0] == 0
    verified = read(run("audit", "verify", "--format", "json"))
    assert (verified["ok"], verified["decisions"]) == (True, 6)
