"""Two addresses of one repository, whole paths compared; test_environments has those that are one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy.resolution.repository import is_repository

HTTPS = "https://git.example/org/stacks"
BELOW = "https://git.example/scm/org/stacks.git"
SSH = "ssh://git@git.example/srv/git/org/stacks.git"
OTHER = "https://git.example/org/others"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (HTTPS, "http://GIT.example:8443/Org/Stacks.git", True),
        (HTTPS, BELOW, False),
        (HTTPS, SSH, True),
        (SSH, "ssh://git.example/org/stacks", True),
        (BELOW, OTHER, False),
        ("https://github.com/org/stacks", "https://github.com/mirror/org/stacks", False),
        ("ssh://git@github.com/org/stacks", "ssh://git@github.com/mirror/org/stacks", False),
        ("https://dev.azure.com/org/p/_git/stacks", "ssh://git@ssh.dev.azure.com/v3/org/p/stacks", True),
        ("https://git.example/scm/~ann/stacks", "https://git.example/scm/~bob/stacks", False),
        ("ssh://git@git.example/~ann/stacks", "ssh://git@git.example/~bob/stacks", False),
        ("ssh://git@git.example/~git/org/stacks", "ssh://git@git.example/~/org/stacks", True),
        (HTTPS, "file:///org/stacks", False),
        (HTTPS, "https://[", False),
        (HTTPS, "stacks/prod.yaml", False),
        ("file:///a%00b", "file:///a%00b", False),
    ],
)
def test_whole_addresses_are_compared_in_both_directions(one: str, other: str, *, expected: bool) -> None:
    assert [is_repository(one, other), is_repository(other, one)] == [expected, expected]


def test_two_addresses_of_one_folder_of_this_machine_are_of_one_repository(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to("repository")
    link = f"file://{tmp_path}/link"
    assert is_repository(link, f"file://{tmp_path}/repository/.git")
    assert not is_repository(link, f"file://{tmp_path}/elsewhere")
