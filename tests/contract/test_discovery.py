"""Bundles that a signed discovery bundle names: which decide, from the first start to the next set, and which never."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.errors.opa import (
    OpaError,
    OpaStartFailed,
    OpaUnavailable,
    PolicyExpired,
    PolicyInvalid,
    PolicyRolledBack,
)
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.sidecar import SidecarEvaluator
from flowyml_policy.records.events import BundleActivated
from flowyml_policy.storage.sequences import FileSequences
from tests.bundle_server import BundleServer
from tests.contract.conftest import GLOBS, MAIN, NAMING, document
from tests.contract.remote import POLLING, Follow, Publisher, eventually, start
from tests.opa_server import OpaServer

LONG = "a-long-name"
REPORTS = {"decision_logs": {"service": "company"}, "status": {"service": "company"}, "labels": {"env": "prod"}}
STACK = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: prod-a, version: 1.0.0, labels: {team: ml}}
spec:
  runtime: {docker_image: "gcr.io/my-project/a:1"}
"""
RULE = NAMING.replace("> 8", "> _longest") + "\ndefault _longest := 8\n\n_longest := data.org.longest\n"
POLICY = {"main.rego": MAIN, "globs.rego": GLOBS, "naming.rego": RULE}


class Company:
    """A company that publishes policy, and says by a discovery bundle which bundles are in force; signed by `key`."""

    def __init__(self, server: BundleServer, folder: Path, key: str | None = "a") -> None:
        self.server = server
        self.key = key
        self.publisher = Publisher(folder)
        self.policy = self.publisher.bundle("p1", key=key, files=POLICY)

    def publish(self, name: str, revision: str, *, longest: int = 8, key: str | None = "", **metadata: Any) -> None:
        """A bundle by which names have at most `longest` characters."""
        roots = metadata.pop("roots", ("org",))
        data = {"org": {"longest": longest}} if "org" in roots else {"system": {"log": {"here": True}}}
        self._put(name, revision, {"data.json": json.dumps(data)}, roots, key, metadata)

    def discover(
        self, revision: str, *names: str, content: Any = None, beside: Any = None, key: str | None = "", **metadata: Any
    ) -> None:
        """A discovery bundle that names bundles, each `name` or `name=resource`, and holds what stands `beside`.

        Or one that holds `content`.
        """
        options = {"service": "company", "polling": POLLING, "persist": True, **({"signing": {}} if self.key else {})}
        given = [(name.partition("=")[0], name.partition("=")[2]) for name in names]
        bundles = {name: {**options, **({"resource": place} if place else {})} for name, place in given}
        files = {
            "data.json": json.dumps(
                {"discovery": {"bundles": bundles, **(beside or {})} if content is None else content}
            )
        }
        self._put("discovery", revision, files, metadata.pop("roots", ("discovery",)), key, metadata)

    def _put(
        self, name: str, revision: str, files: dict[str, str], roots: Any, key: str | None, metadata: dict[str, Any]
    ) -> None:
        signed_by = self.key if key == "" else key
        self.server.put(name, self.publisher.bundle(revision, files=files, roots=roots, key=signed_by, **metadata))

    def config(self, *, service: Any = None, **options: Any) -> dict[str, Any]:
        """OPA's configuration: the policy from this machine, and the discovery bundle."""
        signing: dict[str, Any] = {"signing": {}} if self.key else {}
        section = {"service": "company", "resource": "bundles/discovery", "decision": "discovery", "polling": POLLING}
        return {
            "services": {"company": {"url": self.server.url, **(service or {})}},
            "bundles": {"flowyml": {"resource": self.policy.as_uri(), **signing}},
            "discovery": {**section, **signing, **options},
            **({"keys": {self.key: self.publisher.key(self.key)}} if self.key else {}),
        }


@pytest.fixture
def server() -> Iterator[BundleServer]:
    with BundleServer() as made:
        yield made


@pytest.fixture
def company(server: BundleServer, tmp_path: Path) -> Company:
    (tmp_path / "company").mkdir()
    return Company(server, tmp_path / "company")


@pytest.fixture(params=["embedded", "process"])
def follow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Follow]:
    """Starts an evaluator of each kind on a configuration; what it makes is closed."""
    made: list[OpaEvaluator] = []

    def started(given: dict[str, Any], **options: Any) -> OpaEvaluator:
        made.append(start(request.param, given, options.pop("state", tmp_path / "state"), **options))
        return made[-1]

    yield started
    for evaluator in made:
        evaluator.close()


one_kind = pytest.mark.parametrize("follow", ["embedded"], indirect=True)
"""For what is the same in every process."""


