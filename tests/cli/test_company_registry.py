"""The life of a stack in the company's registry, as whole processes against a server that keeps the wire or breaks it.

Screens are kept in test_lifecycle.py; here is what becomes of the server and the audit.
"""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from flowyml_policy import AuditStore
from flowyml_policy.records.events import (
    Event,
    PolicyChecked,
    StackApplied,
    StackLocked,
    StackRetired,
    StackRetiring,
    StackUnlocked,
    StackValidated,
)
from flowyml_policy.registry.local import LocalRegistry
from tests.cli.conftest import Program, Ran
from tests.registry_server import RegistryServer, Wire, answering, serving

LARGE: Final = "stacks/prod-gpu-large.yaml"
DENIED: Final = "stacks/prod-gpu-dockerhub.yaml"
TOKEN: Final = "t0ken-of-the-test"
JUDGED: Final = [PolicyChecked, StackValidated]


class Client(Program):
    """The program, with the token that the company's registry wants."""

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "REGISTRY_TOKEN": TOKEN}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    """The company's registry; it wants a token."""
    with serving(LocalRegistry(tmp_path / "company.db")) as running:
        running.token = TOKEN
        yield running


@pytest.fixture
def client(examples: Program, server: RegistryServer) -> Client:
    """The example project, whose stacks are kept by the company."""
    settings = examples.here / "flowyml.yaml"
    settings.write_text(
        f"{settings.read_text()}\n  registry:\n    url: {server.url}\n    token_env: REGISTRY_TOKEN\n",
    )
    return Client(examples.here)


def edit(client: Client, old: str, new: str) -> None:
    file = client.here / LARGE
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def events(client: Client) -> list[type[Event]]:
    """The types of all events but for those of locks, oldest first."""
    with AuditStore(client.here / ".flowyml" / "policy.db") as audit:
        assert audit.verify().ok
        found = [type(event) for event in reversed(audit.get_events())]
    return [kind for kind in found if kind not in (StackLocked, StackUnlocked)]


def kept(server: RegistryServer) -> list[tuple[str, str, bool]]:
    found = server.registry.list(all_versions=True)
    return [(one.name, one.version, one.retired is not None) for one in found]


def said(ran: Ran) -> tuple[int, str]:
    """The exit code, and what became of which stack: three words of the first line that is no part of a warning."""
    line = re.findall(r"^(?!warning)\S.*", ran.stdout, re.MULTILINE)[0]
    return ran.exit_code, " ".join(line.split()[:3])


# A server that does as it is asked


def test_life_of_a_stack_in_the_companys_registry(client: Client, server: RegistryServer) -> None:
    assert said(client.run("stack", "list")) == (0, "no stack is")

    assert said(client.run("stack", "apply", LARGE)) == (0, "registered prod-gpu-large 2.1.0")
    assert events(client) == [*JUDGED, StackApplied]
    assert kept(server) == [("prod-gpu-large", "2.1.0", False)]

    assert said(client.run("stack", "apply", LARGE)) == (0, "unchanged prod-gpu-large 2.1.0")
    assert events(client) == [*JUDGED, StackApplied, *JUDGED]

    edit(client, "max_nodes: 4", "max_nodes: 8")
    refused = client.run("stack", "apply", LARGE)
    assert said(refused) == (1, "REFUSED prod-gpu-large 2.1.0")
    assert f"is registered with other content: {server.url}" in " ".join(refused.stdout.split())
    assert "    -    max_nodes: 4\n    +    max_nodes: 8\n" in refused.stdout
    assert events(client)[5:] == JUDGED

    edit(client, "2.1.0", "2.2.0")
    assert client.run("stack", "apply", LARGE).exit_code == 0
    assert said(client.run("stack", "retire", "prod-gpu-large@2.1.0", "--reason", "superseded")) == (
        0,
        "retired prod-gpu-large 2.1.0",
    )
    assert events(client)[7:] == [*JUDGED, StackApplied, StackRetiring, StackRetired]
    assert kept(server) == [("prod-gpu-large", "2.2.0", False), ("prod-gpu-large", "2.1.0", True)]
    again = client.run("stack", "retire", "prod-gpu-large@2.1.0", "--reason", "another")
    assert said(again) == (0, "unchanged prod-gpu-large 2.1.0")
    assert again.stdout.endswith("UTC: superseded\n")
    assert len(events(client)) == 12


def test_apply_of_a_denied_stack_asks_the_server_nothing(client: Client, server: RegistryServer) -> None:
    assert client.run("stack", "apply", DENIED).exit_code == 1
    assert (server.requests, kept(server), events(client)) == ([], [], JUDGED)


