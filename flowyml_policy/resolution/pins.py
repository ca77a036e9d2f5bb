"""What a project's lockfile pins, for those who resolve, judge and run its stacks.

Rules:
- A project without a lockfile pins nothing, and most have none: what reads one is loaded where there is one.
- The file is read once, when it is first asked, and every answer is of that one state.
- Nothing is written here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.lockfile import LockfileForeign, StackDrifted, StackNotPinned
from flowyml_policy.errors.sources import SourceNotPinned
from flowyml_policy.mask.text import mask
from flowyml_policy.resolution.repository import GIT_KINDS, is_repository

if TYPE_CHECKING:
    from flowyml_policy.records.pins import StackPin
    from flowyml_policy.records.policy_input import LockFacts
    from flowyml_policy.resolution.lockfile import Lockfile
    from flowyml_policy.settings.settings import Settings


class ProjectPins:
    """The pins of the lockfile at `path`, as StackPins. The file is read once, when it is first asked.

    `environments` maps each environment of flowyml.yaml to the stack that it runs on now. Safe from many threads.
    """

    def __init__(self, path: Path, environments: Mapping[str, str]) -> None:
        self.path = path
        self._environments = dict(environments)
        self._lock = threading.Lock()
        self._read: tuple[Lockfile | None, LockfileForeign | None] | None = None

    @classmethod
    def of(cls, settings: Settings) -> ProjectPins:
        """The pins of the project of `settings`."""
        names = {name: environment.stack for name, environment in settings.environments.items()}
        return cls(settings.lockfile, names)

    @classmethod
    def nothing(cls, settings: Settings) -> ProjectPins:
        """Pins of no stack, whatever the lockfile says: for what makes or compares the lockfile itself."""
        pins = cls(settings.lockfile, {})
        pins._read = (None, None)
        return pins

    def pin_of(self, reference: str) -> StackPin | None:
        """What `reference` was pinned to; see StackPins."""
        lockfile, _ = self._state()
        return None if lockfile is None else lockfile.stacks.get(reference)

    def pins_at(self, uri: str) -> tuple[StackPin, ...]:
        """The pins of stacks that were read at `uri`, or in its repository by another spelling; see StackPins."""
        lockfile, _ = self._state()
        place = mask(uri)
        return (
            ()
            if lockfile is None
            else tuple(
                pin
                for pin in lockfile.stacks.values()
                if pin.uri == place or (pin.kind in GIT_KINDS and is_repository(pin.uri, place))
            )
        )

    def references_to(self, *, name: str, definition: str) -> tuple[str, ...]:
        """The references that were pinned to that stack; see StackPins."""
        lockfile, _ = self._state()
        pins = {} if lockfile is None else lockfile.stacks
        return tuple(key for key, pin in pins.items() if pin.name == name or pin.definition == definition)

    def facts(self, *, reference: str | None, name: str, definition: str, commit: str | None) -> LockFacts | None:
        """What is pinned of a stack that is what was pinned, null where it is not; see StackPins."""
        lockfile, _ = self._state()
        if lockfile is None:
            return None
        fitting = (pin for pin in _pins(lockfile, reference, name) if _is_pinned(pin, name, definition, commit))
        pin = next(fitting, None)
        return None if pin is None else lockfile.facts(pin)

    def require(
        self, *, environment: str, reference: str | None, name: str, definition: str, commit: str | None
    ) -> LockFacts:
        """What is pinned of a stack that is what was pinned; see StackPins."""
        lockfile = self._demanded(environment)
        key = self._runs_on(lockfile, environment)
        pin = lockfile.stacks[key]
        if _is_pinned(pin, name, definition, commit):
            return lockfile.facts(pin)
        if pin.name != name and reference != key:
            raise StackNotPinned(
                f"environment {environment!r} takes pinned stacks only, and {name!r} is not: {self.path}"
            )
        what = _difference(pin, name, definition, commit)
        raise StackDrifted(f"environment {environment!r} takes pinned stacks only, and {what}: {self.path}")

    def _demanded(self, environment: str) -> Lockfile:
        lockfile, foreign = self._state()
        if foreign is not None:
            raise LockfileForeign(foreign.message) from foreign
        if lockfile is None:
            raise StackNotPinned(f"environment {environment!r} takes pinned stacks only, and nothing is: {self.path}")
        return lockfile

    def _runs_on(self, lockfile: Lockfile, environment: str) -> str:
        """The key of `stacks` that `environment` was pinned to, the only one that it takes.

        One that runs on another stack than when it was pinned takes nothing until it is pinned anew.
        """
        runs_on = self._environments.get(environment)
        pinned = lockfile.environments.get(environment)
        if pinned is None:
            raise StackNotPinned(f"environment {environment!r} takes pinned stacks only, and has no pin: {self.path}")
        if runs_on not in {None, pinned}:
            what = f"was pinned when it ran on {pinned!r}, and runs on {runs_on!r} now"
            raise StackDrifted(f"environment {environment!r} {what}: {self.path}")
        return pinned

    def _state(self) -> tuple[Lockfile | None, LockfileForeign | None]:
        with self._lock:
            if self._read is None:
                self._read = _read(self.path)
            return self._read


def _read(path: Path) -> tuple[Lockfile | None, LockfileForeign | None]:
    """The lockfile at `path`, or why it is none of ours; neither where there is none."""
    if not os.path.lexists(path):
        return None, None
    from flowyml_policy.resolution.lockfile import read_lockfile

    try:
        return read_lockfile(path), None
    except LockfileForeign as error:
        return None, error


def _pins(lockfile: Lockfile, reference: str | None, name: str) -> list[StackPin]:
    """What the settings call `reference`; where they call nothing so, every pin of a stack of that name."""
    if reference is not None and reference in lockfile.stacks:
        return [lockfile.stacks[reference]]
    return [pin for pin in lockfile.stacks.values() if pin.name == name]


def _is_pinned(pin: StackPin, name: str, definition: str, commit: str | None) -> bool:
    return pin.name == name and pin.definition == definition and pin.commit in {None, commit}


def _difference(pin: StackPin, name: str, definition: str, commit: str | None) -> str:
    if pin.name != name:
        return f"stack {pin.name!r} was pinned where {name!r} is now"
    if pin.definition != definition:
        return f"{name!r} was pinned as {pin.definition} and is {definition} now"
    return f"{name!r} was pinned at commit {pin.commit} and comes from {commit or 'no repository'} now"


def require_pinned(environment: str, definition: StackDefinition) -> None:
    """Raise SourceNotPinned where `environment` takes pinned sources only and that of `definition` is none."""
    source = definition.source
    if not source.pinned:
        raise SourceNotPinned(
            f"environment {environment!r} takes pinned sources only, and that of stack {definition.metadata.name!r} may"
            f" change: {source.uri}" + (f" at {source.ref}" if source.ref else "")
        )
