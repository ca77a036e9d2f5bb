"""Inspection: what the images of a batch of stacks really are, each examined once.

Rules:
- An image that cannot be examined is a fact as well: its `error` says why, and the others are still examined.
- What comes from outside is masked here, the one way into the facts.
- What only looks like an image is examined only where the project has lists of registries, and all of them allow it.
- Nothing heavy is loaded for what is remembered, and no thread is started for a single image.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final, Protocol, TypeAlias

from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.errors.root import FlowymlPolicyError, InternalError
from flowyml_policy.images.batch import side_by_side
from flowyml_policy.images.modes import ImageInspection
from flowyml_policy.images.opening import open_images, open_memory
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.mask.images import masked_image
from flowyml_policy.mask.quoted import clipped
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.records.policy_input import BasePlatform, ImageFacts, ImageProblem
from flowyml_policy.records.protocols import ContentStore
from flowyml_policy.references.image import ImageReference, matches, parse_allowlist_entry, parse_reference
from flowyml_policy.settings.settings import Settings

_MOST_KEPT: Final = 1024
_ERROR_KEPT: Final = 30.0
"""Seconds, at most, for which it is remembered that an image could not be examined."""
_LONGEST_MESSAGE: Final = 1000


Told: TypeAlias = Callable[[int, int], None]
"""Is called with how many of the images are examined, and of how many."""


class Signing(Protocol):
    """Knows what must have signed an image, and finds out what has."""

    def demanded(self, facts: ImageFacts) -> ImageFacts:
        """`facts` with `signing`."""

    def signed(self, facts: ImageFacts, inspector: RegistryInspector, deadline: Deadline) -> ImageFacts:
        """`facts` with `signing` and, where the image was examined, `signatures`. May raise FlowymlPolicyError."""


@dataclass
class _Slot:
    """An image that is, or was, looked at; whoever comes meanwhile waits for the lock, and finds it done."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float = 0.0
    facts: ImageFacts | None = None


class Inspection:
    """Examines images as the settings say. Safe from many threads, and after a fork.

    What was found is remembered as long as the object lives, and of a tag within `policy.images.tag_ttl`.
    """

    def __init__(self, settings: Settings, images: ImageInspection, *, signing: Signing | None = None) -> None:
        self._settings = settings.policy.images
        self._images = images
        self._signing = signing
        self._allowlists = _allowlists(settings)
        self._slots: dict[tuple[int, ImageReference], _Slot] = {}

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        refresh: bool = False,
        cache: ContentStore | None = None,
        signing: Signing | None = None,
        hosts: Collection[str] | None = None,
    ) -> Inspection:
        """What examines images as `settings` say; nothing is asked yet.

        `refresh` asks what each tag names, whatever is remembered; `cache` stands in for the user's cache folder,
        `signing` for what `policy.images.cosign_keys` demands; `hosts` are the only registries that are asked. Raises
        UsageError where FLOWYML_POLICY_OFFLINE is neither 1 nor 0; SigningKeyUnusable and SettingsInvalid for keys that
        cannot be used.
        """
        environ = os.environ if environ is None else environ
        cache = cache or open_memory(settings, environ)
        images = open_images(settings, environ, cache, refresh=refresh, hosts=hosts)
        if signing is not None or not settings.policy.images.cosign_keys:
            return cls(settings, images, signing=signing)
        from flowyml_policy.images.signing import ImageSigning

        return cls(settings, images, signing=ImageSigning(settings, cache))

    @property
    def is_on(self) -> bool:
        """Whether the settings let images be examined."""
        return self._settings.inspect != "off"

    def examine(self, images: Iterable[ImageFacts], *, told: Told | None = None) -> tuple[ImageFacts, ...]:
        """`images`, in their order, with what they are, or why that cannot be said; nothing is raised.

        `told` is called in this thread, for each image that is done. What it raises ends the work.
        """
        given = tuple(images)
        named = {image.ref for image in given if image.certainty == "named"}
        asked = {image.ref: _reference(image) for image in given if self._is_asked(image, named)}
        found = self._found(asked.values(), told)
        via = None if self.is_on else "off"
        return tuple(
            _joined(image, found[asked[image.ref]])
            if image.ref in asked and image.registry is not None
            else self._demanded(image.model_copy(update={"via": via}))
            for image in given
        )

    def inspect(self, reference: str, platform: str | None = None) -> ImageFacts:
        """What one image is, of all its platforms or one, also where the settings switch inspection off.

        Raises ReferenceInvalid, ImageError, and another FlowymlPolicyError where the fault is not the image's.
        """
        parsed, deadline = parse_reference(reference), Deadline(self._settings.timeout)
        facts = self._signed(self._images.inspect_within(deadline, _normal(parsed), platform), deadline)
        return masked_image(facts.model_copy(update={"ref": reference, "tag": parsed.tag}))

    def bases(self, references: Sequence[str]) -> tuple[BasePlatform, ...]:
        """Each platform of those of the base images that can be read; none where the settings switch inspection off."""
        parsed: dict[str, ImageReference] = {}
        for text in references if self.is_on else ():
            with suppress(ReferenceInvalid):
                parsed[text] = _normal(parse_reference(text))
        found = self._found(parsed.values(), None)
        return tuple(
            BasePlatform(ref=text, digest=facts.digest, platform=one.platform, diff_ids=one.diff_ids)
            for text, facts in ((text, found[reference]) for text, reference in parsed.items())
            for one in facts.platforms
            if one.diff_ids
        )

    def close(self) -> None:
        """Close what is open; closing twice is fine."""
        self._images.registry.registry.close()

    def _is_asked(self, image: ImageFacts, named: Container[str]) -> bool:
        """Whether it is examined: not where it only looks like an image, and no list of registries allows it."""
        if not self.is_on or image.registry is None:
            return False
        reference = _reference(image)
        is_allowed = all(any(matches(entry, reference) for entry in entries) for entries in self._allowlists)
        return image.ref in named or (bool(self._allowlists) and is_allowed)

    def _found(self, references: Iterable[ImageReference], told: Told | None) -> dict[ImageReference, ImageFacts]:
        distinct = tuple(dict.fromkeys(references))
        found: dict[ImageReference, ImageFacts] = {}
        for reference, facts in side_by_side(self._examined, distinct, most=self._settings.concurrency):
            found[reference] = facts
            if told is not None:
                told(len(found), len(distinct))
        return found

    def _examined(self, reference: ImageReference) -> ImageFacts:
        """What is remembered of the image, or found now by one thread for all that want it."""
        slot = self._slots.setdefault((os.getpid(), reference), _Slot())
        with slot.lock:
            if slot.facts is None or slot.until <= time.monotonic():
                slot.facts = self._look(reference)
                slot.until = time.monotonic() + self._keeps(slot.facts)
            facts = slot.facts
        while len(self._slots) > _MOST_KEPT:
            with suppress(StopIteration, RuntimeError):  # another thread changed it meanwhile
                self._slots.pop(next(iter(self._slots)), None)
        return facts

    def _keeps(self, facts: ImageFacts) -> float:
        """Seconds for which `facts` may be used again."""
        ttl = self._settings.tag_ttl
        if facts.error is not None:
            return min(ttl, _ERROR_KEPT)
        if any(one.problem == "unknown" for one in facts.signatures):
            return min(ttl, _ERROR_KEPT)
        if facts.tag is None and facts.digest is not None and facts.ref.endswith(facts.digest):
            return ttl if facts.signing else float("inf")  # a signature, or a scan, may come any time
        with suppress(ValueError):
            at = datetime.fromisoformat((facts.inspected_at or "").replace("Z", "+00:00"))
            return ttl - (datetime.now(timezone.utc) - at).total_seconds()
        return 0.0

    def _look(self, reference: ImageReference) -> ImageFacts:
        """What the image is, or why that cannot be said, masked."""
        deadline = Deadline(self._settings.timeout)
        facts = _guarded(reference, lambda: self._images.inspect_within(deadline, reference))
        return masked_image(_guarded(reference, lambda: self._signed(facts, deadline), otherwise=self._demanded(facts)))

    def _signed(self, facts: ImageFacts, deadline: Deadline) -> ImageFacts:
        return facts if self._signing is None else self._signing.signed(facts, self._images.registry, deadline)

    def _demanded(self, facts: ImageFacts) -> ImageFacts:
        return facts if self._signing is None or facts.registry is None else self._signing.demanded(facts)


