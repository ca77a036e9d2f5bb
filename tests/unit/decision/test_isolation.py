"""Whose policy it is decides where it is judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowyml_policy.decision.isolation import is_judged_apart, own_policy
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from tests.unit.opa.conftest import RULE

SHIPPED = "policy: {opa: {config: {bundles: {flowyml: {resource: shipped}}}}}\n"
COMPANY = "policy: {opa: {config: {bundles: {flowyml: {resource: shipped}, org: {resource: company}}}}}\n"
DISCOVERY = SHIPPED.replace("{bundles", "{discovery: {service: s, resource: d}, bundles")
RULES = "policy: {rules: [policy]}\n"
APART = "policy: {opa: {isolation: process}}\n"


def settings_of(folder: Path, project: str, platform: str | None) -> Settings:
    (folder / "flowyml.yaml").write_text(project)
    system = folder / "settings.yaml"
    if platform is not None:
        system.write_text(platform)
    return load_settings(project=folder, environ={"HOME": str(folder)}, system_file=system)


@pytest.mark.parametrize(
    ("project", "platform", "apart", "own"),
    [
        ("policy: {}\n", None, False, ()),
        (SHIPPED, None, False, ()),
        ("policy: {opa: {config: {}}}\n", None, False, ()),
        (RULES, None, True, ("policy.rules",)),
        (COMPANY, None, True, ("policy.opa.config",)),
        (DISCOVERY, None, True, ("policy.opa.config",)),
        ("policy: {}\n", DISCOVERY, False, ()),
        ("policy: {}\n", COMPANY, False, ()),
        ("policy: {}\n", RULES, False, ()),
        (RULES, COMPANY, True, ("policy.rules",)),
        (APART, None, True, ()),
        ("policy: {}\n", APART, True, ()),
    ],
)
def test_policy_is_judged_apart_where_it_is_the_project_s(
    tmp_path: Path, project: str, platform: str | None, apart: bool, own: tuple[str, ...]
) -> None:
    settings = settings_of(tmp_path, project, platform)
    assert (is_judged_apart(settings), own_policy(settings)) == (apart, own)
    assert own_policy(settings, ["more"]) == ("--policy", *own)


PROGRAM = """\
import sys
from flowyml_policy.cli.options import settings_to_judge
from flowyml_policy.decision.policy import load_policy
settings = settings_to_judge(".", sys.argv[1:])
with load_policy(settings, sys.argv[1:]) as evaluator:
    evaluator.query("flowyml/catalogue/rules", {})
    loaded = any("libflowyml_opa" in line for line in open("/proc/self/maps"))
    print(type(evaluator).__name__, loaded)
"""


@pytest.mark.parametrize(
    ("project", "rules", "said"),
    [
        ("policy: {}\n", [], "EmbeddedEvaluator True"),
        (RULES, [], "ProcessEvaluator False"),
        ("policy: {}\n", ["policy"], "ProcessEvaluator False"),
        (APART, [], "ProcessEvaluator False"),
    ],
)
def test_command_loads_the_library_where_it_judges_alone(
    tmp_path: Path, project: str, rules: list[str], said: str
) -> None:
    (tmp_path / "flowyml.yaml").write_text(project)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "size.rego").write_text(RULE)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *rules], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == (f"{said}\n", "")
