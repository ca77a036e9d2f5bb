"""AuditRecorder: puts decisions and events into one audit file, from any thread and any process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from flowyml_policy.audit.activations import new_activations
from flowyml_policy.audit.schema import AUDIT, MIGRATIONS
from flowyml_policy.audit.writing import EventCells, append_decisions, append_events, cells_of, rows_of, try_out
from flowyml_policy.errors.audit import AuditError, AuditUnwritable
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.storage.database import Database, Transaction
from flowyml_policy.storage.opening import BUSY_TIMEOUT
from flowyml_policy.storage.schema import reported

if TYPE_CHECKING:
    from flowyml_policy.records.events import NewEvent


class _TriedOut(Exception):
    """Rolls back a transaction in which all went well."""


class AuditRecorder:
    """Writes the audit in the file `path`; what reads it too is an AuditStore.

    A context manager, safe from many threads and after fork. Nothing is opened before it is needed, and a
    closed one opens again. `timeout` is how many seconds a call waits for other writers. Every method
    raises only AuditError.
    """

    def __init__(self, path: str | Path, *, timeout: float = BUSY_TIMEOUT) -> None:
        self.path = Path(path)
        self._timeout = timeout
        self._activated: dict[str, str] = {}
        self._database = Database(self.path, MIGRATIONS, tables=AUDIT, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Closing twice is fine."""
        self._database.close()

    def record(self, records: Sequence[DecisionRecord]) -> None:
        """Append `records` in order, in one transaction: durable when this returns, or none of them is there."""
        if not records:
            return
        with self._only_audit_errors(AuditUnwritable, "the decision could not be recorded"):
            rows = [rows_of(record) for record in records]
            known = dict(self._activated)
            with self._database.writing() as transaction:
                activations = new_activations(transaction.connection, records, known)
                append_decisions(transaction.connection, rows, activations)
            self._activated = known

    def append_events(self, events: Sequence[NewEvent], *, within: Transaction | None = None) -> None:
        """Append `events`, which have no decision of their own, in order: all durable when this returns, or none.

        Their payloads are masked. With `within`, a transaction that is open on this very file, they become durable
        with it. Events that promise rows of other tables (PolicyChecked) are refused: `record` writes those.
        """
        if not events:
            return
        with self._only_audit_errors(AuditUnwritable, "the event could not be recorded"):
            cells = [cells_of(event) for event in events]
            if within is None:
                with self._database.writing() as transaction:
                    append_events(transaction.connection, cells)
            else:
                self._append_within(within, cells)

    def require_writable(self) -> None:
        """Raise what the next `record` would, where nothing can be recorded: it is tried out and rolled back."""
        with (
            self._only_audit_errors(AuditUnwritable, "nothing can be recorded"),
            suppress(_TriedOut),
            self._database.writing() as transaction,
        ):
            try_out(transaction.connection)
            raise _TriedOut

    def _append_within(self, transaction: Transaction, cells: Sequence[EventCells]) -> None:
        if not transaction.is_on(self.path):
            raise AuditUnwritable(f"the transaction writes {transaction.path}, not the audit: {self.path}")
        with reported(self.path, "write", AUDIT):
            transaction.bring_up(MIGRATIONS, AUDIT)
            append_events(transaction.connection, cells)

    @contextmanager
    def _only_audit_errors(self, otherwise: type[AuditError], what: str) -> Iterator[None]:
        """Raise whatever comes out of the block and is no AuditError as `otherwise`: the promise of every method."""
        try:
            yield
        except AuditError:
            raise
        except Exception as error:
            raise otherwise(f"{what}: {self.path}: {error}") from error
