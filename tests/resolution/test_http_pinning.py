"""What an http stack was when it was pinned, and what changed since: over a real server, to the exit code."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowyml_policy import PolicyEngine, PolicyUndecided, StackResolver
from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.lockfile import StackDrifted
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.sources import SourceChanged, SourceRefused, SourceUnreachable
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.resolution.lockfile import read_lockfile
from flowyml_policy.resolution.pinning import Change, StackPinning
from flowyml_policy.settings.loading import load_settings

if TYPE_CHECKING:
    from tests.resolution.conftest import Server, StartServer

STACK = (
    b"apiVersion: flowyml/v1\nkind: StackDefinition\n"
    b'metadata: {name: web, version: "1.0.0", labels: {team: ml}}\nspec: {compute: {max_nodes: 4}}\n'
)
CHANGED = STACK.replace(b"max_nodes: 4", b"max_nodes: 9")
REWRITTEN = b"# The same stack in other bytes.\n" + STACK


@pytest.fixture(name="server")
def _server(start_server: StartServer) -> Server:
    """A server of one stack, which keeps to its ETag."""
    server: Server = start_server()
    serve(server, STACK)
    return server


def serve(server: Server, data: bytes) -> None:
    etag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'

    def answer(handler: Any) -> None:
        if handler.headers.get("If-None-Match") == etag:
            handler.reply(304, ETag=etag, Content_Length="")
        else:
            handler.reply(200, data, ETag=etag)

    server.answer = answer


def stop(server: Server) -> None:
    server.shutdown()
    server.server_close()


@pytest.fixture(name="project")
def _project(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose production runs what is pinned of the http stack `web`; the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    for name in ("FLOWYML_ENV", "FLOWYML_STACK", "FLOWYML_POLICY_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    configure(folder, server)
    return folder


def configure(project: Path, server: Server, entry: str = "") -> None:
    (project / "flowyml.yaml").write_text(
        "environments: {production: {stack: web, require_lock: true}}\n"
        f"stacks: {{web: {{source: http, url: '{server.url('/web.yaml')}'{entry}}}}}\n"
        "policy: {images: {inspect: 'off'}}\n"
    )


def pinning() -> StackPinning:
    settings = load_settings()
    return StackPinning(settings, bundles=lambda: {"flowyml": "1"}, registry=LocalRegistry(settings.audit_path))


def program(*arguments: str) -> tuple[int, str, str]:
    """What the program answers: its exit code, what it prints, and what it says besides."""
    command = [sys.executable, "-m", "flowyml_policy", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def raised_by(call: Callable[[], object]) -> FlowymlPolicyError:
    with pytest.raises(FlowymlPolicyError) as caught:
        call()
    return caught.value


def test_lock_of_an_http_stack_pins_its_definition_and_verify_asks_whether_it_changed(
    project: Path, server: Server
) -> None:
    locked = pinning().lock()
    assert (locked.exit_code, locked.written, locked.unchecked) == (0, True, ())
    lockfile = read_lockfile(project / "flowyml.lock")
    assert lockfile is not None
    assert lockfile.stacks["web"].model_dump() == {
        "name": "web",
        "version": "1.0.0",
        "definition": StackResolver().resolve("web").digest,
        "kind": "http",
        "uri": server.url("/web.yaml"),
        "ref": None,
        "full_ref": None,
        "commit": None,
        "images": {},
    }
    verified = pinning().verify()
    assert (verified.exit_code, verified.checked, verified.changes, verified.unchecked) == (0, 1, (), ())
    validators = [headers.get("If-None-Match") for _, headers in server.requests]
    assert validators == [None, *[f'"{hashlib.sha256(STACK).hexdigest()[:8]}"'] * 2]


def test_verify_of_an_http_stack_that_changed_tells_both_digests_and_exits_1(project: Path, server: Server) -> None:
    pinning().lock()
    before = StackResolver().resolve("web").digest
    serve(server, REWRITTEN)
    assert (pinning().verify().exit_code, pinning().verify().changes) == (0, ())
    serve(server, CHANGED)
    verified = pinning().verify()
    after = StackResolver().resolve("web").digest
    assert (verified.exit_code, verified.unchecked) == (1, ())
    uri = server.url("/web.yaml")
    assert verified.changes == (
        Change(kind="stack", name="web", what="definition", pinned=before, found=after, uri=uri),
    )
    assert before != after
    assert project.exists()


def test_verify_of_an_http_stack_whose_server_is_down_is_unchecked_and_exits_3_fails_closed(
    project: Path, server: Server
) -> None:
    pinning().lock()
    text = (project / "flowyml.lock").read_bytes()
    stop(server)
    verified = pinning().verify()
    assert (verified.exit_code, verified.changes) == (3, ())
    assert [(one.name, one.environments, one.error.code) for one in verified.unchecked] == [
        ("web", ("production",), "source_unreachable")
    ]
    assert (pinning().lock().exit_code, (project / "flowyml.lock").read_bytes()) == (3, text)
    assert isinstance(raised_by(lambda: StackResolver().resolve(env="production")), SourceUnreachable)


def test_resolving_an_http_stack_that_changed_since_it_was_pinned_fails_closed(project: Path, server: Server) -> None:
    pinning().lock()
    found = StackResolver().locate(env="production")
    assert found.lock is not None
    assert found.lock.definition_digest == found.definition.digest
    serve(server, CHANGED)
    after = StackResolver().resolve("web").digest
    error = raised_by(lambda: StackResolver().resolve(env="production"))
    assert isinstance(error, StackDrifted)
    assert error.message == (
        f"environment 'production' takes pinned stacks only, and 'web' was pinned as {found.definition.digest} and is "
        f"{after} now: {project / 'flowyml.lock'}"
    )
    with PolicyEngine.from_project() as engine, pytest.raises(PolicyUndecided) as caught:
        engine.check(server.url("/web.yaml"))
    assert isinstance(caught.value.__cause__, StackDrifted)


def test_http_stack_with_its_sha256_is_verified_from_the_cache_and_drift_where_it_is_fetched_anew(
    project: Path, server: Server
) -> None:
    configure(project, server, f", sha256: {hashlib.sha256(STACK).hexdigest()}")
    pinning().lock()
    serve(server, CHANGED)
    assert (pinning().verify().exit_code, len(server.requests)) == (0, 1)
    assert StackResolver().locate(env="production").provenance.pinned

    shutil.rmtree(project / "cache")
    verified = pinning().verify()
    said = f"pinned to {digest(STACK)}, and its content is {digest(CHANGED)}: {server.url('/web.yaml')}"
    assert (verified.exit_code, verified.unchecked) == (1, ())
    assert verified.changes == (Change(kind="stack", name="web", found=said, uri=server.url("/web.yaml")),)
    error = raised_by(lambda: StackResolver().resolve(env="production"))
    assert (type(error), error.message) == (SourceChanged, said)


def test_program_locks_verifies_and_tells_drift_of_an_http_stack_by_its_exit_codes(
    project: Path, server: Server
) -> None:
    assert program("stack", "lock")[0] == 0
    assert program("stack", "verify")[0] == 0
    show = ("stack", "show", "--environment", "production")
    assert program(*show)[0] == 0
    serve(server, CHANGED)
    code, output, _ = program("stack", "verify", "--format", "json")
    told = json.loads(output)
    assert (code, told["ok"], [change["what"] for change in told["changes"]]) == (1, False, ["definition"])
    code, output, said = program(*show)
    assert (code, output) == (3, "")
    assert "environment 'production' takes pinned stacks only, and 'web' was pinned as" in " ".join(said.split())
    stop(server)
    code, output, _ = program("stack", "verify", "--format", "json")
    told = json.loads(output)
    assert (code, [one["error"]["code"] for one in told["unchecked"]]) == (3, ["source_unreachable"])
    assert project.exists()


# A host of plain http that is not this machine by its name

NAMED = "policy: {sources: {plain_http: ['0.0.0.0']}}\n"
"""An address that leads to this machine on every system and is none of loopback's, as a name of the network would."""


