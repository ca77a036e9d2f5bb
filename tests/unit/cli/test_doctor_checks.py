"""What the doctor finds of an audit's file whose owner is somebody else."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from flowyml_policy.cli.doctor_checks import Check, exposure

ME = os.geteuid()
SOMEBODY_ELSE = ME + 1


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_exposure_of_an_audit_of_somebody_elses_says_whom_to_ask(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "policy of all.db"
    file.touch()
    file.chmod(mode)
    assert list(exposure(file, SOMEBODY_ELSE)) == [
        Check(
            "audit",
            f"{file} is open to everybody, and belongs to the user {pwd.getpwuid(ME).pw_name}",
            f"ask its owner to `chmod 600 '{file}'*`, or 660 where a group shares it",
        )
    ]


@pytest.mark.parametrize(
    ("mode", "user"), [(0o600, SOMEBODY_ELSE), (0o660, SOMEBODY_ELSE), (0o644, ME)], ids=["private", "group", "own"]
)
def test_exposure_of_an_audit_that_is_or_will_be_closed_finds_nothing(tmp_path: Path, mode: int, user: int) -> None:
    file = tmp_path / "policy.db"
    file.touch()
    file.chmod(mode)
    assert list(exposure(file, user)) == []


def test_exposure_of_an_audit_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    assert list(exposure(tmp_path / "policy.db", SOMEBODY_ELSE)) == []
