"""What refers to a manifest, such as its signatures, as registries list it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowyml_policy.network.oci_failures import RegistryFailure


@dataclass(frozen=True)
class Descriptor:
    """What an index says of one manifest. Nothing but the digest is believed, and that only once it was computed."""

    digest: str
    media_type: str
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Referrers:
    """What refers to a manifest. `supported` says whether the registry has the API for it.

    With an `error` there may be more than was found: it is not known that there is none.
    """

    descriptors: tuple[Descriptor, ...] = ()
    supported: bool = False
    error: RegistryFailure | None = None
