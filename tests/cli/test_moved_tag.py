"""A tag that moves after it was pinned, as whole processes over a real repository of git."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: gpu, version: "1.0.0", labels: {team: a}}
spec: {compute: {max_nodes: 4}}
"""


def git(folder: Path, *args: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    ran = subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


@pytest.fixture
def repository(examples: Any, tmp_path: Path) -> Path:
    """A repository whose tag v1 the example project pinned as `gpu`."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "gpu.yaml").write_text(STACK)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v1")
    settings = examples.here / "flowyml.yaml"
    entry = f"\nstacks:\n  gpu: {{source: git, repo: 'file://{folder}', ref: v1, path: gpu.yaml}}\n"
    settings.write_text(settings.read_text() + entry)
    return folder


def test_verify_of_a_tag_that_moved_names_it_and_its_repository(examples: Any, repository: Path) -> None:
    locked = examples.run("stack", "lock")
    assert (locked.exit_code, f"pinned  stack gpu  (v1 of file://{repository})\n" in locked.stdout) == (0, True)
    assert examples.run("stack", "verify").exit_code == 0
    before = git(repository, "rev-parse", "v1^{commit}")
    (repository / "gpu.yaml").write_text(STACK.replace("max_nodes: 4", "max_nodes: 9"))
    git(repository, "commit", "-q", "-a", "-m", "two")
    git(repository, "tag", "-f", "v1")
    after = git(repository, "rev-parse", "v1^{commit}")

    moved = examples.run("stack", "verify")
    told = json.loads(examples.run("stack", "verify", "--format", "json").stdout)
    refused = examples.run("stack", "validate", f"git+file://{repository}@v1#gpu")

    assert moved.exit_code == 1
    assert moved.stdout.startswith(f"CHANGED  stack gpu  (v1 of file://{repository})\n  definition\n    - sha256:")
    assert f"\n  commit\n    - {before}\n    + {after}\n" in moved.stdout
    assert "run `flowyml-policy stack lock`" in " ".join(moved.stdout.split())
    assert [(one["name"], one["what"], one["uri"], one["ref"]) for one in told["changes"]] == [
        ("gpu", "definition", f"file://{repository}", "v1"),
        ("gpu", "commit", f"file://{repository}", "v1"),
    ]
    assert (told["changes"][1]["pinned"], told["changes"][1]["found"]) == (before, after)
    pinned = json.loads(examples.run("stack", "lock", "--format", "json").stdout)
    assert [one for one in pinned["changes"] if one["kind"] == "stack"] == told["changes"]
    assert refused.exit_code == 3
    assert "pin the new one: run `flowyml-policy stack lock`" in " ".join(refused.stdout.split())
