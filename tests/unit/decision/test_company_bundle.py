"""A company's bundle, built from a recipe and named by the platform, is in force, and a project can only tighten it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from flowyml_policy.bundles.archive import read_archive, write_archive
from flowyml_policy.bundles.build import build_bundle
from flowyml_policy.bundles.keys import ES256, KeyPair, make_keys, read_private_key, read_public_key
from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.bundles.signing import opa_keys, sign_bundle
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.errors.decision import PolicyUndecided
from flowyml_policy.errors.opa import OpaError
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.records.record import Json

RECIPE: Final = Path(__file__).parents[3] / "bundles" / "company.yaml"

REGISTRY: Final = frozenset({"images_registry.not_allowed"})

STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata:
  name: {name}
  labels: {{team: ml, approved: "true"{labels}}}
spec:
  runtime: {{docker_image: "{image}"}}
"""


@pytest.fixture(scope="module", name="archive")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(read_recipe(RECIPE), output=tmp_path_factory.mktemp("built") / "company.tar.gz").file


@pytest.fixture(scope="module", name="pair")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys") / "company", ES256)


class Company:
    """A platform whose settings name the company's bundle, and a project beside it."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.bundle = Path(shutil.copy(archive, folder))
        self.settings = folder / "platform.yaml"
        self.project = folder / "project"
        self.project.mkdir()
        self.say("project: {name: fraud}\n")
        self.stack("prod-a")
        self.name()

    def name(self, *, pair: KeyPair | None = None, require_signed: bool = False, signing: bool = True) -> None:
        """Write the platform's settings, with the key of `pair` if there is one."""
        bundle: dict[str, Json] = {"resource": self.bundle.as_uri(), **({"signing": {}} if pair and signing else {})}
        config: dict[str, Json] = {"bundles": {"flowyml": {"resource": "shipped"}, "company": bundle}}
        if pair is not None:
            config["keys"] = opa_keys([read_public_key(pair.public)])
        opa = {"require_signed": require_signed, "config": config}
        self.settings.write_text(json.dumps({"policy": {"images": {"inspect": "off"}, "opa": opa}}))

    def say(self, text: str) -> None:
        (self.project / "flowyml.yaml").write_text(text)

    def stack(self, name: str, *, image: str = "gcr.io/my-project/a:1", labels: str = "") -> None:
        (self.project / "stack.yaml").write_text(STACK.format(name=name, image=image, labels=labels))

    def check(self, *, stack: str = "stack.yaml", env: str | None = None) -> dict[str, str]:
        """The level of each finding, by its code; of what is said of images, only which registry is allowed."""
        with PolicyEngine.from_project(self.project) as engine:
            result = engine.check(
                stack=str(self.project / stack) if stack.endswith(".yaml") else stack, environment=env
            )
        kept = [one for one in result.findings if not one.code.startswith("images_") or one.code in REGISTRY]
        return {one.code: one.enforcement for one in kept}


