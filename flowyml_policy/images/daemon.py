"""What a container daemon of this machine knows of an image, by Docker's SDK.

Rules:
- A daemon speaks of one platform of an image; of the others this says nothing.
- The answer must name the image that was asked for: a daemon takes an image's id, or a part of its name, as well.
- No proxy, redirect or login of the environment plays a part, and the time and the size of an answer are bounded.
"""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from requests import Response

from flowyml_policy.errors.images import DaemonUnavailable, ImageError, ImageInvalid, ImageMissing, ImageTooLarge
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.images.daemon_answer import DaemonAnswer, DaemonVersion
from flowyml_policy.images.daemon_host import DaemonHost, find_daemon
from flowyml_policy.images.manifests import is_platform
from flowyml_policy.mask.quoted import clipped, shown
from flowyml_policy.mask.text import mask
from flowyml_policy.network.connections import Call
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import HttpFailure, failure_of
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.policy_input import ImageFacts
from flowyml_policy.references.image import ImageReference, parse_reference

_Answer = TypeVar("_Answer")

_FIRST_VERSION: Final = "1.24"
"""What the daemon is first spoken to in: the oldest that the SDK knows."""
_VERSION: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")
_DOCKER: Final = "Engine"
"""What Docker calls itself among its `Components`; podman is a `Podman Engine`."""
_LARGEST: Final = 4 << 20
_NOT_FOUND: Final = 404
_PATIENCE: Final = 5.0
_SHOWN: Final = 300


