"""flowyml.lock: what every name of flowyml.yaml meant when it was pinned, in a file that is committed and reviewed.

Rules of this room:
- One value a line, keys sorted, the same text for the same pins on every machine: a change shows as the lines that
  changed. Paths of the project are relative to it.
- The file is replaced whole or not at all, and left alone where nothing changed.
- What this program did not write is never overwritten. FlowyML's own flowyml.lock is told from ours and explained.
- A lockfile that cannot be read is an error to everybody who asks what is pinned, never "nothing is pinned". The one
  exception is FlowyML's own, which pins nothing here; where pins are demanded it is an error too.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from flowyml_policy.definitions import read_file
from flowyml_policy.errors import (
    LockfileForeign,
    LockfileInvalid,
    LockfileTooNew,
    LockfileUnreadable,
    LockfileUnwritable,
    NotCanonical,
    SourceUnreadable,
    StackDrifted,
    StackNotPinned,
    YamlInvalid,
)
from flowyml_policy.mask import mask_text
from flowyml_policy.records import LockFacts, StackPin
from flowyml_policy.records.record import Json, Record
from flowyml_policy.settings import Settings
from flowyml_policy.strict_yaml import load_documents, write_yaml

LOCKFILE: Final = "flowyml.lock"
VERSION: Final = 2
"""Version 1 did not say which of a repository's refs was meant (`full_ref`); it is read, and written no more."""

_OURS: Final = "flowyml-policy"
_HEADER: Final = "# What `flowyml-policy stack lock` pinned. Commit this file; do not edit it.\n"
_MARK: Final = re.compile(rb"^lockfile: flowyml-policy\s*$", re.MULTILINE)
_UPSTREAM_KIND: Final = "StackLock"
_UPSTREAM_MARK: Final = re.compile(rb"^kind: *[\"']?StackLock\b", re.MULTILINE)


class Lockfile(Record):
    """What the file says. `environments` maps each to what it runs on, `stacks` what is so named to its pin.

    A key of `stacks` is what the settings write: an environment's `stack`, or a key of `stacks:`. `bundles` maps each
    bundle of policy to its revision.
    """

    lockfile: Literal["flowyml-policy"] = "flowyml-policy"
    version: Literal[1, 2] = VERSION
    bundles: dict[str, str] = Field(default_factory=dict)
    environments: dict[str, str] = Field(default_factory=dict)
    stacks: dict[str, StackPin] = Field(default_factory=dict)

    def as_text(self) -> str:
        """The file. Raises LockfileUnwritable for text that no file can hold."""
        values = self.model_dump(mode="json")
        for name in ("bundles", "environments", "stacks"):
            values[name] = dict(sorted(values[name].items()))
        for pin in values["stacks"].values():
            pin["images"] = dict(sorted(pin["images"].items()))
        try:
            return _HEADER + write_yaml(values)
        except NotCanonical as error:
            raise LockfileUnwritable(f"a name cannot be written into {LOCKFILE}: {error.message}") from error

    def facts(self, pin: StackPin) -> LockFacts:
        """What policy is told of `pin`."""
        return LockFacts(
            commit=pin.commit,
            definition_digest=pin.definition,
            images={image: digest for image, digest in pin.images.items() if digest is not None},
            bundles=self.bundles,
        )


def lockfile_path(settings: Settings) -> Path:
    """Where the project's lockfile lies, beside flowyml.yaml."""
    return settings.root / LOCKFILE


def read_lockfile(path: Path) -> Lockfile | None:
    """What the file at `path` pins; None where there is none. Raises only LockfileError."""
    if not os.path.lexists(path):
        return None
    try:
        data = read_file(path)
    except SourceUnreadable as error:
        raise LockfileUnreadable(f"the lockfile cannot be read: {path}") from error
    try:
        values = _only_document(data, path)
    except YamlInvalid as error:
        if _UPSTREAM_MARK.search(data) and not _MARK.search(data):
            raise _foreign(path) from error
        raise LockfileInvalid(f"the lockfile is not as it was written: {error.location}: {error.problem}") from error
    return _checked(values, path)


