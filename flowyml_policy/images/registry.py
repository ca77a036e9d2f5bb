"""RegistryInspector: an image as its registry describes it, without a layer of it, and through what is remembered.

Rules:
- A tag is asked for by HEAD; a manifest is read only if its digest is new here. What is read decides, not a header.
- What is judged has one digest, and all that follows is asked for by digest, of the mirror or host that named it.
- Mirrors come first, in order, then the host itself. One that sends something else than its digest says ends it.
- What is remembered is used first: within `tag_ttl`, and for a reference by digest, nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Final

from flowyml_policy.errors.images import (
    ImageAccessDenied,
    ImageCredentialsUnusable,
    ImageDigestMismatch,
    ImageError,
    ImageInvalid,
    ImageMissing,
    ImageOffline,
    ImageRateLimited,
    ImageTooLarge,
    ImageUnreachable,
)
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.images.manifests import ImageManifest, IndexEntry, is_platform, platform_facts, read_document
from flowyml_policy.images.memory import ImageMemory, Remembered
from flowyml_policy.mask.quoted import shown
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_failures import RegistryFailure, RegistryReason
from flowyml_policy.network.oci_registry import Document, Endpoint, OciRegistry
from flowyml_policy.records.instant import instant
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts
from flowyml_policy.records.protocols import ContentStore
from flowyml_policy.references.image import ImageReference, parse_reference

_ERRORS: Final[Mapping[RegistryReason, type[ImageError]]] = {
    "missing": ImageMissing,
    "denied": ImageAccessDenied,
    "limited": ImageRateLimited,
    "server": ImageUnreachable,
    "invalid": ImageInvalid,
    "mismatch": ImageDigestMismatch,
    "too_large": ImageTooLarge,
    "offline": ImageOffline,
    "unreachable": ImageUnreachable,
    "credentials": ImageCredentialsUnusable,
}


class RegistryInspector:
    """Inspects images by their registries; an ImageInspector. Safe from many threads.

    `mirrors` are those of each host, `host` or `host/path`. `timeout` is for one image, all its requests together.
    `offline` asks nothing; `refresh` asks what each tag names, whatever was remembered of it before. `registry` and
    `store` are for those who ask more about an image, such as its signatures.
    """

    def __init__(
        self,
        registry: OciRegistry,
        cache: ContentStore,
        *,
        mirrors: Mapping[str, Sequence[str]] | None = None,
        tag_ttl: float = 300.0,
        timeout: float = 30.0,
        offline: bool = False,
        refresh: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.registry: Final = registry
        self.store: Final = cache
        self._memory = ImageMemory(cache, tag_ttl=tag_ttl, now=now, since=now() if refresh else None)
        self._mirrors = mirrors or {}
        self._timeout = timeout
        self._offline = offline
        self._now = now

    def inspect(self, reference: str, platform: str | None = None) -> ImageFacts:
        """What the image is that `reference` names. Raises only ImageError, and SourceRefused as the cache does."""
        try:
            parsed = parse_reference(reference)
        except ReferenceInvalid as error:
            raise ImageInvalid(error.message, advice=error.advice) from error
        return self.inspect_within(Deadline(self._timeout), parsed, platform)

    def inspect_within(self, deadline: Deadline, reference: ImageReference, platform: str | None = None) -> ImageFacts:
        """The same within `deadline`. Raises as `inspect`."""
        found = self.remembered(reference, platform)
        if found is not None:
            return found
        if self._offline:
            raise ImageOffline(f"nothing is asked offline, and not enough is remembered of {reference}")
        return self._asked(deadline, reference, platform)

    def remembered(self, reference: ImageReference, platform: str | None = None) -> ImageFacts | None:
        """What the image is as far as that is remembered whole; nothing is asked. Raises as `inspect`."""
        if reference.digest is not None and not reference.digest.startswith("sha256:"):
            raise ImageInvalid("its digest is no SHA-256", advice="name the image by its sha256 digest")
        problem: ImageError | None = None
        for endpoint in self.endpoints(reference):
            found = self._recalled(endpoint, reference, platform)
            if isinstance(found, ImageFacts):
                return found
            problem = problem or found
        if problem is not None:
            raise problem
        return None

    def named(self, reference: ImageReference) -> Document | None:
        """The document that is remembered to be what `reference` names."""
        for endpoint in self.endpoints(reference):
            with suppress(_NotRemembered, RegistryFailure):
                return self._named(_Reader(self.registry, self._memory, endpoint, None), reference).document
        return None

    def endpoints(self, reference: ImageReference) -> Iterator[Endpoint]:
        """Who is asked for `reference`: its mirrors, then the host itself."""
        host, repository = reference.registry, reference.repository
        for mirror in self._mirrors.get(host, ()):
            yield self.registry.endpoint(mirror, repository, mirror_of=host)
        yield self.registry.endpoint(host, repository)

    def endpoint_of(self, facts: ImageFacts) -> Endpoint:
        """Who is asked for more about an image: who answered, and the host itself where that was a daemon."""
        reference = ImageReference(facts.registry or "", facts.repository or "")
        endpoints = tuple(self.endpoints(reference))
        return next((one for one in endpoints if one.place == facts.endpoint), endpoints[-1])

    def _recalled(
        self, endpoint: Endpoint, reference: ImageReference, platform: str | None
    ) -> ImageFacts | ImageError | None:
        """What `endpoint` said of the image before, or what was wrong with it; None where not all is remembered."""
        try:
            return self._facts(_Reader(self.registry, self._memory, endpoint, None), reference, platform)
        except (_NotRemembered, RegistryFailure):
            return None
        except ImageError as error:
            return _at(endpoint, error)

    def _asked(self, deadline: Deadline, reference: ImageReference, platform: str | None) -> ImageFacts:
        """Ask one endpoint after the other; each has its share of the time that is left."""
        endpoints = tuple(self.endpoints(reference))
        problems: list[ImageError] = []
        for number, endpoint in enumerate(endpoints):
            share = Deadline(deadline.left / (len(endpoints) - number))
            try:
                return self._facts(_Reader(self.registry, self._memory, endpoint, share), reference, platform)
            except RegistryFailure as failure:
                problem = _ERRORS[failure.reason](f"{failure.what}: {endpoint.place}", advice=failure.advice)
                problem.__cause__ = failure
            except ImageError as error:
                problem = _at(endpoint, error)
            finally:
                if (quota := self.registry.quota(endpoint)) is not None:
                    self._memory.keep_quota(endpoint, quota)
            if isinstance(problem, ImageDigestMismatch):
                raise problem
            problems.append(problem)
        last = problems[-1]
        if len(problems) == 1:
            raise last
        raise type(last)("; ".join(one.message for one in problems), advice=last.advice) from last

    def _facts(self, reader: _Reader, reference: ImageReference, platform: str | None) -> ImageFacts:
        """What one endpoint says, or said before. Raises RegistryFailure, ImageError, _NotRemembered."""
        document, at = self._named(reader, reference)
        found = read_document(document.data, document.media_type)
        if isinstance(found, ImageManifest):
            every = [platform_facts(found, reader.configuration(found), IndexEntry(document.digest, None))]
            others: list[str] = []
        else:
            wanted = [one for one in found.entries if _may_be(one.platform, platform)]
            others = [one.platform for one in found.entries if one not in wanted and one.platform is not None]
            every = [_platform(reader, entry) for entry in wanted]
            _tell_apart(wanted, every)
        platforms = tuple(one for one in every if _may_be(one.platform, platform))
        if not platforms:
            others += [one.platform for one in every]
            raise ImageMissing(f"it is there for {', '.join(others)}, not for {shown(str(platform))}")
        return ImageFacts(
            ref=str(reference),
            registry=reference.registry,
            repository=reference.repository,
            tag=reference.tag,
            digest=document.digest,
            inspected=True,
            via="registry",
            platforms=platforms,
            endpoint=reader.endpoint.place,
            inspected_at=at,
            kind="manifest" if isinstance(found, ImageManifest) else "index",
        )

    def _named(self, reader: _Reader, reference: ImageReference) -> Remembered:
        """The document that `reference` names at one endpoint, and when that was asked."""
        if reference.digest is not None:
            return reader.document(reference.digest)
        tag = reference.effective_tag or ""
        trust = self.registry.trust(reader.endpoint)
        kept = self._memory.tag(reader.endpoint, tag, trust)
        if kept is not None:
            digest, at = kept
            with suppress(_Gone):
                return reader.part(digest)._replace(at=at)  # it is there, or gone since: then the tag has another
        at = instant(self._now())
        found = reader.tag(tag)
        if self.registry.trust(reader.endpoint) == trust:  # else a file was exchanged before it was used
            self._memory.keep_tag(reader.endpoint, tag, trust, digest=found.document.digest, at=at)
        return found._replace(at=at)


class _NotRemembered(Exception):
    """Something would have to be asked for."""


class _Gone(Exception):
    """The registry has no longer what it named."""


class _Reader:
    """Reads documents of one endpoint. Without a deadline only those that are remembered; else it is _NotRemembered."""

    def __init__(
        self, registry: OciRegistry, memory: ImageMemory, endpoint: Endpoint, deadline: Deadline | None
    ) -> None:
        self.endpoint: Final = endpoint
        self._registry = registry
        self._memory = memory
        self._deadline = deadline

    def tag(self, tag: str) -> Remembered:
        """Ask what `tag` names. Its digest is enough where that document is remembered."""
        said = self._registry.head(self.endpoint, tag, self._time())
        kept = None if said is None else self._memory.document(self.endpoint, said)
        if kept is not None:
            return kept
        document = self._registry.manifest(self.endpoint, tag, self._time())
        read_document(document.data, document.media_type)  # the page of some proxy is not remembered as the tag's
        return self._memory.keep_document(self.endpoint, document)

    def document(self, digest: str) -> Remembered:
        """The manifest or index of `digest`."""
        kept = self._memory.document(self.endpoint, digest)
        if kept is not None:
            return kept
        return self._memory.keep_document(self.endpoint, self._registry.manifest(self.endpoint, digest, self._time()))

    def part(self, digest: str) -> Remembered:
        """The same of what the registry named itself. Raises _Gone where it does not have it."""
        with _gone():
            return self.document(digest)

    def configuration(self, manifest: ImageManifest) -> bytes:
        """The configuration that `manifest` names."""
        kept = self._memory.document(self.endpoint, manifest.config)
        if kept is not None:
            return kept.document.data
        try:
            with _gone():
                data = self._registry.blob(self.endpoint, manifest.config, self._time())
        except _Gone as error:
            raise ImageInvalid(f"the registry does not have its configuration, {manifest.config}") from error
        self._memory.keep_document(self.endpoint, Document(data, "", manifest.config))
        return data

    def _time(self) -> Deadline:
        if self._deadline is None:
            raise _NotRemembered
        return self._deadline


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except RegistryFailure as failure:
        if failure.reason == "missing":
            raise _Gone from failure
        raise


def _platform(reader: _Reader, entry: IndexEntry) -> PlatformFacts:
    """What the manifest of an index's entry and its configuration say."""
    try:
        document = reader.part(entry.digest).document
    except _Gone as error:
        raise ImageInvalid(f"the registry does not have a manifest that the index names, {entry.digest}") from error
    manifest = read_document(document.data, document.media_type)
    if not isinstance(manifest, ImageManifest):
        raise ImageInvalid("the index holds another index")
    return platform_facts(manifest, reader.configuration(manifest), entry)


def _tell_apart(entries: Sequence[IndexEntry], platforms: Sequence[PlatformFacts]) -> None:
    """Refuse two images for one platform where only their configurations say so. Raises ImageInvalid."""
    for entry, found in zip(entries, platforms, strict=True):
        others = [one for one in platforms if one.platform == found.platform and one.digest != found.digest]
        if entry.platform is None and others:
            raise ImageInvalid(f"it can be read in two ways: the index has two images for {found.platform}")


def _at(endpoint: Endpoint, error: ImageError) -> ImageError:
    """`error`, which says who gave what it is about."""
    found = type(error)(f"{error.message}: {endpoint.place}", advice=error.advice)
    found.__cause__ = error
    return found


def _may_be(platform: str | None, asked: str | None) -> bool:
    return platform is None or asked is None or is_platform(platform, asked)
