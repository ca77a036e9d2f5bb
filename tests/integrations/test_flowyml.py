"""`flowyml enterprise ...` beside `flowyml-policy ...`, with the real FlowyML."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.flowyml

HOOKS = "flowyml_policy.integrations.flowyml"
LAUNCHERS = ("flowyml", "flowy", "-m flowyml.cli.main")


@pytest.fixture(params=LAUNCHERS)
def enterprise(request: pytest.FixtureRequest, flowyml_python: Path) -> list[str | Path]:
    """Each way in which people start FlowyML, up to `enterprise`."""
    launcher: str = request.param
    if launcher.startswith("-m"):
        return [flowyml_python, *launcher.split(), "enterprise"]
    return [flowyml_python.parent / launcher, "enterprise"]


@pytest.fixture
def own(flowyml_python: Path) -> list[str | Path]:
    return [flowyml_python.parent / "flowyml-policy"]


def timeless(stdout: str) -> Any:
    """A report without what differs at each run: the decision's id."""
    report = json.loads(stdout)
    for result in report["results"]:
        assert result.pop("decision_id")
    return report


@pytest.mark.parametrize(("stack", "code"), [("prod-cpu", 0), ("toy-cpu", 1)])
def test_enterprise_stack_validate_json_answers_as_flowyml_policy(
    run: Run, project: Path, enterprise: list[str | Path], own: list[str | Path], stack: str, code: int
) -> None:
    command = ["stack", "validate", f"stacks/{stack}.yaml", "--format", "json"]
    joined, alone = run(*enterprise, *command, cwd=project), run(*own, *command, cwd=project)
    assert (joined.returncode, alone.returncode) == (code, code), joined.stderr
    assert timeless(joined.stdout) == timeless(alone.stdout)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("stack", "validate", "stacks/none.yaml"), 2),
        (("stack", "validate", "--no-such-option"), 2),
        (("stack", "validate", "--environment", "nowhere", "stacks/prod-cpu.yaml"), 3),
        (("no-such-group",), 2),
        (("schema", "stack"), 0),
        (("policy", "list"), 0),
        (("opa", "eval", "--format", "raw", "--", "1 + 1"), 0),
        (("opa", "no-such-command"), 1),
    ],
)
def test_enterprise_command_ends_and_prints_as_flowyml_policy(
    run: Run, project: Path, enterprise: list[str | Path], own: list[str | Path], arguments: tuple[str, ...], code: int
) -> None:
    joined, alone = run(*enterprise, *arguments, cwd=project), run(*own, *arguments, cwd=project)
    assert (alone.returncode, alone.stderr) == (code, alone.stderr)
    assert (joined.returncode, joined.stdout) == (alone.returncode, alone.stdout), joined.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("stack", "--help"), ("stack", "validate", "--help")])
def test_enterprise_help_is_ours_under_the_name_it_was_called_by(
    run: Run, project: Path, flowyml_python: Path, own: list[str | Path], arguments: tuple[str, ...]
) -> None:
    joined = run(flowyml_python.parent / "flowyml", "enterprise", *arguments, cwd=project)
    alone = run(*own, *arguments, cwd=project)
    assert (joined.returncode, joined.stderr) == (0, "")
    assert joined.stdout.startswith("Usage: flowyml enterprise ")
    said = " ".join(joined.stdout.split())
    assert said.replace("flowyml enterprise", "flowyml-policy") == " ".join(alone.stdout.split())


def test_flowyml_help_lists_enterprise_beside_its_own_commands(run: Run, project: Path, flowyml_python: Path) -> None:
    ended = run(flowyml_python.parent / "flowyml", "--help", cwd=project)
    assert ended.returncode == 0
    assert "Judge stacks by policy, and see what was decided." in ended.stdout
    assert "Policy validation commands." in ended.stdout


def test_import_flowyml_loads_the_hook_and_nothing_else_of_ours(run: Run, project: Path, flowyml_python: Path) -> None:
    program = "import sys, flowyml; print(sorted(name for name in sys.modules if name.startswith('flowyml_policy')))"
    ended = run(flowyml_python, "-c", program, cwd=project)
    assert (ended.returncode, ended.stdout) == (
        0,
        f"{['flowyml_policy', 'flowyml_policy.integrations', HOOKS, f'{HOOKS}.guard']}\n",
    )


def test_bridge_instantiated_again_by_flowyml_leaves_one_hook(run: Run, project: Path, flowyml_python: Path) -> None:
    program = (
        "import sys, flowyml\n"
        "from flowyml.stacks import plugins\n"
        "before = [type(finder).__name__ for finder in sys.meta_path]\n"
        "plugins.reset_component_registry()\n"
        "again = plugins.get_component_registry()\n"
        "print('policy' in again.list_bridges(), before.count('_HookingFinder'))\n"
        "print(before == [type(finder).__name__ for finder in sys.meta_path])\n"
    )
    ended = run(flowyml_python, "-c", program, cwd=project)
    assert (ended.returncode, ended.stdout) == (0, "True 1\nTrue\n"), ended.stderr
