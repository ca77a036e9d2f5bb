"""Names of a package that are imported when they are first asked for, so that nobody pays for what stays unused.

A package says under TYPE_CHECKING where such a name comes from, and sets `__getattr__ = on_demand(__name__, {...})`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_demand(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` (PEP 562) that finds each name of `homes` in the submodule it maps to."""

    def imported(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return imported
