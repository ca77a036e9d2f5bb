"""The hooks on a package shaped like FlowyML, for what the real one does not do today."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).resolve().parents[2]

LOAD = """
import sys
from flowyml_policy.integrations.flowyml import Bridge
Bridge(); Bridge()
import click
from flowyml.cli import enterprise_cli
group = click.Group("flowyml")
try:
    enterprise_cli.register_enterprise_commands(group)
except ImportError:
    pass
loader = enterprise_cli.__loader__
print(sorted(group.commands), enterprise_cli.__spec__.loader is loader, type(loader).__name__)
"""


@pytest.fixture
def load(run: Run, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Installs the hooks twice in a fresh process, then loads a command line whose module has the given source."""

    def load_with(source: str) -> subprocess.CompletedProcess[str]:
        package = tmp_path / "flowyml" / "cli"
        package.mkdir(parents=True)
        (tmp_path / "flowyml" / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "enterprise_cli.py").write_text(source)
        return run(sys.executable, "-c", LOAD, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")

    return load_with


def test_hook_installed_twice_adds_one_command_and_leaves_the_modules_loader(
    load: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = load("import click\ndef register_enterprise_commands(group): group.add_command(click.Command('policy'))\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "['enterprise', 'policy'] True SourceFileLoader\n", "")


def test_hook_on_a_flowyml_without_the_function_ends_with_a_reason(
    load: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = load("")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        3,
        "",
        (
            "Error: flowyml-policy cannot join FlowyML: this FlowyML has no "
            "flowyml.cli.enterprise_cli.register_enterprise_commands; install a FlowyML that this version supports "
            "(pip install 'flowyml-policy[flowyml]'), or uninstall flowyml-policy\n"
        ),
    )


def test_hook_on_a_flowyml_with_a_command_of_that_name_ends_with_a_reason(
    load: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = load(
        "import click\ndef register_enterprise_commands(group): group.add_command(click.Command('enterprise'))\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        3,
        "",
        (
            "Error: flowyml-policy cannot join FlowyML: FlowyML already has a command 'enterprise'; install a FlowyML "
            "that this version supports (pip install 'flowyml-policy[flowyml]'), or uninstall flowyml-policy\n"
        ),
    )


def test_hook_leaves_flowymls_own_import_error_to_flowyml(
    load: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = load("def register_enterprise_commands(group): raise ImportError('its own')\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[] True SourceFileLoader\n", "")


def test_hooks_installed_load_nothing_but_the_standard_library(run: Run, tmp_path: Path) -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from flowyml_policy.integrations.flowyml import Bridge\nBridge()\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names))\n"
    )
    ended = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "['flowyml_policy']\n", "")


def test_bridge_wraps_no_component() -> None:
    from flowyml_policy.integrations.flowyml import Bridge

    finders = list(sys.meta_path)
    try:
        bridge = Bridge()
        assert bridge.is_available() is False
        with pytest.raises(TypeError, match=r"wraps no components: thing; load it without the prefix `policy:`"):
            bridge.wrap_component(object, "thing")
    finally:
        sys.meta_path[:] = finders
