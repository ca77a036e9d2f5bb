"""Reports of Trivy and Grype: which image they are about, how old they are, and what is no report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.images import ScanReportInvalid
from flowyml_policy.images import scans
from flowyml_policy.images.scans import ScanReport, ScanReports, merged, parse_report, read_instant, read_report
from flowyml_policy.mask.images import masked_image
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts, ScanFacts, VulnerabilityFacts

DATA = Path(__file__).parent / "data" / "scans"
INDEX = "sha256:" + "1" * 64
AMD64 = "sha256:" + "2" * 64
ARM64 = "sha256:" + "3" * 64
OTHER = "sha256:" + "9" * 64

OPENSSL = VulnerabilityFacts(id="CVE-2026-1111", severity="critical", package="libssl3", fixed_in="3.0.15-1")
ZLIB = VulnerabilityFacts(id="CVE-2026-2222", severity="low", package="zlib1g", fixed_in=None)
GHSA = VulnerabilityFacts(id="GHSA-aaaa-bbbb-cccc", severity="high", package="requests", fixed_in="2.33.0, 3.0.0")
MUSL = VulnerabilityFacts(id="CVE-2026-3333", severity="negligible", package="libc6", fixed_in=None)


def image(
    digest: str | None = INDEX, *, kind: str = "index", names: tuple[str, ...] = ("linux/amd64", "linux/arm64/v8")
) -> ImageFacts:
    digests = {"linux/amd64": AMD64, "linux/arm64/v8": ARM64}
    platforms = [
        PlatformFacts(platform=name, digest=digests.get(name), os=name.split("/")[0], architecture=name.split("/")[1])
        for name in names
    ]
    values = {"ref": "ghcr.io/team/app:v1", "registry": "ghcr.io", "repository": "team/app", "digest": digest}
    return ImageFacts.model_validate({**values, "kind": kind, "inspected": True, "platforms": tuple(platforms)})


def value_of(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


def facts(name: str, one: ImageFacts | None = None) -> ScanFacts | None:
    return read_report(DATA / f"{name}.json").facts_for(one or image())


def test_trivy_report_is_about_the_platform_that_was_looked_at() -> None:
    assert facts("trivy") == ScanFacts(
        tool="trivy", db_at="2026-11-20T09:30:00.123456Z", findings=(OPENSSL, ZLIB), digests=(AMD64,)
    )


def test_grype_report_is_as_old_as_its_database() -> None:
    assert facts("grype") == ScanFacts(
        tool="grype", db_at="2026-11-18T06:00:00.000000Z", findings=(GHSA, MUSL), digests=(ARM64,)
    )


def test_grype_report_of_an_older_version_is_read() -> None:
    value = value_of("grype")
    value["descriptor"]["db"] = {"built": "2026-11-18T06:00:00Z", "schemaVersion": 5}
    assert parse_report(value).db_at == "2026-11-18T06:00:00.000000Z"


@pytest.mark.parametrize("name", ["trivy", "grype"])
def test_report_of_another_image_says_nothing(name: str) -> None:
    """The same tag, and not the same digest."""
    assert facts(name, image(OTHER, names=("linux/s390x",))) is None
    assert facts(name, image(None, names=("linux/s390x",))) is None


def test_report_of_another_platform_says_nothing() -> None:
    assert facts("trivy", image(names=("linux/arm64/v8",))) is None
    assert facts("trivy", image(names=("windows/amd64",))) is None


def test_report_that_names_a_platform_is_about_it() -> None:
    """Grype's manifestDigest, and Trivy's RepoDigests where it was pulled by the platform's digest."""
    assert facts("grype", image(OTHER)) is not None
    value = value_of("trivy")
    value["Metadata"]["RepoDigests"] = [f"ghcr.io/team/app@{ARM64}"]
    found = parse_report(value).facts_for(image(OTHER))
    assert found is not None
    assert found.digests == (ARM64,)