def test_apply_as_a_trial_changes_nothing_there(client: Client, server: RegistryServer) -> None:
    assert said(client.run("stack", "apply", LARGE, "--dry-run"))[0] == 0
    assert {method for method, _ in server.requests} == {"GET"}
    assert (kept(server), events(client)) == ([], JUDGED)


def test_file_is_judged_without_an_http_client(client: Client) -> None:
    """Loading one takes a fifth of the whole command, so that only what asks a server does."""
    assert "urllib3" in loaded(client, "stack", "list")
    judged = loaded(client, "stack", "validate", LARGE)
    assert ("urllib3" in judged, "flowyml_policy.cli" in judged) == (False, True)


def loaded(client: Client, *arguments: str) -> str:
    """What a new Python tells of its imports."""
    process = client.start(*arguments, environ={"PYTHONPROFILEIMPORTTIME": "1"})
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    return told.decode()


def test_list_and_show_tell_what_the_company_keeps(client: Client) -> None:
    assert client.run("stack", "apply", LARGE).exit_code == 0
    edit(client, "2.1.0", "2.2.0-rc.1")
    assert client.run("stack", "apply", LARGE).exit_code == 0
    assert client.run("stack", "retire", "prod-gpu-large@2.2.0-rc.1").exit_code == 0
    (client.here / LARGE).unlink()

    listed = json.loads(client.run("stack", "list", "--all-versions", "--format", "json").stdout)["stacks"]
    shown = client.run("stack", "show", "prod-gpu-large", "--format", "json")
    exact = client.run("stack", "show", "registry://prod-gpu-large@2.1.0", "--format", "json")
    gone = client.run("stack", "show", "prod-gpu-large@2.2.0-rc.1")

    assert [(one["version"], one["retired"] is None) for one in listed] == [("2.2.0-rc.1", False), ("2.1.0", True)]
    assert [code.exit_code for code in (shown, exact, gone)] == [0, 0, 3]
    assert listed[1]["digest"] in shown.stdout
    assert listed[1]["digest"] in exact.stdout
    assert "was retired by" in gone.stderr
    assert said(client.run("stack", "list", "--label", "team=nobody")) == (0, "no registered stack")
    assert said(client.run("stack", "list", "--label", "team=ml-platform")) == (0, "prod-gpu-large 2.1.0")


# A server that does not


def lost(_: Wire) -> None:
    """What was asked is done, and the connection breaks before the answer."""
    raise ConnectionAbortedError


BROKEN: Final[dict[str, tuple[Callable[[Wire], bool], str]]] = {
    "401": (answering(401, {}), "the server does not know the token in REGISTRY_TOKEN"),
    "403": (answering(403, {}), "the server does not allow this with the token in REGISTRY_TOKEN"),
    "500": (answering(500, b"boom"), "the server answered 500"),
    "truncated": (answering(200, b'{"stacks": [', Content_Length="5000"), "the answer was cut off"),
    "of another server": (answering(200, b"<html>", Content_Type="text/html"), "the answer is no JSON"),
    "redirected": (answering(302, b"", Location="https://registry.invalid/"), "redirects are not followed"),
}
COMMANDS: Final = (
    ("stack", "list"),
    ("stack", "show", "registry://prod-gpu-large"),
    ("stack", "retire", "prod-gpu-large@2.1.0"),
)


def assert_undecided(
    client: Client, server: RegistryServer, why: str, environ: Mapping[str, str] | None = None
) -> None:
    """An apply exits 3 and says `why`, and nothing is told of as applied."""
    ran = client.run("stack", "apply", LARGE, "--format", "json", environ=environ)
    (result,) = json.loads(ran.stdout)["results"]
    assert (ran.exit_code, result["outcome"], result["registration"]["status"]) == (3, "allow", "undecided")
    assert result["registration"]["registered"] is None
    assert why in result["registration"]["error"]["message"]
    assert server.url in result["registration"]["error"]["message"]
    assert events(client) == JUDGED


@pytest.mark.parametrize("answer", BROKEN)
def test_registry_that_answers_wrongly_fails_closed(client: Client, server: RegistryServer, answer: str) -> None:
    server.misbehave, why = BROKEN[answer]
    assert_undecided(client, server, why)
    assert kept(server) == []


