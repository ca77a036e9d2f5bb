"""What refers to a manifest, such as its signatures, as registries list it: by an API, or as an index under a tag.

Rules:
- The API's 404 says that the registry has none; so do 400, 403, 405 and 501 where the tag can be read.
- The tag is read where there is no API, and also where that knows of nothing: some answer so for want of one.
- An answer of the wrong type, or none that can be read, is an error and never "nothing".
- At most 10 pages of the registry's own, and 100 entries, are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

from flowyml_policy.network.messages import Response
from flowyml_policy.network.oci_failures import RegistryFailure, failure_of_status

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MOST_PAGES: Final = 10
MOST_ENTRIES: Final = 100

_OK: Final = 200
_MISSING: Final = 404
_MAYBE_MISSING: Final = frozenset({400, 403, 405, 501})
_SILENT: Final = frozenset({"offline", "unreachable"})
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_LINK: Final = re.compile(r"<([^<>]*)>([^<]*)")
_RELATION: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)


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

    With an `error` there may be more than was found: it is not known that there is none. `requests` is how many it
    took to find out: each page, and the tag.
    """

    descriptors: tuple[Descriptor, ...] = ()
    supported: bool = False
    error: RegistryFailure | None = None
    requests: int = field(default=0, compare=False)


def fallback_tag(digest: str) -> str:
    """The tag under which the referrers of a manifest are listed where there is no API."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}-{value[:64]}"


def find_referrers(
    url: str, ask: Callable[[str], Response], tagged: Callable[[], Response], is_own: Callable[[str], bool]
) -> Referrers:
    """Read the API from `url` on by `ask`, and by `tagged` the tag. Both raise RegistryFailure for want of an answer.

    `is_own` says whether an address is one of the registry that was asked.
    """
    found: list[Descriptor] = []
    asked: list[str] = []

    def noted(page: str) -> Response:
        asked.append(page)
        return ask(page)

    status, error = _read_api(url, noted, is_own, found)
    supported = status == _OK
    if found or (error is not None and error.reason in _SILENT):
        return Referrers(tuple(found), supported, error, len(asked))
    try:
        response = tagged()
        if response.status != _MISSING:
            found.extend(_bounded(_entries(response)))
    except RegistryFailure as failure:
        return Referrers((), supported, error or failure, len(asked) + 1)
    if status in _MAYBE_MISSING:
        error = None
    return Referrers(tuple(found), supported, error, len(asked) + 1)


def _read_api(
    url: str, ask: Callable[[str], Response], is_own: Callable[[str], bool], found: list[Descriptor]
) -> tuple[int | None, RegistryFailure | None]:
    """Add what the API lists to `found`; the status of its first answer, and what went wrong."""
    status: int | None = None
    try:
        for response in _pages(url, ask, is_own):
            status = response.status if status is None else status
            if status == _MISSING:
                break
            found.extend(_entries(response))
            _bounded(found)
    except RegistryFailure as failure:
        return status, failure
    return status, None


def _pages(url: str, ask: Callable[[str], Response], is_own: Callable[[str], bool]) -> Iterator[Response]:
    for _ in range(MOST_PAGES):
        response = ask(url)
        yield response
        links = list(_next_links(response.headers.get("link", "")))
        if not links:
            return
        url = _joined(response.url, links[0])
        if not is_own(url):
            raise RegistryFailure("invalid", "the registry's list of referrers goes on at another address")
    raise RegistryFailure("too_large", f"the registry lists referrers on more than {MOST_PAGES} pages")


def _bounded(entries: list[Descriptor]) -> list[Descriptor]:
    if len(entries) > MOST_ENTRIES:
        del entries[MOST_ENTRIES:]
        raise RegistryFailure("too_large", f"the registry lists more than {MOST_ENTRIES} referrers")
    return entries


def _entries(response: Response) -> list[Descriptor]:
    """The entries of an index. Raises RegistryFailure for anything else."""
    if response.status != _OK:
        raise failure_of_status(response)
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != INDEX_TYPE:
        raise RegistryFailure("invalid", "the registry's list of referrers is not of the type of an index")
    try:
        index: Any = json.loads(response.body)
        is_index = index.get("schemaVersion") == 2 and index.get("mediaType", INDEX_TYPE) == INDEX_TYPE  # noqa: PLR2004
        entries = index.get("manifests") if is_index else None
        if isinstance(entries, list):
            return [_descriptor(entry) for entry in entries]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        pass
    raise RegistryFailure("invalid", "the registry's list of referrers is no index")


def _descriptor(entry: Any) -> Descriptor:
    """One entry. Raises ValueError, KeyError, TypeError, AttributeError for what is none."""
    digest, media_type, size = entry["digest"], entry["mediaType"], entry["size"]
    kind, annotations = entry.get("artifactType"), entry.get("annotations") or {}
    is_text = isinstance(media_type, str) and isinstance(kind, str | None)
    if not is_text or type(size) is not int or size < 0 or _DIGEST.fullmatch(digest) is None:
        raise ValueError
    if not all(isinstance(value, str) for value in annotations.values()):
        raise ValueError
    return Descriptor(digest, media_type, size, kind, annotations)


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise RegistryFailure("invalid", "the registry's list of referrers goes on at no address") from None


def _next_links(header: str) -> Iterator[str]:
    """Where a list goes on, by the Link header (RFC 8288)."""
    for target, parameters in _LINK.findall(header):
        relation = _RELATION.search(parameters)
        if relation and "next" in (relation[1] or relation[2] or "").lower().split():
            yield target
