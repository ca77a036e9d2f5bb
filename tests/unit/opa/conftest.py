"""Folders of rules, as projects have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

WriteFiles = Callable[[Mapping[str, str]], Path]

RULE = """\
package project.rules.size

# METADATA
# title: Too many nodes
# description: |
#   More nodes than
#   the team pays for.
# related_resources:
#   - ref: https://example.com/size
#     description: The budget
# custom:
#   code: size.nodes
#   enforcement: soft
#   why: Nodes cost money.
findings contains {
	"code": "size.nodes",
	"subject": input.stack.name,
	"path": ["spec"],
	"message": "too large",
	"fix": "use less",
} if input.stack.name == "large"

findings contains {
	"code": "size.other",
	"subject": input.stack.name,
	"path": [],
	"message": "other",
	"fix": "none",
} if input.stack.name == "other"
"""


@pytest.fixture
def files(tmp_path: Path) -> WriteFiles:
    """Writes files below a new folder named `policy` and returns it."""

    def write(content: Mapping[str, str]) -> Path:
        folder = tmp_path / "policy"
        folder.mkdir(exist_ok=True)
        for name, text in content.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write