def test_report_of_an_image_of_one_manifest_is_about_it() -> None:
    for one in (
        image(AMD64, kind="manifest", names=("linux/amd64",)),
        image(AMD64, kind="manifest", names=("plan9/x",)),
    ):
        value = value_of("trivy")
        value["Metadata"]["RepoDigests"] = [f"ghcr.io/team/app@{AMD64}"]
        del value["Metadata"]["ImageConfig"]
        found = parse_report(value).facts_for(one)
        assert found is not None
        assert found.digests == (AMD64,)


def test_report_that_fits_several_platforms_covers_none_of_them() -> None:
    """What it found counts, since one of them has it."""
    value = value_of("trivy")
    several = image(names=("windows/amd64", "linux/amd64"))
    for config in (None, {"architecture": "amd64"}):
        value["Metadata"]["ImageConfig"] = config
        found = parse_report(value).facts_for(several)
        assert found is not None
        assert (found.findings, found.digests) == ((OPENSSL, ZLIB), ())


def test_report_is_matched_with_the_platform_of_the_index() -> None:
    """Not with what the image's configuration claims to be."""
    first, second = image().platforms
    claiming = second.model_copy(update={"architecture": "amd64"})
    found = facts("trivy", image().model_copy(update={"platforms": (first, claiming)}))
    assert found is not None
    assert found.digests == (AMD64,)
    assert facts("trivy", image().model_copy(update={"platforms": (claiming,)})) is None


def test_report_that_names_index_and_platform_is_about_the_platform() -> None:
    value = value_of("trivy")
    value["Metadata"]["RepoDigests"] = [f"ghcr.io/team/app@{one}" for one in (INDEX, ARM64)]
    found = parse_report(value).facts_for(image())
    assert found is not None
    assert found.digests == (ARM64,)


def test_variant_tells_platforms_of_an_architecture_apart() -> None:
    value = value_of("trivy")
    value["Metadata"]["ImageConfig"] = {"architecture": "arm64", "os": "linux", "variant": "v9"}
    assert parse_report(value).facts_for(image()) is None
    value["Metadata"]["ImageConfig"]["variant"] = "v8"
    assert parse_report(value).facts_for(image()) is not None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trivy", lambda value: value.pop("CreatedAt")),
        ("trivy", lambda value: value.update(CreatedAt="yesterday")),
        ("grype", lambda value: value["descriptor"].pop("db")),
        ("grype", lambda value: value["descriptor"].update(db={"status": {"built": "soon"}})),
        ("grype", lambda value: value["descriptor"].update(timestamp="soon")),
    ],
)
def test_report_of_no_age_has_none(name: str, change: Callable[[Any], object]) -> None:
    value = value_of(name)
    change(value)
    assert parse_report(value).db_at is None