class DaemonInspector:
    """Asks the daemon that `environ` (None: this process's) names. Safe from many threads, and after a fork.

    `timeout` is for one call, all its requests together.
    """

    def __init__(self, *, environ: Mapping[str, str] | None = None, timeout: float = 30.0) -> None:
        self._environ = os.environ if environ is None else environ
        self._timeout = timeout
        self._host: DaemonHost | None = None
        self._clients: dict[int, tuple[APIClient, DaemonVersion]] = {}

    @property
    def endpoint(self) -> str | None:
        """The daemon's address, without secrets; None where none is named, or none that can be asked."""
        with suppress(DaemonUnavailable):
            return self._found().endpoint
        return None

    def inspect(self, reference: str, platform: str | None = None) -> ImageFacts:
        """What the image is that `reference` names here. Raises only ImageError.

        `digest` is what it has in its repository, None for an image that only this daemon knows. `platform`, where it
        is given, must be the one that the daemon has.
        """
        answer = self._ask(reference)
        facts = answer.platform()
        if platform is not None and not is_platform(facts.platform, platform):
            raise ImageMissing(
                f"the daemon has {answer.reference} for {facts.platform}, not for {shown(platform)}",
                advice="pull it for that platform, or set policy.images.inspect to registry",
            )
        return ImageFacts(
            ref=reference,
            registry=answer.reference.registry,
            repository=answer.reference.repository,
            tag=answer.reference.tag,
            digest=answer.digest(),
            inspected=True,
            via="daemon",
            platforms=(facts,),
            endpoint=self.endpoint,
            inspected_at=utc_now(),
            kind=answer.kind(),
        )

    def repo_digests(self, reference: str) -> tuple[str, ...]:
        """Every digest of the image, in whichever repository, as `repository@sha256:...`. Raises only ImageError."""
        return self._ask(reference).repo_digests()

    def close(self) -> None:
        """Close the connections. Closing twice is fine; what is asked later opens them again."""
        while self._clients:
            with suppress(KeyError):
                self._clients.popitem()[1][0].close()

    def _found(self) -> DaemonHost:
        if self._host is None:
            self._host = find_daemon(self._environ)
        return self._host

    def _ask(self, text: str) -> DaemonAnswer:
        try:
            reference = parse_reference(text)
        except ReferenceInvalid as error:
            raise ImageInvalid(error.message, advice=error.advice) from error
        answer = self._bounded(lambda: self._inspected(reference))
        if not answer.names_it():
            raise ImageMissing(f"the daemon has no {reference}, and answered with another image")
        return answer

    def _bounded(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` returns. What it raises besides ImageError becomes one, and so does a time that is over."""
        host = self._found()
        try:
            return Call[_Answer](Deadline(self._timeout)).result(work)
        except ImageError:
            raise
        except HttpFailure as failure:
            raise DaemonUnavailable(f"the daemon at {host.endpoint}: {failure.what}") from failure
        except Exception as error:  # the SDK lets through what a strange configuration or answer makes it raise
            raise _unavailable(host, error) from error

    def _inspected(self, reference: ImageReference) -> DaemonAnswer:
        _knock(self._found())
        client, version = self._client()
        name = str(reference._replace(tag=reference.effective_tag))
        try:
            found: Any = client.inspect_image(name)  # type: ignore[no-untyped-call]
        except APIError as error:
            if error.status_code != _NOT_FOUND:
                raise
            raise ImageMissing(
                f"the daemon at {self._found().endpoint} has no {reference}",
                advice="pull or build it, or correct its name, tag or digest",
            ) from error
        return DaemonAnswer(reference, found, version)

    def _client(self) -> tuple[APIClient, DaemonVersion]:
        """A client of this process, and the version that it speaks with the daemon."""
        kept = self._clients.get(os.getpid())
        if kept is not None:
            return kept
        host = self._found()
        with _open(host, _FIRST_VERSION, self._timeout) as first:
            said: Any = first.version(api_version=False)
        version = _version(said)
        if version is None:
            raise DaemonUnavailable(f"what answers at {host.endpoint} is no container daemon")
        # No lock, which a fork in the meantime would never give back: two threads may each open one, and one is kept.
        made = _open(host, "{}.{}".format(*version.api), self._timeout), version
        kept = self._clients.setdefault(os.getpid(), made)
        if kept is not made:
            made[0].close()
        return kept


def _open(host: DaemonHost, version: str, timeout: float) -> APIClient:
    """A client that asks nothing yet. The SDK's own look at the environment would let proxies and logins in."""
    tls: TLSConfig | bool = False
    if host.tls is not None:
        ca, certificate, key = (None if file is None else str(file) for file in host.tls)
        pair = None if certificate is None or key is None else (certificate, key)
        tls = TLSConfig(client_cert=pair, ca_cert=ca, verify=True)
    seconds = math.ceil(timeout)
    client = APIClient(base_url=host.url, version=version, timeout=seconds, tls=tls)
    client.trust_env = False
    client.max_redirects = 0
    client.hooks["response"].append(_limit)
    return client


def _knock(host: DaemonHost) -> None:
    """Raise OSError where nobody listens at a socket. The SDK would not close the one that it finds that out with."""
    scheme, _, path = host.url.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PATIENCE)
            probe.connect(path)


def _version(said: Any) -> DaemonVersion | None:
    """What `GET /version` says; None for what is no daemon's answer."""
    api = said.get("ApiVersion") if isinstance(said, dict) else None
    numbers = _VERSION.fullmatch(api) if isinstance(api, str) else None
    if numbers is None:
        return None
    parts = said.get("Components")
    names = [part.get("Name") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return DaemonVersion((int(numbers[1]), int(numbers[2])), _DOCKER in names)


class _Limited:
    """A body that may not be larger than `_LARGEST`."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._left = _LARGEST

    def read(self, size: int) -> bytes:
        data: bytes = self._raw.read(size, decode_content=True)
        self._left -= len(data)
        if self._left < 0:
            self._raw.close()
            raise ImageTooLarge(f"the daemon's answer is larger than {_LARGEST:,} bytes")
        return data

    def __getattr__(self, name: str) -> Any:
        if name == "stream":  # the way to read that would go past `read`
            raise AttributeError(name)
        return getattr(self._raw, name)


def _limit(response: Response, *_: object, **__: object) -> None:
    response.raw = _Limited(response.raw)


def _unavailable(host: DaemonHost, error: Exception) -> DaemonUnavailable:
    if isinstance(error, APIError):
        said = clipped(mask(str(error.explanation or "")), _SHOWN)
        return DaemonUnavailable(f"the daemon at {host.endpoint} answered {error.status_code}: {said}")
    if isinstance(error, DockerException):
        return DaemonUnavailable(f"the daemon at {host.endpoint} cannot be asked: {clipped(mask(str(error)), _SHOWN)}")
    if isinstance(error, ValueError | TypeError | LookupError | AttributeError | RecursionError):
        return DaemonUnavailable(f"what the daemon at {host.endpoint} answers cannot be read ({type(error).__name__})")
    failure = failure_of(error)
    return DaemonUnavailable(f"the daemon at {host.endpoint}: {failure.what}", advice=failure.advice)
