"""The company's stack registry: the real server in a process of its own, asked by the real client and by rough ones."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.verification import verify_project
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.errors.opa import OpaStartFailed, OpaUnavailable
from flowyml_policy.errors.registry import (
    RegistryAccessDenied,
    RegistryUnreachable,
    StackUnknown,
    StackUnregistrable,
    VersionRetired,
    VersionTaken,
)
from flowyml_policy.errors.settings import FeatureUnavailable, SettingsInvalid
from flowyml_policy.records.events import PolicyChecked, StackApplied, StackRetired, StackValidated
from flowyml_policy.records.protocols import Evaluator
from flowyml_policy.records.registry import NewStack
from flowyml_policy.records.server import Token
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.remote import RemoteRegistry
from flowyml_policy.resolution.resolver import StackResolver
from flowyml_policy.server.configuration import read_configuration
from flowyml_policy.server.exchange import Answer, Call, Refused
from flowyml_policy.server.judging import ReloadedEvaluator
from flowyml_policy.server.stack_requests import LARGEST_BODY
from flowyml_policy.server.stacks import Stacks
from flowyml_policy.settings.loading import load_settings
from tests.forked import forking
from tests.oci_registry import OciServer
from tests.oci_registry import start as start_registry
from tests.server import Reply, Server

AT: Final = "2026-11-23T10:00:00Z"
SCRIPT: Final = "from flowyml_policy.cli import script; script()"

RULE: Final = """\
package project.rules.probe

_ten(text) := concat("", [text | some _ in numbers.range(1, 10)])

_endless := regex.match("(a?){900}(a?){90}b", _ten(_ten(_ten(_ten(_ten("a"))))))

# METADATA
# title: What the names of stacks ask for
# custom:
#   code: probe.denied
findings contains {"code": "probe.denied", "subject": "x", "path": [], "message": "it says so", "fix": "rename"} if {
	startswith(input.stack.name, "denied")
}

findings contains {"code": "probe.denied", "subject": "x", "path": [], "message": "endless", "fix": "f"} if {
	startswith(input.stack.name, "endless")
	_endless
}
"""


def document(name: str, version: str = "1.0.0", *, nodes: int = 4, image: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"compute": {"backend": "local", "max_nodes": nodes}}
    if image is not None:
        spec["runtime"] = {"docker_image": image}
    return {
        "apiVersion": "flowyml/v1",
        "kind": "StackDefinition",
        "metadata": {"name": name, "version": version, "labels": {"team": "ml"}},
        "spec": spec,
    }


def body_of(definition: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a client sends of a definition; a change to `...` takes the key out."""
    metadata = definition["metadata"]
    source = {"kind": "git", "uri": "https://git.example/x", "ref": "v1", "commit": "1" * 40, "pinned": True}
    sent = {
        "name": metadata["name"],
        "version": metadata["version"],
        "digest": canonical_digest(definition),
        "document": definition,
        "labels": metadata.get("labels", {}),
        "source": source,
        "applied_by": "root",
        "applied_at": AT,
        "decision_id": str(uuid4()),
        **changes,
    }
    return {key: value for key, value in sent.items() if value is not ...}


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
    (listed,) = json.loads(said)["stacks"]
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


# pages


def configured(folder: Path, **values: Any) -> Any:
    folder.mkdir(exist_ok=True)
    file = folder / "server.yaml"
    file.write_text(json.dumps({"data": str(folder / "data"), "bundles": {"require_signed": False}, **values}))
    return read_configuration(file, {})


def new_stack(name: str, version: str) -> NewStack:
    return NewStack.model_validate(body_of(document(name, version)))


