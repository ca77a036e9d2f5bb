"""Finding, reading and putting together the settings files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown, SettingsInvalid
from flowyml_policy.records.record import Location
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.policy_section import PolicySection, ReportSettings, SigningKeys
from flowyml_policy.settings.project_file import EnvironmentSettings, PoliciesSection, ProjectIdentity
from flowyml_policy.settings.settings import Settings

Load = Callable[..., Settings]
Refused = Callable[..., str]


def test_load_without_any_file_gives_defaults(load: Load, folder: Path) -> None:
    settings = load(None)
    assert (settings.root, settings.file, settings.platform_file) == (folder, None, None)
    assert settings.authority == "project"
    assert settings.project == ProjectIdentity()
    assert settings.policies == PoliciesSection()
    assert settings.policy == PolicySection()
    assert (settings.environments, settings.stacks, settings.active_stack) == ({}, {}, None)
    assert settings.audit_path == Path("/home/ada/.local/state/flowyml-policy/policy.db")
    assert not settings.has_waivers


def test_load_page_example_unchanged(load: Load, folder: Path, page: str) -> None:
    settings = load(page)
    assert settings.project == ProjectIdentity(name="fraud-detection", org="fintech-corp")
    assert settings.policies.for_policy_input() == {
        "allowed_stacks": ["prod-gpu-*", "staging-*"],
        "required_labels": ["approved", "team"],
        "image_policy": {
            "allowed_registries": ["myregistry.azurecr.io", "gcr.io/my-project"],
            "required_labels": ["maintainer", "version"],
            **NO_MORE_OF_IMAGES,
        },
        "levels": {},
        "rule_data": {},
    }
    assert settings.audit_path == folder / ".flowyml" / "policy.db"
    assert settings.location(("policies", "allowed_stacks", 2)) is None
    assert settings.location(("policies", "allowed_stacks", 1, "x")) is None
    assert settings.location(("policies", "allowed_stacks", 1)) == Location(file="flowyml.yaml", line=5, column=32)


def test_load_every_key_of_the_contract(load: Load, folder: Path) -> None:
    settings = load(CONTRACT, SESAME="opensesame")
    assert settings.policies.for_policy_input() == {
        "allowed_stacks": ["prod-gpu-*"],
        "required_labels": ["approved=true", "team"],
        "image_policy": {
            "allowed_registries": ["gcr.io/my-project"],
            "required_labels": [],
            "allowed_bases": ["docker.io/library/python:3.11-slim"],
            "max_age_seconds": 7776000,
            "require_digest": True,
            "deny_tags": ["dev-*"],
        },
        "levels": {"images_tag.mutable": "hard"},
        "rule_data": {"compute": {"max_nodes": 8}},
    }
    assert settings.environments == {
        "dev": EnvironmentSettings(stack="local"),
        "production": EnvironmentSettings(
            stack="prod-gpu-large", packs=("production",), require_pinned=True, require_lock=True
        ),
    }
    assert settings.active_stack == "dev"
    assert {name: source.source for name, source in settings.stacks.items()} == {
        "dev": "local",
        "prod": "github",
        "ours": "gitlab",
        "bare": "git",
        "staging": "http",
        "central": "registry",
    }
    assert settings.stack_path("dev") == folder / "stacks/dev.yaml"
    assert settings.stack_path("prod") is None
    policy = settings.policy
    assert policy.enforce == "observe"
    assert settings.rule_folders == (folder / "policy", Path("/srv/rules"))
    assert settings.waivers_path == folder / "excused.yaml"
    assert policy.opa.config == {"bundles": {"org": {"resource": "file:///b?opensesame"}}}
    assert (policy.opa.start_timeout, policy.opa.deadline, policy.opa.max_age) == (90.0, 0.5, 86400.0)
    assert (policy.opa.isolation, policy.opa.memory) == ("process", 5 * 2**29)
    assert policy.opa.allow_hosts == ("api.company.com:8443", "[::1]:80")
    assert (policy.images.inspect, policy.images.concurrency, policy.images.tag_ttl) == ("off", 4, 0.0)
    assert policy.images.ca == {"gcr.io": "certs/gcr.pem"}
    assert policy.images.cosign_keys == {
        "gcr.io/my-project": "keys/cosign.pub",
        "gcr.io/ours": ("keys/a.pub", "keys/b.pub"),
        "quay.io": SigningKeys(keys=("keys/a.pub", "keys/b.pub"), need=2),
    }
    assert (policy.images.per_registry, policy.images.timeout, policy.images.max_cache) == (2, 10.0, 2**30)
    assert policy.images.mirrors == {"docker.io": ("mirror.company.com/hub",)}
    assert policy.registry.url == "https://stacks.company.com"
    assert policy.audit.report_to == ReportSettings(url="http://127.0.0.1:8181/logs")
    assert settings.audit_path == folder / "../audit.db"


NO_MORE_OF_IMAGES = dict.fromkeys(("allowed_bases", "max_age_seconds", "require_digest", "deny_tags"))

CONTRACT = """\
project: {name: fraud-detection, org: fintech-corp}
policies:
  allowed_stacks: [prod-gpu-*]
  required_labels: [approved=true, team]
  image_policy:
    allowed_registries: [gcr.io/my-project/]
    required_labels: []
    allowed_bases: ["python:3.11-slim"]
    max_age: 90d
    require_digest: true
    deny_tags: [dev-*]
  levels: {images_tag.mutable: hard}
  rule_data: {compute: {max_nodes: 8}}
