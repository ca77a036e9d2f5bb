"""Pinning what the names of flowyml.yaml mean, and telling later what has changed since.

Rules:
- Every environment and every entry of `stacks:` is resolved as a run would resolve it, but for what environments
  demand: pins are made and checked here, so none are asked for.
- Nothing is written unless everything could be resolved, images too. What could not is told by name.
- What changed and what could not be checked are two answers; the second is never taken for "nothing changed".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator
from typing_extensions import Self

from flowyml_policy.errors.lockfile import LockfileInvalid, StackNotPinned
from flowyml_policy.errors.opa import OpaError
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.sources import SourceChanged, SourceRefMissing
from flowyml_policy.images.inspection import Inspection
from flowyml_policy.images.named import named_images
from flowyml_policy.mask.pins import masked_pin
from flowyml_policy.mask.reports import error_report
from flowyml_policy.mask.text import mask
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.policy_input import ImageFacts
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.records.record import Record
from flowyml_policy.records.result import EXIT_ALLOWED, EXIT_DENIED, EXIT_UNDECIDED, ErrorReport
from flowyml_policy.references.stack_values import GitReference
from flowyml_policy.resolution.environments import meant_by
from flowyml_policy.resolution.explanation import ResolvedStack
from flowyml_policy.resolution.image_pins import digests_of
from flowyml_policy.resolution.lockfile import VERSION, Lockfile, read_lockfile, write_lockfile
from flowyml_policy.resolution.pins import ProjectPins
from flowyml_policy.resolution.repository import is_repository
from flowyml_policy.resolution.resolver import StackResolver
from flowyml_policy.settings.settings import Settings
from flowyml_policy.system.files import display_path

Kind: TypeAlias = Literal["stack", "environment", "bundle"]
Bundles: TypeAlias = Callable[[], dict[str, str]]
"""Answers the revision of each loaded bundle. Raises OpaError."""

Told: TypeAlias = Annotated[str, AfterValidator(mask)]
"""Text that people and programs are told: a name may be an address, and an address may hold a secret."""

BUNDLES: Final = "bundles"
"""How a failure to tell the revisions of policy is called, where others are called by a reference."""


class Change(Record):
    """One thing that is not as it was pinned. `what` is the part of it that changed; null for all of it.

    `pinned` and `found` are null where there was, or is, nothing. `uri` and `ref` are the address and the ref that a
    stack is pinned at; null for what has none.
    """

    kind: Kind
    name: Told
    what: Told | None = None
    pinned: Told | None = None
    found: Told | None = None
    uri: Told | None = None
    ref: Told | None = None

    @classmethod
    def of_stack(
        cls,
        name: str,
        pin: StackPin | None,
        *,
        what: str | None = None,
        pinned: str | None = None,
        found: str | None = None,
    ) -> Self:
        """A change of the stack called `name`, which is pinned as `pin`."""
        uri, ref = (None, None) if pin is None else (pin.uri, pin.ref)
        return cls(kind="stack", name=name, what=what, pinned=pinned, found=found, uri=uri, ref=ref)


class Unchecked(Record):
    """A reference that could not be resolved, and why. `environments` are those that run on it."""

    name: Told
    environments: tuple[str, ...]
    error: ErrorReport


class LockReport(Record):
    """What became of locking. `written` says whether the file changed; it never does where something is unchecked."""

    path: str
    lockfile: Lockfile
    changes: tuple[Change, ...]
    unchecked: tuple[Unchecked, ...]
    written: bool

    @property
    def exit_code(self) -> int:
        """0 all is pinned, 3 something could not be."""
        return EXIT_UNDECIDED if self.unchecked else EXIT_ALLOWED


class Verified(Record):
    """What verifying came to: `checked` stacks were looked at; the rest is what was found."""

    path: str
    checked: int
    changes: tuple[Change, ...]
    unchecked: tuple[Unchecked, ...]

    @property
    def exit_code(self) -> int:
        """0 all is as it was pinned, 1 something changed, 3 something could not be checked, whatever else changed."""
        if self.unchecked:
            return EXIT_UNDECIDED
        return EXIT_DENIED if self.changes else EXIT_ALLOWED


class _Now(NamedTuple):
    """Everything as it is now; the stacks that could not be resolved, and the images that could not be examined."""

    lockfile: Lockfile
    unchecked: tuple[Unchecked, ...]
    images: tuple[Unchecked, ...]


class StackPinning:
    """Pins the stacks of one project. `bundles` tells the revisions of policy, `registry` what is registered.

    FLOWYML_POLICY_OFFLINE=1 in `environ` asks no server: what would have to be asked for could not be resolved then.
    `inspection` examines images. A context manager, which closes it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        bundles: Bundles,
        registry: StackRegistry,
        inspection: Inspection | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.path = settings.lockfile
        self._inspection = inspection or Inspection.of(settings, refresh=True, environ=environ)
        self._settings = settings
        self._bundles = bundles
        self._registry = registry
        self._environ = environ

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inspection.close()

    def lock(self, *, images: bool = True) -> LockReport:
        """Pin everything as it is now; what cannot be resolved is part of the answer.

        `images`: the digests that the tags of images name are pinned, too. Where the settings switch inspection off,
        a digest that was pinned before is not dropped for that.

        Raises LockfileError, and UsageError for what FLOWYML_POLICY_OFFLINE cannot be.
        """
        before = _without_damage(self.path) or Lockfile()
        now = self._now(before, lambda pinned: images and (self._inspection.is_on or pinned is not None))
        unchecked = (*now.unchecked, *now.images)
        changes = () if unchecked else tuple(_changes(before, now.lockfile, pins=now.lockfile.stacks))
        written = False if unchecked else write_lockfile(self.path, now.lockfile)
        return LockReport(
            path=str(self.path), lockfile=now.lockfile, changes=changes, unchecked=unchecked, written=written
        )

    def verify(self) -> Verified:
        """Compare what is pinned with what is there now.

        Raises LockfileError, also where nothing is pinned, and UsageError as `lock` does.
        """
        pinned = read_lockfile(self.path)
        if pinned is None:
            raise StackNotPinned(f"nothing is pinned: there is no {self.path}")
        now = self._now(pinned, lambda digest: digest is not None)
        moved = tuple(one for one in now.unchecked if self._has_changed(pinned, one))
        changes = (
            *_changes(_without(pinned, now.unchecked), now.lockfile, pins=pinned.stacks),
            *(Change.of_stack(one.name, _pin_of(one, pinned), found=one.error.message) for one in moved),
        )
        left = (*(one for one in now.unchecked if one not in moved), *now.images)
        return Verified(path=str(self.path), checked=len(now.lockfile.stacks), changes=changes, unchecked=left)

    def _has_changed(self, pinned: Lockfile, one: Unchecked) -> bool:
        """Whether what could not be resolved is told to be another than was pinned, rather than out of reach.

        A git ref that is gone is so where it is the one that was pinned; of any other nothing is known.
        """
        if one.error.code != SourceRefMissing.code:
            return one.error.code == SourceChanged.code
        return any(
            isinstance(reference, GitReference)
            and pin.commit is not None
            and pin.ref == reference.ref
            and is_repository(pin.uri, reference.url)
            for name, pin in pinned.stacks.items()
            if mask(name) == one.name
            for reference in meant_by(self._settings, name)
        )

    def _now(self, before: Lockfile, examines: Callable[[str | None], bool]) -> _Now:
        """Everything as a lockfile made now would pin it.

        `examines` says whether the digest of an image that is named by a tag is asked for, by what `before` has of it.
        """
        resolver = StackResolver(
            settings=_undemanding(self._settings),
            registry=self._registry,
            pins=ProjectPins.nothing(self._settings),
            environ=self._environ,
        )
        stacks: dict[str, StackPin] = {}
        images: dict[str, list[ImageFacts]] = {}
        unchecked: list[Unchecked] = []
        for reference, environments in self._references().items():
            found = self._resolved(resolver, reference, environments)
            if isinstance(found, ResolvedStack):
                stacks[reference] = self._pin(found)
                known = before.stacks[reference].images if reference in before.stacks else {}
                named = named_images(found.definition)
                images[reference] = [one for one in named if _is_tag(one) and examines(known.get(one.ref))]
            else:
                unchecked.append(_unchecked(reference, environments, found))
        failed = tuple(self._pin_images(stacks, images, before))
        bundles: dict[str, str] = {}
        try:
            bundles = self._bundles()
        except OpaError as error:
            unchecked.append(_unchecked(BUNDLES, (), error))
        runs_on = {name: one.stack for name, one in self._settings.environments.items() if one.stack in stacks}
        return _Now(Lockfile(bundles=bundles, environments=runs_on, stacks=stacks), tuple(unchecked), failed)

    def _references(self) -> dict[str, tuple[str, ...]]:
        """What the settings name, in order, each with the environments that run on it."""
        environments = self._settings.environments
        names = sorted({*self._settings.stacks, *(one.stack for one in environments.values())})
        return {name: tuple(sorted(key for key, one in environments.items() if one.stack == name)) for name in names}

    def _resolved(
        self, resolver: StackResolver, reference: str, environments: tuple[str, ...]
    ) -> ResolvedStack | FlowymlPolicyError:
        """What `reference` means, or why it means nothing."""
        try:
            return resolver.locate(env=environments[0]) if environments else resolver.locate(reference)
        except FlowymlPolicyError as error:
            return error

    def _pin(self, found: ResolvedStack) -> StackPin:
        definition, provenance = found.definition, found.provenance
        pin = StackPin(
            name=definition.metadata.name,
            version=definition.metadata.version,
            definition=definition.digest,
            kind=provenance.kind,
            uri=self._uri(provenance),
            ref=provenance.ref,
            full_ref=provenance.full_ref,
            commit=provenance.commit,
            images={image.ref: image.digest for image in named_images(definition)},
        )
        return masked_pin(pin)

    def _pin_images(
        self, stacks: dict[str, StackPin], images: Mapping[str, Sequence[ImageFacts]], before: Lockfile
    ) -> Iterator[Unchecked]:
        """Put the digests of `images` into `stacks`; of one that cannot be told, what `before` has of it."""
        wanted = {image.ref: image for named in images.values() for image in named}
        digests = digests_of(tuple(wanted.values()), self._inspection)
        environments = self._references()
        for reference, named in images.items():
            known = before.stacks[reference].images if reference in before.stacks else {}
            now = {image.ref: digests.found.get(image.ref, known.get(image.ref)) for image in named}
            stacks[reference] = stacks[reference].model_copy(update={"images": {**stacks[reference].images, **now}})
            for image in named:
                if image.ref in digests.failed:
                    error = digests.failed[image.ref]
                    yield Unchecked(name=reference, environments=environments[reference], error=error)

    def _uri(self, provenance: Provenance) -> str:
        """Where a stack was read; what lies in the project by its place there, whatever the working directory."""
        if provenance.kind != "local":
            return provenance.uri
        path, root = Path(os.path.realpath(provenance.uri)), Path(os.path.realpath(self._settings.root))
        return display_path(path.relative_to(root)) if path.is_relative_to(root) else display_path(path)


