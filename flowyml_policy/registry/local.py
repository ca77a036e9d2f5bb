"""LocalRegistry: the registry in the project's own SQLite file, which needs nobody else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from typing_extensions import Self

from flowyml_policy.errors.registry import RegistryCorrupt, RegistryError, RegistryUnreadable, RegistryUnwritable
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.registry import retirement
from flowyml_policy.mask.text import encodable
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.protocols import LastDecisions
from flowyml_policy.records.registry import (
    AlreadyThere,
    ListedStack,
    NewStack,
    Registered,
    RegisteredStack,
    Registration,
    Retirement,
)
from flowyml_policy.references.version import parse_version
from flowyml_policy.references.version import precedence as order_of
from flowyml_policy.registry.registrable import check_registrable, is_whole
from flowyml_policy.registry.schema import MIGRATIONS, REGISTRY, STACK_COLUMNS
from flowyml_policy.registry.versions import (
    VersionChoice,
    by_precedence,
    choose,
    has_labels,
    matches,
    newest_of_each,
    retired_already,
    taken,
    unknown_stack,
)
from flowyml_policy.storage.database import Database, Transaction
from flowyml_policy.storage.opening import BUSY_TIMEOUT

AlongWith: TypeAlias = Callable[[Transaction], None]
"""Called inside the transaction that changes the registry; what it writes there is durable with the change, and what
it raises undoes both."""

_INSERT: Final = f"INSERT INTO stacks ({', '.join(STACK_COLUMNS)}) VALUES ({', '.join('?' * len(STACK_COLUMNS))})"
_LISTED: Final = (
    "SELECT name, version, at, by, reason, digest, labels, source, applied_by, applied_at, decision_id"
    " FROM stacks LEFT JOIN stack_retirements USING (number)"
)
_ONE: Final = f"{_LISTED} WHERE name = ? AND precedence = ?".replace(" FROM", ", document FROM", 1)
_OF_NAME: Final = " WHERE name = ?"
_IN_ORDER: Final = f"{_LISTED} WHERE name >= ? ORDER BY name"


_Row: TypeAlias = Sequence[Any]
"""A row as sqlite3 gives it."""


class LocalRegistry:
    """The registry in the file `path`, which may hold the audit too. Without the file nothing is registered.

    A context manager, safe from many threads and processes, and after fork. Reading never creates the file.
    `decisions` knows what was last decided; without it listings do not say. `timeout` is how many seconds a call waits
    for other writers. Every method raises only RegistryError, and what `decisions` or `along_with` raise.
    """

    def __init__(
        self, path: str | Path, *, decisions: LastDecisions | None = None, timeout: float = BUSY_TIMEOUT
    ) -> None:
        self.path = Path(path)
        self._decisions = decisions
        self._database = Database(self.path, MIGRATIONS, tables=REGISTRY, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Closing twice is fine, and a closed registry opens again."""
        self._database.close()

    @property
    def uri(self) -> str:
        """The file's path."""
        return str(self.path)

    def get(self, name: str, wanted: str | None = None, *, retired: bool = False) -> RegisteredStack:
        """The highest version of `name` that is wanted; see StackRegistry."""
        with self._reading() as connection:
            candidates = [_candidate(row) for row in self._rows_of(connection, name)]
            version = choose(name, wanted, candidates, self.uri, retired=retired)
            found = None if connection is None else self._find(connection, name, version)
        if found is None:
            raise RegistryCorrupt(f"{name}@{version} is listed and not there: {self.path}")
        return found

    def versions(self, name: str) -> tuple[ListedStack, ...]:
        """Every version of `name`, retired ones too, the highest first. Raises StackUnknown."""
        with self._reading() as connection, self._as_registered("a stack"):
            rows = self._rows_of(connection, name)
            return self._with_decisions([*_chosen(rows, all_versions=True)])

    def list(
        self,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        all_versions: bool = False,
        after: tuple[str, str] | None = None,
        most: int | None = None,
    ) -> tuple[ListedStack, ...]:
        """What is registered, by name, the highest version first; see StackRegistry.

        A part of it begins `after` a name and version, and has `most` of them: the file is read no further.
        """
        with self._reading() as connection, self._as_registered("a stack"):
            if connection is None:
                return ()
            rows = connection.execute(_IN_ORDER, ("" if after is None else after[0],))
            asked = (row for row in rows if name is None or matches(row[0], name))
            chosen = _chosen(asked, all_versions=all_versions)
            rest = (one for one in chosen if after is None or _is_after(one, *after))
            return self._with_decisions([*islice((one for one in rest if has_labels(one.labels, labels)), most)])

    def put(self, stack: NewStack, *, along_with: AlongWith | None = None) -> Registration:
        """Register a version; see StackRegistry. `along_with` is called only where it was not there."""
        check_registrable(stack)
        with self._writing() as transaction:
            there = self._find(transaction.connection, stack.name, stack.version)
            if there is None:
                transaction.connection.execute(_INSERT, _cells(stack))
                if along_with is not None:
                    along_with(transaction)
        if there is None:
            return Registered(stack=RegisteredStack.model_validate(dict(stack)))
        if there.digest != stack.digest:
            raise taken(there, stack, self.uri)
        if there.retired is not None:
            raise retired_already(there, self.uri)
        return AlreadyThere(stack=there)

    def retire(
        self, name: str, version: str, *, by: str, at: str, reason: str = "", along_with: AlongWith | None = None
    ) -> RegisteredStack:
        """Take a version out of use; see StackRegistry. `along_with` is called only where it was in use."""
        parse_version(version)
        retired = retirement(at=at, by=by, reason=reason)
        with self._reading() as connection:
            candidates = [_candidate(row) for row in self._rows_of(connection, name)]
        version = choose(name, version, candidates, self.uri, retired=True)
        with self._writing() as transaction:
            there = self._find(transaction.connection, name, version)
            if there is not None and there.retired is None:
                transaction.connection.execute(
                    "INSERT INTO stack_retirements (number, at, by, reason)"
                    " SELECT number, ?, ?, ? FROM stacks WHERE name = ? AND version = ?",
                    (retired.at, retired.by, retired.reason, name, version),
                )
                if along_with is not None:
                    along_with(transaction)
        if there is None:
            raise RegistryCorrupt(f"{name}@{version} was listed and is not there: {self.path}")
        return there if there.is_retired else there.model_copy(update={"retired": retired})

    def retire_once(
        self, name: str, version: str, *, by: str, at: str, reason: str, key: str
    ) -> tuple[RegisteredStack, bool]:
        """As `retire`; see StackRegistry. A file keeps what it was sent, so that it needs no key to tell."""
        del key
        found = self.retire(name, version, by=by, at=at, reason=reason)
        return found, found.retired == retirement(by=by, at=at, reason=reason)

    def _rows_of(self, connection: sqlite3.Connection | None, name: str) -> Sequence[_Row]:
        """All versions of `name`. Raises StackUnknown for none."""
        rows = [] if connection is None else connection.execute(_LISTED + _OF_NAME, (name,)).fetchall()
        if not rows:
            names = [] if connection is None else connection.execute("SELECT DISTINCT name FROM stacks").fetchall()
            raise unknown_stack(name, (row[0] for row in names), self.uri)
        return rows

    def _find(self, connection: sqlite3.Connection, name: str, version: str) -> RegisteredStack | None:
        """The version, or another build of it, with its document. Raises RegistryCorrupt."""
        row = connection.execute(_ONE, (name, precedence(version))).fetchone()
        if row is None:
            return None
        with self._as_registered(f"{name}@{version}"):
            found = RegisteredStack(**_fields(row), document=json.loads(row[-1]))
            if is_whole(found) and precedence(found.version) == precedence(version):
                return found
        raise RegistryCorrupt(f"{name}@{version} is not what its digest says: {self.path}")

    def _with_decisions(self, listed: Sequence[ListedStack]) -> tuple[ListedStack, ...]:
        if self._decisions is None or not listed:
            return tuple(listed)
        last = self._decisions.last_decisions([one.digest for one in listed])
        return tuple(one.model_copy(update={"last_decision": last.get(one.digest)}) for one in listed)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        with _only_registry_errors(RegistryUnreadable, self.path), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with _only_registry_errors(RegistryUnwritable, self.path), self._database.writing() as transaction:
            yield transaction

    @contextmanager
    def _as_registered(self, what: str) -> Iterator[None]:
        try:
            yield
        except RegistryError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise RegistryCorrupt(f"what is registered of {what} is not what was put there: {self.path}") from error


