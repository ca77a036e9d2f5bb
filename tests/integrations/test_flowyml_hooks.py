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


def write_module(folder: Path, package: str, name: str, source: str) -> None:
    """Write a FlowyML that has one module, `flowyml.PACKAGE.NAME`."""
    place = folder / "flowyml" / package
    place.mkdir(parents=True)
    (folder / "flowyml" / "__init__.py").touch()
    (place / "__init__.py").touch()
    (place / f"{name}.py").write_text(source)


@pytest.fixture
def load(run: Run, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Installs the hooks twice in a fresh process, then loads a command line whose module has the given source."""

    def load_with(source: str) -> subprocess.CompletedProcess[str]:
        write_module(tmp_path, "cli", "enterprise_cli", source)
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


RUN = """
from flowyml_policy.integrations.flowyml import Bridge, require_guard
Bridge()
from flowyml.core.pipeline import Pipeline
for work in (Pipeline("train").run, require_guard):
    try:
        work()
    except Exception as error:
        print(type(error).__name__, error)
"""

LIKE_FLOWYML = """
class Pipeline:
    def __init__(self, name):
        self.name = name
        self.stack = self._stack_locked = self._stack_definition = self._env = None
    def _resolve_stack_arg(self, stack, env): ...
    def _apply_stack(self, stack, locked): ...
    def _coerce_docker_config(self, value): ...
    def _coerce_resource_config(self, value): ...
    def run(self, stack=None, env=None, orchestrator=None, resources=None, docker_config=None, **kwargs):
        print("ran")
"""


@pytest.fixture
def run_like(run: Run, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Starts a pipeline of a FlowyML whose module of pipelines has the given source."""

    def run_with(source: str) -> subprocess.CompletedProcess[str]:
        write_module(tmp_path, "core", "pipeline", source)
        return run(sys.executable, "-c", RUN, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")

    return run_with


@pytest.mark.parametrize(
    ("removed", "lacks"),
    [
        ("def _resolve_stack_arg(self, stack, env): ...", "Pipeline._resolve_stack_arg"),
        ("def _apply_stack(self, stack, locked): ...", "Pipeline._apply_stack"),
        ("orchestrator=None, ", "the parameter 'orchestrator' of Pipeline.run"),
        ("self._stack_definition = ", "Pipeline's attribute '_stack_definition'"),
    ],
)
def test_flowyml_that_lacks_a_seam_runs_nothing_fails_closed(
    run_like: Callable[[str], subprocess.CompletedProcess[str]], removed: str, lacks: str
) -> None:
    assert removed in LIKE_FLOWYML
    ended = run_like(LIKE_FLOWYML.replace(removed, ""))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        f"GuardInactive pipeline 'train' cannot be judged, and so does not run: this FlowyML lacks {lacks}; install a "
        "FlowyML that this version fits: pip install 'flowyml-policy[flowyml]'\n"
        f"GuardInactive runs of FlowyML are not guarded in this process: this FlowyML lacks {lacks}, so that no "
        "pipeline runs; reinstall flowyml-policy beside FlowyML: pip install 'flowyml-policy[flowyml]'\n"
    )


def test_flowyml_whose_runs_cannot_be_hooked_is_not_imported_fails_closed(
    run_like: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = run_like(LIKE_FLOWYML.replace("def run(", "def start("))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("Error: flowyml-policy cannot join FlowyML: ")


def test_guard_that_was_replaced_says_so(run: Run, tmp_path: Path) -> None:
    write_module(tmp_path, "core", "pipeline", LIKE_FLOWYML)
    program = (
        "from flowyml_policy.integrations.flowyml import Bridge, require_guard\nBridge()\n"
        "from flowyml.core.pipeline import Pipeline\nrequire_guard()\n"
        "Pipeline.run = lambda self: None\nrequire_guard()\n"
    )
    ended = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert ended.returncode == 1
    assert "GuardInactive: runs of FlowyML are not guarded in this process: something replaced Pipeline.run;" in (
        ended.stderr
    )


def test_flowyml_that_is_loaded_again_is_guarded_again(run: Run, tmp_path: Path) -> None:
    write_module(tmp_path, "core", "pipeline", LIKE_FLOWYML)
    program = (
        "import importlib, sys\n"
        "from flowyml_policy.integrations.flowyml import Bridge, require_guard\nBridge()\n"
        "from flowyml.core import pipeline\n"
        "def guarded():\n    require_guard()\n"
        "    return hasattr(sys.modules[pipeline.__name__].Pipeline.run, '__wrapped__')\n"
        "found = [guarded()]\n"
        "importlib.reload(pipeline)\nfound.append(guarded())\n"
        "del sys.modules[pipeline.__name__]\nimportlib.import_module(pipeline.__name__)\nfound.append(guarded())\n"
        "print(found)\n"
    )
    ended = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[True, True, True]\n", "")


def test_enable_without_flowyml_is_an_error_that_is_no_import_error(run: Run, tmp_path: Path) -> None:
    program = "from flowyml_policy.integrations.flowyml import enable\nenable()"
    ended = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert ended.returncode == 1
    assert "GuardInactive: runs of FlowyML cannot be guarded: No module named 'flowyml'" in ended.stderr


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