@pytest.fixture(name="by_name")
def _by_name(server: Server, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address by such a name; no proxy stands between, and the project says nothing of it."""
    monkeypatch.setenv("no_proxy", "*")
    (project / "flowyml.yaml").write_text("project: {name: web}\n")
    return server.url("/web.yaml", host="0.0.0.0")  # noqa: S104  nothing is bound to it


def test_plain_http_of_a_host_that_is_not_named_fails_closed(project: Path, server: Server, by_name: str) -> None:
    error = raised_by(lambda: StackResolver().resolve(by_name))
    assert isinstance(error, SourceRefused)
    assert (error.message, error.advice) == (
        f"plain http is not used to 0.0.0.0: {by_name}",
        "write https, or name 0.0.0.0 under `policy.sources.plain_http` of the settings",
    )
    code, _, said = program("stack", "show", by_name)
    assert (code, "policy.sources.plain_http" in said) == (3, True)
    entry = f"environments: {{production: {{stack: '{by_name}'}}}}\n"
    (project / "flowyml.yaml").write_text(entry)
    locked = pinning().lock()
    assert (locked.exit_code, [one.error.code for one in locked.unchecked]) == (3, [SourceRefused.code])
    assert server.requests == []


def test_plain_http_of_a_named_host_is_read_locked_and_verified(project: Path, server: Server, by_name: str) -> None:
    (project / "flowyml.yaml").write_text(
        f"{NAMED}stacks: {{web: {{source: http, url: '{by_name}'}}}}\n"
        f"environments: {{production: {{stack: web}}, dev: {{stack: '{by_name}'}}}}\n"
    )
    found = StackResolver().locate(by_name)
    assert (found.definition.metadata.name, found.provenance.uri, found.provenance.pinned) == ("web", by_name, False)
    assert StackResolver().resolve("web").digest == StackResolver().resolve(env="dev").digest
    assert (pinning().lock().exit_code, pinning().verify().exit_code) == (0, 0)
    serve(server, CHANGED)
    assert program("stack", "verify")[0] == 1


def test_plain_http_of_a_host_that_the_platform_names_is_read(
    tmp_path: Path, by_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = tmp_path / "settings.yaml"
    platform.write_text(NAMED)
    monkeypatch.setenv("FLOWYML_POLICY_SETTINGS", str(platform))
    assert program("stack", "show", by_name, "--format", "json")[0] == 0
    platform.write_text("policy: {sources: {plain_http: []}}\n")
    assert program("stack", "show", by_name, "--format", "json")[0] == 3


def test_plain_http_redirect_from_a_named_host_to_another_fails_closed(
    project: Path, server: Server, by_name: str
) -> None:
    (project / "flowyml.yaml").write_text(NAMED)
    server.answer = lambda handler: handler.reply(302, Location="http://stacks.example/web.yaml")
    error = raised_by(lambda: StackResolver().resolve(by_name))
    assert isinstance(error, SourceRefused)
    assert "plain http is not used to stacks.example" in error.message
