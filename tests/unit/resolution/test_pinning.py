"""What names meant is pinned, and what changed since is told: over real files, repositories and the registry."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.decision.lifecycle import StackLifecycle
from flowyml_policy.errors.decision import PolicyUndecided
from flowyml_policy.errors.lockfile import LockfileForeign, StackDrifted, StackNotPinned
from flowyml_policy.errors.opa import OpaStartFailed
from flowyml_policy.errors.sources import SourceChanged, SourceNotPinned
from flowyml_policy.records.pins import StackPin
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.resolution.lockfile import Lockfile, read_lockfile, write_lockfile
from flowyml_policy.resolution.pinning import Change, StackPinning
from flowyml_policy.resolution.resolver import StackResolver
from flowyml_policy.settings.loading import load_settings

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

STACK = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: prod-gpu-git, version: "1.0.0", labels: {team: a, approved: "true"}}
spec:
  compute: {max_nodes: 4}
  runtime: {docker_image: "myregistry.azurecr.io/flowyml@sha256:%s"}
"""
IMAGE = "a" * 64
OFFLINE = "the repository is asked for at its server, and nothing is fetched offline"


@pytest.fixture(autouse=True)
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of their own, with neither settings of git nor anything fetched before."""
    for name, value in {
        "HOME": str(project / "home"),
        "XDG_STATE_HOME": str(project / "state"),
        "XDG_CACHE_HOME": str(project / "cache"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }.items():
        monkeypatch.setenv(name, value)


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(project: Path) -> Path:
    """A repository with one stack, tagged v1; flowyml.yaml names it, and production must run what is pinned of it."""
    folder = project / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "prod.yaml").write_text(STACK % IMAGE)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v1")
    settings = (project / "flowyml.yaml").read_text()
    settings = settings.replace("{stack: prod-gpu-large}", "{stack: prod, require_lock: true}")
    settings += f"stacks:\n  prod: {{source: git, repo: 'file://{folder}', ref: v1, path: prod.yaml}}\n"
    (project / "flowyml.yaml").write_text(settings)
    return folder


def move_tag(repository: Path) -> str:
    (repository / "prod.yaml").write_text((STACK % IMAGE).replace("max_nodes: 4", "max_nodes: 9"))
    git(repository, "commit", "-q", "-a", "-m", "two")
    git(repository, "tag", "-f", "v1")
    return git(repository, "rev-parse", "v1^{commit}")


def change_of_prod(
    repository: Path, *, pinned: str | None, found: str, what: str | None = None, ref: str = "v1"
) -> Change:
    uri = f"file://{repository}"
    return Change(kind="stack", name="prod", what=what, pinned=pinned, found=found, uri=uri, ref=ref)


def pinning(bundles: dict[str, str] | None = None) -> StackPinning:
    settings = load_settings()
    return StackPinning(
        settings, bundles=lambda: bundles or {"flowyml": "1"}, registry=LocalRegistry(settings.audit_path)
    )


def digest_of(path: Path) -> str:
    return StackResolver().resolve(str(path)).digest


def test_lock_pins_commit_definition_images_and_policy(repository: Path) -> None:
    locked = pinning().lock()

    assert (locked.exit_code, locked.written, locked.unchecked) == (0, True, ())
    lockfile = read_lockfile(Path("flowyml.lock"))
    assert lockfile == locked.lockfile
    assert lockfile is not None
    assert lockfile.environments == {"dev": "local", "production": "prod"}
    assert lockfile.bundles == {"flowyml": "1"}
    assert list(lockfile.stacks) == ["local", "prod"]
    pin = lockfile.stacks["prod"]
    assert pin.model_dump() == {
        "name": "prod-gpu-git",
        "version": "1.0.0",
        "definition": digest_of(repository / "prod.yaml"),
        "kind": "git",
        "uri": f"file://{repository}",
        "ref": "v1",
        "full_ref": "refs/tags/v1",
        "commit": git(repository, "rev-parse", "v1^{commit}"),
        "images": {f"myregistry.azurecr.io/flowyml@sha256:{IMAGE}": f"sha256:{IMAGE}"},
    }


def test_lock_again_changes_nothing(repository: Path) -> None:
    pinning().lock()
    again = pinning().lock()
    assert (again.exit_code, again.written, again.changes) == (0, False, ())
    assert repository.exists()


def test_lock_and_verify_offline_ask_no_server(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinning().lock()
    before = Path("flowyml.lock").read_bytes()
    moved = move_tag(repository)
    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")

    verified, locked = pinning().verify(), pinning().lock()

    assert (verified.exit_code, verified.changes) == (3, ())
    assert [(one.name, one.environments, one.error.message) for one in verified.unchecked] == [
        ("prod", ("production",), f"v1 of {OFFLINE}: file://{repository}")
    ]
    assert (locked.exit_code, locked.written, locked.unchecked) == (3, False, verified.unchecked)
    assert Path("flowyml.lock").read_bytes() == before
    monkeypatch.delenv("FLOWYML_POLICY_OFFLINE")
    assert pinning().lock().lockfile.stacks["prod"].commit == moved


def test_lock_is_the_same_from_every_folder(
    project: Path, write_stack: WriteStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stack("prod-gpu-large")
    pinning().lock()
    before = Path("flowyml.lock").read_text()
    assert "uri: stacks/prod-gpu-large.yaml\n" in before
    monkeypatch.chdir(project / "stacks")
    assert not pinning().lock().written
    assert (project / "flowyml.lock").read_text() == before


def test_verify_of_what_was_pinned_is_fine(repository: Path) -> None:
    pinning().lock()
    verified = pinning().verify()
    assert (verified.exit_code, verified.checked, verified.changes, verified.unchecked) == (0, 2, (), ())
    assert repository.exists()


def test_verify_after_a_tag_moved_tells_what_changed_and_exits_1(repository: Path) -> None:
    pinning().lock()
    before = git(repository, "rev-parse", "v1^{commit}")
    old = digest_of(repository / "prod.yaml")
    after = move_tag(repository)

    verified = pinning().verify()

    new = digest_of(repository / "prod.yaml")
    assert verified.exit_code == 1
    assert verified.changes == (
        change_of_prod(repository, what="definition", pinned=old, found=new),
        change_of_prod(repository, what="commit", pinned=before, found=after),
    )


def test_lock_of_a_stack_tells_its_address_and_the_ref_that_it_is_pinned_at(project: Path, repository: Path) -> None:
    assert pinning().lock().changes[-1] == change_of_prod(
        repository, pinned=None, found=digest_of(repository / "prod.yaml")
    )
    settings = project / "flowyml.yaml"
    git(repository, "tag", "v2")
    settings.write_text(settings.read_text().replace("ref: v1", "ref: v2"))

    assert pinning().lock().changes == (
        change_of_prod(repository, ref="v2", what="ref", pinned="v1", found="v2"),
        change_of_prod(repository, ref="v2", what="full_ref", pinned="refs/tags/v1", found="refs/tags/v2"),
    )


def test_lock_of_a_project_that_names_a_stack_no_more_tells_no_address_of_it(project: Path, repository: Path) -> None:
    pinning().lock()
    gone = digest_of(repository / "prod.yaml")
    (project / "flowyml.yaml").write_text("environments: {dev: {stack: local}}\n")

    assert pinning().lock().changes == (
        Change(kind="environment", name="production", pinned="prod"),
        Change(kind="stack", name="prod", pinned=gone),
    )


def test_resolving_for_production_after_a_tag_moved_fails_closed(repository: Path) -> None:
    pinning().lock()
    assert StackResolver().locate(env="production").lock is not None
    move_tag(repository)
    with pytest.raises(SourceChanged, match="the tag v1 was pinned to"):
        StackResolver().resolve(env="production")


def test_resolving_after_a_tag_moved_fails_closed_by_whatever_name_and_for_nobody_in_particular(
    repository: Path,
) -> None:
    pinning().lock()
    before = StackResolver().resolve("prod")
    git(repository, "tag", "v2")
    move_tag(repository)
    for named in ("prod", "prod@1.0.0", f"git+file://{repository}@v1#prod.yaml"):
        with pytest.raises(SourceChanged, match="the tag v1 was pinned to"):
            StackResolver().resolve(named)
    assert StackResolver().resolve(f"git+file://{repository}@v2#prod.yaml").digest == before.digest
    assert StackResolver().resolve(f"git+file://{repository}@main#prod.yaml").digest != before.digest


@pytest.mark.parametrize("spelt", ["file://REPO/.git", "file://REPO/", "file://LINK"])
def test_resolving_after_a_tag_moved_fails_closed_by_every_spelling_of_the_repository(
    project: Path, repository: Path, spelt: str
) -> None:
    pinning().lock()
    link = project / "link"
    link.symlink_to(repository)
    address = f"git+{spelt.replace('REPO', str(repository)).replace('LINK', str(link))}@v1#prod.yaml"
    assert StackResolver().resolve(address).metadata.name == "prod-gpu-git"
    move_tag(repository)
    with pytest.raises(SourceChanged, match="the tag v1 was pinned to"):
        StackResolver().resolve(address)


def test_resolving_a_tag_that_moved_to_what_was_pinned_by_another_spelling_fails_closed(repository: Path) -> None:
    pinning().lock()
    lockfile = read_lockfile(Path("flowyml.lock"))
    assert lockfile is not None
    after = move_tag(repository)
    twin = lockfile.stacks["prod"].model_copy(update={"uri": f"file://{repository}/.git", "commit": after})
    write_lockfile(Path("flowyml.lock"), lockfile.model_copy(update={"stacks": {**lockfile.stacks, "twin": twin}}))
    with pytest.raises(SourceChanged, match="the tag v1 was pinned to"):
        StackResolver().resolve("prod")
    assert StackResolver().resolve(f"git+file://{repository}/.git@v1#prod.yaml").source.commit == after


@pytest.mark.parametrize("runs_on", ["prod", "prod@1.0.0", "git+file://REPO@v1#prod.yaml"])
def test_verify_after_a_pinned_tag_was_deleted_tells_so_and_exits_1(
    project: Path, repository: Path, runs_on: str
) -> None:
    named = runs_on.replace("REPO", str(repository))
    settings = (project / "flowyml.yaml").read_text()
    (project / "flowyml.yaml").write_text(settings.replace("{stack: prod, require", f"{{stack: '{named}', require"))
    pinning().lock()
    git(repository, "tag", "-d", "v1")

    verified = pinning().verify()

    said = f"the repository has no branch or tag 'v1': file://{repository}"
    assert (verified.exit_code, verified.unchecked) == (1, ())
    assert verified.changes == tuple(
        Change(kind="stack", name=name, found=said, uri=f"file://{repository}", ref="v1")
        for name in sorted({"prod", named})
    )


@pytest.mark.parametrize(("old", "new"), [("ref: v1", "ref: v9"), ("/repository'", "/other'")])
def test_verify_of_a_ref_that_was_never_pinned_and_is_not_there_is_not_checked_and_exits_3_fails_closed(
    project: Path, repository: Path, old: str, new: str
) -> None:
    pinning().lock()
    git(project, "clone", "-q", "--no-tags", str(repository), "other")
    (project / "flowyml.yaml").write_text((project / "flowyml.yaml").read_text().replace(old, new))

    verified = pinning().verify()

    assert (verified.exit_code, verified.changes) == (3, ())
    assert [(one.name, one.error.code) for one in verified.unchecked] == [("prod", "source_ref_missing")]


def replace_tag_with_branch(repository: Path, *, at: str) -> str:
    git(repository, "tag", "-d", "v1")
    git(repository, "branch", "v1", at)
    return git(repository, "rev-parse", "refs/heads/v1")


def test_verify_tells_of_a_tag_that_gave_way_to_a_branch_of_its_name(repository: Path) -> None:
    pinning().lock()
    replace_tag_with_branch(repository, at="main")

    verified = pinning().verify()

    assert (verified.exit_code, verified.unchecked) == (1, ())
    assert verified.changes == (
        change_of_prod(repository, what="full_ref", pinned="refs/tags/v1", found="refs/heads/v1"),
    )


def test_resolving_a_tag_that_gave_way_to_a_branch_takes_the_pinned_commit_or_fails_closed(repository: Path) -> None:
    pinning().lock()
    before = git(repository, "rev-parse", "v1^{commit}")
    replace_tag_with_branch(repository, at="main")
    found = StackResolver().locate(env="production")
    assert (found.provenance.commit, found.provenance.full_ref) == (before, "refs/tags/v1")

    git(repository, "branch", "-D", "v1")
    move_tag(repository)
    after = replace_tag_with_branch(repository, at="main")
    said = f"the tag v1 was pinned to {before} and is a branch at {after} now: file://{repository}"
    address = f"git+file://{repository}@v1#prod.yaml"
    for named, environment in ((None, "production"), ("prod", None), (address, None), (address, "production")):
        with pytest.raises(SourceChanged) as caught:
            StackResolver().resolve(named, environment)
        assert caught.value.message == said
    assert StackResolver().resolve(f"git+file://{repository}@main#prod.yaml").source.commit == after


def test_verify_against_a_lockfile_of_version_1_compares_what_that_says(repository: Path) -> None:
    pinning().lock()
    lockfile = Path("flowyml.lock")
    new = lockfile.read_text()
    old = [line for line in new.splitlines(keepends=True) if "full_ref:" not in line]
    lockfile.write_text("".join(old).replace("version: 2\n", "version: 1\n", 1))

    assert (pinning().verify().exit_code, pinning().verify().changes) == (0, ())
    assert StackResolver().locate(env="production").lock is not None
    locked = pinning().lock()
    assert (locked.written, locked.changes, lockfile.read_text()) == (True, (), new)
    assert repository.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [("ref: v1", "ref: v2"), ("ref: v1", "ref: main"), (", ref: v1", ""), ("/repository'", "/clone'")],
    ids=["another tag", "a branch", "the default branch", "another repository"],
)
def test_resolving_for_production_where_the_settings_name_another_place_than_was_pinned_fails_closed(
    project: Path, repository: Path, old: str, new: str
) -> None:
    pinning().lock()
    git(repository, "tag", "v2")
    git(project, "clone", "-q", str(repository), "clone")
    text = (project / "flowyml.yaml").read_text()
    assert text.count(old) == 1
    (project / "flowyml.yaml").write_text(text.replace(old, new))

    with pytest.raises(StackDrifted) as caught:
        StackResolver().resolve(env="production")
    assert caught.value.message.startswith(
        f"'prod-gpu-git' was pinned when it was read at v1 of file://{repository}, and is to be read at "
    )
    assert caught.value.advice == "if that is meant, run `flowyml-policy stack lock` and commit"
    assert StackResolver().resolve("prod").digest == digest_of(repository / "prod.yaml")
    assert [change.what for change in pinning().verify().changes][:1] == ["uri" if "clone" in new else "ref"]
    pinning().lock()
    assert StackResolver().locate(env="production").lock is not None


def test_resolving_for_production_by_what_was_a_file_when_it_was_pinned_fails_closed(
    project: Path, repository: Path
) -> None:
    text = (project / "flowyml.yaml").read_text()
    entry = next(line for line in text.splitlines() if line.startswith("  prod:"))
    (project / "flowyml.yaml").write_text(text.replace(entry, "  prod: {source: local, path: ./repository/prod.yaml}"))
    pinning().lock()
    assert StackResolver().locate(env="production").lock is not None
    (project / "flowyml.yaml").write_text(text)
    with pytest.raises(StackDrifted, match=r"was pinned when it was read at repository/prod\.yaml, and is to be read"):
        StackResolver().resolve(env="production")
    assert repository.exists()


def test_resolving_for_production_without_a_lockfile_fails_closed(repository: Path) -> None:
    with pytest.raises(StackNotPinned):
        StackResolver().resolve(env="production")
    assert repository.exists()


def test_run_of_a_local_stack_that_drifted_fails_closed(project: Path, write_stack: WriteStack) -> None:
    settings = (project / "flowyml.yaml").read_text()
    (project / "flowyml.yaml").write_text(
        settings.replace("{stack: prod-gpu-large}", "{stack: prod-gpu-large, require_lock: true}")
    )
    path = write_stack("prod-gpu-large")
    pinning().lock()
    with PolicyEngine.from_project(project) as engine:
        assert engine.check(path).allowed
        write_stack("prod-gpu-large", image="myregistry.azurecr.io/flowyml:2")
        with pytest.raises(PolicyUndecided) as caught:
            engine.check(path)
        assert isinstance(caught.value.__cause__, StackDrifted)
        assert engine.check(path, operation="validate").allowed


@pytest.mark.parametrize("demand", ["require_lock", "require_pinned"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_validate_and_apply_for_an_environment_hold_what_it_demands_fails_closed(
    project: Path, write_stack: WriteStack, demand: str, *, by_variable: bool
) -> None:
    settings = (project / "flowyml.yaml").read_text()
    (project / "flowyml.yaml").write_text(
        settings.replace("{stack: prod-gpu-large}", f"{{stack: prod-gpu-large, {demand}: true}}")
    )
    path = write_stack("prod-gpu-large")
    pinning().lock()
    write_stack("prod-gpu-large", image="myregistry.azurecr.io/flowyml:2")
    environ = dict(os.environ) | ({"FLOWYML_ENV": "production"} if by_variable else {})
    asked = None if by_variable else "production"
    code = {"require_lock": "stack_drifted", "require_pinned": "source_not_pinned"}[demand]
    with (
        PolicyEngine.from_project(project, environ=environ) as engine,
        StackLifecycle.from_project(project, environ=environ) as life,
    ):
        for named in (path, "prod-gpu-large"):
            (result,) = engine.validate([named], environment=asked)
            assert (result.outcome, result.error and result.error.code) == ("error", code)
            (applied,) = life.apply([named], environment=asked)
            assert (applied.status, applied.exit_code) == ("undecided", 3)
    with StackLifecycle.from_project(project) as life:
        assert [one.status for one in life.apply([path])] == ["registered"]
        assert [one.status for one in life.apply([path], environment="dev")] == ["unchanged"]


def test_copy_or_draft_of_a_pinned_stack_belongs_and_is_not_run(project: Path, repository: Path) -> None:
    pinning().lock()
    copy = project / "copy.yaml"
    copy.write_text(STACK % IMAGE)
    other = project / "other.yaml"
    other.write_text((STACK % IMAGE).replace("max_nodes: 4", "max_nodes: 3"))
    with PolicyEngine.from_project(project) as engine:
        assert [one.environments for one in engine.validate([str(copy), str(other)])] == [
            ("production",),
            ("production",),
        ]
        for file in (copy, other):
            with pytest.raises(PolicyUndecided) as caught:
                engine.check(file)
            assert isinstance(caught.value.__cause__, StackDrifted)
    assert repository.exists()


@pytest.mark.parametrize("runs_on", ["git+file://REPO@v1#prod-gpu-git", "git+file://REPO@v1#prod.yaml", "prod"])
def test_registered_stack_belongs_to_the_environment_of_where_it_was_read_fails_closed(
    project: Path, repository: Path, runs_on: str
) -> None:
    settings = (project / "flowyml.yaml").read_text()
    demand = f"{{stack: '{runs_on.replace('REPO', str(repository))}', require_pinned: true}}"
    (project / "flowyml.yaml").write_text(settings.replace("{stack: prod, require_lock: true}", demand))
    copy = project / "copies" / "prod.yaml"
    copy.parent.mkdir()
    copy.write_text((STACK % IMAGE).replace('"1.0.0"', '"1.1.0"'))
    commit = git(repository, "rev-parse", "HEAD")
    with StackLifecycle.from_project(project) as life:
        applied = life.apply([f"git+file://{repository}@{commit}#prod.yaml", str(copy)])
        assert [one.status for one in applied] == ["registered", "registered"]
    with PolicyEngine.from_project(project) as engine:
        results = engine.validate([f"registry://prod-gpu-git@{version}" for version in ("1.0.0", "1.1.0")])
        assert [one.environments for one in results] == [("production",), ("production",)]
        with pytest.raises(PolicyUndecided) as caught:
            engine.check("prod-gpu-git")
    assert isinstance(caught.value.__cause__, SourceNotPinned)


def test_policy_is_told_what_is_pinned(project: Path, write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large")
    pinning().lock()
    with PolicyEngine.from_project(project) as engine:
        (result,) = engine.validate([path])
    with AuditStore(project / ".flowyml" / "policy.db") as audit:
        stored = audit.decision(result.decision_id or "")
    assert stored is not None
    assert stored.input is not None
    assert f'"lock":{{"commit":null,"definition_digest":"{digest_of(Path(path))}"' in stored.input


def test_verify_tells_of_environments_stacks_and_policy_that_came_and_went(
    project: Path, write_stack: WriteStack
) -> None:
    write_stack("prod-gpu-large")
    write_stack("staging-cpu")
    pinning().lock()
    pinned = read_lockfile(project / "flowyml.lock")
    assert pinned is not None
    large = pinned.stacks["prod-gpu-large"]
    assert (large.uri, large.ref) == ("stacks/prod-gpu-large.yaml", None)
    text = (
        (project / "flowyml.yaml")
        .read_text()
        .replace("production: {stack: prod-gpu-large}", "staging: {stack: staging-cpu}")
    )
    (project / "flowyml.yaml").write_text(text)

    verified = pinning({"flowyml": "2"}).verify()

    assert verified.exit_code == 1
    assert verified.changes == (
        Change(kind="environment", name="production", pinned="prod-gpu-large"),
        Change(kind="environment", name="staging", found="staging-cpu"),
        Change(kind="bundle", name="flowyml", pinned="1", found="2"),
        Change.of_stack("prod-gpu-large", large, pinned=large.definition),
        Change(kind="stack", name="staging-cpu", found=digest_of(project / "stacks" / "staging-cpu.yaml")),
    )


def test_verify_of_a_registered_stack_tells_of_a_newer_version(project: Path, write_stack: WriteStack) -> None:
    path = Path(write_stack("prod-gpu-large", file="elsewhere.yaml"))
    path = path.rename("elsewhere.yaml")
    with StackLifecycle.from_project(project) as life:
        assert [one.status for one in life.apply([str(path)])] == ["registered"]
        pinning().lock()
        path.write_text(path.read_text().replace("2.1.0", "2.2.0"))
        assert [one.status for one in life.apply([str(path)])] == ["registered"]
    whats = [change.what for change in pinning().verify().changes]
    assert whats == ["version", "definition", "uri"]


def test_verify_of_what_cannot_be_reached_is_not_checked_and_exits_3_fails_closed(
    project: Path, repository: Path
) -> None:
    pinning().lock()
    repository.rename(project / "away")
    verified = pinning().verify()
    assert (verified.exit_code, verified.changes) == (3, ())
    (unchecked,) = verified.unchecked
    assert (unchecked.name, unchecked.environments) == ("prod", ("production",))


def test_registered_stack_belongs_to_the_environment_whose_key_names_its_file_fails_closed(project: Path) -> None:
    settings = (project / "flowyml.yaml").read_text()
    settings = settings.replace("{stack: prod-gpu-large}", "{stack: prod}")
    (project / "flowyml.yaml").write_text(f"{settings}stacks: {{prod: {{source: local, path: here/prod.yaml}}}}\n")
    file = project / "here" / "prod.yaml"
    file.parent.mkdir()
    file.write_text(STACK % IMAGE)
    with StackLifecycle.from_project(project) as life:
        assert [one.status for one in life.apply([str(file)])] == ["registered"]
    with PolicyEngine.from_project(project) as engine:
        (result,) = engine.validate(["registry://prod-gpu-git@1.0.0"])
    assert result.environments == ("production",)


def test_stack_registered_from_standard_input_is_not_run_past_the_lock_of_its_environment_fails_closed(
    project: Path,
) -> None:
    settings = (project / "flowyml.yaml").read_text()
    settings = settings.replace("{stack: prod-gpu-large}", "{stack: prod, require_lock: true}")
    (project / "flowyml.yaml").write_text(f"{settings}stacks: {{prod: {{source: local, path: here/prod.yaml}}}}\n")
    (project / "here").mkdir()
    (project / "here" / "prod.yaml").write_text(STACK % IMAGE)
    with StackLifecycle.from_project(project) as life:
        assert [one.status for one in life.apply(["-"], stdin=(STACK % IMAGE).encode())] == ["registered"]
    with PolicyEngine.from_project(project) as engine:
        with pytest.raises(PolicyUndecided) as raised:
            engine.check("registry://prod-gpu-git@1.0.0", operation="run")
        (result,) = engine.validate(["registry://prod-gpu-git@1.0.0"])
    assert isinstance(raised.value.__cause__, StackNotPinned)
    assert result.environments == ("production",)


def test_verify_of_what_changed_beside_what_cannot_be_reached_tells_both_and_exits_3_fails_closed(
    project: Path, repository: Path, write_stack: WriteStack
) -> None:
    path = write_stack("staging-cpu")
    with (project / "flowyml.yaml").open("a") as file:
        file.write("  staging: {source: local, path: stacks/staging-cpu.yaml}\n")
    pinning().lock()
    before = digest_of(Path(path))
    write_stack("staging-cpu", image="myregistry.azurecr.io/flowyml:2")
    repository.rename(project / "away")

    verified = pinning().verify()

    assert verified.changes[0] == Change(
        kind="stack", name="staging", what="definition", pinned=before, found=digest_of(Path(path)), uri=path
    )
    assert [one.name for one in verified.unchecked] == ["prod"]
    assert verified.exit_code == 3


def test_lock_of_what_cannot_be_resolved_writes_nothing_fails_closed(project: Path, write_stack: WriteStack) -> None:
    write_stack("prod-gpu-large")
    pinning().lock()
    before = (project / "flowyml.lock").read_bytes()
    with (project / "flowyml.yaml").open("a") as file:
        file.write("stacks: {gone: {source: local, path: ./gone.yaml}}\n")
    write_stack("prod-gpu-large", image="myregistry.azurecr.io/flowyml:2")

    locked = pinning().lock()

    assert (locked.exit_code, locked.written) == (3, False)
    assert [(one.name, one.environments) for one in locked.unchecked] == [("gone", ())]
    assert (project / "flowyml.lock").read_bytes() == before


def test_lock_and_verify_without_opa_fails_closed(project: Path, write_stack: WriteStack) -> None:
    write_stack("prod-gpu-large")
    pinning().lock()

    def no_opa() -> dict[str, str]:
        raise OpaStartFailed("OPA could not start")

    settings = load_settings()
    broken = StackPinning(settings, bundles=no_opa, registry=LocalRegistry(settings.audit_path))
    assert [(one.name, one.error.code) for one in broken.verify().unchecked] == [("bundles", "opa_start_failed")]
    assert broken.verify().exit_code == 3
    assert broken.lock().exit_code == 3
    assert project.exists()


def test_lock_and_verify_never_show_a_secret_of_an_address(project: Path) -> None:
    token = "0123456789abcdefABCDEF0123456789"
    address, moved = (f"https://127.0.0.1:1/{name}.yaml?sig={token}" for name in ("prod", "moved"))
    shown, old = (text.replace(token, "masked:azure_sas") for text in (address, moved))
    text = (project / "flowyml.yaml").read_text()
    (project / "flowyml.yaml").write_text(text.replace("stack: prod-gpu-large", f"stack: '{address}'"))
    pin = StackPin(name="p", version="1.0.0", definition=f"sha256:{IMAGE}", kind="http", uri="https://x", images={})
    for pinned in (moved, address):
        lockfile = Lockfile(bundles={"flowyml": "1"}, environments={"production": pinned}, stacks={pinned: pin})
        write_lockfile(Path("flowyml.lock"), lockfile)

        locked, verified = pinning().lock(), pinning().verify()

        assert (locked.exit_code, verified.exit_code) == (3, 3)
        assert [one.name for one in locked.unchecked] == [shown]
        assert locked.unchecked == verified.unchecked
        assert [(one.name, one.pinned) for one in verified.changes if one.pinned] == (
            [("production", old), (old, pin.definition)] if pinned == moved else []
        )
        assert token not in f"{locked.unchecked}{locked.changes}{verified}"


def test_verify_without_a_lockfile_fails_closed(project: Path) -> None:
    with pytest.raises(StackNotPinned) as caught:
        pinning().verify()
    assert caught.value.exit_code == 3
    assert str(project) in caught.value.message


def test_lock_leaves_flowymls_own_lockfile_alone(project: Path, write_stack: WriteStack) -> None:
    write_stack("prod-gpu-large")
    foreign = "apiVersion: flowyml.io/v1\nkind: StackLock\nproject: default\nresolvedStacks: {}\n"
    (project / "flowyml.lock").write_text(foreign)
    for call in (pinning().lock, pinning().verify):
        with pytest.raises(LockfileForeign):
            call()
    assert (project / "flowyml.lock").read_text() == foreign
