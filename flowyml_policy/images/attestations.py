"""What attestations that one of our keys signed say of an image: what it was built on, and what a scan found.

Both are claims of the key's owner about the image of the statement's subject, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

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
_IMAGES: Final = (_DOCKER, "pkg:oci/", "docker-image://", "oci://")


def bases_of(statement: Statement) -> tuple[BaseFacts, ...] | None:
    """The images that SLSA provenance (v1 or v0.2) says were used to build; none for another statement.

    None where one of them cannot be read, since the others are then not all. Provenance does not say which of them the
    last stage began with: an image of a stage whose result was only copied from stands beside it.
    """
    predicate = statement.predicate
    if statement.predicate_type == PROVENANCE:
        definition = predicate.get("buildDefinition")
        used = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    elif statement.predicate_type == PROVENANCE_OLD:
        used = predicate.get("materials")
    else:
        return ()
    found: dict[BaseFacts, None] = {}
    for one in used if isinstance(used, list) else ():
        base = _base(one)
        if base is not None:
            found[base] = None
        elif _is_image(one):
            return None
    return tuple(found)


def scan_of(statement: Statement, image: ImageFacts) -> ScanFacts | None:
    """What a vulnerability attestation says of the image; None for another statement. Raises ScanReportInvalid."""
    if statement.predicate_type != SCAN:
        return None
    scanner = statement.predicate.get("scanner")
    report = parse_report(scanner.get("result") if isinstance(scanner, dict) else None)
    metadata = statement.predicate.get("metadata")
    finished = read_instant(metadata.get("scanFinishedOn")) if isinstance(metadata, dict) else None
    facts = report.about(statement.subjects).facts_for(image)
    return None if facts is None else _signed(facts, report, finished)


def _signed(facts: ScanFacts, report: ScanReport, finished: str | None) -> ScanFacts:
    """`facts` as signed ones. An older Trivy says in the attestation alone when it scanned."""
    db_at = finished if facts.db_at is None and report.tool == "trivy" else facts.db_at
    return facts.model_copy(update={"signed": True, "signed_digests": facts.digests, "db_at": db_at})


def _is_image(dependency: Json) -> bool:
    """Whether a dependency names an image, in whatever way."""
    uri = dependency.get("uri") if isinstance(dependency, Mapping) else None
    return isinstance(uri, str) and uri.strip().lower().startswith(_IMAGES)


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
