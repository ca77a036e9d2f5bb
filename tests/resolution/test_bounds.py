"""What every fetch keeps to: it asks nobody, ends in time, leaves nothing running, and runs nothing that it is told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import flowyml_policy
from flowyml_policy import StackResolver
from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.sources import SourceAccessDenied, SourceTooLarge, SourceUnreachable
from flowyml_policy.sources.git.source import GitSource
from flowyml_policy.sources.source import FetchRules, SourceLimits

if TYPE_CHECKING:
    from flowyml_policy.storage.cache import ContentCache
    from tests.resolution.conftest import GitHost, Repository, Server, StartServer

PROCESSES = 16
STACK = b'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod, version: "1.0.0"}\nspec: {}\n'
LONGER = STACK + b"# The same stack, and more bytes of it.\n" * 2000

RESOLVE = """
import json, sys
from flowyml_policy import StackResolver

sys.stdin.read()
found = [StackResolver().locate(sys.argv[1]).provenance.digest for _ in range(4)]
print(json.dumps(found))
"""


def test_git_host_that_asks_for_a_password_asks_no_program_and_no_terminal_fails_closed(
    git_host: GitHost,
    repository: Repository,
    cache: ContentCache,
    git_settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository.commit({"stacks/prod.yaml": STACK})
    git_host.password = "correct-horse-7"
    marker, program = tmp_path / "asked", tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\ntouch {marker}\necho {git_host.password}\n")
    program.chmod(0o755)
    for name, value in {
        "GIT_ASKPASS": program,
        "SSH_ASKPASS": program,
        "DISPLAY": ":0",
        "GIT_TERMINAL_PROMPT": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    git_settings.write_text(f"{git_settings.read_text()}[core]\n  askPass = {program}\n")
    with pytest.raises(SourceAccessDenied) as caught:
        GitSource(git_host.url(), "main", cache=cache).fetch()
    assert "terminal prompts disabled" in caught.value.message
    assert not marker.exists()


def test_git_ssh_host_that_never_answers_is_given_up_with_all_that_was_started(
    cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -F /dev/null")
    rules = FetchRules(limits=SourceLimits(timeout=1.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ssh://git@127.0.0.1:{silent.getsockname()[1]}/o/r"
        with pytest.raises(SourceUnreachable) as caught:
            GitSource(url, "main", cache=cache, rules=rules).fetch()
        assert caught.value.message == f"no complete answer within 1.5 s: {url}"
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(20)
            said = b""
            while data := connection.recv(1000):
                said += data
    assert said.startswith(b"SSH-2.0-")


def test_git_copy_is_bare_holds_one_commit_and_no_address(
    git_host: GitHost, repository: Repository, cache: ContentCache
) -> None:
    commits = [repository.commit({"stacks/prod.yaml": STACK + b"#" * number}) for number in range(3)]
    GitSource(git_host.url(), "main", cache=cache).fetch().read("stacks/prod.yaml")
    (copy,) = (cache.directory / "git").glob("*.git")

    def asked(*arguments: str) -> list[str]:
        command = ["git", f"--git-dir={copy}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert asked("rev-parse", "--is-bare-repository", "--is-shallow-repository") == ["true", "true"]
    assert asked("rev-list", "--all") == commits[-1:]
    assert "127.0.0.1" not in (copy / "config").read_text()
    assert list(copy.rglob("prod.yaml")) == []


def test_git_files_that_are_too_large_together_fail_closed(repository: Repository, cache: ContentCache) -> None:
    repository.commit({f"stacks/{number}.yaml": STACK + b"#" * 4000 for number in range(5)})
    rules = FetchRules(limits=SourceLimits(total_size=12_000))
    revision = GitSource(repository.url, "main", cache=cache, rules=rules).fetch()
    paths = revision.list_paths("stacks")
    assert revision.read_many(paths[:2]) == dict.fromkeys(paths[:2], STACK + b"#" * 4000)
    with pytest.raises(SourceTooLarge):
        revision.read_many(paths)


@pytest.mark.parametrize(
    "reference",
    [
        "ext::sh -c 'touch {marker}'",
        "ext::sh%20-c%20touch%20{marker}",
        "git+ext://sh/-c/touch@main#prod",
        "git+ext::touch{marker}",
        "git+file://{repository}@--upload-pack=touch%20{marker}#prod",
        "git+file://{repository}@-q#prod",
        "git+file://{repository}@main%0a--upload-pack=touch#prod",
        "git+file://{repository}@main:stacks/prod.yaml#prod",
        "git+file://{repository}@main#../../etc/passwd.yaml",
        "git+file://{repository}@main#.git/config.yaml",
        "git+file://{repository}/../stacks@main#prod",
        "git+ssh://-oProxyCommand=touch{marker}/o/r@main#prod",
        "git+ssh://git@-oProxyCommand=touch/o/r@main#prod",
        "git+ssh://git@127.0.0.1/-oProxyCommand=touch@main#prod",
        "git+https://user:pass-word-1@127.0.0.1/o/r@main#prod",
        "git+http://stacks.example/o/r@main#prod",
    ],
)
@pytest.mark.parametrize("by", ["argument", "active_stack"])
def test_reference_that_hides_a_command_or_a_way_out_runs_nothing_fails_closed(
    reference: str, by: str, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"stacks/prod.yaml": STACK})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    marker, project = tmp_path / "ran", tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    text = reference.replace("{marker}", str(marker)).replace("{repository}", str(repository.folder))
    if by == "active_stack":
        (project / "flowyml.yaml").write_text(f"active_stack: {json.dumps(text)}\n")
    with pytest.raises(FlowymlPolicyError) as caught:
        StackResolver().resolve(text if by == "argument" else None)
    assert caught.value.exit_code in {2, 3}
    assert "pass-word-1" not in str(caught.value)
    assert (marker.exists(), list(project.glob("touch*"))) == (False, [])


def test_sixteen_processes_that_resolve_a_changing_http_stack_each_read_whole_answers(
    start_server: StartServer, tmp_path: Path
) -> None:
    server: Server = start_server()
    bodies, lock = cycle([STACK, LONGER]), threading.Lock()

    def answer(handler: Any) -> None:
        with lock:
            body = next(bodies)
        etag = f'"{digest(body)}"'
        if handler.headers.get("If-None-Match") == etag:
            handler.reply(304, ETag=etag, Content_Length="")
        else:
            handler.reply(200, body, ETag=etag)

    server.answer = answer
    root = Path(flowyml_policy.__file__).parents[1]
    environ = {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(tmp_path / "user-cache")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RESOLVE, server.url()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
            cwd=tmp_path,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    answers = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in answers] == [""] * PROCESSES
    assert {one for output, _ in answers for one in json.loads(output)} == {digest(STACK), digest(LONGER)}
    assert len(server.requests) == PROCESSES * 4
