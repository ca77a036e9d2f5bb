"""FlowyML's way in: no pipeline runs that policy did not allow, and `flowyml enterprise ...` answers.

FlowyML instantiates every entry point of its group `flowyml.bridges` whenever it is imported, and swallows
each exception that comes of it. So, the rules of this file:
- At import it installs hooks only. It imports nothing but the standard library: every `import flowyml` pays for it.
- Hooks are installed once, however often FlowyML asks; what is not loaded yet is hooked when it is.
- A fault of this program ends the process with a reason (SystemExit): swallowed, it would look as if nothing
  had been installed.
- FlowyML's own faults stay FlowyML's: what its modules raise passes through untouched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from flowyml_policy.integrations.flowyml import guard
from flowyml_policy.integrations.flowyml.guard import disable, enable, require_guard

__all__ = ["Bridge", "disable", "enable", "install", "require_guard"]

HOOKED_MODULE = "flowyml.cli.enterprise_cli"
"""The module of FlowyML whose function adds the enterprise commands to its command line."""

HOOKED_FUNCTION = "register_enterprise_commands"

UNDECIDED = 3
"""The exit code for what could not be decided; spelled here because the records import pydantic."""

ADVICE = "install a FlowyML that this version supports (pip install 'flowyml-policy[flowyml]')"


class Bridge:
    """What FlowyML instantiates. It brings commands, and no components."""

    def __init__(self) -> None:
        with _ends_loudly():
            install()

    def is_available(self) -> bool:
        """FlowyML asks before it wraps a component; there is none to wrap."""
        return False

    def wrap_component(self, component_class: Any, name: str, config: dict[str, Any] | None = None) -> Any:
        """Refuse: `policy:` is no prefix of components."""
        del component_class, config
        raise TypeError(f"flowyml-policy wraps no components: {name}; load it without the prefix `policy:`")


def install() -> None:
    """Guard runs, and watch for FlowyML's command line, so that it gains `enterprise`. Safe to call again."""
    if not any(isinstance(finder, _HookingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HookingFinder())
    guard.install()


class _HookingFinder(MetaPathFinder):
    """Finds the modules that are hooked, through the finders behind it, and hooks each once it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != HOOKED_MODULE and fullname not in guard.SEAMS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _HookingLoader(spec.loader)
                return spec
        return None


class _HookingLoader(Loader):
    """Loads as `loader` does, then hooks the module and leaves it with its own loader."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def get_code(self, fullname: str) -> CodeType | None:
        """The code that `python -m` runs. It would be a second copy of the step runner, with no hooks."""
        if fullname == guard.STEP_RUNNER:
            return compile(guard.STEP_RUNNER_PROGRAM, f"<{fullname}>", "exec")
        code: CodeType | None = getattr(self._loader, "get_code")(fullname)  # noqa: B009  Loader does not promise it
        return code

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        with _ends_loudly():
            if module.__name__ in guard.SEAMS:
                guard.hook(module, is_new=True)
            else:
                _hook(module)


def _hook(module: ModuleType) -> None:
    """Let FlowyML's registration of commands add ours as well, and its `run` show what policy stops."""
    register = getattr(module, HOOKED_FUNCTION, None)
    if not callable(register):
        raise TypeError(f"this FlowyML has no {HOOKED_MODULE}.{HOOKED_FUNCTION}")
    setattr(module, HOOKED_FUNCTION, _adding_ours(register))


def _adding_ours(register: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(register)
    def register_all(cli_group: Any) -> None:
        register(cli_group)
        with _ends_loudly():
            from flowyml_policy.integrations.flowyml import enterprise, run_command

            enterprise.add_to(cli_group)
            run_command.show_in(cli_group)

    return register_all


@contextmanager
def _ends_loudly() -> Iterator[None]:
    """Turn any fault of ours into the end of the process, exit code 3: FlowyML swallows exceptions, not SystemExit."""
    try:
        yield
    except Exception as error:
        why = type(error).__name__
        with suppress(Exception):  # the package itself may be what is broken
            from flowyml_policy.mask.text import mask

            why = mask(str(error))
        sys.stderr.write(f"Error: flowyml-policy cannot join FlowyML: {why}; {ADVICE}, or uninstall flowyml-policy\n")
        raise SystemExit(UNDECIDED) from error
