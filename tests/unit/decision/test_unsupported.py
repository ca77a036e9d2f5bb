"""Settings whose feature comes later stop the commands that would need it, and only those."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.decision.unsupported import require_supported, unsupported
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.settings.settings import Settings

Load = Callable[..., Settings]

ROWS = [
    ("policy: {waivers: w.yaml}", "policy.waivers", "flowyml.yaml:1:19", {"validate", "apply", "run"}),
    (
        "environments: {p: {stack: a, packs: [b]}}",
        "environments.p.packs",
        "flowyml.yaml:1:30",
        {"validate", "apply", "run"},
    ),
]


@pytest.mark.parametrize(("content", "key", "place", "needed_by"), ROWS)
def test_feature_that_comes_later_fails_closed(
    load: Load, content: str, key: str, place: str, needed_by: set[str]
) -> None:
    settings = load(content)
    commands = {"validate", "apply", "run", "policy", "audit", "doctor", "schema", "opa"}
    assert {command for command in commands if unsupported(settings, command)} == needed_by
    for command in (*needed_by, "a command of tomorrow"):
        with pytest.raises(FeatureUnavailable) as caught:
            require_supported(settings, command)
        assert caught.value.message.startswith(f"`{key}` asks for ")
        assert caught.value.message.endswith(f", which this version cannot do yet: {place}")
        assert caught.value.advice
        assert caught.value.exit_code == 3
    require_supported(settings, "audit")


def test_message_of_a_missing_feature_says_what_where_and_what_to_do(load: Load, folder: Path) -> None:
    with pytest.raises(FeatureUnavailable) as caught:
        require_supported(load("policy:\n  waivers: w.yaml\n"), "validate")
    assert str(caught.value) == (
        f"`policy.waivers` asks for waivers ({folder / 'w.yaml'}), which this version cannot do yet: "
        "flowyml.yaml:2:12; take the waivers file away and the key out; until then a denial cannot be excused"
    )


def test_defaults_and_the_page_need_nothing_that_comes_later(load: Load, page: str) -> None:
    for command in ("validate", "apply", "run", "policy", "a command of tomorrow"):
        assert unsupported(load(None), command) == ()
        assert unsupported(load(page), command) == ()


def test_local_bundles_in_opas_configuration_are_supported(load: Load) -> None:
    settings = load("policy: {opa: {config: {bundles: {a: {resource: shipped}}, keys: {}, labels: {}}}}")
    require_supported(settings, "validate")


def test_waivers_file_that_lies_where_one_is_looked_for_fails_closed(load: Load, folder: Path) -> None:
    (folder / "waivers.yaml").write_text("{}")
    settings = load("project: {name: fraud}\n")
    assert settings.has_waivers
    with pytest.raises(FeatureUnavailable) as caught:
        require_supported(settings, "validate")
    assert caught.value.message == (
        f"`policy.waivers` asks for waivers ({folder}/waivers.yaml), which this version cannot do yet"
    )


def test_only_environments_that_apply_count(load: Load) -> None:
    settings = load("""\
environments:
  dev: {stack: local}
  prod: {stack: gpu, packs: [production], require_pinned: true, require_lock: true}
""")
    require_supported(settings, "run", ["dev"])
    require_supported(settings, "run", ["dev", "unheard-of"])
    assert [missing.path[-1] for missing in unsupported(settings, "run", ["dev", "prod"])] == ["packs"]
    assert [missing.path[-1] for missing in unsupported(settings, "validate", ["prod"])] == ["packs"]


@pytest.mark.parametrize("environments", [[], ["unheard-of"]])
def test_packs_of_every_environment_count_where_none_is_known(load: Load, environments: list[str]) -> None:
    settings = load("environments: {prod: {stack: gpu, packs: [production], require_lock: true}}\n")
    assert [missing.path for missing in unsupported(settings, "run", environments)] == [
        ("environments", "prod", "packs")
    ]


def test_server_and_required_revision_are_supported(load: Load) -> None:
    settings = load("policy: {opa: {mode: sidecar, require_revision: {flowyml: 1.0.0+abc}}}")
    for operation in ("validate", "apply", "run", "policy"):
        require_supported(settings, operation)


def test_sources_registry_and_pins_are_supported(load: Load) -> None:
    settings = load("""\
environments: {prod: {stack: gpu, require_pinned: true, require_lock: true}}
stacks: {gpu: {source: http, url: https://x.io/a.yaml}}
policy: {registry: {url: https://x.io}}
""")
    for operation in ("validate", "apply", "run"):
        require_supported(settings, operation)
