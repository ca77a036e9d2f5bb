"""Manifests that hold signatures: what is said of them, and where in them a signature lies.

Nothing that a manifest or a list says is believed: it orders what is read, and words what is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from flowyml_policy.images.envelopes import BUNDLE_FAMILY, SIGNATURE
from flowyml_policy.images.json_text import NotJson, read_json
from flowyml_policy.network.oci_referrers import Descriptor
from flowyml_policy.records.record import Json

PREDICATE_TYPE: Final = "dev.sigstore.bundle.predicateType"
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_OTHER: Final = 3
"""The rank of what is said to be something else than a bundle."""
_SAY_NOTHING: Final = frozenset({None, "", "application/vnd.oci.empty.v1+json"})
"""Artifact types by which older tools list whatever refers to an image."""


@dataclass
class Candidate:
    """A manifest that refers to the image. `claims` is its predicate type as it is said, `blob` what it holds."""

    digest: str
    rank: int
    claims: str | None = None
    blob: str | None = None

    def may_attest(self, wanted: Collection[str]) -> bool:
        """Whether it may be a statement of one of these predicate types, by what is said of it."""
        return self.claims in wanted or (self.claims is None and self.rank < _OTHER)

    @property
    def is_attestation(self) -> bool:
        return self.claims not in {None, SIGNATURE}


def candidate_of(listed: Descriptor) -> Candidate:
    """What a list says of a manifest; the lower its rank, the likelier it holds a signature."""
    claims, kind = text_of(listed.annotations.get(PREDICATE_TYPE)), listed.artifact_type
    signs = (claims == SIGNATURE, kind is not None and kind.startswith(BUNDLE_FAMILY), kind in _SAY_NOTHING)
    return Candidate(listed.digest, signs.index(True) if any(signs) else _OTHER, claims)


def object_of(data: bytes) -> dict[str, Json] | None:
    """The JSON object that `data` is; None for what is none."""
    try:
        value = read_json(data)
    except NotJson:
        return None
    return value if isinstance(value, dict) else None


def layers_of(manifest: dict[str, Json]) -> list[dict[str, Json]] | None:
    """The layers of a manifest, each with a digest that may be asked for; None for what is no manifest."""
    layers = manifest.get("layers")
    if not isinstance(layers, list):
        return None
    found = [one for one in layers if isinstance(one, dict) and _DIGEST.fullmatch(str(one.get("digest")))]
    return found if len(found) == len(layers) else None


def annotations_of(value: dict[str, Json]) -> dict[str, Json]:
    """The annotations of a manifest or a layer."""
    found = value.get("annotations")
    return found if isinstance(found, dict) else {}


def text_of(value: Json) -> str | None:
    """`value` if it is text that says something."""
    return value if isinstance(value, str) and value else None
