"""A company's bundle from its server: in force, in the audit, offline, in a forked child, from a registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.decision.policy import load_policy
from flowyml_policy.errors.decision import PolicyUndecided
from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.opa import shipped
from flowyml_policy.opa.bundle_files import archive_bytes
from flowyml_policy.opa.sidecar import SidecarEvaluator
from flowyml_policy.records.events import BundleActivated
from flowyml_policy.settings.loading import load_settings
from tests.bundle_server import BundleServer
from tests.containers.registries import registry
from tests.contract.conftest import document
from tests.contract.remote import POLLING, Publisher, config, eventually, start
from tests.image_builder import Blob, RegistryClient, encoded
from tests.opa_server import OpaServer

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"

STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: prod-a, version: 1.0.0, labels: {team: ml}}
spec:
  runtime: {docker_image: "gcr.io/my-project/a:1"}
"""


def company(revision: str, **metadata: Any) -> bytes:
    """A company's bundle: its level of a rule that ships, by its revision."""
    manifest = {"revision": revision, "roots": ["org"], "metadata": metadata}
    level = "disabled" if revision.startswith("lax") else "hard"
    data = {"org": {"levels": {"version.missing": level}}}
    return archive_bytes({".manifest": json.dumps(manifest).encode(), "data.json": json.dumps(data).encode()})