def test_grype_report_without_timestamp_has_its_databases_age() -> None:
    value = value_of("grype")
    del value["descriptor"]["timestamp"]
    assert parse_report(value).db_at == "2026-11-18T06:00:00.000000Z"


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("trivy", lambda value: value.update(SchemaVersion=3), "its SchemaVersion is '3', and 2 is read"),
        ("trivy", lambda value: value.update(SchemaVersion="2"), "its SchemaVersion is '2', and 2 is read"),
        ("trivy", lambda value: value.update(SchemaVersion=True), "its SchemaVersion is 'True', and 2 is read"),
        (
            "trivy",
            lambda value: value.update(ArtifactType="filesystem"),
            "it is about no container image: its ArtifactType is 'filesystem'",
        ),
        ("trivy", lambda value: value.update(Metadata=[7]), "`Metadata` is no object"),
        ("trivy", lambda value: value.update(Results={}), "`Results` is no list"),
        ("trivy", lambda value: value.update(Results=[7]), "`Results` is no object"),
        ("trivy", lambda value: value["Metadata"].update(RepoDigests="x"), "`Metadata.RepoDigests` is no list"),
        (
            "trivy",
            lambda value: value["Results"][0]["Vulnerabilities"][0].pop("VulnerabilityID"),
            "a vulnerability has no id or no package: 'libssl3'",
        ),
        (
            "trivy",
            lambda value: value["Results"][0]["Vulnerabilities"][0].update(Severity="DIRE"),
            "the severity of 'CVE-2026-1111' is 'dire', which is not known",
        ),
        ("grype", lambda value: value.pop("matches"), "it has no `matches`"),
        ("grype", lambda value: value["descriptor"].update(name="syft"), "it is neither Trivy's JSON nor Grype's"),
        ("grype", lambda value: value.pop("descriptor"), "it is neither Trivy's JSON nor Grype's"),
        ("grype", lambda value: value.update(source=None), "`source` is no object"),
        (
            "grype",
            lambda value: value.update(source={"type": "directory", "target": "/src"}),
            "it is about no container image: its source is 'directory'",
        ),
        ("grype", lambda value: value["matches"][0].pop("artifact"), "`artifact` is no object"),
    ],
)
def test_report_of_another_form_is_refused(
    name: str, change: Callable[[Any], object], what: str, tmp_path: Path
) -> None:
    value = value_of(name)
    change(value)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(value), "utf-8")
    with pytest.raises(ScanReportInvalid) as caught:
        read_report(path)
    assert caught.value.message == f"{path} is no scan report that is read: {what}"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "it is no JSON"),
        (b"[]", "`the report` is no object"),
        (b'{"SchemaVersion": 2, "SchemaVersion": 2}', "it is no JSON of one meaning: a key stands twice"),
        (b"[" * 200_000, "it is no JSON"),
        ("{}".encode("utf-16"), "it is no JSON"),
    ],
)
def test_file_that_is_no_json_is_refused(data: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(data)
    with pytest.raises(ScanReportInvalid, match=f"is no scan report that is read: {what}"):
        read_report(path)


def test_file_missing_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScanReportInvalid, match=r"the scan report cannot be read: cannot read .*none\.json"):
        read_report(tmp_path / "none.json")
    with pytest.raises(ScanReportInvalid, match="the scan report cannot be read: not a regular file"):
        read_report(tmp_path)
    monkeypatch.setattr(scans, "LARGEST_REPORT", 100)
    with pytest.raises(ScanReportInvalid, match="it is larger than 100 bytes"):
        read_report(DATA / "trivy.json")


def test_report_with_too_many_vulnerabilities_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "_MOST_FINDINGS", 1)
    with pytest.raises(ScanReportInvalid, match="it holds more than 1 vulnerabilities"):
        parse_report(value_of("trivy"))


def test_report_without_findings_is_one() -> None:
    value = value_of("trivy")
    del value["Results"]
    assert parse_report(value).findings == ()
    value["Results"] = [{"Target": "x", "Vulnerabilities": None}]
    assert parse_report(value).findings == ()


def test_merged_reports_are_as_old_as_the_oldest() -> None:
    first = ScanFacts(tool="trivy", db_at="2026-11-20T00:00:00.000000Z", findings=(OPENSSL, ZLIB), digests=(AMD64,))
    second = ScanFacts(tool="grype", db_at="2026-11-18T00:00:00.000000Z", findings=(ZLIB, GHSA), digests=(ARM64, AMD64))
    assert merged([]) is None
    assert merged([first]) == first
    assert merged([first, second, first]) == ScanFacts(
        tool="grype, trivy",
        db_at="2026-11-18T00:00:00.000000Z",
        findings=(ZLIB, GHSA, OPENSSL),
        digests=(ARM64, AMD64),
    )
    ageless = first.model_copy(update={"db_at": None})
    found = merged([second, ageless])
    assert found is not None
    assert found.db_at is None


def signed_scan(at: str | None, *findings: VulnerabilityFacts, digest: str = AMD64, tool: str = "trivy") -> ScanFacts:
    return ScanFacts(
        tool=tool,
        db_at=at and f"2026-{at}T00:00:00.000000Z",
        findings=findings,
        digests=(digest,),
        signed=True,
        signed_digests=(digest,),
    )


def test_merged_signed_report_vouches_for_what_it_scanned_alone() -> None:
    given_file = ScanFacts(tool="grype", db_at="2026-11-20T00:00:00.000000Z", findings=(ZLIB,), digests=(ARM64,))
    found = merged([given_file, signed_scan("11-20")])
    assert found is not None
    assert (found.signed, found.digests, found.signed_digests) == (False, (ARM64, AMD64), (AMD64,))
    assert found.findings == (ZLIB,)


