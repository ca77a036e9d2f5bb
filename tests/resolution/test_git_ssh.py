"""Stacks in repositories that a real ssh server gives out, to the user's own ssh."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncssh
import pytest

from flowyml_policy import StackResolver
from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceError,
    SourceMissing,
    SourceRefMissing,
    SourceRefused,
    SourceUnreachable,
)
from flowyml_policy.sources.git.source import GitSource
from flowyml_policy.sources.source import FetchRules, SourceLimits

if TYPE_CHECKING:
    from flowyml_policy.storage.cache import ContentCache
    from tests.resolution.conftest import Repository

STACK = b'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod, version: "1.0.0"}\nspec: {}\n'
PASSPHRASE = "correct-horse-7"
IN_TIME = FetchRules(limits=SourceLimits(timeout=20))
PATIENCE: Final = 20


class SshHost:
    """An ssh server on loopback that lets `git` in with one key, and runs git upload-pack and nothing else.

    `commands` are those that it was asked for, with the protocol of git that came with each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[tuple[str, str | None]] = []
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.key = folder / "id_user"
        user_key = asyncssh.generate_private_key("ssh-ed25519")
        write_key(user_key, self.key)
        self._authorized = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._listening: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.port = self._listening.result(PATIENCE)
        self.known_as(self.host_key)
        self.config = folder / "ssh_config"
        self.use(self.key)

    def url(self, folder: Path) -> str:
        return f"ssh://git@127.0.0.1:{self.port}{folder}"

    def use(self, key: Path) -> None:
        """Let the user's ssh offer `key`, and no other of this machine."""
        self.config.write_text(
            f"IdentityFile {key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n"
        )

    def known_as(self, *keys: asyncssh.SSHKey) -> None:
        """Let the user know the server by `keys`."""
        lines = [f"[127.0.0.1]:{self.port} {key.export_public_key().decode()}" for key in keys]
        (self.folder / "known_hosts").write_text("".join(lines))

    def stop(self) -> None:
        if self._loop is not None and self._stopped is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self.host_key],
            authorized_client_keys=self._authorized,
            process_factory=self._run,
            encoding=None,
        )
        async with server:
            self._listening.set_result(server.get_port())
            await self._stopped.wait()

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        protocol = process.env.get("GIT_PROTOCOL")
        self.commands.append((process.command or "", protocol))
        program, *arguments = shlex.split(process.command or "none")
        if program != "git-upload-pack":
            process.stderr.write(b"only git is served here\n")
            process.exit(128)
            return
        running = await asyncio.create_subprocess_exec(
            *("git", "upload-pack", "--", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "GIT_PROTOCOL": protocol or ""},
        )
        if running.stdin is None or running.stdout is None or running.stderr is None:
            raise AssertionError("every stream of git is a pipe")
        asked = asyncio.create_task(carry(process.stdin, running.stdin, to_the_end=True))
        await asyncio.gather(carry(running.stdout, process.stdout), carry(running.stderr, process.stderr))
        asked.cancel()
        process.exit(await running.wait())


async def carry(
    source: asyncssh.SSHReader[bytes] | asyncio.StreamReader,
    sink: asyncssh.SSHWriter[bytes] | asyncio.StreamWriter,
    *,
    to_the_end: bool = False,
) -> None:
    """Everything from `source` to `sink`, as it comes, and its end too."""
    with suppress(OSError, asyncssh.Error):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        if to_the_end:
            sink.close()


def write_key(key: asyncssh.SSHKey, path: Path) -> None:
    path.touch(mode=0o600)
    key.write_private_key(str(path))


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshHost]:
    """A server, and a user who can reach it: GIT_SSH_COMMAND names their settings of ssh, which forbid no question."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    host = SshHost(folder)
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F {host.config}")
    yield host
    host.stop()


@pytest.fixture(name="asked")
def _asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once somebody was asked something, with a window to ask in."""
    marker, program = tmp_path / "asked", tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\ntouch {marker}\necho yes\n")
    program.chmod(0o755)
    for name, value in {
        "SSH_ASKPASS": str(program),
        "SSH_ASKPASS_REQUIRE": "force",
        "GIT_ASKPASS": str(program),
        "DISPLAY": ":0",
    }.items():
        monkeypatch.setenv(name, value)
    return marker


@pytest.fixture(name="commit")
def _commit(repository: Repository) -> str:
    commit = repository.commit({"stacks/prod.yaml": STACK})
    repository.git("tag", "--annotate", "--message", "First", "v1")
    return commit


def without_user(url: str) -> str:
    """An address as failures of git tell it."""
    return url.replace("git@", "")


def error_of(url: str, cache: ContentCache, ref: str | None = "v1") -> SourceError:
    with pytest.raises(SourceError) as caught:
        GitSource(url, ref, cache=cache, rules=IN_TIME).fetch().read("stacks/prod.yaml")
    return caught.value


