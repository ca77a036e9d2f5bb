"""What attestations that one of our keys signed say of an image: what it was built on, and what a scan found.

Both are claims of the key's owner about the image of the statement's subject, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from flowyml_policy.errors.images import ScanReportInvalid
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.images.envelopes import Statement, sha256_of
from flowyml_policy.images.scans import ScanReport, parse_report, read_instant
from flowyml_policy.records.policy_input import BaseFacts, ImageFacts, ScanFacts
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import parse_reference

PROVENANCE: Final = "https://slsa.dev/provenance/v1"
PROVENANCE_OLD: Final = "https://slsa.dev/provenance/v0.2"
SCAN: Final = "https://cosign.sigstore.dev/attestation/vuln/v1"
WANTED: Final = frozenset({PROVENANCE, PROVENANCE_OLD, SCAN})
"""The predicate types that are read here."""

_DOCKER: Final = "pkg:docker/"


def bases_of(statement: Statement) -> tuple[BaseFacts, ...]:
    """The images that SLSA provenance (v1 or v0.2) says were used to build; none for another statement.

    Provenance does not say which of them the last stage began with: an image of a stage whose result was only copied
    from stands beside it.
    """
    predicate = statement.predicate
    if statement.predicate_type == PROVENANCE:
        definition = predicate.get("buildDefinition")
        used = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    elif statement.predicate_type == PROVENANCE_OLD:
        used = predicate.get("materials")
    else:
        return ()
    found = [_base(one) for one in used] if isinstance(used, list) else []
    return tuple(dict.fromkeys(base for base in found if base is not None))


def scan_of(statement: Statement, image: ImageFacts) -> ScanFacts | None:
    """What a vulnerability attestation says of the image; None for another statement or one that cannot be read."""
    if statement.predicate_type != SCAN:
        return None
    scanner = statement.predicate.get("scanner")
    try:
        report = parse_report(scanner.get("result") if isinstance(scanner, dict) else None)
    except ScanReportInvalid:
        return None
    metadata = statement.predicate.get("metadata")
    finished = read_instant(metadata.get("scanFinishedOn")) if isinstance(metadata, dict) else None
    facts = report.about(statement.subjects).facts_for(image)
    return None if facts is None else _signed(facts, report, finished)


def _signed(facts: ScanFacts, report: ScanReport, finished: str | None) -> ScanFacts:
    """`facts` as signed ones. An older Trivy says in the attestation alone when it scanned."""
    db_at = finished if facts.db_at is None and report.tool == "trivy" else facts.db_at
    return facts.model_copy(update={"signed": True, "db_at": db_at})


def _base(dependency: Json) -> BaseFacts | None:
    """The image that a dependency names by `pkg:docker/NAME@TAG?platform=...`, with the digest that it had."""
    uri = dependency.get("uri") if isinstance(dependency, Mapping) else None
    digest = sha256_of(dependency)
    if not isinstance(uri, str) or not uri.startswith(_DOCKER) or digest is None:
        return None
    named, _, version = uri.partition("?")[0].removeprefix(_DOCKER).partition("@")
    name, tag = unquote(named), unquote(version)
    separator = "@" if ":" in tag else ":"
    try:
        reference = parse_reference(f"{name}{separator}{tag}" if tag else name)
    except ReferenceInvalid:
        return None
    return BaseFacts(ref=str(reference), digest=digest, how="provenance")
