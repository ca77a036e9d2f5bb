"""What signed attestations make of an image's facts, from a scripted registry to the scan and the bases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.images.signing import ImageSigning
from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_registry import OciRegistry
from flowyml_policy.records.policy_input import BaseFacts, ImageFacts
from flowyml_policy.settings.settings import Settings
from flowyml_policy.storage.cache import ContentCache
from tests.oci_registry import OciServer, answering, only, start
from tests.unit.images.cosign import SIGN, Signer, bundle, referring, statement
from tests.unit.images.test_registry import push_index

DATA = Path(__file__).parent / "data" / "scans"
PROVENANCE = "https://slsa.dev/provenance/v1"
SCAN = "https://cosign.sigstore.dev/attestation/vuln/v1"
PYTHON = {"uri": "pkg:docker/python@3.12", "digest": {"sha256": "a" * 64}}


@pytest.fixture
def server() -> Iterator[OciServer]:
    with start() as running:
        yield running


class Bench:
    """A signed index of two platforms, to which more is attached."""

    def __init__(self, server: OciServer, settings: Settings, signer: Signer, cache: ContentCache) -> None:
        self.server = server
        self.signer = signer
        self.repository = server.repository()
        self.index, self.amd64, self.arm64 = push_index(self.repository, "1")
        registry = OciRegistry(Credentials({}, environ={}), insecure=[server.host], environ={})
        self._inspector = RegistryInspector(registry, cache)
        self._signing = ImageSigning(settings, cache)
        self.attach(self.index, SIGN, {})

    def attach(self, subject: str, predicate_type: str, predicate: Any, *signers: Signer) -> None:
        made = bundle(statement(subject, predicate_type, predicate=predicate), *(signers or (self.signer,)))
        referring(self.repository, subject, made)
        claims = {"dev.sigstore.bundle.predicateType": predicate_type}
        self.repository.referrers[subject][-1]["annotations"] = claims

    def facts(self) -> ImageFacts:
        found = self._inspector.inspect(f"{self.server.host}/team/app:1")
        signed = self._signing.signed(found, self._inspector, Deadline(20))
        assert any(one.ok for one in signed.signatures)
        return signed


@pytest.fixture
def bench(server: OciServer, load: Callable[..., Settings], tmp_path: Path) -> Bench:
    signer = Signer()
    (tmp_path / "key.pub").write_bytes(signer.pem)
    settings = load(f"policy: {{images: {{cosign_keys: {{'{server.host}': '{tmp_path / 'key.pub'}'}}}}}}\n")
    return Bench(server, settings, signer, ContentCache(tmp_path / "cache"))


def report(**changes: Any) -> dict[str, Any]:
    return {"scanner": {"result": {**json.loads((DATA / "trivy.json").read_text("utf-8")), **changes}}}


def test_scan_of_a_platform_counts_though_others_push_before_it(bench: Bench) -> None:
    for number in range(3):
        bench.attach(bench.amd64, SCAN, {"number": number}, Signer())
    bench.attach(bench.amd64, SCAN, report())
    found = bench.facts()
    assert found.scan is not None
    assert (found.scan.signed_digests, found.scan_problem) == ((bench.amd64,), None)
    assert "CVE-2026-1111" in {one.id for one in found.scan.findings}


def test_scan_that_is_hidden_is_a_problem(bench: Bench) -> None:
    for number in range(11):
        bench.attach(bench.index, SCAN, {"number": number}, Signer())
    bench.attach(bench.index, SCAN, report())
    found = bench.facts()
    assert (found.scan, found.scan_problem) == (
        None,
        "more refers to it than 20 requests can read; look again to go on",
    )
    found = bench.facts()
    assert found.scan is not None
    assert found.scan_problem is None


@pytest.mark.parametrize("predicate", [{}, {"scanner": {"result": {"SchemaVersion": 3}}}])
def test_signed_scan_that_cannot_be_read_is_a_problem(bench: Bench, predicate: Any) -> None:
    bench.attach(bench.amd64, SCAN, predicate)
    found = bench.facts()
    assert found.scan is None
    assert (found.scan_problem or "").startswith("one that is signed is no scan report that is read: ")


def test_base_is_told_by_provenance_that_names_one(bench: Bench) -> None:
    bench.attach(bench.index, PROVENANCE, {"buildDefinition": {"resolvedDependencies": [PYTHON]}})
    base = BaseFacts(ref="docker.io/library/python:3.12", digest="sha256:" + "a" * 64, how="provenance")
    assert [one.base for one in bench.facts().platforms] == [base, base]
    bench.attach(bench.arm64, PROVENANCE, {"buildDefinition": {"resolvedDependencies": [{"uri": "oci://x.io/a"}]}})
    assert [one.base for one in bench.facts().platforms] == [base, None]


def test_base_is_not_told_where_not_all_provenance_is_read(bench: Bench) -> None:
    bench.attach(bench.index, PROVENANCE, {"buildDefinition": {"resolvedDependencies": [PYTHON]}})
    bench.facts()
    bench.attach(bench.index, PROVENANCE, {"buildDefinition": {}})
    bench.server.misbehave = only("/manifests/sha256:", answering(500))
    found = bench.facts()
    assert ([one.base for one in found.platforms], found.scan_problem) == ([None, None], None)
