"""What the platform sets, and what a project can then not set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.records.record import Location
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.policy_section import PolicySection, ReportSettings
from flowyml_policy.settings.settings import Settings
from flowyml_policy.settings.types import Section
from flowyml_policy.system.directories import state_directory, user_audit_file

Load = Callable[..., Settings]
Refused = Callable[..., str]


def test_platform_and_project_are_put_together(load: Load, folder: Path) -> None:
    settings = load(
        "policy: {opa: {deadline: 1s}, rules: [mine]}\n",
        platform="policy: {enforce: observe, opa: {max_age: 1d}, images: {inspect: off}, audit: {path: audit.db}, "
        "waivers: w.yaml}\n",
    )
    assert settings.authority == "platform"
    assert settings.platform_file == folder.parent / "etc/settings.yaml"
    policy = settings.policy
    assert (policy.enforce, policy.opa.deadline, policy.opa.max_age) == ("observe", 1.0, 86400.0)
    assert policy.images.inspect == "off"
    assert settings.rule_folders == (folder / "mine",)
    assert settings.audit_path == folder.parent / "etc/audit.db"
    assert settings.waivers_path == folder.parent / "etc/w.yaml"
    assert settings.has_waivers


def test_places_are_told_from_the_file_that_sets_them(load: Load, folder: Path) -> None:
    settings = load("policy: {enforce: block}\n", platform="policy: {waivers: w.yaml, enforce: observe}\n")
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
  waivers: mine.yaml
  opa:
    deadline: 9s
    config: {labels: {a: b}}
  images: {concurrency: 4}
""",
        platform="""\
policy:
  opa: {config: {bundles: {}}, deadline: 9s}
  enforce: block
  images: {inspect: off}
  waivers: ours.yaml
""",
    )
    assert said == (
        "`policy.enforce` must be stricter than the platform's block (/etc/settings.yaml:3:3): flowyml.yaml:2:3; "
        "take it out of the project, or write observe or block where that is stricter\n"
        "`policy.waivers` is set by the platform (/etc/settings.yaml:5:3) and again: flowyml.yaml:3:3; "
        "take it out of the project\n"
        "`policy.opa.deadline` must be shorter than the platform's 9s (/etc/settings.yaml:2:32): flowyml.yaml:5:5; "
        "take it out of the project, or write a shorter time\n"
        "`policy.opa.config` is set by the platform (/etc/settings.yaml:2:9) and again: flowyml.yaml:6:5; "
        "take it out of the project\n"
        "correct the file; `flowyml-policy schema settings` prints what may stand there"
    )


KEPT_FOR_THE_PLATFORM = {
    "opa.mode": "sidecar",
    "opa.config": "{bundles: {}}",
    "opa.sidecar.url": "https://own.example",
    "opa.sidecar.token_env": "OWN",
    "opa.sidecar.ca": "own.pem",
    "opa.max_age": "90d",
    "opa.require_signed": "false",
    "opa.require_revision": "{a: b}",
    "opa.allow_hosts": "[a.io]",
    "opa.isolation": "process",
    "opa.memory": "2GiB",
    "images.inspect": "daemon",
    "images.insecure": "[a.io]",
    "images.allow_local": "['*']",
    "images.credentials": "{a.io: {token_env: OWN}}",
    "images.mirrors": "{a.io: [b.io]}",
    "images.ca": "own.pem",
    "images.cosign_keys": "{a.io: own.pem}",
    "images.client_certificates": "{a.io: {certificate: own.pem, key: own.pem}}",
    "images.per_registry": "2",
    "images.timeout": "1s",
    "images.tag_ttl": "1d",
    "images.max_cache": "1MiB",
    "registry.url": "https://own.example",
    "registry.token_env": "OWN",
    "registry.ca": "own.pem",
    "audit.report_to": "https://own.example",
    "run_locally": "[kubernetes]",
}
LEFT_TO_THE_PROJECT = {
    "rules": "[mine]",
    "waivers": "mine.yaml",
    "enforce": "block",
    "opa.deadline": "1s",
    "opa.start_timeout": "1s",
    "images.concurrency": "4",
    "images.inspect": "off",
    "sources.plain_http": "[a.io]",
    "audit.path": "mine.db",
}


