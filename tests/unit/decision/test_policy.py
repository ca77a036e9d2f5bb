"""The policy that settings name: what they name by a relative address lies beside the file that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowyml_policy.decision.policy import load_policy
from flowyml_policy.settings.loading import load_settings

CONFIG = "policy: {opa: {config: {bundles: {flowyml: {resource: shipped}, org: {resource: 'file://./company'}}}}}\n"


def company(folder: Path, allowed: str) -> None:
    """A company's bundle in `folder`, which allows images of one registry."""
    bundle = folder / "company"
    bundle.mkdir(parents=True)
    (bundle / ".manifest").write_text(json.dumps({"revision": allowed, "roots": ["org"]}))
    data = {"org": {"rule_data": {"images_registry": {"allowed_registries": [allowed]}}}}
    (bundle / "data.json").write_text(json.dumps(data))


@pytest.mark.parametrize("owner", ["platform", "project"])
def test_load_policy_reads_relative_bundles_beside_the_file_that_names_them(tmp_path: Path, owner: str) -> None:
    files = {"platform": tmp_path / "etc" / "settings.yaml", "project": tmp_path / "project" / "flowyml.yaml"}
    for name, file in files.items():
        company(file.parent, f"{name}.example")
        if (name, owner) != ("platform", "project"):  # beside a platform's settings a project has no bundles
            file.write_text(CONFIG if name == owner else "policy: {}\n")
    settings = load_settings(
        project=files["project"].parent, environ={"HOME": str(tmp_path)}, system_file=files["platform"]
    )
    evaluator = load_policy(settings)
    try:
        found = evaluator.query("org/rule_data/images_registry/allowed_registries", {})
    finally:
        evaluator.close()
    assert found == [f"{owner}.example"]
