"""The company's stack registry: the real server in a process of its own, asked by the real client and by rough ones."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.verification import verify_project
from flowyml_policy.errors.registry import (
    RegistryAccessDenied,
    RegistryUnreachable,
    StackUnknown,
    StackUnregistrable,
    VersionRetired,
    VersionTaken,
)
from flowyml_policy.records.events import PolicyChecked, StackApplied, StackRetired, StackValidated
from flowyml_policy.records.registry import NewStack
from flowyml_policy.registry.remote import RemoteRegistry
from flowyml_policy.resolution.resolver import StackResolver
from flowyml_policy.server.stack_requests import LARGEST_BODY
from flowyml_policy.settings.loading import load_settings
from tests.forked import forking
from tests.oci_registry import OciServer
from tests.oci_registry import start as start_registry
from tests.registrations import AT, RULE, body_of, document
from tests.server import Reply, Server

SCRIPT: Final = "from flowyml_policy.cli import script; script()"


class Company:
    """The server, its tokens, and the registries of images beside it."""

    def __init__(self, server: Server, named: OciServer, other: OciServer) -> None:
        self.server = server
        self.named = named
        self.other = other
        self.ada = server.token("stacks:read", "stacks:write", name="ada")
        self.bob = server.token("stacks:write", name="bob")
        self.reader = server.token("stacks:read", name="reader")
        self.database = server.data / "server.db"

    def put(self, sent: dict[str, Any] | bytes, *, token: str | None = None, path: str = "", **headers: str) -> Reply:
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        if not path and isinstance(sent, dict):
            path = f"/v1/stacks/{sent['name']}/{sent['version'].replace('+', '%2B')}"
        return self.server.ask(
            "PUT", path, token=token or self.ada, body=data, headers={"Content-Type": "application/json", **headers}
        )

    def retire(self, name: str, *, token: str | None = None, reason: str = "", key: str | None = None) -> Reply:
        body = json.dumps({"at": AT, "by": "root", "reason": reason}).encode()
        headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
        path = f"/v1/stacks/{name}/1.0.0/retirement"
        return self.server.ask("POST", path, token=token or self.ada, body=body, headers=headers)

    def client(self, token: str, *, cache: Any = None) -> RemoteRegistry:
        return RemoteRegistry(self.server.url, token_env="T", cache=cache, environ={"T": token})

    def outcomes(self, name: str) -> list[str]:
        """Those of the decisions on a stack, the newest first."""
        with AuditStore(self.database) as audit:
            return [one.outcome for one in audit.decisions(stack_name=name)]

    def verify(self) -> None:
        """The journal and the registry's rows in the server's file say the same."""
        with AuditStore(self.database) as audit:
            found = verify_project(audit, in_one_file=True)
        assert (found.problem, found.registry, found.unfinished) == (None, "checked", ())


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    (folder / "rules").mkdir()
    (folder / "rules" / "probe.rego").write_text(RULE)
    helper = folder / "bin" / "docker-credential-spy"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\ntouch {folder}/asked\n")
    helper.chmod(0o755)
    (folder / "docker").mkdir()
    (folder / "docker" / "config.json").write_text('{"credsStore": "spy"}')
    with start_registry() as named, start_registry() as other, pytest.MonkeyPatch.context() as patch:
        hosts = [named.host, other.host]
        patch.setenv("DOCKER_CONFIG", str(folder / "docker"))
        patch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        server = Server(
            folder,
            policy={"rules": ["rules"], "opa": {"deadline": "1s"}, "images": {"insecure": hosts}},
            inspect_hosts=[named.host],
            anonymous=["stacks:read"],
        )
        found = Company(server, named, other)
        with server:
            yield found
        assert not (folder / "asked").exists()


@pytest.fixture
def checkouts(company: Company, tmp_path: Path) -> Callable[[str], Path]:
    """Projects that use the company's registry."""

    def made(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "flowyml.yaml").write_text(
            f"policy: {{registry: {{url: '{company.server.url}', token_env: STACKS_TOKEN}}}}\n"
        )
        return folder

    return made


def run(folder: Path, token: str, *args: str) -> tuple[int, str]:
    environ = {**os.environ, "STACKS_TOKEN": token, "XDG_STATE_HOME": str(folder / "state")}
    code, stdout, stderr = forking().run(SCRIPT, args, folder=folder, environ=environ)
    return code, stdout.decode() + stderr.decode()


# by the real client