def test_newer_signed_report_replaces_older_signed_ones() -> None:
    new, old = signed_scan("11-20", ZLIB), signed_scan("03-01", OPENSSL)
    assert merged([old, new, old]) == new
    others = [signed_scan("03-01", GHSA, digest=ARM64), signed_scan("03-02", MUSL, tool="grype")]
    found = merged([old, new, *others])
    assert found is not None
    assert (set(found.findings), found.db_at) == ({ZLIB, GHSA, MUSL}, "2026-03-01T00:00:00.000000Z")
    assert (found.signed, found.signed_digests) == (True, (AMD64, ARM64))


def test_what_is_not_signed_or_has_no_age_replaces_no_signed_report() -> None:
    old = signed_scan("03-01", OPENSSL)
    given_file = old.model_copy(update={"db_at": "2026-11-20T00:00:00.000000Z", "signed": False, "signed_digests": ()})
    for newer in (given_file, signed_scan(None, ZLIB)):
        found = merged([newer, old])
        assert found is not None
        assert OPENSSL in found.findings
    found = merged([signed_scan("11-20", ZLIB), signed_scan(None, OPENSSL)])
    assert found is not None
    assert (set(found.findings), found.db_at) == ({ZLIB, OPENSSL}, None)


TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def test_what_a_report_wrote_is_masked_and_can_be_encoded(tmp_path: Path) -> None:
    value = value_of("trivy")
    entry = value["Results"][0]["Vulnerabilities"][0]
    entry.update(VulnerabilityID=f"CVE {TOKEN}", PkgName="a\ud800b", FixedVersion=f"\udfff {TOKEN}")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(value), "utf-8")
    scan = ScanReports.read([path]).added_to(image()).scan
    assert scan is not None
    (odd,) = (one for one in scan.findings if one not in {OPENSSL, ZLIB})
    assert TOKEN not in scan.model_dump_json()
    assert odd.package == "a\\ud800b"
    assert (odd.fixed_in or "").startswith("\\udfff ")


def test_scan_of_an_image_is_masked() -> None:
    harmless = signed_scan("11-20", OPENSSL, ZLIB, GHSA, MUSL)
    assert masked_image(image().model_copy(update={"scan": harmless})).scan is harmless
    secret = VulnerabilityFacts(id=TOKEN, severity="high", package=TOKEN, fixed_in=None)
    scan = signed_scan("11-20", secret, ZLIB, tool=f"trivy {TOKEN}")
    found = masked_image(image().model_copy(update={"scan": scan, "scan_problem": f"as {TOKEN} \ud800"}))
    assert found.scan is not None
    assert found.scan.findings[1] == ZLIB
    assert TOKEN not in found.model_dump_json()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T09:30:00Z", "2026-11-20T09:30:00.000000Z"),
        ("2026-11-20t09:30:00.123456789z", "2026-11-20T09:30:00.123456Z"),
        ("2026-11-20T09:30:00.5+02:00", "2026-11-20T07:30:00.500000Z"),
        ("2026-11-20T23:30:00-01:30", "2026-11-21T01:00:00.000000Z"),
        ("2026-11-20T09:30:00", None),
        ("2026-13-20T09:30:00Z", None),
        ("0001-01-01T00:00:00+10:00", None),
        ("2026-11-20", None),
        (7, None),
        (None, None),
    ],
)
def test_instant_is_read(text: object, expected: str | None) -> None:
    assert read_instant(text) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["trivy", "grype"]), st.data(), JSON)
def test_any_value_in_a_report_is_a_report_or_an_error(name: str, data: st.DataObject, value: object) -> None:
    report = value_of(name)
    place: Any = report
    while isinstance(place, (dict, list)) and place:
        key: Any = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        found = parse_report(report)
    except ScanReportInvalid:
        return
    assert isinstance(found, ScanReport)
    found.facts_for(image())
