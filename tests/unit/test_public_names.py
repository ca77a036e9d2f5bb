"""The names of the library are all there, are what the rooms call so, and cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flowyml_policy
from flowyml_policy.decision.lifecycle import StackLifecycle

LOADED = """
import sys, flowyml_policy
print(sorted(name for name in sys.modules if name.startswith(("flowyml_policy.", "pydantic", "yaml"))))
"""


def test_public_names_are_sorted_told_of_and_there() -> None:
    names = flowyml_policy.__all__
    assert names == sorted(names)
    assert set(names) <= set(dir(flowyml_policy))
    assert {getattr(flowyml_policy, name).__name__ for name in names if not name.startswith("_")} == {
        name for name in names if not name.startswith("_")
    }
    assert flowyml_policy.StackLifecycle is StackLifecycle


def test_name_that_is_none_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'StackManager'"):
        _ = flowyml_policy.StackManager


def test_package_imported_alone_loads_what_finds_its_names_and_nothing_else() -> None:
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