def test_stack_of_one_checkout_is_used_in_another(company: Company, checkouts: Callable[[str], Path]) -> None:
    """Applied in one project, listed, shown, resolved and retired in another; the token's owner did it."""
    one, two = checkouts("one"), checkouts("two")
    (one / "shared.yaml").write_text(json.dumps(document("shared")))
    code, said = run(one, company.ada, "stack", "apply", "shared.yaml", "--format", "json")
    assert code == 0, said
    (decision,) = AuditStore(one / ".flowyml" / "policy.db").decisions()

    code, said = run(two, company.reader, "stack", "list", "--format", "json")
    assert code == 0, said
    (listed,) = [one for one in json.loads(said)["stacks"] if one["name"] == "shared"]
    assert (listed["applied_by"], listed["decision_id"]) == ("ada", decision.decision_id)
    assert listed["last_decision"]["outcome"] == "allow"
    assert listed["last_decision"]["decision_id"] != decision.decision_id
    assert run(two, company.reader, "stack", "show", "shared@1.0.0")[0] == 0
    with StackResolver(settings=load_settings(project=two), environ={"STACKS_TOKEN": company.reader}) as resolver:
        assert resolver.resolve("shared").digest == listed["digest"]

    assert run(two, company.bob, "stack", "retire", "shared@1.0.0", "--reason", "old")[0] == 0
    with (
        StackResolver(settings=load_settings(project=one), environ={"STACKS_TOKEN": company.reader}) as resolver,
        pytest.raises(VersionRetired, match="retired by bob"),
    ):
        resolver.resolve("shared@1.0.0")
    company.verify()


def test_events_join_the_decision_of_the_server_and_that_of_the_client(company: Company) -> None:
    sent = body_of(document("joined"))
    assert company.put(sent).status == 201
    with AuditStore(company.database) as audit:
        events = list(reversed(audit.get_events(stack_name="joined")))
        decision = audit.decision(events[0].decision_id or "")
    assert [type(one) for one in events] == [PolicyChecked, StackValidated, StackApplied]
    assert isinstance(applied := events[-1], StackApplied)
    assert decision is not None
    assert applied.decision_id == decision.decision_id != sent["decision_id"]
    claimed = {
        "applied_by": "root",
        "applied_at": AT,
        "source_kind": "git",
        "source_uri": "https://git.example/x",
        "source_ref": "v1",
        "source_commit": "1" * 40,
        "source_pinned": "true",
    }
    assert (applied.request, applied.payload["claimed"], applied.actor) == (sent["decision_id"], claimed, "ada")
    judged = json.loads(decision.input or "")
    assert judged["actor"] == {"name": "ada", "groups": [], "claimed": claimed}
    assert judged["source"] == {
        "kind": "object",
        "uri": "claimed:https://git.example/x",
        "ref": "v1",
        "commit": "1" * 40,
        "digest": None,
        "pinned": False,
    }
    assert (judged["operation"], judged["authority"]) == ("apply", "platform")
    assert decision.evaluator is not None
    assert decision.evaluator.name == "process"
    kept = company.client(company.reader).get("joined")
    assert (kept.decision_id, kept.applied_by, kept.source.kind) == (sent["decision_id"], "ada", "git")
    assert kept.applied_at != AT


def test_denied_stack_is_refused_with_codes_and_recorded(company: Company) -> None:
    with pytest.raises(StackUnregistrable, match=r"denied by probe\.denied: it says so"):
        company.client(company.ada).put(NewStack.model_validate(body_of(document("denied-one"))))
    assert company.outcomes("denied-one") == ["deny"]
    with pytest.raises(StackUnknown):
        company.client(company.ada).get("denied-one")


def test_undecided_stack_is_told_to_come_again_in_time(company: Company) -> None:
    """A rule that does not end costs one decision; the next stack is judged by the process that follows."""
    began = time.monotonic()
    reply = company.put(body_of(document("endless-one")))
    assert time.monotonic() - began < 10
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "stack_undecided", "5")
    assert company.outcomes("endless-one") == ["error"]
    assert company.put(body_of(document("after-endless"))).status == 201
    with pytest.raises(RegistryUnreachable, match="503"):
        company.client(company.ada).put(NewStack.model_validate(body_of(document("endless-one"))))


def test_lost_answer_the_same_again_is_answered_from_the_record(company: Company) -> None:
    sent = body_of(document("again"))
    first, second = company.put(sent), company.put(sent)
    assert [(one.status, one.json["kind"]) for one in (first, second)] == [(201, "registered"), (200, "already_there")]
    assert first.json["stack"] == second.json["stack"]
    other = body_of(document("again"), applied_by="eve", decision_id=None)
    assert company.put(other, token=company.bob).json["stack"] == first.json["stack"]
    assert company.outcomes("again") == ["allow"]


