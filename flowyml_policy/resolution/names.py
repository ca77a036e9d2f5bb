"""What a bare name means: a key of `stacks:`, a definition in the project's `stacks` folder, a registered stack.

Rules:
- All three are looked at, always: a name that means different definitions is an error that names them.
- Nothing that is broken is passed over: a key whose source fails, a file that may hold the name and cannot be read,
  a registry that does not answer. Only where an environment takes nothing but what is pinned, and that was found
  without it, may the registry be out of reach.
- `local` is the built-in stack and nothing else.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from flowyml_policy.definitions.builtin import LOCAL_STACK
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import RegistryError, RegistryUnreachable, StackUnknown, VersionUnknown
from flowyml_policy.errors.sources import StackAmbiguous, StackNotFound
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.references.stack_values import NameReference
from flowyml_policy.references.version import Wanted, parse_version
from flowyml_policy.resolution.explanation import Trail
from flowyml_policy.settings.settings import Settings
from flowyml_policy.sources.fetcher import Fetcher

BUILTIN: Final = LOCAL_STACK.metadata.name
_NEAR: Final = 3


class Names:
    """Looks names up for one project."""

    def __init__(self, settings: Settings, fetcher: Fetcher, registry: StackRegistry) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._registry = registry

    def find(self, reference: NameReference, trail: Trail, *, pin: StackPin | None = None) -> StackDefinition:
        """The one definition that `reference` means; `pin` is what a key of `stacks:` was pinned to.

        Raises StackNotFound with names that are spelled alike, StackAmbiguous, and whatever is wrong with a place.
        """
        if reference.name == BUILTIN:
            return self._builtin(reference, trail)
        wanted = None if reference.wanted is None else Wanted.parse(reference.wanted)
        found = [
            *self._under_key(reference.name, pin, trail),
            *self._in_folder(reference.name, trail),
        ]
        fitting = [one for one in found if _fits(one, wanted)]
        refused, registered = self._registered(reference, trail, is_settled=_is_settled(fitting, pin))
        fitting += registered
        if not fitting:
            raise self._not_found(reference, found, refused) from refused
        if len({one.digest for one in fitting}) > 1:
            raise self._ambiguous(reference, fitting)
        return fitting[0]

    def _builtin(self, reference: NameReference, trail: Trail) -> StackDefinition:
        if reference.wanted is not None:
            raise StackNotFound(
                f"the built-in stack {BUILTIN!r} has no versions: {reference}", advice=f"write {BUILTIN} alone"
            )
        trail.place("the built-in stack", f"it is what {BUILTIN!r} always means")
        return builtin()

    def _under_key(self, name: str, pin: StackPin | None, trail: Trail) -> list[StackDefinition]:
        where = f"`stacks:` of {self._file}"
        if name not in self._settings.stacks:
            trail.place(where, "no such key")
            return []
        definition = self._fetcher.fetch_key(name, pin=pin)
        trail.place(f"`stacks.{name}`, {self._settings.location(('stacks', name))}", _described(definition))
        return [definition]

    def _in_folder(self, name: str, trail: Trail) -> list[StackDefinition]:
        where = f"the folder {self._settings.root / 'stacks'}"
        found = self._fetcher.in_folder(name)
        for definition in found:
            trail.place(where, _described(definition))
        if not found:
            trail.place(where, "no definition of that name")
        return found

    def _registered(
        self, reference: NameReference, trail: Trail, *, is_settled: bool
    ) -> tuple[RegistryError | None, list[StackDefinition]]:
        """What the registry has, or that it has none; its silence is no matter where the name `is_settled`."""
        where = f"the registry {self._registry.uri}"
        try:
            definition = self._fetcher.registered(reference.name, reference.wanted)
        except (StackUnknown, VersionUnknown) as error:
            trail.place(where, "no such version" if isinstance(error, VersionUnknown) else "no stack of that name")
            return error, []
        except RegistryUnreachable:
            if not is_settled:
                raise
            trail.place(where, "it does not answer, and need not: what was found is what is pinned")
            return None, []
        trail.place(where, _described(definition))
        return None, [definition]

    def _not_found(
        self, reference: NameReference, found: list[StackDefinition], refused: RegistryError | None
    ) -> StackNotFound:
        name = reference.name
        if found:
            versions = ", ".join(f"{one.metadata.version or 'none'} ({place_of(one)})" for one in found)
            return StackNotFound(f"no version {reference.wanted} of the stack {name!r}: there is {versions}")
        if isinstance(refused, VersionUnknown):
            return StackNotFound(refused.message, advice=refused.advice)
        near = get_close_matches(name, self._known(), n=_NEAR)
        advice = (
            f"did you mean {' or '.join(near)}?" if near else "`flowyml-policy stack list` shows what is registered"
        )
        return StackNotFound(
            f"no stack is called {name!r}, neither in `stacks:` of {self._file}, nor in the folder stacks, nor in the"
            " registry",
            advice=advice,
        )

    def _known(self) -> list[str]:
        registered = [stack.name for stack in self._registry.list()]
        names = {BUILTIN, *self._settings.stacks, *self._fetcher.names_in_folder(), *registered}
        return sorted(names)

    def _ambiguous(self, reference: NameReference, fitting: list[StackDefinition]) -> StackAmbiguous:
        first: dict[str, StackDefinition] = {}
        for definition in fitting:
            first.setdefault(definition.digest, definition)
        places = " and ".join(f"{place_of(one)} ({one.digest[:19]})" for one in first.values())
        return StackAmbiguous(
            f"different definitions are called {str(reference)!r}: {places}",
            advice="rename one, make them the same (apply it under a new version), or name one by its address",
        )

    @property
    def _file(self) -> str:
        return str(self._settings.file or self._settings.root)


def builtin() -> StackDefinition:
    """The built-in stack, with its provenance."""
    source = LOCAL_STACK.source
    return LOCAL_STACK.located(Provenance(kind="builtin", uri=source.uri, pinned=True))


def place_of(definition: StackDefinition) -> str:
    """Where a definition stands, as people are told: file and line, or its address."""
    location = definition.location(("metadata", "name"))
    uri = definition.source.uri
    if definition.source.kind in {"local", "stdin"}:
        return str(location or uri)
    return f"{location} of {uri}" if location and str(location.file) != uri else str(location or uri)


def _is_settled(found: list[StackDefinition], pin: StackPin | None) -> bool:
    """Whether something was found, and all of it is what was pinned."""
    if pin is None or not found:
        return False
    return all((one.metadata.name, one.digest) == (pin.name, pin.definition) for one in found)


def _fits(definition: StackDefinition, wanted: Wanted | None) -> bool:
    if wanted is None:
        return True
    version = definition.metadata.version
    if version is None:
        return False
    try:
        return wanted.accepts(parse_version(version))
    except VersionMalformed:
        return False


def _described(definition: StackDefinition) -> str:
    metadata = definition.metadata
    version = f" {metadata.version}" if metadata.version else ""
    return f"{metadata.name}{version}, {place_of(definition)}, {definition.digest}"