def _is_tag(image: ImageFacts) -> bool:
    """Whether the image is named by a tag, which may come to name another."""
    return image.registry is not None and image.digest is None and image.certainty == "named"


def _undemanding(settings: Settings) -> Settings:
    """`settings` whose environments take any stack, and of which none is asked for."""
    free = {"require_lock": False, "require_pinned": False}
    environments = {name: one.model_copy(update=free) for name, one in settings.environments.items()}
    return settings.model_copy(update={"environments": environments, "fallback_environment": None})


def _without_damage(path: Path) -> Lockfile | None:
    """What is pinned; None where nothing is, or where what is there is to be replaced."""
    try:
        return read_lockfile(path)
    except LockfileInvalid:
        return None


def _without(lockfile: Lockfile, unchecked: tuple[Unchecked, ...]) -> Lockfile:
    """`lockfile` without what could not be resolved now."""
    names = {one.name for one in unchecked}
    kept = {name: pin for name, pin in lockfile.stacks.items() if mask(name) not in names}
    return lockfile.model_copy(
        update={
            "stacks": kept,
            "environments": {name: on for name, on in lockfile.environments.items() if mask(on) not in names},
            "bundles": {} if BUNDLES in names else lockfile.bundles,
        }
    )


def _pin_of(one: Unchecked, pinned: Lockfile) -> StackPin | None:
    return next((pin for name, pin in pinned.stacks.items() if mask(name) == one.name), None)