def test_other_content_is_refused_with_what_is_registered(company: Company) -> None:
    company.put(body_of(document("taken")))
    reply = company.put(body_of(document("taken", nodes=8)))
    assert (reply.status, reply.code) == (409, "version_taken")
    assert reply.json["registered"]["document"]["spec"]["compute"]["max_nodes"] == 4
    with pytest.raises(VersionTaken, match="taken"):
        company.client(company.ada).put(NewStack.model_validate(body_of(document("taken", nodes=8))))
    built = company.put(body_of(document("taken", "1.0.0+linux")))
    assert (built.status, built.json["registered"]["version"]) == (409, "1.0.0")
    assert company.outcomes("taken") == ["allow"]


# several at once


@pytest.mark.parametrize(("same", "statuses"), [(True, [200, 201]), (False, [201, 409])])
def test_two_that_come_at_once_are_one_registration(company: Company, same: bool, statuses: list[int]) -> None:
    name = f"race-{same}"
    sent = [body_of(document(name, nodes=1 if same else number)) for number in (1, 2)]
    with ThreadPoolExecutor(2) as threads:
        replies = list(threads.map(company.put, sent, timeout=60))
    assert sorted(reply.status for reply in replies) == statuses
    won = next(reply.json["stack"] for reply in replies if reply.status == 201)
    lost = next(reply.json for reply in replies if reply.status != 201)
    assert lost.get("stack", lost.get("registered")) == won
    company.verify()


def test_retirement_repeats_the_key_that_did_it_to_every_client(company: Company) -> None:
    """A client that knows keys, another one, and an older one that knows none."""
    company.put(body_of(document("retired")))
    key, other = str(uuid4()), str(uuid4())
    first = company.retire("retired", token=company.bob, reason="leaks", key=key)
    replies = [first, *(company.retire("retired", key=one) for one in (other, None, key))]
    assert [one.status for one in replies] == [200] * 4
    assert [one.headers["idempotency-key"] for one in replies] == [key] * 4
    assert [one.json["retired"] for one in replies] == [first.json["retired"]] * 4
    assert (first.json["retired"]["by"], first.json["retired"]["reason"]) == ("bob", "leaks")
    with AuditStore(company.database) as audit:
        (event,) = audit.get_events(stack_name="retired", type=StackRetired.TYPE)
    assert isinstance(event, StackRetired)
    assert (event.request, event.payload["claimed"]) == (key, {"by": "root", "at": AT})
    reply = company.put(body_of(document("retired")))
    assert (reply.status, reply.code) == (410, "version_retired")
    with pytest.raises(VersionRetired, match="retired by bob"):
        company.client(company.ada).put(NewStack.model_validate(body_of(document("retired"))))
    company.verify()


def test_retirement_without_a_key_repeats_none(company: Company) -> None:
    company.put(body_of(document("keyless")))
    assert company.retire("keyless").status == 200
    assert "idempotency-key" not in company.retire("keyless", key=str(uuid4())).headers
    missing = company.retire("keyles")
    assert (missing.status, missing.code, missing.json["error"]["near"]) == (404, "stack_unknown", ["keyless"])


def test_client_that_keeps_etags_and_one_that_ignores_them_see_the_same(company: Company) -> None:
    company.put(body_of(document("tagged")))
    for path in ("/v1/stacks?name=tagged", "/v1/stacks/tagged", "/v1/stacks/tagged/1.0.0"):
        reply = company.server.ask("GET", path)
        assert reply.status == 200
        etag = reply.headers["etag"]
        for held in (etag, f'"x", {etag}', f"W/{etag}", "*"):
            again = company.server.ask("GET", path, headers={"If-None-Match": held})
            assert (again.status, again.headers["etag"], again.body) == (304, etag, b"")
        assert company.server.ask("GET", path, headers={"If-None-Match": '"x"'}).body == reply.body
        assert company.server.ask("HEAD", path).headers["etag"] == etag
    company.retire("tagged")
    assert company.server.ask("GET", path, headers={"If-None-Match": etag}).json["retired"]["by"] == "ada"


# who may


def test_scopes_are_kept_apart(company: Company) -> None:
    company.put(body_of(document("scoped")))
    assert company.server.ask("GET", "/v1/stacks/scoped").status == 200
    for token in (company.reader, None):
        stack = NewStack.model_validate(body_of(document("scoped-not")))
        with pytest.raises(RegistryAccessDenied):
            RemoteRegistry(
                company.server.url, token_env=token and "T", environ={} if token is None else {"T": token}
            ).put(stack)
    assert company.retire("scoped", token=company.reader).status == 403
    assert company.outcomes("scoped-not") == []


