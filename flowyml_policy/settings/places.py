"""Where things lie on this machine when no project says so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROJECT_FILE: Final = "flowyml.yaml"
LOCKFILE: Final = "flowyml.lock"
"""Beside flowyml.yaml."""

PLATFORM_FILE: Final = Path("/etc/flowyml-policy/settings.yaml")
PLATFORM_VARIABLE: Final = "FLOWYML_POLICY_SETTINGS"
ENVIRONMENT_VARIABLE: Final = "FLOWYML_ENV"