def test_listing_comes_in_parts_that_others_may_change_meanwhile(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    with closing(Stacks(configuration, print, page=2)) as stacks, LocalRegistry(configuration.database) as registry:
        assert ask(stacks, "/v1/stacks") == {"stacks": [], "next": None}
        for name, version in (("a", "1.0.0"), ("a", "1.10.0"), ("a", "1.9.0"), ("b", "1.0.0"), ("c", "1.0.0-rc.1")):
            registry.put(new_stack(name, version))
        seen = []
        after: tuple[tuple[str, str], ...] = ()
        while True:
            page = ask(stacks, "/v1/stacks", ("all_versions", "true"), *after)
            seen.append([(one["name"], one["version"]) for one in page["stacks"]])
            if page["next"] is None:
                break
            after = (("after", page["next"]),)
            if len(seen) == 1:
                registry.put(new_stack("0", "1.0.0"))
                registry.put(new_stack("b", "0.1.0"))
        assert seen == [
            [("a", "1.10.0"), ("a", "1.9.0")],
            [("a", "1.0.0"), ("b", "1.0.0")],
            [("b", "0.1.0"), ("c", "1.0.0-rc.1")],
        ]
        page = ask(stacks, "/v1/stacks", ("name", "?"), ("label", "team=ml"))
        assert [(one["name"], one["version"]) for one in page["stacks"]] == [("0", "1.0.0"), ("a", "1.10.0")]
        assert page["next"] == "a@1.10.0"
        assert ask(stacks, "/v1/stacks", ("label", "team=other")) == {"stacks": [], "next": None}


def ask(stacks: Stacks, path: str, *query: tuple[str, str]) -> Any:
    handle = next(one.handle for one in stacks.operations() if (one.method, one.path) == ("GET", path))
    return json.loads(handle(Call(query=query)).body)


def put(stacks: Stacks, sent: dict[str, Any], *, began: float = 0.0) -> Answer:
    """What the part answers itself to a request of ada's. Raises Refused."""
    handle = next(one.handle for one in stacks.operations() if one.method == "PUT")
    names = {"name": sent["name"], "version": sent["version"]}
    token = Token(1, "ada", "", (), "", None, None)
    headers = {"content-type": "application/json"}
    return handle(Call(names=names, headers=headers, body=json.dumps(sent).encode(), token=token, began=began))


# time, and kills


def test_requests_end_in_time_and_register_nothing_later(tmp_path: Path) -> None:
    """Several wait for a rule that does not end; each is told to come again, and none is registered afterwards."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "probe.rego").write_text(RULE)
    configuration = configured(tmp_path, policy={"rules": ["rules"], "opa": {"deadline": "500ms"}})

    def asked(name: str) -> tuple[str, bool]:
        began = time.monotonic()
        with pytest.raises(Refused) as caught:
            put(stacks, body_of(document(name)))
        return caught.value.code, time.monotonic() - began < 4

    with closing(Stacks(configuration, print, seconds=1.0)) as stacks:
        stacks.start()
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(asked, ["endless-1", "endless-2", "endless-3", "endless-4"]))
        assert set(found) == {("stack_undecided", True)}
        with pytest.raises(Refused, match="in time"):
            put(stacks, body_of(document("late")), began=time.monotonic() - 60)
    assert LocalRegistry(configuration.database).list() == ()


KILLED: Final = """\
import os, signal, sys
from pathlib import Path
from flowyml_policy.records.server import Token
from flowyml_policy.server.configuration import read_configuration
from flowyml_policy.server.exchange import Call
from flowyml_policy.server.stacks import Stacks

step, body = sys.argv[1:]


class Killed:
    def __init__(self, recorded):
        self.recorded = recorded

    def put(self, *args, **kwargs):
        if step == "decided":
            os.kill(os.getpid(), signal.SIGKILL)
        self.recorded.put(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)


stacks = Stacks(read_configuration(Path("server.yaml"), {}), print)
stacks.start()
stacks._recorded = Killed(stacks._recorded)
handle = next(one.handle for one in stacks.operations() if one.method == "PUT")
token = Token(1, "ada", "", (), "", None, None)
names = {"name": "killed", "version": "1.0.0"}
handle(Call(names=names, headers={"content-type": "application/json"}, body=body.encode(), token=token))
"""


@pytest.mark.parametrize(("step", "outcomes", "status"), [("decided", 2, 201), ("registered", 1, 200)])
def test_server_killed_in_a_request_answers_it_rightly_afterwards(
    tmp_path: Path, step: str, outcomes: int, status: int
) -> None:
    configuration = configured(tmp_path)
    body = json.dumps(body_of(document("killed")))
    assert forking().run(KILLED, [step, body], folder=tmp_path, environ=os.environ)[0] == -9
    with closing(Stacks(configuration, print)) as stacks:
        stacks.start()
        assert put(stacks, json.loads(body)).status == status
    with AuditStore(configuration.database) as audit:
        assert [one.outcome for one in audit.decisions()] == ["allow"] * outcomes
        assert len(audit.get_events(type=StackApplied.TYPE)) == 1
        assert verify_project(audit, in_one_file=True).problem is None


# settings and policies that cannot be used


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ({"registry": {"url": "https://x.example"}}, r"`policy\.registry\.url` is not the server's to set"),
        ({"audit": {"path": "x.db"}}, r"`policy\.audit\.path` is not the server's to set"),
        ({"opa": {"mode": "sidecar"}}, r"`policy\.opa\.mode` is not for the server"),
        ({"images": {"inspect": "daemon"}}, r"`policy\.images\.inspect` is not for the server"),
        ({"rules": ["nowhere"]}, r"`policy\.rules\[0\]` names nothing that exists"),
    ],
)
def test_settings_that_no_server_can_have_are_told_with_their_place(
    tmp_path: Path, policy: dict[str, Any], what: str
) -> None:
    with pytest.raises(SettingsInvalid, match=what) as caught:
        configured(tmp_path, policy=policy)
    assert "server.yaml:1:" in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"opa": {"config": {"nonsense": 1}}}, SettingsInvalid),
        ({"waivers": "waivers.yaml"}, FeatureUnavailable),
    ],
)
def test_registry_does_not_start_on_settings_that_are_wrong(
    tmp_path: Path, policy: dict[str, Any], error: type[Exception]
) -> None:
    with closing(Stacks(configured(tmp_path, policy=policy), print)) as stacks, pytest.raises(error):
        stacks.start()


def test_server_that_cannot_judge_by_its_settings_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "waivers.yaml").write_text("[]\n")
    configured(tmp_path)
    code, _, stderr = forking().run(SCRIPT, ["server", "run"], folder=tmp_path, environ=os.environ)
    assert (code, b"asks for waivers" in stderr) == (3, True)


def test_policy_that_does_not_load_leaves_stacks_undecided(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "x.rego").write_text("package project.rules.x\n\nfindings contains")
    told: list[str] = []
    sent = body_of(document("unjudged"))
    with closing(Stacks(configured(tmp_path, policy={"rules": ["rules"]}), told.append)) as stacks:
        stacks.start()
        with pytest.raises(Refused, match="opa_unavailable") as caught:
            put(stacks, sent)
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "5"})
    assert len(told) == 1
    assert told[0].startswith("stacks: no stack can be judged: ")


class Loaded:
    """An evaluator in memory, which dies when it is told to."""

    def __init__(self) -> None:
        self.closed = 0
        self.fault: Exception | None = None

    def query(self, path: str, document: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return [path, document]

    def close(self) -> None:
        self.closed += 1


def test_policy_is_loaded_again_when_it_can_be() -> None:
    first, second = Loaded(), Loaded()
    coming: list[Any] = [OpaStartFailed("no bundle yet"), first, second]
    told: list[str] = []

    def load() -> Evaluator:
        found = coming.pop(0)
        if isinstance(found, Exception):
            raise found
        evaluator: Evaluator = found
        return evaluator

    evaluator = ReloadedEvaluator(load, told.append, pause=0)
    evaluator.start(5)
    assert evaluator.query("a", 1) == ["a", 1]
    first.fault = OpaUnavailable("it was stopped")
    with pytest.raises(OpaUnavailable, match="it was stopped"):
        evaluator.query("a", 1)
    assert first.closed == 1
    assert evaluator.query("b", 2) == ["b", 2]
    assert [line.split(";")[0] for line in told] == [
        "stacks: no stack can be judged: no bundle yet",
        "stacks: the policy is loaded again",
        "stacks: no stack can be judged: it was stopped",
        "stacks: the policy is loaded again",
    ]
    evaluator.close()
    evaluator.close()
    assert second.closed == 1
    with pytest.raises(OpaUnavailable, match="closed"):
        evaluator.query("b", 2)
