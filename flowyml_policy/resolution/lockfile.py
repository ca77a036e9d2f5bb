"""flowyml.lock: what every name of flowyml.yaml meant when it was pinned, in a file that is committed and reviewed.

Rules:
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
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.documents.writer import write_yaml
from flowyml_policy.errors.documents import NotCanonical, YamlInvalid
from flowyml_policy.errors.lockfile import (
    LockfileForeign,
    LockfileInvalid,
    LockfileTooNew,
    LockfileUnreadable,
    LockfileUnwritable,
)
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.policy_input import LockFacts
from flowyml_policy.records.record import Json, Record
from flowyml_policy.settings.places import LOCKFILE
from flowyml_policy.system.files import read_file, replace_file

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


def read_lockfile(path: Path) -> Lockfile | None:
    """What the file at `path` pins; None where there is none. Raises only LockfileError."""
    if not os.path.lexists(path):
        return None
    try:
        data = read_file(path, most=Limits().size)
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
    try:
        replace_file(path, data)
    except OSError as error:
        raise LockfileUnwritable(f"the lockfile cannot be written: {path}: {error.strerror or error}") from error
    return True


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


def _foreign(path: Path) -> LockfileForeign:
    return LockfileForeign(f"the file is a lockfile of FlowyML itself, not of flowyml-policy: {path}")


def _is_ours(path: Path) -> bool:
    data = _bytes_at(path)
    return data is not None and _MARK.search(data) is not None


def _bytes_at(path: Path) -> bytes | None:
    try:
        return read_file(path, most=Limits().size)
    except SourceUnreadable:
        return None
