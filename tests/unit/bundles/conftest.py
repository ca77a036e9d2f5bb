"""Recipes on disk, the bundles that they make, and keys; what costs a second is made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from flowyml_policy.bundles.build import Built, build_bundle
from flowyml_policy.bundles.keys import ES256, RS256, KeyPair, make_keys
from flowyml_policy.bundles.recipe import read_recipe

RECIPES: Final = Path(__file__).parents[3] / "bundles"

RULE: Final = """\
package org.rules.size

# METADATA
# title: Not too large
# custom:
#   code: size.large
#   enforcement: hard
findings contains finding if {
	object.get(input.stack.spec, ["compute", "max_nodes"], 0) > 8
	finding := {"code": "size.large", "subject": "max_nodes", "path": [], "message": "too large", "fix": "less"}
}
"""

TEST: Final = """\
package org.rules.size

test_allow_small if findings == set() with input as {"stack": {"spec": {}}}
"""

RECIPE: Final = """\
name: size
version: 1.0.0
roots: [org]
rules: [rules]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the recipe of one rule, `size`, with other files, and gives its path. An empty text leaves a file out."""

    def written(recipe: str = RECIPE, **files: str) -> Path:
        named = {"rules/size/size.rego": RULE, "rules/size/size_test.rego": TEST, **files}
        for name, text in {"size.yaml": recipe, **named}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text:
                path.write_text(text)
        return tmp_path / "size.yaml"

    return written


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """A copy of the example company's recipe, to be changed."""
    shutil.copytree(RECIPES / "company", tmp_path / "company")
    return Path(shutil.copy(RECIPES / "company.yaml", tmp_path))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The bundle of the example company, unsigned; not to be changed."""
    folder = tmp_path_factory.mktemp("built")
    return build_bundle(read_recipe(RECIPES / "company.yaml"), output=folder / "company.tar.gz")


@pytest.fixture(scope="session")
def what_ships(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The bundle of what ships, unsigned; not to be changed."""
    folder = tmp_path_factory.mktemp("what-ships")
    return build_bundle(read_recipe(RECIPES / "flowyml.yaml"), output=folder / "flowyml.tar.gz")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyPair]:
    """Two pairs of keys, one of each algorithm that OPA verifies."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_keys(folder / name, kind) for name, kind in {"old": RS256, "new": ES256}.items()}
