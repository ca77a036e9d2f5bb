"""Images as the engine judges them: examined once for a batch, with bases and scan reports, from a real registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.errors.decision import PolicyDenied
from flowyml_policy.errors.images import ScanReportInvalid, SigningKeyUnusable
from flowyml_policy.errors.root import UsageError
from tests.oci_registry import OciServer, Repository, start

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

BASE: Final = "sha256:" + "a" * 64
OWN: Final = "sha256:" + "b" * 64
SETTINGS: Final = """\
project: {name: fraud-detection}
policies:
  image_policy: {allowed_bases: ["HOST/base/python:3.11"]}
policy:
  images: {insecure: ["HOST"], timeout: 5s}
"""


def config(*diff_ids: str, **settings: Any) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-11-01T00:00:00Z",
        "config": {"User": "1000", **settings},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }


@pytest.fixture
def server() -> Iterator[OciServer]:
    with start() as made:
        yield made


@pytest.fixture
def repository(server: OciServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """What the registry has of `ml/train`: an image on the one base that is allowed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    (project / "flowyml.yaml").write_text(SETTINGS.replace("HOST", server.host), "utf-8")
    server.repository("base/python").add_image(config(BASE), "3.11")
    found = server.repository("ml/train")
    found.add_image(config(BASE, OWN), "1.0.0", layers=2)
    return found


@pytest.fixture
def stack(server: OciServer, repository: Repository, write_stack: WriteStack) -> str:
    assert repository.tags
    return write_stack("prod-gpu-a", image=f"{server.host}/ml/train:1.0.0")


def report(project: Path, digest: str) -> Path:
    file = project / "scan.json"
    found = [{"VulnerabilityID": "CVE-2026-1", "PkgName": "openssl", "Severity": "HIGH"}]
    value = {
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-28T00:00:00Z",
        "ArtifactType": "container_image",
        "Metadata": {"RepoDigests": [f"x@{digest}"], "ImageConfig": {"architecture": "amd64", "os": "linux"}},
        "Results": [{"Vulnerabilities": found}],
    }
    file.write_text(json.dumps(value), "utf-8")
    return file


def test_image_on_an_allowed_base_is_allowed_and_one_on_another_denied(
    stack: str, server: OciServer, repository: Repository, write_stack: WriteStack
) -> None:
    repository.add_image(config(OWN), "other")
    other = write_stack("prod-gpu-b", image=f"{server.host}/ml/train:other")
    with PolicyEngine.from_project() as engine:
        allowed, denied = engine.validate([stack, other])
    assert (allowed.outcome, denied.outcome) == ("allow", "deny")
    assert [finding.code for finding in denied.denials] == ["images_base.not_allowed"]


def test_images_of_a_batch_and_their_bases_are_asked_for_once(
    stack: str, server: OciServer, write_stack: WriteStack
) -> None:
    stacks = [stack, *(write_stack(f"prod-gpu-{name}", image=f"{server.host}/ml/train:1.0.0") for name in "bcd")]
    with PolicyEngine.from_project() as engine:
        assert [result.outcome for result in engine.validate(stacks)] == ["allow"] * 4
    assert len(server.log) == len(set(server.log)) == 6


def test_base_that_cannot_be_read_lets_no_image_pass_fails_closed(stack: str, server: OciServer) -> None:
    server.repository("base/python").tags.clear()
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([stack])
    assert [finding.code for finding in result.denials] == ["images_base.not_allowed"]


def test_check_takes_scan_reports(stack: str, project: Path, repository: Repository) -> None:
    file = report(project, repository.tags["1.0.0"])
    with PolicyEngine.from_project() as engine:
        assert engine.check(stack).allowed
        decision = engine.check(stack, scan_reports=[file])
        assert [finding.code for finding in decision.denials] == ["images_vulnerabilities.found"]
        with pytest.raises(PolicyDenied) as caught:
            engine.require(stack, scan_reports=[str(file)])
        file.write_text("{}", "utf-8")
        with pytest.raises(ScanReportInvalid):
            engine.check(stack, scan_reports=[file])
    (exact,) = caught.value.result.judged_images.values()
    assert exact.endswith(f"/ml/train@{repository.tags['1.0.0']}")


def test_scan_report_with_inspection_off_fails_closed(stack: str, project: Path, repository: Repository) -> None:
    file = report(project, repository.tags["1.0.0"])
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text("utf-8").replace("timeout: 5s", "inspect: off"), "utf-8")
    with PolicyEngine.from_project() as engine, pytest.raises(UsageError, match="inspect is off"):
        engine.check(stack, scan_reports=[file])


def test_key_that_cannot_be_read_fails_closed(stack: str, project: Path) -> None:
    assert stack
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text("utf-8").replace("timeout: 5s", "cosign_keys: {a.io: no.pub}"), "utf-8")
    with pytest.raises(SigningKeyUnusable, match=r"no\.pub"):
        PolicyEngine.from_project()
