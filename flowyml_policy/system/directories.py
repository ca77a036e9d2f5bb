"""Where this user keeps the state and the cache of flowyml-policy."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.errors.sources import SourceUnreadable


def cache_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for what this user's flowyml-policy can fetch again, which need not exist yet.

    XDG_CACHE_HOME where it is set to an absolute path, else ~/Library/Caches on macOS and ~/.cache elsewhere.
    Raises SourceUnreadable for a user without a home.
    """
    environ = os.environ if environ is None else environ
    named = Path(environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "flowyml-policy"
    home = Path(environ.get("HOME", ""))
    if not home.is_absolute():
        try:
            home = Path.home()
        except RuntimeError as error:
            raise SourceUnreadable(
                "this user has no home folder to keep fetched definitions in", advice="set XDG_CACHE_HOME"
            ) from error
    return home.joinpath(*(("Library", "Caches") if sys.platform == "darwin" else (".cache",)), "flowyml-policy")


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