def write_lockfile(path: Path, lockfile: Lockfile) -> bool:
    """Put `lockfile` at `path`, whole or not at all; False where that is what was there. Raises only LockfileError.

    A lockfile of this program that is damaged is replaced; any other file is left as it is.
    """
    data = lockfile.as_text().encode()
    _require_readable(data, path)
    if os.path.lexists(path):
        try:
            read_lockfile(path)
        except LockfileInvalid as error:
            if not _is_ours(path):
                raise LockfileInvalid(f"the file is no lockfile: {path}", advice="move it away") from error
        if _bytes_at(path) == data:
            return False
    _replace(path, data)
    return True


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
        return cls(lockfile_path(settings), names)

    def pin_of(self, reference: str) -> StackPin | None:
        """What `reference` was pinned to; see StackPins."""
        lockfile, _ = self._state()
        return None if lockfile is None else lockfile.stacks.get(reference)

    def pins_at(self, uri: str) -> tuple[StackPin, ...]:
        """The pins of stacks that were read at `uri`, or in its repository by another spelling; see StackPins."""
        from flowyml_policy.resolution.same_place import GIT_KINDS, is_repository  # noqa: PLC0415  only for addresses

        lockfile, _ = self._state()
        place = mask_text(uri)[0]
        return (
            ()
            if lockfile is None
            else tuple(
                pin
                for pin in lockfile.stacks.values()
                if pin.uri == place or (pin.kind in GIT_KINDS and is_repository(pin.uri, place, below_prefixes=False))
            )
        )

    def references_to(self, *, name: str, definition: str) -> tuple[str, ...]:
        """The references that were pinned to that stack; see StackPins."""
        lockfile, _ = self._state()
        pins = {} if lockfile is None else lockfile.stacks
        return tuple(key for key, pin in pins.items() if (pin.name, pin.definition) == (name, definition))

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
            raise _foreign(self.path) from foreign
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
                try:
                    self._read = read_lockfile(self.path), None
                except LockfileForeign as error:
                    self._read = None, error
            return self._read


def _only_document(data: bytes, path: Path) -> Json:
    documents = load_documents(data, str(path))
    if len(documents) != 1:
        raise LockfileInvalid(f"the lockfile holds {len(documents)} documents instead of one: {path}")
    return documents[0].value


def _require_readable(data: bytes, path: Path) -> None:
    """Some characters can be written and are refused when they are read."""
    try:
        _checked(_only_document(data, path), path)
    except (YamlInvalid, LockfileInvalid) as error:
        raise LockfileUnwritable(f"a name cannot be written into the lockfile: {error.message}") from error


def _checked(values: Json, path: Path) -> Lockfile:
    if not isinstance(values, dict):
        raise LockfileInvalid(f"the file is no lockfile: {path}")
    if values.get("kind") == _UPSTREAM_KIND:
        raise _foreign(path)
    if values.get("lockfile") != _OURS:
        raise LockfileInvalid(f"the file is no lockfile: {path}", advice="move it away")
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise LockfileTooNew(f"the lockfile has version {version}, this program reads {VERSION}: {path}")
    try:
        lockfile = Lockfile.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"])
        raise LockfileInvalid(f"the lockfile is not as it was written: {place}: {problem['msg']}: {path}") from error
    loose = sorted(set(lockfile.environments.values()) - set(lockfile.stacks))
    if loose:
        raise LockfileInvalid(f"the lockfile is not as it was written: stacks has no {loose[0]!r}: {path}")
    return lockfile


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


def _foreign(path: Path) -> LockfileForeign:
    return LockfileForeign(f"the file is a lockfile of FlowyML itself, not of flowyml-policy: {path}")


def _is_ours(path: Path) -> bool:
    data = _bytes_at(path)
    return data is not None and _MARK.search(data) is not None


def _bytes_at(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except SourceUnreadable:
        return None


def _replace(path: Path, data: bytes) -> None:
    """A link is followed, so that what it leads to is replaced, and stays a link."""
    try:
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                if target.exists():
                    os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LockfileUnwritable(f"the lockfile cannot be written: {path}: {error.strerror or error}") from error
