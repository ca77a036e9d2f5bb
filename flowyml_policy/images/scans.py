"""Reports of vulnerability scanners, Trivy's and Grype's, and which image each is about.

Rules:
- A report is about what it names by digest: a platform's own, or that of an index, if exactly one of its platforms fits
  what was looked at. Where several fit, its findings count, and none of them was scanned. Tags and names say nothing.
- What is not understood is an error: another version, another form, a severity that is not known.
- A report's age is that of what vouches for it: when the scan was made, or, where that is older, the database that it
  was made with.

Sources: github.com/aquasecurity/trivy pkg/types/report.go (SchemaVersion 2); github.com/anchore/grype
grype/presenter/models (which has no version of its own).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, TypeAlias

from flowyml_policy.errors.images import ScanReportInvalid
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.images.json_text import NotJson, read_json
from flowyml_policy.mask.images import masked_scan
from flowyml_policy.mask.quoted import shown
from flowyml_policy.mask.text import encodable
from flowyml_policy.records.instant import instant
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts, ScanFacts, VulnerabilityFacts
from flowyml_policy.records.record import Json
from flowyml_policy.system.files import display_path, read_file

LARGEST_REPORT: Final = 64 << 20
_MOST_FINDINGS: Final = 50_000
_TRIVY_VERSION: Final = 2
_SEVERITIES: Final = frozenset({"critical", "high", "medium", "low", "negligible", "unknown"})
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_Object: TypeAlias = Mapping[str, Json]


class _Unknown(Exception):
    """A report is of no form that is read; its text says why."""


@dataclass(frozen=True)
class ScanReport:
    """One report. `digests` are what it names, an index's or a platform's; `architecture` and `os` what it looked at.

    `db_at` is an RFC 3339 instant in UTC, None where the report does not say how old it is.
    """

    tool: str
    digests: frozenset[str]
    architecture: str | None
    os: str | None
    variant: str | None
    db_at: str | None
    findings: tuple[VulnerabilityFacts, ...]

    def facts_for(self, image: ImageFacts) -> ScanFacts | None:
        """What the report says of an image that was inspected; None if it is about another."""
        scanned = [platform for platform in image.platforms if platform.digest in self.digests]
        if not scanned and image.digest in self.digests:
            fitting = [platform for platform in image.platforms if self._may_have_looked_at(platform)]
            if not fitting:
                return None
            scanned = fitting if len(fitting) == 1 else []
        elif not scanned:
            return None
        digests = tuple(platform.digest or image.digest or "" for platform in scanned)
        return ScanFacts(tool=self.tool, db_at=self.db_at, findings=self.findings, digests=digests)

    def about(self, digests: frozenset[str]) -> ScanReport:
        """The report as one about `digests`, where something stronger than itself says so."""
        return replace(self, digests=digests)

    def _may_have_looked_at(self, platform: PlatformFacts) -> bool:
        """Whether what the report says of its platform fits; what an image's configuration claims is not asked."""
        parts = zip(platform.platform.split("/"), (self.os, self.architecture, self.variant), strict=False)
        return all(said is None or said == part for part, said in parts)


class ScanReports:
    """Reports that somebody names for a whole call. They can only add to what is known of an image.

    `unused` are those that were about no image so far.
    """

    def __init__(self, reports: Mapping[Path, ScanReport]) -> None:
        self._reports = dict(reports)
        self.unused = list(reports)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> ScanReports:
        """The reports in files. Raises ScanReportInvalid."""
        return cls({path: read_report(path) for path in paths})

    def added_to(self, image: ImageFacts) -> ImageFacts:
        """`image` with what the reports say of it, beside what a signed attestation said."""
        found = {path: facts for path, one in self._reports.items() if (facts := one.facts_for(image)) is not None}
        self.unused = [path for path in self.unused if path not in found]
        said = list(found.values())
        known = [] if image.scan is None else [image.scan]
        return image.model_copy(update={"scan": masked_scan(merged([*known, *said]))}) if said else image


