"""What the platform sets, and what a project can then not set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.records.record import Location
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from flowyml_policy.system.directories import state_directory, user_audit_file

Load = Callable[..., Settings]
Refused = Callable[..., str]


def test_platform_and_project_are_put_together(load: Load, folder: Path) -> None:
    settings = load(
        "policy: {enforce: observe, opa: {deadline: 5s}, rules: [mine]}\n",
        platform="policy: {opa: {max_age: 1d}, images: {inspect: off}, audit: {path: audit.db}, waivers: w.yaml}\n",
    )
    assert settings.authority == "platform"
    assert settings.platform_file == folder.parent / "etc/settings.yaml"
    policy = settings.policy
    assert (policy.enforce, policy.opa.deadline, policy.opa.max_age) == ("observe", 5.0, 86400.0)
    assert policy.images.inspect == "off"
    assert settings.rule_folders == (folder / "mine",)
    assert settings.audit_path == folder.parent / "etc/audit.db"
    assert settings.waivers_path == folder.parent / "etc/w.yaml"
    assert settings.has_waivers


def test_places_are_told_from_the_file_that_sets_them(load: Load, folder: Path) -> None:
    settings = load("policy: {enforce: none}\n", platform="policy: {waivers: w.yaml}\n")
    assert settings.location(("policy", "enforce")) == Location(file="flowyml.yaml", line=1, column=19)
    assert settings.location(("policy", "waivers")) == Location(
        file=str(folder.parent / "etc/settings.yaml"), line=1, column=19
    )
    assert settings.location(("policy", "rules")) is None


def test_platform_holds_where_there_is_no_project(load: Load) -> None:
    settings = load(None, platform="policy: {audit: {path: /var/audit.db}, enforce: none}\n")
    assert (settings.file, settings.authority, settings.policy.enforce) == (None, "platform", "none")
    assert settings.audit_path == Path("/var/audit.db")


def test_same_keys_in_both_are_refused_with_both_places(refused: Refused) -> None:
    said = refused(
        """\
policy:
  enforce: none
  opa:
    deadline: 9s
    max_age: 1d
    config: {labels: {a: b}}
  images: {insecure: [a.io]}
""",
        platform="""\
policy:
  opa: {config: {bundles: {}}, deadline: 9s}
  enforce: block
  images: {inspect: off}
