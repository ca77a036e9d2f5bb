"""Addresses at which git servers hand out files, and those at which something else is."""

from __future__ import annotations

import pytest

from flowyml_policy.resolution.repository import RawFile, raw_file

GITHUB = "https://github.com/org/stacks"
FILE = ("v1", "stacks", "gpu.yaml")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://raw.githubusercontent.com/org/stacks/v1/stacks/gpu.yaml?token=a", RawFile(GITHUB, FILE)),
        ("https://raw.githubusercontent.com/org/stacks/refs/tags/v1/stacks/gpu.yaml", RawFile(GITHUB, FILE)),
        (f"{GITHUB}/blob/v1/stacks/gpu.yaml", RawFile(GITHUB, FILE)),
        ("https://git.example:8443/g/sub/s/-/raw/v1/stacks/gpu.yaml", RawFile("https://git.example/g/sub/s", FILE)),
        ("https://[2001:db8::1]/g/s/raw/v1/stacks/gpu.yaml", RawFile("https://[2001:db8::1]/g/s", FILE)),
        ("https://raw.githubusercontent.com/org/stacks/gpu.yaml", None),
        ("https://git.example/raw/v1/gpu.yaml", None),
        ("https://stacks.example/stacks/gpu.yaml", None),
        ("https://stacks.example", None),
    ],
)
def test_raw_file_is_told_by_its_address(url: str, expected: RawFile | None) -> None:
    assert raw_file(url) == expected


def test_raw_file_of_a_ref_with_slashes_may_be_any_path_that_its_address_ends_with() -> None:
    file = RawFile(GITHUB, ("feature", "x", "stacks", "gpu.yaml"))
    assert file.path == ("x", "stacks", "gpu.yaml")
    assert file.ends_with(("stacks", "gpu.yaml"))
    assert not file.ends_with(("stacks",))
    assert file.is_below(("stacks",))
    assert not file.is_below(("others",))
