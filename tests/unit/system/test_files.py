"""Files are replaced whole; a private one never through a link that somebody else may have put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from flowyml_policy.system.files import read_regular, replace_file, replace_private


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_private_file_replaces_a_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("precious")
    link.symlink_to(victim)
    replace_private(link, b"new")
    assert (victim.read_text(), link.is_symlink(), link.read_bytes()) == ("precious", False, b"new")
    assert mode_of(link) == 0o600


def test_private_file_closes_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o666)
    replace_private(path, b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o600)


def test_file_is_replaced_through_a_link_and_keeps_its_mode(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.write_text("old")
    kept.chmod(0o640)
    link.symlink_to(kept)
    replace_file(link, b"new")
    assert (kept.read_bytes(), link.is_symlink(), mode_of(kept)) == (b"new", True, 0o640)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "link"]


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(tmp_path / "pipe", most=10) is None
