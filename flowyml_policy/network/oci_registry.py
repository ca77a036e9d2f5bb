"""The distribution API of OCI registries, as far as it is read: manifests, blobs, referrers.

Rules:
- The digest of each document is computed of its bytes. No header is believed, but for the answer to HEAD, whose digest
  the caller compares with one that was computed before.
- A login goes to the registry that it is for and to the token server that this one names, over https; over plain http
  only where both are this machine. `network.oci_access` says how.
- A registry is asked over plain http only where it is named as insecure.
- Each call ends with its deadline; a document, a page and their number are bounded.
- Repetitions, redirects and TLS are those of `network.http`, which is loaded when a server is first asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_referrers import Referrers

LARGEST_DOCUMENT: Final = 4 << 20


@dataclass(frozen=True)
class Endpoint:
    """One repository of one registry. `host` is who is asked, with the port where one is written.

    `prefix` is the part of `repository` that a mirror puts before the name, `mirror_of` the host that it stands in for.
    """

    host: str
    repository: str
    plain: bool = False
    mirror_of: str | None = None
    prefix: str = ""

    @property
    def place(self) -> str:
        """Who answers, as people are told: `registry-1.docker.io`, `localhost:5000/mirror`."""
        return f"{self.host}/{self.prefix}" if self.prefix else self.host


@dataclass(frozen=True)
class Document:
    """A manifest or an index. `digest` is `sha256:` and the SHA-256 of `data`; the media type is what was claimed."""

    data: bytes
    media_type: str
    digest: str


@dataclass(frozen=True)
class Quota:
    """How many manifests may still be read, of how many, in a window of so many seconds; None where it is not said."""

    remaining: int
    limit: int | None = None
    window: int | None = None


class OciRegistry:
    """Asks registries, one for a run: it keeps their tokens and connections. Safe from many threads.

    `ca` and `certificates` are those of `network.http.Client`, by host as references write it. `insecure` names the
    hosts that are spoken to without TLS. At most `most_at_once` requests are under way at one host.
    What it raises is RegistryFailure.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        ca: Path | Mapping[str, Path] | None = None,
        certificates: Mapping[str, tuple[Path, Path]] | None = None,
        insecure: Collection[str] = (),
        most_at_once: int = 6,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    def endpoint(self, host: str, repository: str, *, mirror_of: str | None = None) -> Endpoint:
        """Where `repository` of `host` is asked for; `host` may be a mirror's `host/path`. Nothing is asked."""
        raise NotImplementedError

    def head(self, endpoint: Endpoint, reference: str, deadline: Deadline) -> str | None:
        """The digest that a tag names, as the registry says it; None where only a GET can tell.

        Raises RegistryFailure for 401, 403, 429, 5xx and where there is no answer.
        """
        raise NotImplementedError

    def manifest(self, endpoint: Endpoint, reference: str, deadline: Deadline) -> Document:
        """The manifest or index that a tag or digest names; that of a digest is what the digest says."""
        raise NotImplementedError

    def blob(self, endpoint: Endpoint, digest: str, deadline: Deadline, *, largest: int = LARGEST_DOCUMENT) -> bytes:
        """The blob that a digest names, of at most `largest` bytes."""
        raise NotImplementedError

    def referrers(self, endpoint: Endpoint, digest: str, deadline: Deadline) -> Referrers:
        """What refers to a manifest: by the API, and by the fallback tag where that has nothing. Raises nothing."""
        raise NotImplementedError

    def quota(self, endpoint: Endpoint) -> Quota | None:
        """What the registry's last answer said of how much may still be read; None where it said nothing."""
        raise NotImplementedError

    def trust(self, endpoint: Endpoint) -> str:
        """What stands for all that decides whether an answer is believed, the same in every process. Asks nothing.

        That is scheme, host and port, the CA's and the client certificate's bytes, the login, the mirrored host.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections that are kept open."""
        raise NotImplementedError
