"""From a reference that says where to the definition that is there.

Rules:
- A repository and a server are asked once by one Fetcher, for however many stacks; a file of this machine is read at
  every call anew.
- What is fetched says where it came from: commit, path, digest, and whether the reference could have meant other bytes.
- Git and http are loaded when a reference needs them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from flowyml_policy.definitions.schema_b import to_schema_b
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.lockfile import StackDrifted
from flowyml_policy.errors.registry import RegistryCorrupt
from flowyml_policy.errors.sources import SourceChanged, SourceUnreachable
from flowyml_policy.mask.text import mask
from flowyml_policy.records.pins import StackPin, StackPins
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.provenance import RegisteredProvenance
from flowyml_policy.records.registry import NewStack, RegisteredStack
from flowyml_policy.references.stack_values import (
    FileReference,
    GitReference,
    HttpReference,
    NameReference,
    StackReference,
)
from flowyml_policy.references.version import Wanted
from flowyml_policy.settings.settings import Settings
from flowyml_policy.settings.stack_entries import HttpEntry, LocalEntry
from flowyml_policy.sources.entries import reference_of
from flowyml_policy.sources.git.address import checked_address
from flowyml_policy.sources.http import HttpSource
from flowyml_policy.sources.local import LocalSource
from flowyml_policy.sources.search import STACKS_FOLDER, FoundStack, StackSearch
from flowyml_policy.sources.source import FetchRules, Revision, SourceLimits
from flowyml_policy.storage.cache import ContentCache
from flowyml_policy.system.files import is_folder

if TYPE_CHECKING:
    from flowyml_policy.sources.git.source import GitRevision

MOST_LOCAL_FILES: Final = 10_000

_Source = TypeVar("_Source")


class Fetcher:
    """Fetches definitions for one project. Safe from many threads.

    `registry` answers `registry://`. A tag that is not where `pins` have it is SourceChanged.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        registry: StackRegistry,
        pins: StackPins,
        rules: FetchRules | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._pins = pins
        self._rules = (rules or FetchRules()).allowing_plain_http(settings.policy.sources.plain_http)
        self._environ = os.environ if environ is None else environ
        self._cache = ContentCache(environ=self._environ)
        self._sources: dict[tuple[object, ...], object] = {}
        self._lock = threading.Lock()

    def fetch(self, reference: StackReference, *, pin: StackPin | None = None) -> StackDefinition:
        """The definition at `reference`, which is no bare name; of a repository what `pin` says, and nothing else."""
        if isinstance(reference, GitReference):
            return self._from_git(reference, pin)
        if isinstance(reference, HttpReference):
            return self._from_http(reference, HttpEntry.model_construct(source="http", url=reference.url))
        if isinstance(reference, FileReference):
            return self._from_file(Path(reference.path), self.shown_root, reference.stack)
        if isinstance(reference, NameReference):
            raise TypeError("a name is looked up before it is fetched")
        return self.registered(reference.name, reference.wanted)

    def fetch_key(self, key: str, *, pin: StackPin | None = None) -> StackDefinition:
        """The definition that `stacks:` keeps under `key`."""
        entry = self._settings.stacks[key]
        reference = reference_of(entry, key=key)
        if isinstance(entry, HttpEntry) and isinstance(reference, HttpReference):
            return self._from_http(reference, entry)
        if isinstance(entry, LocalEntry) and isinstance(reference, FileReference):
            stack = key if is_folder(self._settings.root / reference.path) else None
            reference = replace(reference, stack=stack)
        return self.fetch(reference, pin=pin)

    def fetch_path(self, path: Path) -> StackDefinition:
        """The only definition in a file or folder of this machine; a relative path starts at the working directory."""
        return self._from_file(path, Path(), None)

    def in_folder(self, name: str) -> list[StackDefinition]:
        """Every definition in the project's folder `stacks` whose metadata.name is `name`."""
        search = self._folder()
        return [] if search is None else [_located(found) for found in search.find_all(name)]

    def names_in_folder(self) -> list[str]:
        """The names of all definitions in the project's folder `stacks`."""
        search = self._folder()
        return [] if search is None else search.names()

    @property
    def shown_root(self) -> Path:
        """The project's folder as people of the working directory would write it."""
        try:
            shown = Path(os.path.relpath(self._settings.root))
        except (OSError, ValueError):
            return self._settings.root
        return self._settings.root if ".." in shown.parts else shown

    def _folder(self) -> StackSearch | None:
        root = self.shown_root
        if not os.path.lexists(root / STACKS_FOLDER):
            return None
        limits = SourceLimits(files=MOST_LOCAL_FILES)
        return StackSearch(LocalSource(STACKS_FOLDER, root=root, rules=replace(self._rules, limits=limits)).fetch())

    def _from_file(self, path: Path, root: Path, stack: str | None) -> StackDefinition:
        source = LocalSource(path, root=root, project=self._settings.root, rules=self._rules)
        search = StackSearch(source.fetch())
        return _located(search.find(stack))

    def _from_http(self, reference: HttpReference, entry: HttpEntry) -> StackDefinition:
        ca = None if entry.ca is None else self._settings.root / entry.ca

        def made() -> HttpSource:
            return HttpSource(
                reference.url,
                cache=self._cache,
                sha256=entry.sha256,
                token_env=entry.token_env,
                environ=self._environ,
                ca=ca,
                rules=self._rules,
            )

        source = self._once(("http", reference.url, entry.sha256, entry.token_env, ca), made)
        return self._searched(source.fetch(), reference.stack)

    def _from_git(self, reference: GitReference, pin: StackPin | None) -> StackDefinition:
        if pin is None:
            revision = self._git(reference, reference.ref)
            self._require_unmoved(reference, revision)
            return self._searched(revision, reference.stack, reference.path)
        found = self._searched(self._pinned(reference, pin), reference.stack, reference.path)
        provenance = found.provenance
        if provenance is None:
            raise TypeError("what was fetched says where it came from")
        as_pinned = {"ref": reference.ref, "full_ref": pin.full_ref, "pinned": True}
        return found.located(provenance.model_copy(update=as_pinned))

    def _pinned(self, reference: GitReference, pin: StackPin) -> GitRevision:
        """The repository at the commit that was pinned. A branch may have moved since; a tag may not."""
        commit = self._pinned_commit(reference, pin)
        try:
            now = self._git(reference, reference.ref)
        except SourceUnreachable:
            return self._git(reference, commit)
        if now.commit != commit and (now.is_tag or pin.is_tag or reference.names_commit):
            raise _moved(reference, now, {commit})
        return self._git(reference, commit)

    def _pinned_commit(self, reference: GitReference, pin: StackPin) -> str:
        """The commit of a pin, which must be one of what the settings say now: this repository, at this ref."""
        uri = checked_address(reference.url, self._rules.plain_http)
        if pin.commit is None or (pin.uri, pin.ref) != (mask(uri), reference.ref):
            was = f"at {pin.uri}" if pin.commit is None else _at(pin.uri, pin.ref)
            now = _at(uri, reference.ref)
            raise StackDrifted(
                f"{pin.name!r} was pinned when it was read {was}, and is to be read {now} now",
                advice="if that is meant, run `flowyml-policy stack lock` and commit",
            )
        return pin.commit

    def _require_unmoved(self, reference: GitReference, now: GitRevision) -> None:
        """Raise SourceChanged for a tag that some stack was pinned at, and that is another commit now.

        Pins of this very address come first: what only seems to be the same repository allows nothing more.
        """
        if reference.ref is None:
            return
        pins = [pin for pin in self._pins.pins_at(now.uri) if _is_tag_of(pin, reference, now)]
        place = mask(now.uri)
        same = [pin for pin in pins if pin.commit and pin.uri == place] or pins
        pinned = {pin.commit for pin in same if pin.commit}
        if pinned and now.commit not in pinned:
            raise _moved(reference, now, pinned)

    def _git(self, reference: GitReference, ref: str | None) -> GitRevision:
        from flowyml_policy.sources.git.source import GitRevision, GitSource

        def made() -> GitSource:
            return GitSource(reference.url, ref, cache=self._cache, kind=reference.kind, rules=self._rules)

        revision = self._once(("git", reference.kind, reference.url, ref), made).fetch()
        if not isinstance(revision, GitRevision):
            raise TypeError("a repository is read at a commit")
        return revision

    def _searched(self, revision: Revision, stack: str | None, path: str | None = None) -> StackDefinition:
        """The stack in a revision that stays what it is, so that its files are read once for all stacks in them."""
        search = self._once(("search", id(revision)), lambda: StackSearch(revision))
        return _located(search.find(stack, path))

    def registered(self, name: str, wanted: str | None) -> StackDefinition:
        """The registry's definition. Raises RegistryError: StackUnknown and VersionUnknown among others."""
        stack = self._registry.get(name, wanted)
        is_exact = wanted is not None and Wanted.parse(wanted).is_exact
        return registered_definition(stack, where=self._registry.uri, wanted=wanted, pinned=is_exact)

    def _once(self, key: tuple[object, ...], made: Callable[[], _Source]) -> _Source:
        with self._lock:
            source = self._sources.get(key)
            if source is None:
                source = self._sources[key] = made()
        return cast("_Source", source)  # what stands under a key was made for it