""",
    )
    assert said == (
        "`policy.enforce` is set by the platform (/etc/settings.yaml:3:3) and again: flowyml.yaml:2:3; "
        "take it out of the project\n"
        "`policy.opa.deadline` is set by the platform (/etc/settings.yaml:2:32) and again: flowyml.yaml:4:5; "
        "take it out of the project\n"
        "`policy.opa.config` is set by the platform (/etc/settings.yaml:2:9) and again: flowyml.yaml:6:5; "
        "take it out of the project\n"
        "correct the file; `flowyml-policy schema settings` prints what may stand there"
    )


@pytest.mark.parametrize(("server", "section"), [("registry", "{%s}"), ("opa.sidecar", "{sidecar: {%s}}")])
@pytest.mark.parametrize("key", ["ca", "token_env"])
def test_project_cannot_say_how_a_server_of_the_platform_is_trusted_fails_closed(
    refused: Refused, server: str, section: str, key: str
) -> None:
    top = server.partition(".")[0]
    own = f"policy:\n  {top}: {section % f'{key}: OWN'}\n"
    column = own.splitlines()[1].index(f"{key}:") + 1
    platform = f"policy:\n  {top}: {section % 'url: https://company.example'}\n"
    owned = platform.splitlines()[1].index("url") + 1
    assert refused(own, platform=platform).splitlines()[0] == (
        f"`policy.{server}.{key}` belongs to `policy.{server}.url`, which is set by the platform "
        f"(/etc/settings.yaml:2:{owned}): flowyml.yaml:2:{column}; take it out of the project"
    )


def test_project_says_how_its_own_server_is_trusted(load: Load) -> None:
    settings = load(
        "policy: {registry: {url: 'https://own.example', ca: own.pem, token_env: OWN}}\n",
        platform="policy: {opa: {sidecar: {url: 'https://company.example'}}}\n",
    )
    registry = settings.policy.registry
    assert (registry.url, registry.ca, registry.token_env) == ("https://own.example", "own.pem", "OWN")


def test_problems_of_both_files_are_said_at_once(refused: Refused) -> None:
    assert refused("x: 1\n", platform="policies: {}\n").splitlines()[:2] == [
        "unknown key `policies`: /etc/settings.yaml:1:1; did you mean `policy`?",
        (
            "unknown key `x`: flowyml.yaml:1:1; take it out; here may stand active_stack, defaults, docker, "
            "environments, plugins, policies, policy, project, registry, stacks"
        ),
    ]


def test_platform_variable_that_is_not_set_fails_closed(refused: Refused) -> None:
    assert refused(None, platform="policy: {opa: {config: {a: '${UNSET}'}}}\n") == (
        "`policy.opa.config.a` needs the environment variable UNSET, which is not set: /etc/settings.yaml:1:28; "
        "set UNSET"
    )


@pytest.mark.parametrize("content", ["", "{unclosed", "policy: 3\n"])
def test_broken_platform_settings_fail_closed(load: Load, content: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"settings\.yaml"):
        load("project: {name: fraud}\n", platform=content)


def test_variable_names_the_platform_settings_where_the_system_has_none(folder: Path) -> None:
    named = folder / "platform.yaml"
    named.write_text("policy: {enforce: observe}\n")
    environ = {"FLOWYML_POLICY_SETTINGS": str(named), "HOME": "/home/ada"}
    settings = load_settings(environ=environ, system_file=folder / "none" / "settings.yaml")
    assert (settings.platform_file, settings.policy.enforce, settings.authority) == (named, "observe", "platform")


def test_variable_does_not_replace_the_systems_settings(load: Load, folder: Path) -> None:
    named = folder / "platform.yaml"
    named.write_text("policy: {enforce: none}\n")
    settings = load(None, platform="policy: {enforce: observe}\n", FLOWYML_POLICY_SETTINGS=str(named))
    assert (settings.policy.enforce, settings.platform_file) == ("observe", folder.parent / "etc/settings.yaml")


@pytest.mark.parametrize("named", ["/nowhere/settings.yaml", "a\0b"])
def test_named_platform_settings_that_are_missing_fail_closed(refused: Refused, named: str) -> None:
    assert refused(None, FLOWYML_POLICY_SETTINGS=named) == (
        f"there are no platform settings: {named!r}; correct FLOWYML_POLICY_SETTINGS, or take it away"
    )


def test_dangling_link_to_platform_settings_fails_closed(folder: Path) -> None:
    link = folder / "settings.yaml"
    link.symlink_to("gone")
    with pytest.raises(SettingsInvalid, match="the settings cannot be read"):
        load_settings(environ={"HOME": "/home/ada"}, system_file=link)


# The user's state directory


@pytest.mark.parametrize(
    ("platform", "environ", "place"),
    [
        ("linux", {"HOME": "/home/ada"}, "/home/ada/.local/state/flowyml-policy"),
        ("linux", {"HOME": "/home/ada", "XDG_STATE_HOME": "/state"}, "/state/flowyml-policy"),
        ("linux", {"HOME": "/home/ada", "XDG_STATE_HOME": "state"}, "/home/ada/.local/state/flowyml-policy"),
        ("darwin", {"HOME": "/Users/ada"}, "/Users/ada/Library/Application Support/flowyml-policy"),
        ("darwin", {"HOME": "/Users/ada", "XDG_STATE_HOME": "/state"}, "/state/flowyml-policy"),
    ],
)
def test_state_directory_follows_the_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], place: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    assert state_directory(environ) == Path(place)
    assert user_audit_file(environ) == Path(place) / "policy.db"


def test_state_directory_without_a_home_variable_is_that_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_directory().is_absolute()