def bundles(evaluator: OpaEvaluator) -> dict[str, str]:
    """The revisions that judged; none where nothing is decided."""
    try:
        return dict(evaluator.judge(document(LONG))[1].bundles)
    except OpaError:
        return {}


def polled(server: BundleServer, name: str = "discovery") -> None:
    """Wait until a bundle was asked for twice more, so that what came the first time was dealt with."""
    seen = sum(one.path == f"/bundles/{name}" for one in server.requests)
    eventually(lambda: sum(one.path == f"/bundles/{name}" for one in server.requests) > seen + 1)


def test_what_is_discovered_decides_and_what_is_discovered_next_too(company: Company, follow: Follow) -> None:
    company.discover("d1", "acme", sequence=1)
    company.publish("acme", "a1", longest=20, sequence=1)
    evaluator = follow(company.config(), require_signed=True)
    decision, evaluation = evaluator.judge(document(LONG))
    assert decision.allowed
    assert evaluation.bundles == {"flowyml": "p1", "discovery": "d1", "acme": "a1"}
    assert evaluation.remote == {"discovery": "d1", "acme": "a1"}
    assert not evaluation.copies
    company.publish("acme", "a2", longest=3, sequence=2)
    eventually(lambda: bundles(evaluator).get("acme") == "a2")
    assert not evaluator.evaluate(document(LONG)).allowed
    company.publish("other", "o1", longest=20, sequence=1)
    company.discover("d2", "other", sequence=2)
    eventually(lambda: bundles(evaluator).get("discovery") == "d2")
    decision, evaluation = evaluator.judge(document(LONG))
    assert decision.allowed
    assert evaluation.remote == {"discovery": "d2", "other": "o1"}
    assert evaluation.bundles == {"flowyml": "p1", **evaluation.remote}


@one_kind
def test_tls_with_a_private_ca_and_nothing_signed(follow: Follow, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with BundleServer(context=context) as server:
        company = Company(server, tmp_path, key=None)
        company.discover("d1", "acme")
        company.publish("acme", "a1", longest=20)
        evaluator = follow(company.config(service={"tls": {"ca_cert": "ca.pem"}}), root=tmp_path)
        assert bundles(evaluator) == {"flowyml": "p1", "discovery": "d1", "acme": "a1"}


@one_kind
def test_a_discovery_bundle_that_is_not_signed_as_it_must_be_is_not_believed(company: Company, follow: Follow) -> None:
    company.publish("acme", "a1", sequence=1)
    company.discover("d1", "acme", sequence=1)
    evaluator = follow(company.config())
    for revision, key in (("d2", None), ("d3", "b")):
        company.discover(revision, "acme", sequence=2, key=key)
        polled(company.server)
        assert bundles(evaluator)["discovery"] == "d1"
        with pytest.raises(OpaStartFailed, match=r'bundle "discovery" does not load: .*(signature|key)'):
            follow(company.config(), start_timeout=1)
    content = bytearray(company.server.bundles["/bundles/discovery"])
    content[-30] ^= 1
    company.server.put("discovery", bytes(content))
    polled(company.server)
    assert bundles(evaluator)["discovery"] == "d1"
    with pytest.raises(OpaStartFailed, match='bundle "discovery" does not load'):
        follow(company.config(), start_timeout=1)


@one_kind
def test_what_is_discovered_must_be_signed_too(company: Company, follow: Follow) -> None:
    company.discover("d1", "acme", sequence=1)
    for key in (None, "b"):
        company.publish("acme", "a1", key=key, sequence=1)
        with pytest.raises(OpaStartFailed, match=r'bundle "acme" does not load: .*(signature|key)'):
            follow(company.config(), start_timeout=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bundles": {}}, "`bundles` names none"),
        ({}, "`bundles` is missing"),
        ({"bundles": []}, "`bundles` is missing, or no mapping"),
        ({"services": {"company": {"url": "https://evil.example"}}, "bundles": {"a": {}}}, "`services` cannot be"),
        ({"keys": {"a": {"key": "x"}}, "bundles": {"a": {}}}, "`keys` cannot be brought"),
        ({"discovery": {}, "bundles": {"a": {}}}, "`discovery` cannot be brought"),
        ({"plugins": {}, "bundles": {"a": {}}}, "this one brings `plugins`"),
        ({"bundles": {"a": {"service": "company"}}}, "does not state `signing`: bundles.a of the discovery bundle"),
        ({"bundles": {"a": {"service": "company", "signing": None}}}, "no signature would be demanded: bundles.a of"),
        (
            {"bundles": {"a": {"service": "company", "signing": {"allow_unsigned_delta_bundles": True}}}},
            "a delta could change all data, signed by nobody",
        ),
        ({"bundles": {"a": {"service": "company", "signing": {"keyid": "z"}}}}, "keys lacks the key 'z'"),
        ({"bundles": {"a": {"service": "elsewhere", "signing": {}}}}, "there is no such service"),
        ({"bundles": {"a": {"resource": "file:///etc", "signing": {}}}}, "needs `service`"),
        ({"bundles": {"flowyml": {"service": "company", "signing": {}}}}, "name a bundle of this name already"),
        ({"bundles": {"project": {"service": "company", "signing": {}}}}, "kept for the project's own rules"),
        ({"bundles": {"a": {"service": "company", "signing": {}, "trigger": "manual"}}}, "never asked for"),
        ({"bundles": {"a": {"service": "company", "signing": {}, "sign": {}}}}, "OPA has no such setting"),
    ],
)
def test_what_a_discovery_bundle_may_not_bring_leaves_nothing_decided(
    company: Company, tmp_path: Path, content: Any, message: str
) -> None:
    company.discover("d1", content=content)
    with pytest.raises(OpaError) as raised:
        start("embedded", company.config(), tmp_path / "state")
    assert message in raised.value.message
    assert [one.path for one in company.server.requests] == ["/bundles/discovery"]


