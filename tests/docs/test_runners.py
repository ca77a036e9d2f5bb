"""The page on other runners: its commands, its question and its program do what the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowyml_policy import PolicyInput, StackDefinition
from tests.opa_server import free_port

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = f"{sys.executable} -m flowyml_policy"


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "runners.md").read_text("utf-8")
    return [found for kind, found in FENCE.findall(text) if kind == language]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example project with one stack, which is allowed."""
    shutil.copy(ROOT / "flowyml.yaml", tmp_path)
    (tmp_path / "stacks").mkdir()
    shutil.copy(ROOT / "stacks" / "prod-gpu-large.yaml", tmp_path / "stacks")
    return tmp_path


def shell(script: str, here: Path) -> subprocess.CompletedProcess[str]:
    script = re.sub(r"^flowyml-policy|(?<=&& )flowyml-policy", PROGRAM, script, flags=re.MULTILINE)
    return subprocess.run(["bash", "-e", "-c", script], cwd=here, capture_output=True, text=True, check=False)


def ci_commands() -> Iterator[str]:
    """What the CI files run of this program."""
    github, gitlab = map(yaml.safe_load, blocks("yaml"))
    commands = [step.get("run", "") for step in github["jobs"]["policy"]["steps"]] + gitlab["policy"]["script"]
    yield from (command for command in commands if command.startswith("flowyml-policy"))


def test_commands_for_ci_end_with_0_and_with_1_for_a_denied_stack(project: Path) -> None:
    commands = [*ci_commands(), *blocks("bash")[:2]]
    assert len(commands) == 4
    ended = [shell(command, project) for command in commands]
    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * 4
    assert ended[-1].stdout.endswith("\nstarted\n")
    (result,) = json.loads((project / "decisions.json").read_text())["results"]
    assert result["outcome"] == "allow"
    shutil.copy(ROOT / "stacks" / "prod-gpu-unapproved.yaml", project / "stacks")
    assert [shell(command, project).returncode for command in commands[:1]] == [1]


def question() -> dict[str, Any]:
    (text,) = blocks("json")
    asked: dict[str, Any] = json.loads(text)
    return asked


def test_question_is_a_whole_policy_input() -> None:
    asked = question()["input"]
    assert PolicyInput.model_validate_json(json.dumps(asked)).model_dump(mode="json") == asked
    assert StackDefinition.from_dict(asked["stack"]["document"]).digest == asked["stack"]["definition_digest"]


ASK = """
from pathlib import Path
from sys import argv
for name in ("question", "denied", "nothing"):
    print(name, may_start(Path(f"{name}.json").read_bytes(), argv[1]))
"""


def test_question_over_http_is_answered_and_only_a_yes_counts_fails_closed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("dist"))
    (program,) = blocks("python")
    denied = question()
    denied["input"]["stack"]["name"] = "toy"
    for name, asked in (("question", question()), ("denied", denied), ("nothing", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps(asked))
    (tmp_path / "ask.py").write_text(program + ASK)
    port = free_port()
    script = blocks("bash")[2].replace("127.0.0.1:8181", f"127.0.0.1:{port}")
    ask = f"{sys.executable} ask.py http://127.0.0.1:{port}"
    ended = shell(f"trap 'kill $!' EXIT\n{script}\n{ask}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    answer, *said = ended.stdout[ended.stdout.index('{"result"') :].splitlines()
    assert json.loads(answer)["result"]["allow"] is True
    assert [" ".join(line.split()[:2]) for line in said if not line.startswith("warn ")] == [
        "question True",
        "deny naming.allowed_stacks",
        "denied False",
        "deny main.invalid_input",
        "nothing False",
    ]
    late = shell(ask, tmp_path)
    assert (late.returncode, late.stdout) == (1, "")
    assert late.stderr.splitlines()[-1].startswith("urllib.error.URLError: ")