environments:
  dev: {stack: local}
  production: {stack: prod-gpu-large, packs: [production], require_pinned: true, require_lock: true}
active_stack: dev
stacks:
  dev: {source: local, path: ./stacks/dev.yaml}
  prod: {source: github, repo: my-org/ml-stacks, ref: v2.1.0, path: stacks/prod.yaml}
  ours: {source: gitlab, repo: group/sub/ml-stacks, host: git.company.com}
  bare: {source: git, repo: "ssh://git@git.company.com/ml/stacks.git", ref: main}
  staging: {source: http, url: https://stacks.company.com/s.yaml, sha256: %s, token_env: TOKEN, ca: ca.pem}
  central: {source: registry, version: ^2.1}
policy:
  enforce: observe
  rules: [./policy, /srv/rules]
  waivers: excused.yaml
  opa:
    mode: embedded
    config: {bundles: {org: {resource: "file:///b?${SESAME}"}}}
    sidecar: {url: https://localhost:8181, token_env: OPA_TOKEN, ca: ca.pem}
    start_timeout: 1.5m
    deadline: 500ms
    max_age: 24h
    isolation: process
    memory: 2.5GiB
    require_signed: false
    require_revision: null
    allow_hosts: [api.company.com:8443, "[::1]:80"]
  images:
    inspect: off
    insecure: [localhost:5000]
    allow_local: [ours/*]
    credentials: {gcr.io: {token_env: GCR}, docker.io: {username: ci, password_env: HUB}}
    mirrors: {docker.io: [mirror.company.com/hub]}
    ca: {gcr.io: certs/gcr.pem}
    client_certificates: {gcr.io: {certificate: certs/own.pem, key: certs/own.key}}
    cosign_keys:
      gcr.io/my-project: keys/cosign.pub
      gcr.io/ours: [keys/a.pub, keys/b.pub]
      quay.io: {keys: [keys/a.pub, keys/b.pub], need: 2}
    concurrency: 4
    per_registry: 2
    timeout: 10s
    max_cache: 1GiB
    tag_ttl: 0s
  registry: {url: https://stacks.company.com, token_env: null}
  audit: {path: ../audit.db, report_to: "http://127.0.0.1:8181/logs"}
""" % ("ab" * 32)


def test_load_accepts_the_keys_of_upstream_and_honours_its_flags(load: Load) -> None:
    settings = load("""\
project: {name: fraud, owner: ada}
defaults: {stack: local_dev, environment: dev}
environments:
  prod: {stack: gpu, requireLock: true, requirePolicyValidation: true}
registry: {sources: ["github://my-org/ml-stacks"]}
docker: {baseImage: "python:3.11", autoBuild: true, labels: {a: b}}
plugins: [{name: mlflow}]
policy: {enforce: none}
""")
    assert settings.project == ProjectIdentity(name="fraud", owner="ada")
    assert settings.default_stack == "local_dev"
    assert settings.environment("prod") == EnvironmentSettings(
        stack="gpu", require_lock=True, require_policy_validation=True
    )
    assert settings.enforcement(["prod"]) == "block"
    assert settings.enforcement(["dev"]) == "none"
    assert settings.location(("environments", "prod", "require_lock")) == Location(
        file="flowyml.yaml", line=4, column=35
    )


def test_policies_may_stand_under_project(load: Load) -> None:
    settings = load("project:\n  name: fraud\n  policies: {allowed_stacks: [prod-*]}\n")
    assert settings.policies == PoliciesSection(allowed_stacks=("prod-*",))
    assert settings.location(("policies", "allowed_stacks", 0)) == Location(file="flowyml.yaml", line=3, column=31)


def test_policies_in_both_places_are_refused_with_both_lines(refused: Refused) -> None:
    assert refused("policies: {}\nproject:\n  policies: {}\n") == (
        "`policies` stands twice, here and at flowyml.yaml:1:1: flowyml.yaml:3:3; keep one: `policies` at the top"
    )


def test_fallback_environment_is_what_the_variable_names(load: Load) -> None:
    assert load(None, FLOWYML_ENV="prod").fallback_environment == "prod"


# Where the files are


def test_load_walks_up_from_the_start(folder: Path) -> None:
    (folder / "flowyml.yaml").write_text("project: {name: fraud}\n")
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    settings = load_settings(inner, environ={}, system_file=folder / "none")
    assert (settings.root, settings.file) == (folder, folder / "flowyml.yaml")
    assert settings.location(("project", "name")) == Location(file=str(folder / "flowyml.yaml"), line=1, column=17)


def test_load_with_the_working_directory_as_project_walks_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "flowyml.yaml").write_text("project: {name: fraud}\n")
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    settings = load_settings(project=Path(), environ={}, system_file=folder / "none")
    assert (settings.root, settings.file) == (folder, folder / "flowyml.yaml")


def test_load_with_a_project_below_another_fails_closed(folder: Path) -> None:
    (folder / "flowyml.yaml").write_text("project: {name: fraud}\n")
    (folder / "inner").mkdir()
    with pytest.raises(UsageError) as caught:
        load_settings(project=Path("inner"), environ={"HOME": "/home/ada"}, system_file=folder / "none")
    assert str(caught.value) == f"there is no flowyml.yaml in this folder: inner; name the one that holds it: {folder}"


@pytest.mark.parametrize(
    ("project", "words"),
    [
        ("inner", "there is no flowyml.yaml in this folder: inner; name the one that holds it"),
        (
            ".",
            (
                "there is no flowyml.yaml in this folder, or in one above it: .; "
                "write one, or name no project, and the defaults hold"
            ),
        ),
    ],
)
def test_load_with_a_project_without_settings_fails_closed(folder: Path, project: str, words: str) -> None:
    (folder / "inner").mkdir()
    with pytest.raises(UsageError) as caught:
        load_settings(project=Path(project), environ={"HOME": "/home/ada"}, system_file=folder / "none")
    assert str(caught.value) == words


def test_load_with_project_calls_the_file_as_it_was_given(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner/flowyml.yaml").write_text("polices: {}\n")
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(project=Path("inner"), environ={}, system_file=folder / "none")
    assert str(caught.value) == "unknown key `polices`: inner/flowyml.yaml:1:1; did you mean `policies`?"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "there is no such folder: nowhere; name an existing folder"),
        ("flowyml.yaml", "this is a file: flowyml.yaml; name the folder that holds flowyml.yaml"),
        ("a\0b", "the folder cannot be looked at: 'a\\x00b' (no file can have this name); name an existing folder"),
        ("loop", "the folder cannot be looked at: 'loop' (Too many levels of symbolic links); name an existing folder"),
        ("long", "the folder cannot be looked at: 'long' (File name too long); name an existing folder"),
    ],
)
def test_load_with_a_project_that_is_no_folder_is_usage(folder: Path, name: str, words: str) -> None:
    (folder / "flowyml.yaml").write_text("{}")
    (folder / "loop").symlink_to("loop")
    (folder / "long").symlink_to("a" * 300)
    with pytest.raises(UsageError) as caught:
        load_settings(project=Path(name), environ={}, system_file=folder / "none")
    assert str(caught.value) == words


def test_load_from_a_working_directory_that_is_gone_is_usage(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(UsageError):
        load_settings(environ={}, system_file=folder / "none")


def test_yml_beside_no_yaml_fails_closed(folder: Path, refused: Refused) -> None:
    (folder / "flowyml.yml").write_text("policies: {allowed_stacks: []}\n")
    assert refused(None) == (
        "settings stand in a file that is not read: /project/flowyml.yml; rename it to flowyml.yaml"
    )


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "null\n"])
def test_empty_file_fails_closed(refused: Refused, content: str) -> None:
    assert refused(content) == "the file says nothing: flowyml.yaml; write settings into it, or remove it"


def test_dangling_link_fails_closed(folder: Path, refused: Refused) -> None:
    (folder / "flowyml.yaml").symlink_to("gone.yaml")
    assert refused(None) == (
        "the settings cannot be read: flowyml.yaml (No such file or directory); "
        "check that the file exists and that you may read it"
    )


def test_folder_in_place_of_the_file_fails_closed(folder: Path, refused: Refused) -> None:
    (folder / "flowyml.yaml").mkdir()
    assert refused(None).startswith("this is no regular file: flowyml.yaml;")


def test_pipe_in_place_of_the_file_fails_closed(folder: Path, refused: Refused) -> None:
    os.mkfifo(folder / "flowyml.yaml")
    assert refused(None) == "this is no regular file: flowyml.yaml; write the settings into a file"


def test_loop_of_links_fails_closed(folder: Path, refused: Refused) -> None:
    (folder / "flowyml.yaml").symlink_to("flowyml.yaml")
    assert refused(None).startswith("the settings cannot be read: flowyml.yaml (Too many levels of symbolic links);")


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\xff",
        b"\xff\xfe{\x00}\x00",
        b"{unclosed",
        b"a: 1\na: 2\n",
        b"policy: !!python/object:os.system {}\n",
        b"x: " + b"[" * 5000,
        b"{}\n#" + b"x" * (2 << 20),
    ],
)
def test_what_is_no_strict_yaml_fails_closed(load: Load, content: bytes) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(content)
    (problem,) = caught.value.problems
    assert problem.location.file == "flowyml.yaml"
    assert isinstance(caught.value.__cause__, FlowymlPolicyError)


def test_second_document_fails_closed(refused: Refused) -> None:
    assert refused("project: {}\n---\npolicies: {}\n") == (
        "a second document starts: flowyml.yaml:3:1; keep one: take out the `---` line"
    )


@pytest.mark.parametrize(("content", "kind"), [("a", "a string"), ("[]", "a list"), ("2.1", "a number")])
def test_file_without_keys_fails_closed(refused: Refused, content: str, kind: str) -> None:
    assert refused(content) == (
        f"the file must hold keys and values, not {kind}: flowyml.yaml:1:1; "
        "write project, policies, environments as `key: value`"
    )


def test_exit_code_of_invalid_settings_is_undecided(load: Load) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load("x: 1\n")
    assert (caught.value.exit_code, caught.value.code) == (3, "settings_invalid")


# Environments


def test_environment_unknown_is_said_with_the_nearest(load: Load, folder: Path) -> None:
    settings = load("environments: {production: {stack: a}, dev: {stack: b}}\n")
    with pytest.raises(EnvironmentUnknown) as caught:
        settings.environment("prodction")
    assert str(caught.value) == (
        f"there is no environment 'prodction': {folder}/flowyml.yaml; did you mean production?"
    )
    with pytest.raises(EnvironmentUnknown, match=r"name one of production, dev, or add it to flowyml.yaml$"):
        settings.environment("")


def test_environment_unknown_without_any_says_where_to_add_it(load: Load) -> None:
    with pytest.raises(EnvironmentUnknown, match=r"add it under `environments` of flowyml.yaml; none is there yet$"):
        load(None).environment("dev")


def test_environments_of_a_stack_are_found_by_name_and_by_the_file_of_its_key(load: Load, folder: Path) -> None:
    settings = load("""\
environments: {dev: {stack: mine}, test: {stack: gpu-large}, prod: {stack: other}}
stacks: {mine: {source: local, path: stacks/gpu.yaml}, other: {source: github, repo: a/b}}
""")
    assert settings.environments_of("gpu-large") == ("test",)
    assert settings.environments_of("gpu-large", file=folder / "stacks/gpu.yaml") == ("dev", "test")
    assert settings.environments_of("gpu-large", file=Path("stacks/gpu.yaml")) == ("dev", "test")
    assert settings.environments_of("absent") == ()
    (folder / "link.yaml").symlink_to("stacks/gpu.yaml")
    assert settings.environments_of("gpu-large", file=Path("link.yaml")) == ("dev", "test")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("environments: {prod: {stack: gpu}}", False),
        ("stacks: {gpu: {source: local, path: a.yaml}}", False),
        ("stacks: {gpu: {source: http, url: https://x.io/a.yaml}}", True),
        ("environments: {prod: {stack: gpu@2.1.0}}", True),
        ("environments: {prod: {stack: registry://gpu}}", True),
    ],
)
def test_has_distant_stacks_is_whether_more_than_names_and_files_tell(load: Load, content: str, expected: bool) -> None:
    assert load(content).has_distant_stacks is expected


# Settings that are found above what is worked in


@pytest.mark.parametrize(
    ("repository", "above"),
    [("", False), ("inner", False), ("inner/deep", True), ("inner/deep/er", True), (None, True)],
)
def test_settings_above_the_work_tree_are_marked(tmp_path: Path, repository: str | None, *, above: bool) -> None:
    here = tmp_path / "inner" / "deep" / "er"
    here.mkdir(parents=True)
    (tmp_path / "inner" / "flowyml.yaml").write_text("project: {name: a}\n")
    if repository is not None:
        (tmp_path / repository / ".git").mkdir()
    settings = load_settings(here, environ={"HOME": "/home/ada"}, system_file=tmp_path / "none")
    assert (settings.file, settings.is_above) == (tmp_path / "inner" / "flowyml.yaml", above)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")
@pytest.mark.parametrize("is_link", [False, True])
def test_settings_of_another_user_above_the_work_tree_fail_closed(tmp_path: Path, *, is_link: bool) -> None:
    file, inner = tmp_path / "flowyml.yaml", tmp_path / "inner"
    (inner / ".git").mkdir(parents=True)
    if is_link:
        (tmp_path / "other.yaml").write_text("project: {name: a}\n")
        file.symlink_to("other.yaml")
    else:
        file.write_text("project: {name: a}\n")
    os.chown(file, 4242, -1, follow_symlinks=False)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(inner, environ={"HOME": "/home/ada"}, system_file=tmp_path / "none")
    assert str(caught.value) == (
        f"the settings found above this folder belong to another user (uid 4242): {file}; "
        "name their folder by --project where they are meant, or write a flowyml.yaml here"
    )
    for named in (tmp_path, None):
        assert load_settings(tmp_path, project=named, environ={"HOME": "/"}, system_file=tmp_path / "none").file == file


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")
def test_settings_of_another_user_beside_a_git_folder_of_theirs_fail_closed(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "flowyml.yaml").write_text("project: {name: a}\n")
    for planted in ("flowyml.yaml", ".git"):
        os.chown(tmp_path / planted, 4242, -1)
    with pytest.raises(SettingsInvalid, match="belong to another user"):
        load_settings(tmp_path / "inner", environ={"HOME": "/home/ada"}, system_file=tmp_path / "none")