def test_a_discovery_bundle_that_brings_services_decides_nothing_while_running_either(
    company: Company, follow: Follow
) -> None:
    company.publish("acme", "a1", longest=20)
    company.discover("d1", "acme")
    evaluator = follow(company.config())
    assert evaluator.evaluate(document(LONG)).allowed
    company.discover("d2", content={"services": {"evil": {"url": "https://evil.example"}}, "bundles": {"acme": {}}})
    eventually(lambda: not bundles(evaluator))
    for _ in range(2):
        with pytest.raises(PolicyInvalid, match="`services` cannot be brought by a discovery bundle"):
            evaluator.judge(document(LONG))
    company.discover("d3", "acme")
    eventually(lambda: bundles(evaluator).get("discovery") == "d3")
    assert evaluator.evaluate(document(LONG)).allowed


@one_kind
def test_bundles_own_what_they_may_and_no_more(company: Company, follow: Follow) -> None:
    company.discover("d1", "acme")
    company.publish("acme", "a1", roots=("org", "project"))
    with pytest.raises(PolicyInvalid, match=r'bundle "acme" owns the root "project"; it may own "org", "system/log"'):
        follow(company.config(), start_timeout=1)
    company.discover("d1", "acme", roots=("discovery", "org"))
    with pytest.raises(PolicyInvalid, match=r'bundle "discovery" owns the root "org"; it may own "discovery"'):
        follow(company.config(), start_timeout=1)


@one_kind
def test_a_bundle_that_is_named_and_not_there_leaves_nothing_decided(company: Company, follow: Follow) -> None:
    company.publish("acme", "a1", longest=20)
    company.discover("d1", "acme", "gone")
    with pytest.raises(OpaStartFailed, match=r'bundle "gone" does not load: .*Not Found'):
        follow(company.config(), start_timeout=1)
    company.discover("d2", "acme")
    evaluator = follow(company.config(), start_timeout=1)
    company.discover("d3", "acme", "late")
    eventually(lambda: not bundles(evaluator))
    with pytest.raises(OpaStartFailed, match=r'bundle "late" does not load: .*Not Found'):
        evaluator.judge(document(LONG))
    company.publish("late", "l1", roots=("system/log",))
    eventually(lambda: bundles(evaluator) == {"flowyml": "p1", "discovery": "d3", "acme": "a1", "late": "l1"})


@one_kind
def test_an_older_or_expired_discovery_bundle_is_refused(company: Company, follow: Follow, tmp_path: Path) -> None:
    company.publish("acme", "a1")
    company.discover("d5", "acme", sequence=5)
    evaluator = follow(company.config())
    for metadata in ({"sequence": 4}, {}, {"sequence": 6, "expires": "2021-01-01T00:00:00Z"}):
        company.discover("d4", "acme", "gone", **metadata)
        polled(company.server)
        assert bundles(evaluator)["discovery"] == "d5"
        with pytest.raises((PolicyRolledBack, PolicyExpired), match=r'bundle "discovery" of revision d4'):
            follow(company.config(), start_timeout=1)
    assert FileSequences(tmp_path / "state").known() == {f"{company.server.url} bundles/discovery": 5}