@pytest.fixture
def server() -> Iterator[BundleServer]:
    with BundleServer() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, server: BundleServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose platform names a company's bundle, and keeps a copy."""
    settings = {
        "policy": {
            "images": {"inspect": "off"},
            "opa": {
                "start_timeout": "3s",
                "config": {
                    "services": {"company": {"url": server.url}},
                    "bundles": {
                        "flowyml": {"resource": "shipped"},
                        "company": {"service": "company", "polling": POLLING, "persist": True},
                    },
                },
            },
        }
    }
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "platform.yaml").write_text(json.dumps(settings))
    (folder / "flowyml.yaml").write_text("project: {name: fraud}\n")
    (folder / "stack.yaml").write_text(STACK)
    monkeypatch.setenv("FLOWYML_POLICY_SETTINGS", str(tmp_path / "platform.yaml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


def activations(project: Path) -> list[tuple[str | None, ...]]:
    """What the journal says of activations, oldest first."""
    with AuditStore(project / ".flowyml" / "policy.db") as store:
        found = [event for event in store.get_events() if isinstance(event, BundleActivated)]
    return [(one.bundle, one.revision, one.previous) for one in reversed(found)]


def judged(engine: PolicyEngine, project: Path) -> str:
    """The revision of the company's bundle that judged."""
    (result,) = engine.validate([str(project / "stack.yaml")])
    assert result.error is None, result.error
    return result.bundles["company"]


def test_a_revision_is_in_the_journal_with_its_first_decision(project: Path, server: BundleServer) -> None:
    server.put("company", company("strict-1"))
    with PolicyEngine.from_project(project) as engine:
        assert [judged(engine, project) for _ in range(3)] == ["strict-1"] * 3
        server.put("company", company("lax-2"))
        eventually(lambda: judged(engine, project) == "lax-2")
    with PolicyEngine.from_project(project) as engine:
        assert judged(engine, project) == "lax-2"
    assert activations(project) == [("company", "strict-1", None), ("company", "lax-2", "strict-1")]
    with AuditStore(project / ".flowyml" / "policy.db") as store:
        events = {event.id: event for event in store.get_events()}
        for event in events.values():
            if isinstance(event, BundleActivated):
                assert event.decision_id in {one.decision_id for one in events.values() if one.type == "PolicyChecked"}
        assert store.verify().ok


def test_offline_decides_by_the_copy_and_says_so(
    project: Path, server: BundleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")
    with PolicyEngine.from_project(project) as engine, pytest.raises(PolicyUndecided, match="no server may be asked"):
        engine.check(str(project / "stack.yaml"))
    monkeypatch.delenv("FLOWYML_POLICY_OFFLINE")
    server.put("company", company("strict-1"))
    with PolicyEngine.from_project(project) as engine:
        assert judged(engine, project) == "strict-1"
    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")
    asked = len(server.requests)
    with PolicyEngine.from_project(project) as engine:
        assert judged(engine, project) == "strict-1"
    assert len(server.requests) == asked
    with AuditStore(project / ".flowyml" / "policy.db") as store:
        checked = next(event for event in store.get_events() if event.type == "PolicyChecked")
    assert list(checked.payload["copies"]) == ["company"]


def test_a_bundle_that_expires_while_it_is_active_denies(project: Path, server: BundleServer) -> None:
    soon = (datetime.now(timezone.utc) + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%SZ")
    server.put("company", company("lax-1", expires=soon))
    with PolicyEngine.from_project(project) as engine:

        def codes() -> set[str]:
            (result,) = engine.validate([str(project / "stack.yaml")])
            assert result.error is None
            return {finding.code for finding in result.findings}

        assert "main.expired" not in codes()
        eventually(lambda: "main.expired" in codes())
    with PolicyEngine.from_project(project) as engine, pytest.raises(PolicyUndecided, match="expired at"):
        engine.check(str(project / "stack.yaml"))


def test_a_bundle_that_expired_denies_on_a_sidecar_too(tmp_path: Path) -> None:
    (tmp_path / "company.tar.gz").write_bytes(company("lax-1", expires="2026-01-01T00:00:00Z"))
    with shipped.bundle() as archive:
        bundles = {"flowyml": archive, "company": tmp_path / "company.tar.gz"}
        server = OpaServer({"bundles": {name: {"resource": one.as_uri()} for name, one in bundles.items()}}, tmp_path)
        try:
            with SidecarEvaluator(server.url, start_timeout=30, deadline=10) as evaluator:
                decision = evaluator.evaluate(document())
        finally:
            server.stop()
    assert [(one.code, one.subject) for one in decision.denials if one.code.startswith("main.")] == [
        ("main.expired", "bundle company")
    ]


def test_a_key_that_opa_does_not_know_is_an_error_with_its_place(project: Path) -> None:
    platform = project.parent / "platform.yaml"
    platform.write_text(platform.read_text().replace('"url":', '"tokn": "x", "url":'))
    with pytest.raises(SettingsInvalid) as raised:
        PolicyEngine.from_project(project)
    assert raised.value.message.startswith("OPA has no such setting: policy.opa.config.services.company.tokn: ")
    assert f"{platform}:1:" in raised.value.message


def test_a_pattern_that_opa_cannot_read_makes_the_next_revision_undecided(project: Path, server: BundleServer) -> None:
    server.put("company", company("strict-1"))
    evaluator = load_policy(load_settings(project=project))
    manifest = {"revision": "bad-2", "roots": ["org"]}
    data = {"org": {"rule_data": {"images_tag": {"denied": ["[a-"]}}}}
    try:
        server.put(
            "company",
            archive_bytes({".manifest": json.dumps(manifest).encode(), "data.json": json.dumps(data).encode()}),
        )
        with pytest.raises(Exception, match=r"pattern that OPA cannot read: '\[a-'"):
            eventually(lambda: evaluator.query("system/bundles/company/manifest/revision", {}) == "bad-2")
    finally:
        evaluator.close()


def test_without_a_home_nothing_can_be_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", _homeless)
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(OpaUnavailable, match="no home folder"):
        load_policy(load_settings(project=project), environ={})


def _homeless() -> Path:
    raise RuntimeError("no home")


FORKED = """\
import os, sys, time
from pathlib import Path
from tests.contract.conftest import document
from tests.containers.registries import registry
from tests.contract.conftest import document
from tests.contract.remote import start
import json

given, state = json.loads(sys.argv[1]), Path(sys.argv[2])
evaluator = start("embedded", given, state)

def revision():
    return evaluator.judge(document())[1].bundles["flowyml"]

def follow(wanted):
    until = time.monotonic() + 15
    while revision() != wanted:
        assert time.monotonic() < until
        time.sleep(0.05)

assert revision() == "1"
child = os.fork()
follow("1")
if child == 0:
    print("ready", flush=True)
follow("2")
if child == 0:
    assert evaluator.judge(document())[1].evaluator.name == "process"
    sys.exit(0)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_follows_too(server: BundleServer, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    server.put("flowyml", publisher.bundle("1"))
    command = [sys.executable, "-c", FORKED, json.dumps(config(server)), str(tmp_path / "state")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=os.environ
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        server.put("flowyml", publisher.bundle("2"))
        said = program.communicate(timeout=60)[0]
    assert "child 0" in said


@pytest.mark.parametrize("kind", ["embedded", "process"])
def test_a_registry_gives_bundles(tmp_path: Path, push_bundle: Callable[[str, bytes], str], kind: str) -> None:
    publisher = Publisher(tmp_path)
    host = push_bundle("1", publisher.bundle("1").read_bytes())
    given = {
        "services": {"registry": {"url": f"http://{host}", "type": "oci"}},
        "bundles": {
            "flowyml": {"service": "registry", "resource": f"{host}/policy:main", "persist": True, "polling": POLLING}
        },
    }
    evaluator = start(kind, given, tmp_path / "state")
    try:
        assert evaluator.judge(document())[1].bundles == {"flowyml": "1"}
        push_bundle("2", publisher.bundle("2").read_bytes())
        eventually(lambda: evaluator.judge(document())[1].bundles == {"flowyml": "2"})
    finally:
        evaluator.close()
    alone = start(kind, given, tmp_path / "state", offline=True)
    assert alone.judge(document())[1].bundles == {"flowyml": "2"}
    alone.close()


@pytest.fixture
def push_bundle(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    """Pushes bundles into a real registry, as policy:main; answers its host."""
    with registry(tmp_path / "registry") as made:

        def push(_: str, bundle: bytes) -> str:
            layer = Blob(bundle, "application/vnd.oci.image.layer.v1.tar+gzip")
            settings = Blob(b"{}", "application/vnd.oci.image.config.v1+json")
            manifest = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": settings.descriptor(),
                "layers": [layer.descriptor()],
            }
            with RegistryClient(made.url) as client:
                client.put_blob("policy", layer)
                client.put_blob("policy", settings)
                client.put_manifest("policy", "main", Blob(encoded(manifest), OCI_MANIFEST))
            return made.host

        yield push