# what is no request


DEEP: Final = b'{"document": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
HOLDS_SECRET: Final = document("odd") | {
    "metadata": {"name": "odd", "version": "1.0.0", "labels": {"api_key": "hunter22"}}
}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", (400, "body_invalid")),
        (b"{", (400, "body_invalid")),
        (b"\xff\xfe", (400, "body_invalid")),
        (b"[]", (400, "body_invalid")),
        (DEEP, (400, "body_invalid")),
        (b"[" * 100_000, (400, "body_invalid")),
        (b'{"name": "' + b"x" * LARGEST_BODY + b'"}', (413, "too_large")),
        (body_of(document("odd"), more=1), (400, "body_invalid")),
        (body_of(document("odd"), digest=...), (400, "body_invalid")),
        (body_of(document("odd"), name="other"), (400, "body_invalid")),
        (body_of(document("odd"), decision_id="ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"), (400, "body_invalid")),
        (body_of(document("odd"), decision_id="x" * 500), (400, "body_invalid")),
        (
            body_of(document("odd"), source={"kind": "git", "uri": "x", "commit": "main"}),
            (400, "body_invalid"),
        ),
        (body_of(document("odd"), source={"kind": "builtin", "uri": "x"}), (422, "stack_unregistrable")),
        (body_of(document("odd"), source={"kind": "git", "uri": "x" * 20_000}), (422, "stack_unregistrable")),
        (body_of(document("odd"), digest=f"sha256:{'0' * 64}"), (422, "stack_unregistrable")),
        (body_of(document("odd"), labels={}), (422, "stack_unregistrable")),
        (body_of(HOLDS_SECRET), (422, "stack_unregistrable")),
        (body_of({**document("odd"), "kind": "Nothing"}), (422, "stack_unregistrable")),
        (body_of({**document("odd"), "spec": {"x": ["y" * 64] * 20_000}}), (422, "stack_unregistrable")),
        (body_of(document("odd", "1")), (422, "stack_unregistrable")),
    ],
)
def test_body_that_is_none_is_refused(company: Company, sent: Any, expected: tuple[int, str]) -> None:
    path = "" if isinstance(sent, dict) and sent["name"] == "odd" else "/v1/stacks/odd/1.0.0"
    reply = company.put(sent, path=path)
    assert (reply.status, reply.code) == expected
    assert reply.json["registered"] is None
    assert "hunter22" not in reply.body.decode()
    assert str(company.server.data) not in reply.body.decode()
    assert company.server.ask("GET", "/v1/stacks/odd").status == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/stacks?name=a&name=b", (400, "query_invalid")),
        ("/v1/stacks?label=team", (400, "query_invalid")),
        ("/v1/stacks?all_versions=1", (400, "query_invalid")),
        ("/v1/stacks?after=x", (400, "query_invalid")),
        (f"/v1/stacks?name={'*a' * 300}", (400, "query_invalid")),
        ("/v1/stacks/..%2F..%2Fetc", (404, "no_such_path")),
        ("/v1/stacks/%00", (404, "stack_unknown")),
        ("/v1/stacks/addressed/%5E1", (404, "version_unknown")),
        ("/v1/stacks/addressed/1.0.0%2Bother", (404, "version_unknown")),
        ("/v1/stacks/addressed/2.0.0", (404, "version_unknown")),
    ],
)
def test_address_that_names_nothing_is_refused(company: Company, path: str, expected: tuple[int, str]) -> None:
    company.put(body_of(document("addressed")))
    reply = company.server.ask("GET", path)
    assert (reply.status, reply.code) == expected


def test_body_of_another_type_or_packed_is_refused(company: Company) -> None:
    sent = body_of(document("typed"))
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
        reply = company.put(sent, **headers)
        assert (reply.status, reply.code) == (415, "not_json")


def test_images_of_registries_that_are_not_named_are_never_asked_for(company: Company) -> None:
    """The named registry says that it has no such image; the other is not asked, nor any credential helper."""
    for name, registry, why in (
        ("image-named", company.named, "image_missing"),
        ("image-other", company.other, "image_not_asked"),
    ):
        reply = company.put(body_of(document(name, image=f"{registry.host}/team/x:1")))
        assert (reply.status, reply.code) == (422, "stack_unregistrable")
        assert "images_inspected.failed" in reply.json["error"]["message"]
        with AuditStore(company.database) as audit:
            (decision,) = audit.decisions(stack_name=name)
        assert json.loads(decision.input or "")["images"][0]["error"]["code"] == why
    assert company.named.asked() != []
    assert company.other.asked() == []
