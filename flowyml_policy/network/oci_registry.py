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

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar
from urllib.parse import quote

from flowyml_policy.network.address import Address, AddressRefused, parse_address
from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.docker_config import DOCKER_HUB, login_host
from flowyml_policy.network.failures import HttpFailure, late
from flowyml_policy.network.messages import Request, Response
from flowyml_policy.network.oci_access import Access, Authorization
from flowyml_policy.network.oci_failures import RegistryFailure, failure_of_http, failure_of_status
from flowyml_policy.network.oci_referrers import INDEX_TYPE, Referrers, fallback_tag, find_referrers
from flowyml_policy.network.tls import PLAIN, Certificate, Tls, describe_tls, file_of, trust
from flowyml_policy.references.url import DEFAULT_PORTS, place_of

if TYPE_CHECKING:
    from flowyml_policy.network.http import Client

LARGEST_DOCUMENT: Final = 4 << 20

_DOCKER_HUB_SERVER: Final = "registry-1.docker.io"
_MANIFESTS: Final = (
    f"{INDEX_TYPE}, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
_MOST_REDIRECTS: Final = 5
_YOUNG: Final = 60.0
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_NO_ACCESS: Final = frozenset({401, 403})
_AS_FOR_GET: Final = frozenset({401, 403, 429})
_MAYBE_EXPIRED: Final = frozenset({400, 403})
_SERVER_ERRORS: Final = range(500, 600)
_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512"})
_QUOTA: Final = re.compile(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?", re.ASCII)

_File = TypeVar("_File", Path, Certificate)


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
    def origin(self) -> str:
        """Scheme, host and port of its addresses."""
        return f"{'http' if self.plain else 'https'}://{self.host}"

    @property
    def url(self) -> str:
        """The address that those of the repository begin with."""
        return f"{self.origin}/v2/{quote(self.repository, safe='/')}"

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
    """Asks registries, one for a run: it keeps their tokens and connections. Safe from many threads, and after a fork.

    `ca` and `certificates` are those of `network.http.Client`, by host as references write it. `insecure` names the
    hosts that are spoken to without TLS. At most `most_at_once` requests are under way at one host.
    What it raises is RegistryFailure.
    """

    _actions: ClassVar = "pull"

    def __init__(
        self,
        credentials: Credentials,
        *,
        ca: Path | Mapping[str, Path] | None = None,
        certificates: Mapping[str, Certificate] | None = None,
        insecure: Collection[str] = (),
        most_at_once: int = 6,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._insecure = {host.lower() for host in insecure}
        self._ca = ca if ca is None or isinstance(ca, Path) else _by_wire_host(ca)
        self._certificates = _by_wire_host(certificates or {})
        self._most_at_once = most_at_once
        self._offline = offline
        self._environ = environ
        self._clock = clock
        # By process: what a thread of the parent holds at a fork, no thread of the child ever gives back.
        self._clients: dict[int, Client] = {}
        self._slots: dict[tuple[int, str], threading.BoundedSemaphore] = {}
        self._accesses: dict[tuple[int, Endpoint], Access] = {}
        self._quotas: dict[str, Quota] = {}
        self._described: dict[tuple[Path | None, Certificate | None], Tls] = {}

    def endpoint(self, host: str, repository: str, *, mirror_of: str | None = None) -> Endpoint:
        """Where `repository` of `host` is asked for; `host` may be a mirror's `host/path`. Nothing is asked."""
        host, _, prefix = host.partition("/")
        wire = _wire_host(host)
        name = f"{prefix}/{repository}" if prefix else repository
        return Endpoint(wire, name, _is_named(wire, self._insecure), mirror_of, prefix)

    def head(self, endpoint: Endpoint, reference: str, deadline: Deadline) -> str | None:
        """The digest that a tag names, as the registry says it; None where only a GET can tell.

        Raises RegistryFailure for 401, 403, 429, 5xx and where there is no answer.
        """
        response = self._exchange(endpoint, _request(_manifest(endpoint, reference), _MANIFESTS, "HEAD"), deadline)
        if response.status in _AS_FOR_GET or response.status in _SERVER_ERRORS:
            raise self._refused(endpoint, response)
        said = response.headers.get("docker-content-digest", "")
        return said if response.status == _OK and _SHA256.fullmatch(said) else None

    def manifest(self, endpoint: Endpoint, reference: str, deadline: Deadline) -> Document:
        """The manifest or index that a tag or digest names; that of a digest is what the digest says."""
        response = self._exchange(endpoint, _request(_manifest(endpoint, reference), _MANIFESTS), deadline)
        if response.status != _OK:
            raise self._refused(endpoint, response)
        if ":" in reference:
            _check(response.body, reference)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Document(response.body, media_type, f"sha256:{hashlib.sha256(response.body).hexdigest()}")

    def blob(self, endpoint: Endpoint, digest: str, deadline: Deadline, *, largest: int = LARGEST_DOCUMENT) -> bytes:
        """The blob that a digest names, of at most `largest` bytes."""
        request = replace(_request(f"{endpoint.url}/blobs/{quote(digest, safe=':')}", "*/*"), largest=largest)
        response = self._exchange(endpoint, request, deadline)
        if response.status != _OK:
            raise self._refused(endpoint, response)
        _check(response.body, digest)
        return response.body

    def referrers(self, endpoint: Endpoint, digest: str, deadline: Deadline) -> Referrers:
        """What refers to a manifest: by the API, and by the fallback tag where that has nothing. Raises nothing."""

        def ask(url: str) -> Response:
            return self._exchange(endpoint, _request(url, INDEX_TYPE), deadline)

        return find_referrers(
            f"{endpoint.url}/referrers/{quote(digest, safe=':')}",
            ask,
            tagged=lambda: ask(_manifest(endpoint, fallback_tag(digest))),
            is_own=lambda url: url.startswith(f"{endpoint.origin}/"),
        )

    def quota(self, endpoint: Endpoint) -> Quota | None:
        """What the registry's last answer said of how much may still be read; None where it said nothing."""
        return self._quotas.get(endpoint.origin)

    def trust(self, endpoint: Endpoint) -> str:
        """What stands for all that decides whether an answer is believed. Asks nothing.

        That is scheme, host and port, the CA's and the client certificate's bytes, the login, the mirrored host.
        After an answer it stands for the bytes that were used, before one for those that the files hold.
        """
        try:
            address = parse_address(endpoint.origin, self._insecure)
            tls = PLAIN if endpoint.plain else self._described_tls(address)
        except (HttpFailure, AddressRefused) as error:
            raise failure_of_http(error) from error
        identity = self._credentials.identity(endpoint.host, endpoint.repository)
        return trust(address, tls, identity, endpoint.mirror_of)

    def close(self) -> None:
        """Close the connections that are kept open."""
        if (client := self._clients.pop(os.getpid(), None)) is not None:
            client.close()

    def _exchange(self, endpoint: Endpoint, request: Request, deadline: Deadline) -> Response:
        """The answer to a request, of whatever status, after logging in where the registry wants that."""
        access = self._access(endpoint)

        def ask_token(asked: Request) -> Response:
            return self._send(asked, deadline)

        used = access.current(ask_token)
        response = self._send_in_turn(endpoint, request, used, deadline)
        # What another host demands after a redirect is none of the registry's: no login is made for it.
        if _is_from(endpoint, response) and self._wants_login(response, used):
            used = access.renewed(used, response, ask_token)
            response = self._send_in_turn(endpoint, request, used, deadline)
        quota = _quota_of(response)
        if quota is not None and _is_from(endpoint, response):
            self._quotas[endpoint.origin] = quota
        return response

    def _send_in_turn(
        self, endpoint: Endpoint, request: Request, used: Authorization | None, deadline: Deadline
    ) -> Response:
        key = os.getpid(), endpoint.host
        slot = self._slots.setdefault(key, threading.BoundedSemaphore(self._most_at_once))
        if not slot.acquire(timeout=deadline.left):
            raise failure_of_http(late(deadline))
        try:
            return self._send(replace(request, authorization=None if used is None else used.header), deadline)
        finally:
            slot.release()

    def _send(self, request: Request, deadline: Deadline) -> Response:
        from flowyml_policy.network.http import Client

        if (client := self._clients.get(os.getpid())) is None:
            made = Client(
                ca=self._ca,
                certificates=self._certificates,
                plain_http=self._insecure,
                offline=self._offline,
                environ=self._environ,
            )
            client = self._clients.setdefault(os.getpid(), made)
        try:
            return client.send(request, deadline)
        except (HttpFailure, AddressRefused) as error:
            raise failure_of_http(error) from error

    def _wants_login(self, response: Response, used: Authorization | None) -> bool:
        """Whether it may help to log in (again): some registries answer 400 or 403 to a token that has expired."""
        if response.status == _UNAUTHORIZED:
            return True
        is_old = used is not None and used.expires is not None and self._clock() - used.made >= _YOUNG
        return is_old and response.status in _MAYBE_EXPIRED

    def _refused(self, endpoint: Endpoint, response: Response) -> RegistryFailure:
        problem = self._access(endpoint).problem
        return problem if problem and response.status in _NO_ACCESS else failure_of_status(response)

    def _access(self, endpoint: Endpoint) -> Access:
        try:
            is_loopback = parse_address(endpoint.origin, self._insecure).is_loopback
        except AddressRefused as error:
            raise failure_of_http(error) from error
        access = Access(
            endpoint.repository,
            is_safe=is_loopback or not endpoint.plain,
            is_plain_loopback=is_loopback and endpoint.plain,
            login=partial(self._credentials.of, endpoint.host, endpoint.repository),
            clock=self._clock,
            actions=self._actions,
        )
        return self._accesses.setdefault((os.getpid(), endpoint), access)

    def _described_tls(self, address: Address) -> Tls:
        if (client := self._clients.get(os.getpid())) is not None:
            return client.tls_to(address)
        ca = file_of(self._ca, address) if isinstance(self._ca, Mapping) else self._ca
        key = ca, file_of(self._certificates, address)
        if key not in self._described:
            self._described[key] = describe_tls(*key)
        return self._described[key]


def _request(url: str, accept: str, method: str = "GET") -> Request:
    return Request(method, url, LARGEST_DOCUMENT, {"Accept": accept}, redirects=_MOST_REDIRECTS)


def _manifest(endpoint: Endpoint, reference: str) -> str:
    return f"{endpoint.url}/manifests/{quote(reference, safe=':')}"


def _is_from(endpoint: Endpoint, response: Response) -> bool:
    return response.url.startswith(f"{endpoint.origin}/")


def _check(data: bytes, digest: str) -> None:
    """Raise RegistryFailure unless `digest` is that of `data`."""
    algorithm, _, expected = digest.partition(":")
    if algorithm not in _ALGORITHMS:
        raise RegistryFailure("invalid", "the digest is of a kind that is not known", "use a sha256 digest")
    if hashlib.new(algorithm, data).hexdigest() != expected:
        raise RegistryFailure("mismatch", f"what the registry sent has another digest than {digest}")


def _quota_of(response: Response) -> Quota | None:
    """What is left, as Docker Hub writes it: `76;w=21600`."""
    limit = _QUOTA.fullmatch(response.headers.get("ratelimit-limit", ""))
    remaining = _QUOTA.fullmatch(response.headers.get("ratelimit-remaining", ""))
    if remaining is None:
        return None
    window = remaining[2] or (limit and limit[2])
    return Quota(int(remaining[1]), int(limit[1]) if limit else None, int(window) if window else None)


def _wire_host(host: str) -> str:
    """Who is asked for the images of `host`."""
    return _DOCKER_HUB_SERVER if login_host(host) == DOCKER_HUB else host


def _by_wire_host(files: Mapping[str, _File]) -> dict[str, _File]:
    return {_wire_host(host).lower(): file for host, file in files.items()}


def _is_named(host: str, named: Collection[str]) -> bool:
    """Whether a host is named, for all of its ports or for this one."""
    name, port = place_of(host) or (host, None)
    return not {name, f"{name}:{port or DEFAULT_PORTS['http']}"}.isdisjoint(named)
