"""Two addresses of one repository; test_same_place has every spelling, through the environments that depend on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy.resolution.repository import is_repository

HTTPS = "https://git.example/org/stacks"
BELOW = "https://git.example/scm/org/stacks.git"
SSH = "ssh://git@git.example/srv/git/org/stacks.git"
OTHER = "https://git.example/org/others"


@pytest.mark.parametrize(
    ("one", "other", "by_any_prefix", "by_one_path"),
    [
        (HTTPS, "http://GIT.example:8443/Org/Stacks.git", True, True),
        (HTTPS, BELOW, True, False),
        (HTTPS, SSH, True, True),
        (BELOW, OTHER, False, False),
        ("https://github.com/org/stacks", "https://github.com/mirror/org/stacks", False, False),
        (HTTPS, "file:///org/stacks", False, False),
        (HTTPS, "https://[", False, False),
        (HTTPS, "stacks/prod.yaml", False, False),
    ],
)
def test_two_addresses_are_of_one_repository_whichever_comes_first(
    one: str, other: str, *, by_any_prefix: bool, by_one_path: bool
) -> None:
    for pair in ((one, other), (other, one)):
        assert (is_repository(*pair), is_repository(*pair, below_prefixes=False)) == (by_any_prefix, by_one_path)


def test_two_addresses_of_one_folder_of_this_machine_are_of_one_repository(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to("repository")
    link = f"file://{tmp_path}/link"
    assert is_repository(link, f"file://{tmp_path}/repository/.git")
    assert not is_repository(link, f"file://{tmp_path}/elsewhere")
