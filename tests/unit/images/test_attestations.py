"""What signed attestations say: bases by provenance, and the scan of a vulnerability attestation."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.images import ScanReportInvalid
from flowyml_policy.images.attestations import bases_of, scan_of
from flowyml_policy.images.envelopes import Statement
from flowyml_policy.images.signatures import examine_bundle
from flowyml_policy.records.policy_input import BaseFacts, ImageFacts, PlatformFacts, ScanFacts, VulnerabilityFacts
from tests.unit.images.cosign import IMAGE, OTHER, bundles_of, key, platforms

DIGEST = "sha256:" + "a" * 64
PROVENANCE = "https://slsa.dev/provenance/v1"
PROVENANCE_OLD = "https://slsa.dev/provenance/v0.2"
SCAN = "https://cosign.sigstore.dev/attestation/vuln/v1"


def statements() -> dict[str, Statement]:
    """What `one` attested by the real cosign."""
    found = [examine_bundle(blob, IMAGE, [key("one")]).statement for blob in bundles_of("attested")]
    return {one.predicate_type: one for one in found if one is not None}


def provenance(uri: object, digest: object = None, *, old: bool = False) -> Statement:
    used = [{"uri": uri, "digest": {"sha256": "a" * 64} if digest is None else digest}]
    predicate: dict[str, Any] = {"materials": used} if old else {"buildDefinition": {"resolvedDependencies": used}}
    return Statement(PROVENANCE_OLD if old else PROVENANCE, frozenset({IMAGE}), predicate)


def image() -> ImageFacts:
    names = ("amd64", "arm64")
    found = tuple(
        PlatformFacts(platform=f"linux/{name}", digest=digest, architecture=name, os="linux")
        for name, digest in zip(names, platforms(), strict=True)
    )
    return ImageFacts(ref="a.io/b:v1", registry="a.io", repository="b", digest=IMAGE, kind="index", platforms=found)


def test_provenance_of_cosign_names_its_bases() -> None:
    expected = BaseFacts(ref="myregistry.azurecr.io/base/python:3.12", digest=DIGEST, how="provenance")
    assert bases_of(statements()[PROVENANCE]) == (expected,)
    assert [bases_of(one) for kind, one in statements().items() if kind != PROVENANCE] == [(), ()]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    ("uri", "ref"),
    [
        ("pkg:docker/python@3.12-slim?platform=linux%2Famd64", "docker.io/library/python:3.12-slim"),
        ("pkg:docker/ghcr.io/a/b@v1", "ghcr.io/a/b:v1"),
        ("pkg:docker/python", "docker.io/library/python"),
        (f"pkg:docker/python@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        ("pkg:docker/localhost%3A5000/a@v1", "localhost:5000/a:v1"),
    ],
)
def test_base_is_what_the_package_url_names(uri: str, ref: str, *, old: bool) -> None:
    assert bases_of(provenance(uri, old=old)) == (BaseFacts(ref=ref, digest=DIGEST, how="provenance"),)


@pytest.mark.parametrize(
    ("uri", "digest"),
    [
        ("pkg:github/a/b@v1", None),
        ("git+https://github.com/a/b", None),
        ("docker", None),
        (7, None),
    ],
)
def test_dependency_that_is_no_image_is_no_base(uri: object, digest: object) -> None:
    assert bases_of(provenance(uri, digest)) == ()


@pytest.mark.parametrize(
    ("uri", "digest"),
    [
        ("pkg:docker/UPPER", None),
        ("pkg:docker/", None),
        ("pkg:docker/python", {}),
        ("pkg:docker/python", {"sha256": "short"}),
        ("pkg:docker/python", {"sha512": "a" * 128}),
        ("PKG:docker/python@3", None),
        ("pkg:oci/python@sha256%3Aaaaa?repository_url=ghcr.io/a", None),
        ("docker-image://docker.io/library/python:3", None),
        ("oci://ghcr.io/a/b:v1", None),
    ],
)
def test_image_that_cannot_be_read_leaves_no_base(uri: object, digest: object) -> None:
    """It may be the base, so that the one beside it is not "the only one"."""
    used = {"uri": uri, "digest": {"sha256": "a" * 64} if digest is None else digest}
    other = {"uri": "pkg:docker/python@3.12", "digest": {"sha256": "b" * 64}}
    for both in ([used, other], [other, used]):
        assert bases_of(Statement(PROVENANCE_OLD, frozenset({IMAGE}), {"materials": both})) is None


def test_scan_of_cosign_is_read() -> None:
    """The report names neither digest nor architecture: the statement says what it is about."""
    statement = statements()[SCAN]
    one = image().model_copy(update={"kind": "manifest", "platforms": image().platforms[:1]})
    finding = VulnerabilityFacts(id="CVE-2026-1", severity="critical", package="openssl", fixed_in="3.0.2")
    assert scan_of(statement, one) == ScanFacts(
        tool="trivy",
        db_at="2026-11-01T10:00:00.000000Z",
        findings=(finding,),
        digests=(platforms()[0],),
        signed=True,
        signed_digests=(platforms()[0],),
    )
    several = scan_of(statement, image())
    assert several is not None
    assert (several.findings, several.digests) == ((finding,), ()), "which of two platforms was scanned is not said"
    assert scan_of(statement, one.model_copy(update={"digest": OTHER})) is None


def test_scan_by_an_older_trivy_is_as_old_as_its_attestation() -> None:
    statement = statements()[SCAN]
    result = dict(statement.predicate["scanner"]["result"])
    del result["CreatedAt"]
    scanner = {**statement.predicate["scanner"], "result": result}
    older = Statement(SCAN, statement.subjects, {**statement.predicate, "scanner": scanner})
    one = image().model_copy(update={"platforms": image().platforms[:1]})
    found = scan_of(older, one)
    assert found is not None
    assert found.db_at == "2026-11-01T10:00:05.000000Z"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([PROVENANCE, PROVENANCE_OLD, SCAN, "another"]), JSON)
def test_any_predicate_is_read_or_passed_over(kind: str, value: object) -> None:
    predicate = {
        "buildDefinition": {"resolvedDependencies": value},
        "materials": value,
        "scanner": {"result": value},
        "metadata": value,
    }
    for whole in (predicate, dict.fromkeys(predicate, value)):
        statement = Statement(kind, frozenset({IMAGE}), whole)
        assert bases_of(statement) == ()
        with suppress(ScanReportInvalid):
            assert (kind == SCAN, scan_of(statement, image())) == (False, None)