def test_registry_that_is_down_fails_closed(client: Client, server: RegistryServer) -> None:
    server.shutdown()
    server.server_close()
    assert_undecided(client, server, "the server cannot be reached")
    for command in COMMANDS:
        ran = client.run(*command)
        assert (ran.exit_code, ran.stdout) == (3, "")
        assert f"the server cannot be reached (Connection refused): {server.url}" in ran.stderr
    assert events(client) == JUDGED


def test_registry_without_its_token_fails_closed(client: Client, server: RegistryServer) -> None:
    assert_undecided(client, server, "the variable REGISTRY_TOKEN is not set", {"REGISTRY_TOKEN": ""})
    assert server.requests == []


def test_answer_that_is_lost_is_made_good_when_asked_again(client: Client, server: RegistryServer) -> None:
    server.before_answer = lost
    assert client.run("stack", "apply", LARGE).exit_code == 3
    assert (kept(server), events(client)) == ([("prod-gpu-large", "2.1.0", False)], JUDGED)

    server.before_answer = None
    again = client.run("stack", "apply", LARGE)
    assert said(again) == (0, "unchanged prod-gpu-large 2.1.0")
    assert " UTC: the audit did not say so, and does now\n" in again.stdout
    assert events(client) == [*JUDGED, *JUDGED, StackApplied]

    server.before_answer = lambda wire: lost(wire) if wire.command == "POST" else None
    assert client.run("stack", "retire", "prod-gpu-large@2.1.0").exit_code == 3
    assert (kept(server), events(client)[5:]) == ([("prod-gpu-large", "2.1.0", True)], [StackRetiring])

    server.before_answer = None
    again = client.run("stack", "retire", "prod-gpu-large@2.1.0")
    assert said(again) == (0, "unchanged prod-gpu-large 2.1.0")
    assert again.stdout.endswith("\n    the audit did not say so, and does now\n")
    once_more = client.run("stack", "retire", "prod-gpu-large@2.1.0", "--format", "json")
    assert json.loads(once_more.stdout)["made_good"] is False
    assert events(client)[5:] == [StackRetiring, StackRetired]


# A program that is killed between its steps


def killed(client: Client, server: RegistryServer, moment: str, *args: str) -> None:
    """Run, and kill -9 once the server was `asked` for a change, or has `done` it and not said so."""
    started: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()

    def kill(wire: Wire) -> bool:
        if wire.command == "GET":
            return False
        process = started.get(timeout=30)
        process.kill()
        process.wait()
        return True

    if moment == "asked":
        server.misbehave = kill
    else:
        server.before_answer = kill
    with client.start(*args) as process:
        started.put(process)
        process.communicate(timeout=60)
    server.misbehave = server.before_answer = None
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["asked", "done"])
def test_apply_that_is_killed_is_made_good_by_the_next(client: Client, server: RegistryServer, moment: str) -> None:
    killed(client, server, moment, "stack", "apply", LARGE)
    was_done = moment == "done"
    assert (len(kept(server)), events(client)) == (was_done, JUDGED)

    again = json.loads(client.run("stack", "apply", LARGE, "--format", "json").stdout)["results"][0]["registration"]
    assert (again["status"], again["made_good"]) == ("unchanged" if was_done else "registered", was_done)
    once_more = client.run("stack", "apply", LARGE)
    assert said(once_more) == (0, "unchanged prod-gpu-large 2.1.0")
    assert "the audit did not say so" not in once_more.stdout
    assert kept(server) == [("prod-gpu-large", "2.1.0", False)]
    assert events(client) == [*JUDGED, *JUDGED, StackApplied, *JUDGED]


@pytest.mark.parametrize("moment", ["asked", "done"])
def test_retire_that_is_killed_is_made_good_by_the_next(client: Client, server: RegistryServer, moment: str) -> None:
    assert client.run("stack", "apply", LARGE).exit_code == 0
    killed(client, server, moment, "stack", "retire", "prod-gpu-large@2.1.0", "--reason", "superseded")
    was_done = moment == "done"
    assert kept(server) == [("prod-gpu-large", "2.1.0", was_done)]
    assert events(client)[3:] == [StackRetiring]

    again: Any = json.loads(client.run("stack", "retire", "prod-gpu-large@2.1.0", "--format", "json").stdout)
    assert (again["changed"], again["made_good"]) == (not was_done, was_done)
    assert client.run("stack", "retire", "prod-gpu-large@2.1.0").exit_code == 0
    assert kept(server) == [("prod-gpu-large", "2.1.0", True)]
    assert events(client)[3:] == [*[StackRetiring] * (2 - was_done), StackRetired]
