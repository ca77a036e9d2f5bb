"""The page on bundles: its commands run as they stand, and its recipe and settings are read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.opa.configuration import read_configuration
from flowyml_policy.opa.services import CREDENTIALS
from flowyml_policy.settings.loading import load_settings

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in FENCE.findall((ROOT / "docs" / "bundles.md").read_text("utf-8")) if kind == language]


def test_commands_of_the_page_run_in_their_order(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("dist")
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles", ignore=ignored)
    for line in "".join(blocks("bash")).splitlines():
        program, *arguments = line.split()
        assert program == "flowyml-policy"
        command = [sys.executable, "-m", "flowyml_policy", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line


def test_recipe_of_the_page_is_that_of_the_repository(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bundles" / "company", tmp_path / "company")
    recipe, *_ = blocks("yaml")
    (tmp_path / "company.yaml").write_text(recipe)
    read, kept = read_recipe(tmp_path / "company.yaml").recipe, read_recipe(ROOT / "bundles" / "company.yaml").recipe
    assert read.model_copy(update={"metadata": kept.metadata}) == kept


@pytest.mark.parametrize("number", [1, 2])
def test_settings_of_the_page_are_read(tmp_path: Path, number: int) -> None:
    settings = blocks("yaml")[number]
    (tmp_path / "settings.yaml").write_text(settings)
    environ = {"HOME": str(tmp_path), "POLICY_TOKEN": "token", "POLICY_KEY": "key"}
    read = load_settings(environ=environ, system_file=tmp_path / "settings.yaml", start=tmp_path)
    assert read.policy.opa.require_signed
    text = settings.replace("${POLICY_TOKEN}", "token").replace("${POLICY_KEY}", "key")
    assert read.policy.opa.config == yaml.safe_load(text)["policy"]["opa"]["config"]


def examples() -> list[dict[str, Any]]:
    """The blocks that are a configuration of OPA."""
    return [yaml.safe_load(block) for block in blocks("yaml") if block.startswith("services:")]


@pytest.mark.parametrize("config", examples(), ids=lambda config: next(iter(config["services"])))
def test_services_of_the_page_are_taken(tmp_path: Path, config: dict[str, Any]) -> None:
    """None names a key that OPA does not have."""
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"policy": {"opa": {"config": config}}}))
    environ = {"HOME": str(tmp_path), "POLICY_SECRET": "secret"}
    opa = load_settings(environ=environ, system_file=tmp_path / "settings.yaml", start=tmp_path).policy.opa
    (remote,) = read_configuration(opa.config, tmp_path).remote
    assert remote.service is not None
    assert remote.service.is_trusted
    assert remote.resource == config["bundles"]["company"]["resource"]


def test_page_has_one_example_for_each_credential() -> None:
    services = [next(iter(config["services"].values())) for config in examples()]
    shown = {kind for service in services for kind in service["credentials"]}
    assert shown == set(CREDENTIALS)
    assert len(services) == len(shown) + 1