def test_an_older_discovered_bundle_is_refused_also_by_another_set(
    company: Company, follow: Follow, tmp_path: Path
) -> None:
    company.publish("acme", "a5", sequence=5)
    company.discover("d1", "acme")
    evaluator = follow(company.config(), start_timeout=1)
    company.publish("acme", "a4", sequence=4)
    polled(company.server, "acme")
    assert bundles(evaluator)["acme"] == "a5"
    company.publish("more", "m1", roots=("system/log",))
    company.discover("d2", "acme", "more")
    eventually(lambda: not bundles(evaluator))
    with pytest.raises(PolicyRolledBack, match=r"has sequence 4, and one of sequence 5 was seen before"):
        evaluator.judge(document(LONG))
    with pytest.raises(PolicyRolledBack, match="one of sequence 5 was seen before"):
        follow(company.config(), start_timeout=1)
    assert FileSequences(tmp_path / "state").known() == {f"{company.server.url} bundles/acme": 5}
    company.publish("acme", "a6", sequence=6)
    eventually(lambda: bundles(evaluator).get("acme") == "a6")


def test_without_a_server_the_kept_copies_decide(company: Company, follow: Follow, tmp_path: Path) -> None:
    company.publish("acme", "a1", longest=20, sequence=1)
    company.discover("d1", "acme", sequence=1)
    given = company.config(persist=True)
    company.server.stop()
    for offline, message in ((False, "connection refused"), (True, "there is no copy of bundle 'discovery'")):
        with pytest.raises(OpaError, match=message):
            follow(given, start_timeout=1, offline=offline)
    company.server.start()
    evaluator = follow(given)
    company.publish("acme", "a2", longest=3, sequence=2)  # under the name of the former, from another place
    company.server.put("other", company.server.bundles["/bundles/acme"])
    company.publish("acme", "a1", longest=20, sequence=1)
    company.discover("d2", "acme=bundles/other", sequence=2)
    eventually(lambda: bundles(evaluator) == {"flowyml": "p1", "discovery": "d2", "acme": "a2"})
    company.server.stop()
    asked = len(company.server.requests)
    for offline in (False, True):
        decision, evaluation = follow(given, offline=offline).judge(document(LONG))
        assert not decision.allowed
        assert evaluation.bundles == {"flowyml": "p1", "discovery": "d2", "acme": "a2"}
        assert sorted(evaluation.copies) == ["acme", "discovery"]
    assert len(company.server.requests) == asked
    old = tmp_path / "state"
    for kept in old.rglob("bundle.tar.gz"):
        os.utime(kept, (1, 1))
    with pytest.raises(OpaUnavailable, match="longer ago than"):
        follow(given, offline=True)


def test_a_set_that_comes_late_does_not_hold_a_decision_beyond_its_deadline(company: Company, follow: Follow) -> None:
    company.publish("acme", "a1")
    company.discover("d1", "acme")
    evaluator = follow(company.config(), deadline=1.0)
    company.discover("d2", "slow")
    company.publish("slow", "s1")
    company.server.slow = {"/bundles/slow": 2.5}
    with pytest.raises(OpaUnavailable, match="they are still being loaded"):
        eventually(lambda: "slow" in evaluator.judge(document(LONG))[1].bundles)
    eventually(lambda: bundles(evaluator) == {"flowyml": "p1", "discovery": "d2", "slow": "s1"})