def _changes(pinned: Lockfile, now: Lockfile, *, pins: Mapping[str, StackPin]) -> Iterator[Change]:
    """What differs from `pinned`; each stack with the address and ref that `pins` has it at."""
    named: tuple[tuple[Literal["environment", "bundle"], dict[str, str], dict[str, str]], ...] = (
        ("environment", pinned.environments, now.environments),
        ("bundle", pinned.bundles, now.bundles),
    )
    for kind, before, after in named:
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield Change(kind=kind, name=name, pinned=before.get(name), found=after.get(name))
    stacks = now.stacks if pinned.version == VERSION else _without_full_refs(now.stacks)
    for name in sorted({*pinned.stacks, *stacks}):
        yield from _changes_of(name, pinned.stacks.get(name), stacks.get(name), pins.get(name))


def _without_full_refs(stacks: Mapping[str, StackPin]) -> dict[str, StackPin]:
    """`stacks` as a lockfile of version 1 would pin them."""
    return {name: pin.model_copy(update={"full_ref": None}) for name, pin in stacks.items()}


def _changes_of(name: str, pinned: StackPin | None, now: StackPin | None, pin: StackPin | None) -> Iterator[Change]:
    if pinned is None or now is None:
        yield Change.of_stack(
            name,
            pin,
            pinned=None if pinned is None else pinned.definition,
            found=None if now is None else now.definition,
        )
        return
    before, after = _parts(pinned), _parts(now)
    for what in dict.fromkeys((*before, *after)):
        if before.get(what) != after.get(what):
            yield Change.of_stack(name, pin, what=what, pinned=before.get(what), found=after.get(what))


def _parts(pin: StackPin) -> dict[str, str | None]:
    parts: dict[str, str | None] = pin.model_dump(exclude={"images"})
    return parts | {f"image {image}": digest or "no digest" for image, digest in pin.images.items()}


def _unchecked(reference: str, environments: tuple[str, ...], error: FlowymlPolicyError) -> Unchecked:
    return Unchecked(name=reference, environments=environments, error=error_report(error))