@pytest.mark.parametrize("by", ["GIT_SSH_COMMAND", "core.sshCommand"])
def test_git_ssh_stack_is_fetched_with_the_users_ssh_settings(
    by: str,
    host: SshHost,
    repository: Repository,
    commit: str,
    cache: ContentCache,
    git_settings: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if by == "core.sshCommand":
        monkeypatch.delenv("GIT_SSH_COMMAND")
        git_settings.write_text(f'{git_settings.read_text()}[core]\n  sshCommand = "ssh -F {host.config}"\n')
    url = host.url(repository.folder)
    revision = GitSource(url, "v1", cache=cache, rules=IN_TIME).fetch()
    assert revision.read("stacks/prod.yaml") == STACK
    provenance = revision.provenance("stacks/prod.yaml", STACK)
    assert (provenance.uri, provenance.full_ref, provenance.commit) == (url, "refs/tags/v1", commit)
    assert host.commands == [(f"git-upload-pack '{repository.folder}'", "version=2")] * 2
    offline = GitSource(url, commit, cache=cache, rules=FetchRules(offline=True)).fetch()
    assert (offline.read("stacks/prod.yaml"), len(host.commands)) == (STACK, 2)


def test_git_ssh_reference_is_resolved_and_belongs_to_its_environment(
    host: SshHost, repository: Repository, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    project = tmp_path / "project"
    project.mkdir()
    address = f"git+{host.url(repository.folder)}@v1#stacks/prod.yaml"
    (project / "flowyml.yaml").write_text(f"environments: {{production: {{stack: '{address}'}}}}\n")
    found = StackResolver(project).locate(env="production")
    assert (found.definition.metadata.name, found.provenance.commit, found.reference) == ("prod", commit, address)


def test_git_ssh_host_that_is_not_known_is_refused_without_a_question_fails_closed(
    host: SshHost, repository: Repository, commit: str, cache: ContentCache, asked: Path
) -> None:
    assert commit
    host.known_as()
    error = error_of(host.url(repository.folder), cache)
    assert isinstance(error, SourceAccessDenied)
    assert error.message == (
        "cannot fetch from the repository, its ssh host key is not known: "
        f"{without_user(host.url(repository.folder))} (git: Host key verification failed.)"
    )
    assert error.advice == "add the host to ~/.ssh/known_hosts once its key is checked"
    assert (asked.exists(), host.commands, (host.folder / "known_hosts").read_text()) == (False, [], "")


def test_git_ssh_host_that_has_another_key_than_is_known_fails_closed(
    host: SshHost, repository: Repository, commit: str, cache: ContentCache, asked: Path
) -> None:
    assert commit
    host.known_as(asyncssh.generate_private_key("ssh-ed25519"))
    error = error_of(host.url(repository.folder), cache)
    assert isinstance(error, SourceAccessDenied)
    assert "its ssh host key is not the one that is known" in error.message
    assert error.advice == "find out why it changed before you replace it in ~/.ssh/known_hosts"
    assert (asked.exists(), host.commands) == (False, [])


@pytest.mark.parametrize("key", ["another", "locked", "missing"])
def test_git_ssh_key_that_does_not_open_the_host_fails_closed(
    key: str, host: SshHost, repository: Repository, commit: str, cache: ContentCache, asked: Path
) -> None:
    assert commit
    other = host.folder / "id_other"
    if key == "another":
        write_key(asyncssh.generate_private_key("ssh-ed25519"), other)
    elif key == "locked":
        write_key(asyncssh.read_private_key(str(host.key)), other)
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", other], check=True)
    host.use(other)
    error = error_of(host.url(repository.folder), cache)
    assert isinstance(error, SourceAccessDenied)
    assert error.message.startswith(
        f"cannot fetch from the repository, access to it is denied: {without_user(host.url(repository.folder))} (git: "
    )
    assert "Permission denied (publickey)" in error.message
    assert (asked.exists(), host.commands) == (False, [])


def test_git_ssh_key_that_others_may_read_fails_closed(
    host: SshHost, repository: Repository, commit: str, cache: ContentCache
) -> None:
    assert commit
    host.key.chmod(0o644)
    assert isinstance(error_of(host.url(repository.folder), cache), SourceAccessDenied)
    assert host.commands == []


def test_git_ssh_repository_ref_or_host_that_is_not_there_fails_closed(
    host: SshHost, repository: Repository, commit: str, cache: ContentCache
) -> None:
    assert commit
    assert isinstance(error_of(host.url(repository.folder.parent / "none"), cache), SourceMissing)
    assert isinstance(error_of(host.url(repository.folder), cache, "v9"), SourceRefMissing)
    host.stop()
    error = error_of(host.url(repository.folder), cache)
    assert isinstance(error, SourceUnreachable)
    assert "its host does not answer" in error.message


def test_git_ssh_host_cannot_be_rewritten_to_a_transport_that_runs_commands(
    host: SshHost, repository: Repository, commit: str, cache: ContentCache, git_settings: Path, tmp_path: Path
) -> None:
    assert commit
    marker = tmp_path / "ran"
    rewriting = f"[url \"ext::sh -c 'touch {marker}' \"]\n  insteadOf = {host.url(repository.folder)}\n"
    git_settings.write_text(git_settings.read_text() + rewriting)
    assert isinstance(error_of(host.url(repository.folder), cache), SourceRefused)
    assert (marker.exists(), host.commands) == (False, [])


def test_git_ssh_server_runs_nothing_but_git(host: SshHost) -> None:
    command = ["ssh", "-F", str(host.config), "-p", str(host.port), "git@127.0.0.1", "touch ran"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (128, "", "only git is served here\n")