@contextmanager
def _only_registry_errors(leaf: type[RegistryError], path: Path) -> Iterator[None]:
    try:
        yield
    except FlowymlPolicyError:
        raise
    except Exception as error:
        raise leaf(f"the registry file cannot be used: {path}: {error}") from error


def precedence(version: str) -> str:
    """What two builds of one version share, and a row is looked up by."""
    return str(parse_version(version).replace(build=None))


def _cells(stack: NewStack) -> tuple[str | None, ...]:
    """The cells of STACK_COLUMNS."""
    source = stack.source.model_copy(update={"uri": encodable(stack.source.uri)})
    return (
        stack.name,
        stack.version,
        precedence(stack.version),
        stack.digest,
        json.dumps(stack.labels, ensure_ascii=False),
        source.model_dump_json(),
        encodable(stack.applied_by),
        stack.applied_at,
        stack.decision_id,
        json.dumps(stack.document, ensure_ascii=False, allow_nan=False),
    )


def _fields(row: _Row) -> dict[str, Any]:
    """The fields of a row of `_LISTED` that every record of a registered version has."""
    name, version, _, _, _, digest, labels, source, applied_by, applied_at, decision_id, *_ = row
    return {
        "name": name,
        "version": version,
        "digest": digest,
        "labels": json.loads(labels),
        "source": Source.model_validate_json(source),
        "applied_by": applied_by,
        "applied_at": applied_at,
        "decision_id": decision_id,
        "retired": _candidate(row).retired,
    }


def _chosen(rows: Iterable[_Row], *, all_versions: bool) -> Iterator[ListedStack]:
    """Of rows in the order of names, all versions, or the newest of each, as `newest_of_each` says."""
    for _, group in groupby(rows, key=lambda row: row[0]):
        by_version = {row[1]: row for row in group}
        ordered = by_precedence([_candidate(row) for row in by_version.values()])
        for one in ordered if all_versions else newest_of_each(ordered):
            yield ListedStack(**_fields(by_version[one.version]))


def _is_after(one: ListedStack, name: str, version: str) -> bool:
    if one.name != name:
        return one.name > name
    return order_of(parse_version(one.version)) < order_of(parse_version(version))


def _candidate(row: _Row) -> VersionChoice:
    name, version, at, by, reason, *_ = row
    return VersionChoice(name, version, None if at is None else Retirement(at=at, by=by, reason=reason))