@pytest.fixture(name="company")
def _company(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    company = Company(tmp_path, archive)
    monkeypatch.setenv("FLOWYML_POLICY_SETTINGS", str(company.settings))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(company.project)
    return company


Change = Callable[[Company], None]


def test_levels_rule_data_and_rules_of_the_company_are_in_force(company: Company) -> None:
    assert company.check() == {"cost_centre.format": "soft", "version.missing": "soft"}
    company.stack("mine", image="gcr.io/other/a:1", labels=", cost_centre: ML-0042")
    assert company.check() == {
        "images_registry.not_allowed": "hard",
        "naming.allowed_stacks": "hard",
        "version.missing": "soft",
    }


def test_environments_of_the_company_are_in_force(company: Company) -> None:
    for environment, found in {"production": {"source.builtin": "hard"}, "staging": {}}.items():
        company.say(f"environments: {{{environment}: {{stack: local}}}}\n")
        assert company.check(stack="local", env=environment) == found


def test_project_tightens_what_the_company_says_and_loosens_nothing(company: Company) -> None:
    company.say(
        "policies:\n"
        "  levels: {cost_centre.format: hard, version.missing: advisory}\n"
        "  allowed_stacks: ['*']\n"
        "  required_labels: [owner]\n"
        "  image_policy: {allowed_registries: [gcr.io]}\n"
    )
    company.stack("mine", image="gcr.io/other/a:1")
    assert company.check() == {
        "cost_centre.format": "hard",
        "images_registry.not_allowed": "hard",
        "labels.required": "hard",
        "naming.allowed_stacks": "hard",
        "version.missing": "soft",
    }
    company.stack("prod-a", image="myregistry.azurecr.io/a:1", labels=", owner: me, cost_centre: ML-0042")
    assert company.check() == {"images_registry.not_allowed": "hard", "version.missing": "soft"}


@pytest.mark.parametrize(
    "said",
    [
        "config: {bundles: {flowyml: {resource: shipped}}}",
        "config: {bundles: {company: {resource: ./mine}, flowyml: {resource: shipped}}}",
        "require_signed: false",
        "mode: sidecar",
        "sidecar: {url: 'http://localhost:1'}",
        "allow_hosts: [example.com]",
        "require_revision: null",
    ],
)
def test_project_that_names_other_bundles_or_another_opa_fails_closed(company: Company, said: str) -> None:
    company.say(f"policy: {{opa: {{{said}}}}}\n")
    with pytest.raises(SettingsInvalid, match=r"`policy.opa.*the platform"):
        company.check()


def test_rules_of_the_project_cannot_take_the_company_root(company: Company) -> None:
    rules = company.project / "policy"
    rules.mkdir()
    (rules / "x.rego").write_text("package org.rules.cost_centre\n\nfindings contains 1 if false\n")
    company.say("policy: {rules: [policy]}\n")
    with pytest.raises(PolicyUndecided, match="outside the root project"):
        company.check()


def test_decision_carries_the_revision_of_the_company(company: Company) -> None:
    with PolicyEngine.from_project(company.project) as engine:
        revision = read_archive(company.bundle).manifest["revision"]
        assert engine.bundles()["company"] == revision


def test_signed_bundle_is_in_force_where_signatures_are_required(company: Company, pair: KeyPair) -> None:
    sign_bundle(company.bundle, read_private_key(pair.private))
    company.name(pair=pair, require_signed=True)
    assert company.check() == {"cost_centre.format": "soft", "version.missing": "soft"}


def _unsigned(company: Company) -> None:
    files = dict(read_archive(company.bundle).files)
    del files[".signatures.json"]
    write_archive(company.bundle, files)


def _tampered(company: Company) -> None:
    files = dict(read_archive(company.bundle).files)
    files["data.json"] = files["data.json"].replace(b'"prod-*"', b'"*"')
    write_archive(company.bundle, files)


def _by_another_key(company: Company) -> None:
    other = make_keys(company.settings.parent / "other", ES256)
    sign_bundle(company.bundle, read_private_key(other.private, keyid="company"))


def _by_an_unknown_key(company: Company) -> None:
    other = make_keys(company.settings.parent / "other", ES256)
    sign_bundle(company.bundle, read_private_key(other.private))


def _folder(company: Company) -> None:
    """The same files, unpacked and unsigned."""
    folder = company.settings.parent / "folder"
    for name, content in read_archive(company.bundle).files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != ".signatures.json":
            path.write_bytes(content)
    company.settings.write_text(company.settings.read_text().replace(company.bundle.as_uri(), folder.as_uri()))


@pytest.mark.parametrize("change", [_unsigned, _tampered, _by_another_key, _by_an_unknown_key, _folder])
def test_bundle_that_is_not_as_it_was_signed_fails_closed(company: Company, pair: KeyPair, change: Change) -> None:
    sign_bundle(company.bundle, read_private_key(pair.private))
    company.name(pair=pair, require_signed=True)
    change(company)
    with pytest.raises((OpaError, PolicyUndecided)):
        company.check()


@pytest.mark.parametrize("require_signed", [True, False])
def test_bundle_that_states_no_signing_beside_a_key_fails_closed(
    company: Company, pair: KeyPair, require_signed: bool
) -> None:
    sign_bundle(company.bundle, read_private_key(pair.private))
    company.name(pair=pair, require_signed=require_signed, signing=False)
    with pytest.raises((OpaError, PolicyUndecided), match="signing"):
        company.check()


def test_unsigned_bundle_where_signatures_are_required_fails_closed(company: Company) -> None:
    company.name(require_signed=True)
    with pytest.raises((OpaError, PolicyUndecided), match=r"policy\.opa\.require_signed is set"):
        company.check()