def read_report(path: Path) -> ScanReport:
    """The report in a file: Trivy's JSON (`SchemaVersion` 2) or Grype's. Raises ScanReportInvalid."""
    try:
        data = read_file(path, most=LARGEST_REPORT)
    except SourceUnreadable as error:
        raise ScanReportInvalid(f"the scan report cannot be read: {error.message}") from error
    try:
        if len(data) > LARGEST_REPORT:
            raise _Unknown(f"it is larger than {LARGEST_REPORT:,} bytes")  # noqa: TRY301  one place makes errors of it
        return _report(read_json(data))
    except (_Unknown, NotJson) as error:
        raise ScanReportInvalid(f"{display_path(path)} is no scan report that is read: {error}") from error


def parse_report(value: Json) -> ScanReport:
    """The report that `value`, JSON, is. Raises ScanReportInvalid."""
    try:
        return _report(value)
    except _Unknown as error:
        raise ScanReportInvalid(f"no scan report that is read: {error}") from error


def merged(facts: Iterable[ScanFacts]) -> ScanFacts | None:
    """What several reports say of one image; None for none.

    All their findings count, but for those of signed reports that newer signed ones of the same tool about the same
    platforms replace. What is not signed replaces nothing. Which of the platforms that were scanned are vouched for by
    a signature is said apart, so that a file given by the project is not taken for one.
    """
    found = sorted(_not_replaced(list(facts)), key=lambda one: one.tool)
    if not found:
        return None
    return ScanFacts(
        tool=", ".join(dict.fromkeys(one.tool for one in found)),
        db_at=_oldest([one.db_at for one in found]),
        findings=tuple(dict.fromkeys(finding for one in found for finding in one.findings)),
        digests=tuple(dict.fromkeys(digest for one in found for digest in one.digests)),
        signed=all(one.signed for one in found),
        signed_digests=tuple(dict.fromkeys(digest for one in found for digest in one.signed_digests)),
    )


def _not_replaced(facts: Sequence[ScanFacts]) -> Iterator[ScanFacts]:
    """`facts` without older signed ones. One of no known age is neither newer nor older than any."""
    newest: dict[tuple[str, frozenset[str]], str] = {}
    for one in facts:
        if one.signed and one.db_at is not None:
            about = one.tool, frozenset(one.digests)
            newest[about] = max(newest.get(about, ""), one.db_at)
    for one in facts:
        if not one.signed or one.db_at is None or one.db_at == newest[one.tool, frozenset(one.digests)]:
            yield one


def read_instant(value: Json) -> str | None:
    """An RFC 3339 instant as records keep them, of whatever offset; None for what is none."""
    parts = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        return None
    date, time, fraction, sign, hours, minutes = parts.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=timezone.utc)
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        moment = moment.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0"))) - offset
    except (ValueError, OverflowError):
        return None
    return instant(moment)


def _report(value: Json) -> ScanReport:
    report = _object(value, "the report")
    if "SchemaVersion" in report:
        return _trivy(report)
    descriptor = report.get("descriptor")
    if isinstance(descriptor, dict) and descriptor.get("name") == "grype":
        return _grype(report, descriptor)
    raise _Unknown("it is neither Trivy's JSON nor Grype's")


def _trivy(report: _Object) -> ScanReport:
    version, kind = report["SchemaVersion"], report.get("ArtifactType")
    if version != _TRIVY_VERSION or isinstance(version, bool):
        raise _Unknown(f"its SchemaVersion is {shown(str(version), 40)}, and {_TRIVY_VERSION} is read")
    if kind != "container_image":
        raise _Unknown(f"it is about no container image: its ArtifactType is {shown(str(kind), 40)}")
    metadata = _object(report.get("Metadata") or {}, "Metadata")
    config = _object(metadata.get("ImageConfig") or {}, "Metadata.ImageConfig")
    findings = [
        _finding(entry.get("VulnerabilityID"), entry.get("PkgName"), entry.get("Severity"), entry.get("FixedVersion"))
        for result in _objects(report.get("Results"), "Results")
        for entry in _objects(result.get("Vulnerabilities"), "Vulnerabilities")
    ]
    return ScanReport(
        tool="trivy",
        digests=_digests(metadata.get("RepoDigests"), "Metadata.RepoDigests"),
        architecture=_text(config.get("architecture")),
        os=_text(config.get("os")),
        variant=_text(config.get("variant")),
        db_at=read_instant(report.get("CreatedAt")),
        findings=_bounded(findings),
    )