def _joined(image: ImageFacts, found: ImageFacts) -> ImageFacts:
    """`image` as its stack names it, with what was `found` of its reference."""
    named = {name: getattr(image, name) for name in ("ref", "registry", "repository", "tag", "paths", "certainty")}
    return found.model_copy(update={**named, "digest": found.digest or image.digest})


def _normal(reference: ImageReference) -> ImageReference:
    """What is asked for: a digest makes the tag not count, and no tag means `latest`."""
    return reference._replace(tag=reference.effective_tag)


def _reference(image: ImageFacts) -> ImageReference:
    return _normal(ImageReference(image.registry or "", image.repository or "", image.tag, image.digest))


def _guarded(
    reference: ImageReference, work: Callable[[], ImageFacts], *, otherwise: ImageFacts | None = None
) -> ImageFacts:
    """What `work` returns; what it raises becomes the `error` of the facts, or of `otherwise`."""
    try:
        return work()
    except FlowymlPolicyError as error:
        failed = _failed(reference, error)
    except Exception as error:  # noqa: BLE001  whatever it is, the other images are still examined
        failed = _failed(reference, InternalError(f"{type(error).__name__}: {error}"))
    if otherwise is None:
        return failed
    return otherwise.model_copy(update={"inspected": False, "error": otherwise.error or failed.error})


def _failed(reference: ImageReference, error: FlowymlPolicyError) -> ImageFacts:
    advice = f"; {error.advice}" if error.advice and error.advice != error.default_advice else ""
    return ImageFacts(
        ref=str(reference),
        registry=reference.registry,
        repository=reference.repository,
        tag=reference.tag,
        digest=reference.digest,
        error=ImageProblem(code=error.code, message=clipped(error.message + advice, _LONGEST_MESSAGE)),
    )


def _allowlists(settings: Settings) -> tuple[tuple[str, ...], ...]:
    """The lists of registries that the project sets, in two places; an image must be allowed by each of them."""
    policies = settings.policies
    given = policies.rule_data.get("images_registry", {}).get("allowed_registries")
    entries: list[str] | None = None
    if isinstance(given, list | tuple):
        entries = []
        for entry in given:
            with suppress(ReferenceInvalid):
                entries.append(parse_allowlist_entry(entry))
    lists = (policies.image_policy.allowed_registries, entries)
    return tuple(tuple(one) for one in lists if one is not None)
