"""The command `run` on FlowyML's command line: what policy stops is shown as `stack validate` shows it.

FlowyML ends every failure with one line and exit code 1. Here a denial ends with 1, and what could not be decided with
3. Both stand on stderr, as FlowyML's own line does. What else goes wrong is FlowyML's to tell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NoReturn

from flowyml_policy.errors.root import FlowymlPolicyError

NAME: Final = "run"
_NOTES: Final = ("audit: flowyml enterprise audit list",)


def show_in(cli_group: Any) -> None:
    """Let FlowyML's command `run` show what policy stops. Safe to call again; a group without it stays as it is."""
    command = cli_group.commands.get(NAME)
    callback = getattr(command, "callback", None)
    if callback is not None and not hasattr(callback, "shows_policy"):
        command.callback = _showing(callback)


def _showing(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        from flowyml.cli import run as module

        original = module.run_pipeline

        @wraps(original)
        def run_pipeline(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except FlowymlPolicyError as error:
                _end(error)

        # only while the command runs: a scheduler calls the same function, and goes on after a denial
        module.run_pipeline = run_pipeline
        try:
            return callback(*args, **kwargs)
        finally:
            module.run_pipeline = original

    run.shows_policy = True  # type: ignore[attr-defined]
    return run


def _end(error: FlowymlPolicyError) -> NoReturn:
    """Show why nothing ran, and end the process: the command catches every Exception, and no SystemExit."""
    from flowyml_policy.cli.stderr import tell
    from flowyml_policy.errors.decision import PolicyDenied, PolicyUndecided
    from flowyml_policy.outputs.results import open_output, show
    from flowyml_policy.outputs.terminal import Screen

    if isinstance(error, PolicyDenied | PolicyUndecided):
        show([error.result], open_output("table", Screen.of(sys.stderr), notes=_NOTES))
    else:
        tell("error", str(error))
    raise SystemExit(error.exit_code) from error
