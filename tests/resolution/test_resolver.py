"""Names and addresses that lead to real repositories and servers: through the resolver, and through the engine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy import AuditStore, PolicyEngine, PolicyUndecided, StackDefinition, StackResolver
from flowyml_policy.errors.lockfile import StackDrifted
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.errors.sources import (
    SourceChanged,
    SourceNotPinned,
    SourceRefMissing,
    SourceUnreachable,
    StackAmbiguous,
)
from flowyml_policy.records.events import PolicyChecked
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.result import Result
from flowyml_policy.resolution.lockfile import Lockfile, write_lockfile
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.sources.source import FetchRules

if TYPE_CHECKING:
    from tests.resolution.conftest import GitHost, Repository, Server, StartServer


def stack(name: str, version: str = "1.0.0", backend: str = "ray") -> bytes:
    return (
        "apiVersion: flowyml/v1\nkind: StackDefinition\n"
        f'metadata: {{name: {name}, version: "{version}", labels: {{team: ml}}}}\n'
        f"spec: {{compute: {{backend: {backend}}}}}\n"
    ).encode()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    for name in ("FLOWYML_ENV", "FLOWYML_STACK", "FLOWYML_POLICY_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    return folder


def settings(project: Path, repository: Repository, *, ref: str, demands: str = "") -> None:
    (project / "flowyml.yaml").write_text(
        f"environments: {{prod: {{stack: gpu{demands}}}}}\n"
        f"stacks: {{gpu: {{source: git, repo: '{repository.url}', ref: {ref}, path: stacks/gpu.yaml}}}}\n"
        "policy: {images: {inspect: 'off'}}\n"
    )


def pin(project: Path, definition: StackDefinition) -> None:
    """Pin the stack `gpu` as `definition`, by the ref and at the commit that it was read."""
    source = definition.source
    pinned = StackPin(
        name="gpu", definition=definition.digest, kind="git", uri=source.uri, ref=source.ref, commit=source.commit
    )
    lockfile = Lockfile(environments={"prod": "gpu"}, stacks={"gpu": pinned}, bundles={})
    write_lockfile(load_settings(project=project).lockfile, lockfile)


def test_name_that_leads_to_a_repository_is_judged_with_commit_and_place(project: Path, repository: Repository) -> None:
    commit = repository.commit({"stacks/gpu.yaml": stack("gpu").replace(b'"1.0.0"', b'"one"')})
    settings(project, repository, ref="main")
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate(["gpu"])
        assert not engine.check("gpu").allowed
    assert result.source.model_dump() == {
        "kind": "git",
        "uri": repository.url,
        "ref": "main",
        "commit": commit,
        "digest": result.source.digest,
        "pinned": False,
    }
    assert result.environments == ("prod",)
    assert [(one.code, str(one.location)) for one in result.denials] == [("version.semantic", "stacks/gpu.yaml:3:32")]


def test_validate_takes_paths_and_references_in_one_call_in_order(project: Path, repository: Repository) -> None:
    commit = repository.commit({"stacks/gpu.yaml": stack("gpu"), "stacks/cpu.yaml": stack("cpu")})
    settings(project, repository, ref="main")
    (project / "mine.yaml").write_bytes(stack("mine"))
    named = [
        f"git+{repository.url}@{commit}#cpu",
        "mine.yaml",
        "-",
        "gpu",
        "local",
        "nobody",
        f"git+{repository.url}@no",
        "github://a",
    ]
    with PolicyEngine.from_project() as engine:
        results = list(engine.validate(named, stdin=stack("piped")))
    assert [(one.outcome, one.stack.name, one.source.kind, one.source.pinned) for one in results] == [
        ("allow", "cpu", "git", True),
        ("allow", "mine", "local", False),
        ("allow", "piped", "stdin", False),
        ("allow", "gpu", "git", False),
        ("allow", "local", "builtin", True),
        ("error", None, "registry", False),
        ("error", None, "git", False),
        ("error", None, "registry", False),
    ]
    assert [one.error.code for one in results if one.error] == [
        "stack_not_found",
        "source_ref_missing",
        "reference_malformed",
    ]
    with AuditStore() as audit:
        recorded = [event.outcome for event in audit.get_events() if isinstance(event, PolicyChecked)]
    assert recorded == ["error", "error", "error", "allow", "allow", "allow", "allow", "allow"]


@pytest.mark.parametrize(
    ("named", "error"),
    [
        (["gpu", "absent.yaml"], UsageError),
        (["gpu", "-"], UsageError),
    ],
)
def test_validate_mistake_of_the_call_is_raised_before_anything_is_judged_fails_closed(
    project: Path, repository: Repository, named: list[str], error: type[Exception]
) -> None:
    settings(project, repository, ref="main")
    (project / "mine.yaml").write_bytes(stack("mine"))
    with PolicyEngine.from_project() as engine, pytest.raises(error):
        engine.validate(named)
    assert not (project / ".flowyml" / "policy.db").exists()


def test_check_of_nothing_walks_the_chain(
    project: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"stacks/gpu.yaml": stack("gpu")})
    settings(project, repository, ref="main")
    with PolicyEngine.from_project() as engine:
        assert engine.check().allowed
        assert engine.check(environment="prod").allowed
        monkeypatch.setenv("FLOWYML_STACK", "nobody")
        with pytest.raises(PolicyUndecided, match="no stack is called 'nobody'"):
            engine.check()
    with AuditStore() as audit:
        events = [event for event in audit.get_events() if isinstance(event, PolicyChecked)]
    assert [(event.stack_name, event.outcome) for event in events] == [
        (None, "error"),
        ("gpu", "allow"),
        ("local", "allow"),
    ]


def test_environment_of_the_variable_holds_for_every_call(project: Path, repository: Repository) -> None:
    settings(project, repository, ref="main")
    (project / "mine.yaml").write_bytes(stack("mine"))
    with PolicyEngine.from_project(environ={"FLOWYML_ENV": "prod", "HOME": str(project)}) as engine:
        (result,) = engine.validate(["mine.yaml"])
        assert result.environments == ("prod",)
    unknown = PolicyEngine.from_project(environ={"FLOWYML_ENV": "prdo", "HOME": str(project)})
    with unknown as engine, pytest.raises(EnvironmentUnknown):
        engine.validate(["mine.yaml"])


def test_run_of_what_is_not_pinned_fails_closed_by_whatever_name(project: Path, repository: Repository) -> None:
    commit = repository.commit({"stacks/gpu.yaml": stack("gpu")})
    settings(project, repository, ref=commit, demands=", require_pinned: true")
    with PolicyEngine.from_project() as engine:
        assert engine.check(environment="prod").allowed
        assert engine.check(f"git+{repository.url}@{commit}#stacks/gpu.yaml").allowed
        for named in (
            f"git+{repository.url}@main#stacks/gpu.yaml",
            StackResolver().resolve(f"git+{repository.url}#gpu"),
        ):
            with pytest.raises(PolicyUndecided) as caught:
                engine.check(named)
            assert isinstance(caught.value.__cause__, SourceNotPinned)


def test_tag_that_moved_since_it_was_pinned_fails_closed(project: Path, repository: Repository) -> None:
    commit = repository.commit({"stacks/gpu.yaml": stack("gpu")})
    repository.git("tag", "v1")
    settings(project, repository, ref="v1", demands=", require_pinned: true, require_lock: true")
    definition = StackResolver().resolve("gpu")
    pin(project, definition)
    found = StackResolver().locate(env="prod")
    assert (found.provenance.ref, found.provenance.commit, found.provenance.pinned) == ("v1", commit, True)
    assert found.lock is not None
    assert found.lock.commit == commit
    moved = repository.commit({"stacks/gpu.yaml": stack("gpu", backend="aws")})
    repository.git("tag", "--force", "v1")
    with pytest.raises(SourceChanged, match=f"the tag v1 was pinned to {commit} and is {moved} now"):
        StackResolver().locate(env="prod")


def test_branch_that_moved_since_it_was_pinned_is_read_at_the_pinned_commit(
    project: Path, repository: Repository
) -> None:
    repository.commit({"stacks/gpu.yaml": stack("gpu")})
    settings(project, repository, ref="main", demands=", require_lock: true")
    pinned = StackResolver().resolve("gpu")
    pin(project, pinned)
    repository.commit({"stacks/gpu.yaml": stack("gpu", backend="aws")})
    assert StackResolver().resolve(env="prod") == pinned
    assert StackResolver().resolve("gpu") != pinned
    with PolicyEngine.from_project() as engine:
        assert engine.check(environment="prod").allowed
        with pytest.raises(PolicyUndecided) as caught:
            engine.check("gpu")
    assert isinstance(caught.value.__cause__, StackDrifted)


def test_pinned_commit_is_read_while_the_server_is_away(project: Path, repository: Repository) -> None:
    repository.commit({"stacks/gpu.yaml": stack("gpu")})
    settings(project, repository, ref="main", demands=", require_lock: true")
    pinned = StackResolver().resolve("gpu")
    pin(project, pinned)
    assert StackResolver().resolve(env="prod") == pinned
    assert StackResolver(rules=FetchRules(offline=True)).resolve(env="prod") == pinned


def test_offline_by_the_environment_reads_what_is_pinned_and_asks_no_server(
    project: Path, repository: Repository, git_host: GitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository.commit({"stacks/gpu.yaml": stack("gpu"), "stacks/cpu.yaml": stack("cpu")})
    (project / "flowyml.yaml").write_text("policy: {images: {inspect: 'off'}}\n")
    at_commit, at_branch = (f"git+{git_host.url()}@{ref}#gpu" for ref in (commit, "main"))
    fetched = StackResolver().resolve(at_commit)
    assert StackResolver().resolve(at_branch).digest == fetched.digest
    git_host.server.requests.clear()

    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")
    assert StackResolver().resolve(at_commit) == fetched
    for rules in (None, FetchRules()):
        with pytest.raises(SourceUnreachable, match="nothing is fetched offline"):
            StackResolver(rules=rules).resolve(at_branch)
    with PolicyEngine.from_project() as engine:
        results = list(engine.validate([at_commit, at_branch]))
    assert [(one.outcome, one.exit_code()) for one in results] == [("allow", 0), ("error", 3)]
    assert git_host.server.requests == []


def test_200_stacks_of_one_repository_are_one_fetch(project: Path, repository: Repository, git_host: GitHost) -> None:
    repository.commit({f"stacks/{number}.yaml": stack(f"gpu-{number}") for number in range(200)})
    (project / "flowyml.yaml").write_text("policy: {images: {inspect: 'off'}}\n")
    names = [f"git+{git_host.url()}@main#gpu-{number}" for number in range(200)]
    with PolicyEngine.from_project() as engine:
        results: list[Result] = list(engine.validate(names))
    assert {one.outcome for one in results} == {"allow"}
    assert len(git_host.fetches) == 1
    assert len(git_host.server.requests) < 10


@pytest.mark.usefixtures("project")
def test_two_stacks_of_a_name_in_a_repository_name_both(repository: Repository) -> None:
    repository.commit({"stacks/a.yaml": stack("gpu"), "stacks/b.yaml": stack("gpu")})
    with pytest.raises(StackAmbiguous) as caught:
        StackResolver().resolve(f"git+{repository.url}@main#gpu")
    assert "stacks/a.yaml:3:18" in caught.value.message
    assert "stacks/b.yaml:3:18" in caught.value.message


def test_ref_that_is_missing_fails_closed(project: Path, repository: Repository) -> None:
    repository.commit({"stacks/gpu.yaml": stack("gpu")})
    settings(project, repository, ref="v9")
    with pytest.raises(SourceRefMissing):
        StackResolver().resolve(env="prod")


def test_http_entry_is_asked_with_its_token_and_held_to_its_digest(
    project: Path, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stack("web")
    server: Server = start_server()
    server.answer = lambda handler: handler.reply(200, data)
    pin_of_it = hashlib.sha256(data).hexdigest()
    (project / "flowyml.yaml").write_text(
        "environments: {prod: {stack: web, require_pinned: true}}\n"
        "stacks:\n"
        f"  web: {{source: http, url: '{server.url()}', sha256: {pin_of_it}, token_env: TOKEN}}\n"
    )
    monkeypatch.setenv("TOKEN", "let-me-in")
    found = StackResolver().locate(env="prod")
    assert (found.definition.metadata.name, found.provenance.kind, found.provenance.pinned) == ("web", "http", True)
    assert found.provenance.fetched_at is not None
    assert server.requests[0][1]["Authorization"] == "Bearer let-me-in"
    assert StackResolver().locate(server.url()).provenance.pinned is False


def test_paths_alone_load_nothing_that_fetches(project: Path) -> None:
    (project / "flowyml.yaml").write_text("policy: {images: {inspect: 'off'}}\n")
    (project / "mine.yaml").write_bytes(stack("mine"))
    code = (
        "import sys; from flowyml_policy import PolicyEngine\n"
        "with PolicyEngine.from_project() as engine: print([one.outcome for one in engine.validate(['mine.yaml'])])\n"
        "print(sorted(name for name in sys.modules if name.startswith(('flowyml_policy.resolution.resolver',"
        " 'http.client', 'flowyml_policy.registry', 'flowyml_policy.sources', 'subprocess'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "['allow']",
        "['flowyml_policy.sources', 'flowyml_policy.sources.boundary']",
    ]