def registered_definition(
    stack: RegisteredStack, *, where: str, wanted: str | None = None, pinned: bool = True
) -> StackDefinition:
    """The definition that was registered. Raises RegistryCorrupt where it has not the digest that it was given."""
    provenance = RegisteredProvenance(
        kind="registry",
        uri=f"registry://{stack.name}@{stack.version}",
        ref=wanted,
        digest=stack.digest,
        pinned=pinned,
        applied_from=stack.source,
    )
    try:
        definition = definition_of(stack)
    except DefinitionInvalid as error:
        raise RegistryCorrupt(f"{stack.name}@{stack.version} is no stack definition: {where}") from error
    if definition.digest != stack.digest:
        raise RegistryCorrupt(f"{stack.name}@{stack.version} is not what was registered: {where}")
    return definition.located(provenance)


def definition_of(stack: NewStack) -> StackDefinition:
    """The definition that `stack` holds. Raises DefinitionInvalid where it holds none.

    What was written in FlowyML's own schema is registered in schema A's terms, with keys that only that one has.
    """
    try:
        return StackDefinition.from_dict(stack.document)
    except DefinitionInvalid:
        converted, homeless = to_schema_b(stack.document)
        if homeless or canonical_digest(stack.document) != stack.digest:
            raise
        return StackDefinition.from_dict(converted)


def _is_tag_of(pin: StackPin, reference: GitReference, now: GitRevision) -> bool:
    """Whether a pin is of the tag that `reference` names, or of one that has given way to a branch of its name."""
    if now.is_tag and pin.full_ref == now.full_ref:
        return True
    return pin.ref == reference.ref and (now.is_tag or pin.is_tag)


def _moved(reference: GitReference, now: GitRevision, pinned: Collection[str]) -> SourceChanged:
    was = " and ".join(sorted(pinned))
    if reference.names_commit:
        return SourceChanged(f"the commit was pinned to {was} and is {now.commit} now: {now.uri}")
    found = f"is {now.commit} now" if now.is_tag else f"is a branch at {now.commit} now"
    return SourceChanged(f"the tag {reference.ref} was pinned to {was} and {found}: {now.uri}")


def _at(uri: str, ref: str | None) -> str:
    return f"at {ref or 'the default branch'} of {uri}"


def _located(found: FoundStack) -> StackDefinition:
    return found.definition.located(found.provenance)
