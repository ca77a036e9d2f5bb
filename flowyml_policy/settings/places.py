"""Where things lie on this machine when no project says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flowyml_policy.errors import SettingsInvalid

PROJECT_FILE: Final = "flowyml.yaml"
LOCKFILE: Final = "flowyml.lock"
"""Beside flowyml.yaml."""

PLATFORM_FILE: Final = Path("/etc/flowyml-policy/settings.yaml")
PLATFORM_VARIABLE: Final = "FLOWYML_POLICY_SETTINGS"
ENVIRONMENT_VARIABLE: Final = "FLOWYML_ENV"


def state_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for this user's state of flowyml-policy, which need not exist yet.

    XDG_STATE_HOME where it is set to an absolute path (the XDG base directory specification ignores others),
    else ~/Library/Application Support on macOS and ~/.local/state elsewhere. Raises SettingsInvalid for a user
    without a home.
    """
    environ = os.environ if environ is None else environ
    named = Path(environ.get("XDG_STATE_HOME", ""))
    if named.is_absolute():
        return named / "flowyml-policy"
    parts = ("Library", "Application Support") if sys.platform == "darwin" else (".local", "state")
    return _home(environ).joinpath(*parts, "flowyml-policy")


def user_audit_file(environ: Mapping[str, str] | None = None) -> Path:
    """The audit of decisions that belong to no project. Raises SettingsInvalid for a user without a home."""
    return state_directory(environ) / "policy.db"


def _home(environ: Mapping[str, str]) -> Path:
    named = Path(environ.get("HOME", ""))
    if named.is_absolute():
        return named
    try:
        return Path.home()
    except RuntimeError as error:
        raise SettingsInvalid(
            "this user has no home folder to keep an audit in",
            advice="set XDG_STATE_HOME, or policy.audit.path in flowyml.yaml",
        ) from error