def test_threads_see_whole_sets(company: Company, tmp_path: Path) -> None:
    for name, longest in (("even", 20), ("odd", 3)):
        company.publish(name, name, longest=longest)
    company.discover("d0", "even")
    evaluator = start("embedded", company.config(), tmp_path / "state")
    ended = threading.Event()
    seen: set[str] = set()
    wrong: list[object] = []

    def judge() -> None:
        while not ended.is_set():
            try:
                decision, evaluation = evaluator.judge(document(LONG))
            except Exception as error:  # noqa: BLE001  it is what the test looks for
                wrong.append(error)
                return
            name = "odd" if int(evaluation.bundles["discovery"][1:]) % 2 else "even"
            seen.add(evaluation.bundles["discovery"])
            if decision.allowed is not (name == "even") or set(evaluation.bundles) != {"flowyml", "discovery", name}:
                wrong.append(evaluation.bundles)

    threads = [threading.Thread(target=judge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 4):
        company.discover(f"d{number}", "odd" if number % 2 else "even")
        eventually(lambda number=number: f"d{number}" in seen or bool(wrong))  # type: ignore[misc]
    ended.set()
    for thread in threads:
        thread.join()
    evaluator.close()
    assert not wrong


def test_activations_of_what_is_discovered_are_in_the_journal(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "policy": {
            "images": {"inspect": "off"},
            "opa": {
                "require_signed": True,
                "require_revision": {"discovery": "d1", "acme": "a1"},
                "config": {**company.config(persist=True), "bundles": {"flowyml": {"resource": "shipped"}}},
            },
        }
    }
    (tmp_path / "platform.yaml").write_text(json.dumps(settings))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "flowyml.yaml").write_text("project: {name: fraud}\n")
    (tmp_path / "project" / "stack.yaml").write_text(STACK)
    monkeypatch.setenv("FLOWYML_POLICY_SETTINGS", str(tmp_path / "platform.yaml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    company.publish("acme", "a1", sequence=1)
    company.discover("d1", "acme", sequence=1)
    for offline in ("", "1"):
        monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", offline)
        with PolicyEngine.from_project(tmp_path / "project") as engine:
            (result,) = engine.validate([str(tmp_path / "project" / "stack.yaml")])
            assert (result.error, sorted(result.bundles)) == (None, ["acme", "discovery", "flowyml"])
    with AuditStore(tmp_path / "project" / ".flowyml" / "policy.db") as store:
        found = [event for event in store.get_events() if isinstance(event, BundleActivated)]
    assert sorted((one.bundle, one.revision) for one in found) == [("acme", "a1"), ("discovery", "d1")]


def test_what_servers_report_by_is_passed_over(company: Company, follow: Follow) -> None:
    """One discovery bundle is for OPA servers too. What they report by is no reason to load anything anew."""
    company.publish("acme", "a1")
    company.discover("d1", "acme", beside=REPORTS)
    evaluator = follow(company.config())
    assert bundles(evaluator) == {"flowyml": "p1", "discovery": "d1", "acme": "a1"}
    del company.server.bundles["/bundles/acme"]
    company.discover("d2", "acme", beside={**REPORTS, "labels": {"env": "test"}})
    eventually(lambda: bundles(evaluator) == {"flowyml": "p1", "discovery": "d2", "acme": "a1"})


FORKED = """\
import json, os, signal, sys
from pathlib import Path
from tests.contract.remote import eventually, start
from tests.contract.test_discovery import bundles

evaluator = start("embedded", json.loads(sys.argv[1]), Path(sys.argv[2]))
first = {"flowyml": "p1", "discovery": "d1", "acme": "a1"}
second = {"flowyml": "p1", "discovery": "d2", "other": "o1"}
assert bundles(evaluator) == first
children = []
for number in range(2):
    with evaluator._policy._lock:  # as another thread may hold it that loads a set
        children.append(os.fork())
        if children[number] == 0:
            signal.alarm(45)
            evaluator._policy.stop()
    if children[number] == 0:
        if number == 0:
            assert bundles(evaluator) == first
            print("ready", flush=True)
        else:
            sys.stdin.readline()
        eventually(lambda: bundles(evaluator) == second)
        os._exit(0)
print("children", *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_forked_children_follow_too(company: Company, tmp_path: Path) -> None:
    """One that decided before the next set came, and one whose first decision is by it, as a worker's that is new."""
    company.publish("acme", "a1", sequence=1)
    company.discover("d1", "acme", sequence=1)
    command = [sys.executable, "-c", FORKED, json.dumps(company.config()), str(tmp_path / "state")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[2]) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        company.publish("other", "o1", sequence=1)
        company.discover("d2", "other", sequence=2)
        assert program.communicate("now\n", timeout=60)[0] == "children 0 0\n"


def test_a_sidecar_follows_discovery_by_itself(company: Company, tmp_path: Path) -> None:
    company.publish("acme", "a1", longest=20)
    company.discover("d1", "acme", beside=REPORTS)
    company.server.bundles.update({"/logs": b"{}", "/status": b"{}"})
    with OpaServer(company.config(), tmp_path) as opa:
        opa.await_ready()
        with SidecarEvaluator(opa.url, start_timeout=10, deadline=10) as evaluator:
            decision, evaluation = evaluator.judge(document(LONG))
            assert (decision.allowed, evaluation.bundles) == (True, {"flowyml": "p1", "acme": "a1"})
            company.publish("acme", "a2", longest=3)
            eventually(lambda: bundles(evaluator).get("acme") == "a2")
            assert not evaluator.evaluate(document(LONG)).allowed
            company.discover("d2", "acme", key=None)
            polled(company.server)
            assert bundles(evaluator) == {"flowyml": "p1", "acme": "a2"}
            assert "/status" in {one.path for one in company.server.requests}
