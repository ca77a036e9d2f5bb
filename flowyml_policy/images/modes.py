"""Who is asked what an image is: its registry, a container daemon, or one after the other.

Rules:
- `registry` asks the registry alone.
- `daemon` asks the daemon alone. Its image counts only if it has a digest in the very repository that is named, unless
  the reference matches `allow_local`.
- `auto` asks the registry. Where that has no such image or cannot be reached, and the reference matches `allow_local`,
  the daemon is asked. Where it named the digest of a single manifest, and only the rest cannot be had, a daemon's image
  of that digest stands in.
- Offline no daemon is asked either: it may be anywhere.
- Where hosts are named, an image of any other is asked for nowhere, and nothing that is remembered of it counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import Final, Literal, Protocol, TypeAlias

from flowyml_policy.errors.images import ImageError, ImageMissing, ImageNotAsked, ImageOffline, ImageUnreachable
from flowyml_policy.images.manifests import ImageManifest, read_document
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.docker_config import login_host
from flowyml_policy.records.policy_input import ImageFacts
from flowyml_policy.references.glob import glob_regex
from flowyml_policy.references.image import DOCKER_HUB, ImageReference

Mode: TypeAlias = Literal["auto", "daemon", "registry"]

_LEAST_TIME: Final = 0.1
"""Seconds that a daemon gets where the time is over: it is asked once, and says what is wrong with it."""


class Daemon(Protocol):
    """Answers for the images of one machine, as images.daemon.DaemonInspector."""

    def inspect(self, reference: str, platform: str | None = None) -> ImageFacts:
        """What it knows of the image; `digest` is None for one that has none in its repository."""

    def close(self) -> None:
        """Close its connections."""


class ImageInspection:
    """Asks those whom `mode` names. `daemon` makes what asks the daemon, for at most so many seconds.

    `hosts` are the only ones whose images are asked for, as references write them, with their port; None for all.
    """

    def __init__(
        self,
        registry: RegistryInspector,
        daemon: Callable[[float], Daemon],
        *,
        mode: Mode = "auto",
        allow_local: Sequence[str] = (),
        offline: bool = False,
        hosts: Collection[str] | None = None,
    ) -> None:
        self.registry: Final = registry
        self._hosts = None if hosts is None else {login_host(host.lower()) for host in hosts}
        self._daemon = daemon
        self._mode = mode
        self._allow_local = tuple(allow_local)
        self._offline = offline

    def inspect_within(self, deadline: Deadline, reference: ImageReference, platform: str | None = None) -> ImageFacts:
        """What the image is. Raises ImageError, and SourceRefused where the cache's folder is not this user's."""
        if self._hosts is not None and login_host(reference.registry.lower()) not in self._hosts:
            raise ImageNotAsked(f"images of {reference.registry} are not asked for here")
        if self._mode == "daemon":
            return self._by_daemon(deadline, reference, platform)
        may_ask = self._mode == "auto" and not self._offline
        is_local = may_ask and self.is_local(reference)
        # A registry that says nothing must leave the daemon time to answer.
        share = Deadline(deadline.left / 2) if is_local else deadline
        try:
            return self.registry.inspect_within(share, reference, platform)
        except (ImageMissing, ImageUnreachable) as error:
            if is_local:
                return self._instead(error, deadline, reference, platform)
            is_cut_off = may_ask and isinstance(error, ImageUnreachable)
            found = self._stand_in(deadline, reference, platform) if is_cut_off else None
            if found is None:
                raise
            return found

    def is_local(self, reference: ImageReference) -> bool:
        """Whether the image may exist in the daemon alone: a glob matches its name, whole or as people shorten it."""
        return any(glob.fullmatch(name) for glob in self._globs for name in _names(reference))

    @cached_property
    def _globs(self) -> tuple[re.Pattern[str], ...]:
        return tuple(map(glob_regex, self._allow_local))

    def _by_daemon(self, deadline: Deadline, reference: ImageReference, platform: str | None) -> ImageFacts:
        if self._offline:
            raise ImageOffline("no daemon is asked offline", advice="go online to ask it")
        with closing(self._daemon(max(deadline.left, _LEAST_TIME))) as daemon:
            facts = daemon.inspect(str(reference), platform)
        if facts.digest is None and not self.is_local(reference):
            raise ImageMissing(
                f"the daemon's image has no digest of {reference.name}, so that it may come from anywhere",
                advice="pull it from there, or name it in policy.images.allow_local",
            )
        return facts

    def _instead(
        self, error: ImageError, deadline: Deadline, reference: ImageReference, platform: str | None
    ) -> ImageFacts:
        """What the daemon knows of an image that the registry gave `error` for."""
        try:
            return self._by_daemon(deadline, reference, platform)
        except ImageError as other:
            raise type(error)(f"{error.message}; {other.message}", advice=error.advice) from other

    def _stand_in(self, deadline: Deadline, reference: ImageReference, platform: str | None) -> ImageFacts | None:
        """The daemon's image of the digest that the registry named, if that is of a single manifest."""
        document = self.registry.named(reference)
        if document is None:
            return None
        with suppress(ImageError):
            if isinstance(read_document(document.data, document.media_type), ImageManifest):
                by_digest = reference._replace(tag=None, digest=document.digest)
                facts = self._by_daemon(deadline, by_digest, platform)
                platforms = tuple(one.model_copy(update={"digest": document.digest}) for one in facts.platforms)
                if facts.digest == document.digest:
                    return facts.model_copy(update={"platforms": platforms, "kind": "manifest"})
        return None


def _names(reference: ImageReference) -> Iterator[str]:
    """What people call it: `docker.io/library/ubuntu:24.04`, `ubuntu:24.04`, `ubuntu`."""
    beginnings = ("", f"{DOCKER_HUB}/", f"{DOCKER_HUB}/library/")
    for name in {reference.name.removeprefix(one): None for one in beginnings}:
        yield name
        yield f"{name}@{reference.digest}" if reference.digest else f"{name}:{reference.effective_tag}"