def _nested(key: str, value: str) -> str:
    steps = ["policy", *key.split(".")]
    return ": {".join(steps) + f": {value}" + "}" * (len(steps) - 1)


@pytest.mark.parametrize(("key", "value"), KEPT_FOR_THE_PLATFORM.items())
def test_key_of_the_platform_is_refused_though_unset(refused: Refused, key: str, value: str) -> None:
    own = _nested(key, value)
    column = own.index(f"{{{key.rpartition('.')[2]}:") + 2
    assert refused(own, platform="policy: {waivers: w.yaml}\n") == (
        f"`policy.{key}` is the platform's to set, and its settings leave the default (/etc/settings.yaml): "
        f"flowyml.yaml:1:{column}; take it out of the project"
    )


@pytest.mark.parametrize(("key", "value"), LEFT_TO_THE_PROJECT.items())
def test_key_of_the_project_is_taken_beside_a_platform(load: Load, key: str, value: str) -> None:
    assert load(_nested(key, value), platform="policy: {}\n").authority == "platform"


def test_every_key_of_policy_has_its_owner() -> None:
    def leaves(section: type[Section], under: str = "") -> Iterator[str]:
        for name, field in section.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from leaves(kind, f"{under}{name}.")
            else:
                yield f"{under}{name}"

    assert set(leaves(PolicySection)) == {*KEPT_FOR_THE_PLATFORM, *LEFT_TO_THE_PROJECT}


@pytest.mark.parametrize(
    ("own", "platform", "words"),
    [
        ("enforce: observe", "", "`policy.enforce` must be stricter than block, the default that"),
        ("enforce: none", "enforce: observe", "`policy.enforce` must be stricter than the platform's observe (/etc"),
        ("opa: {deadline: 3s}", "", "`policy.opa.deadline` must be shorter than 2s, the default that"),
        ("opa: {deadline: 3s}", "opa: {deadline: 1s}", "`policy.opa.deadline` must be shorter than the platform's 1s"),
        ("opa: {start_timeout: 11s}", "", "`policy.opa.start_timeout` must be shorter than 10s, the default"),
    ],
)
def test_project_weaker_than_its_platform_is_refused(refused: Refused, own: str, platform: str, words: str) -> None:
    said = refused(f"policy: {{{own}}}\n", platform=f"policy: {{{platform}}}\n")
    assert said.startswith(words)
    assert "/etc/settings.yaml" in said
    assert "flowyml.yaml:1:" in said


def test_project_stricter_than_its_platform_holds(load: Load) -> None:
    settings = load(
        "policy: {enforce: block, opa: {deadline: 500ms, start_timeout: 3s}}\n",
        platform="policy: {enforce: none, opa: {deadline: 1s, start_timeout: 5s}}\n",
    )
    opa = settings.policy.opa
    assert (settings.policy.enforce, opa.deadline, opa.start_timeout) == ("block", 0.5, 3.0)


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


def test_server_of_reports_has_one_owner_who_says_all_of_it(load: Load, folder: Path) -> None:
    written = "policy: {audit: {report_to: {url: 'https://logs.io', token_env: LOGS, ca: ca.pem}}}\n"
    settings = load("project: {name: fraud}\n", platform=written)
    assert settings.policy.audit.report_to == ReportSettings(url="https://logs.io", token_env="LOGS", ca="ca.pem")
    assert settings.report_ca == folder.parent / "etc" / "ca.pem"
    for own in ("https://own.io", "{url: 'https://logs.io', token_env: OWN}"):
        for platform in (written, "policy: {audit: {report_to: https://logs.io}}\n"):
            with pytest.raises(SettingsInvalid, match=r"`policy\.audit\.report_to` is set by the platform"):
                load(f"policy: {{audit: {{report_to: {own}}}}}\n", platform=platform)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ftp://x.io", "`policy.audit.report_to` "),
        ("{token_env: LOGS}", "`policy.audit.report_to.url` is missing"),
        ("{url: 'https://x.io', token: a}", "unknown key `policy.audit.report_to.token`"),
        ("7", "`policy.audit.report_to` must be a mapping"),
    ],
)
def test_server_of_reports_that_is_none_is_refused_by_its_key(load: Load, written: str, said: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(f"policy: {{audit: {{report_to: {written}}}}}\n")
    assert said in str(caught.value)