def _grype(report: _Object, descriptor: _Object) -> ScanReport:
    source = _object(report.get("source"), "source")
    if source.get("type") != "image":
        raise _Unknown(f"it is about no container image: its source is {shown(str(source.get('type')), 40)}")
    target = _object(source.get("target"), "source.target")
    findings = []
    if "matches" not in report:
        raise _Unknown("it has no `matches`")
    for match in _objects(report["matches"], "matches"):
        entry = _object(match.get("vulnerability"), "vulnerability")
        artifact = _object(match.get("artifact"), "artifact")
        fixes = _object(entry.get("fix") or {}, "fix").get("versions")
        fixed_in = ", ".join(str(one) for one in fixes) if isinstance(fixes, list) else None
        findings.append(_finding(entry.get("id"), artifact.get("name"), entry.get("severity"), fixed_in))
    manifest = target.get("manifestDigest")
    own = [manifest] if isinstance(manifest, str) and _DIGEST.fullmatch(manifest) else []
    return ScanReport(
        tool="grype",
        digests=_digests(target.get("repoDigests"), "source.target.repoDigests") | frozenset(own),
        architecture=_text(target.get("architecture")),
        os=_text(target.get("os")),
        variant=_text(target.get("variant")),
        db_at=_grype_age(descriptor),
        findings=_bounded(findings),
    )


def _grype_age(descriptor: _Object) -> str | None:
    """When Grype's database was built, or the scan was made if that was before; None where the former is not said.

    `db.built` stands in older reports, `db.status.built` since 0.88.
    """
    database = descriptor.get("db")
    status = database.get("status") if isinstance(database, dict) else None
    said = [place.get("built") for place in (status, database) if isinstance(place, dict)]
    built = next((found for value in said if (found := read_instant(value)) is not None), None)
    made = descriptor.get("timestamp")
    return _oldest([built, read_instant(made)] if made else [built])


def _finding(identity: Json, package: Json, severity: Json, fixed_in: Json) -> VulnerabilityFacts:
    if not isinstance(identity, str) or not identity or not isinstance(package, str) or not package:
        raise _Unknown(f"a vulnerability has no id or no package: {shown(str(identity or package), 80)}")
    word = severity.lower() if isinstance(severity, str) and severity else "unknown"
    if word not in _SEVERITIES:
        raise _Unknown(f"the severity of {shown(identity, 40)} is {shown(word, 40)}, which is not known")
    fixed = _text(fixed_in)
    return VulnerabilityFacts(
        id=encodable(identity),
        severity=word,
        package=encodable(package),
        fixed_in=None if fixed is None else encodable(fixed),
    )


def _bounded(findings: Sequence[VulnerabilityFacts]) -> tuple[VulnerabilityFacts, ...]:
    """Each finding once: the same package lies at several places of an image."""
    once = tuple(dict.fromkeys(findings))
    if len(once) > _MOST_FINDINGS:
        raise _Unknown(f"it holds more than {_MOST_FINDINGS:,} vulnerabilities")
    return once


def _digests(value: Json, where: str) -> frozenset[str]:
    """The digests of a list of `repository@sha256:...`."""
    if not isinstance(value, list) and value is not None:
        raise _Unknown(f"`{where}` is no list")
    found = [str(one).rpartition("@")[2] for one in value or ()]
    return frozenset(digest for digest in found if _DIGEST.fullmatch(digest))


def _oldest(instants: Sequence[str | None]) -> str | None:
    """The first of instants, None where one is not known."""
    known = [one for one in instants if one is not None]
    return min(known) if known and len(known) == len(instants) else None


def _object(value: Json, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Unknown(f"`{where}` is no object")
    return value


def _objects(value: Json, where: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Unknown(f"`{where}` is no list")
    return [_object(one, where) for one in value]


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None
