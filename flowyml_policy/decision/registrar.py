"""A registry, and the audit that records every change of it.

Rules:
- Where both are in one file, one transaction makes the change and records StackApplied or StackRetired.
- Where they are not, the event follows the change. A crash in between is recovered when the same is asked again: of a
  registration by its decision_id, which is in this audit; of a retirement by the id of its StackRetiring event, which
  is on disk before the registry is asked and goes with the request as its idempotency key.
- A recovered event names who the registry says did it, and is recorded once.
- Of a request that a server took, the event has the idempotency key and what the client claimed beside what holds.
- No clock is read: the caller says when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple, TypeVar
from uuid import uuid4

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.mask.events import new_event
from flowyml_policy.mask.registry import retirement
from flowyml_policy.mask.text import mask
from flowyml_policy.records.events import NewEvent, RegistryEvent, StackApplied, StackRetired, StackRetiring
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.record import Json, Record
from flowyml_policy.records.registry import NewStack, Registered, RegisteredStack
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.storage.database import Transaction, is_same_file

_RegistryEvent = TypeVar("_RegistryEvent", bound=RegistryEvent)


class Recorded(Record):
    """A version as it is registered now, or retired. `changed` says whether it was not before.

    `made_good` says that an earlier call had changed it and ended before it was recorded, which it is now.
    """

    stack: RegisteredStack
    changed: bool
    made_good: bool = False


class Received(NamedTuple):
    """The request of a client, as a server records it: its idempotency key, and what it claims.

    `decision_id` is that of the server's own decision; the registered stack has that of the client.
    """

    request: str | None
    claimed: Mapping[str, str]
    decision_id: str | None = None


class RecordedRegistry(ABC):
    """Registers and retires, and records both; made by `recorded_registry`.

    `received` is the request of a client, where a server makes the change for one. Every call raises only RegistryError
    and AuditError.
    """

    @abstractmethod
    def put(self, stack: NewStack, *, received: Received | None = None) -> Recorded:
        """Register a version; see StackRegistry."""

    @abstractmethod
    def retire(
        self, name: str, version: str, *, by: str, at: str, reason: str, received: Received | None = None
    ) -> Recorded:
        """Take a version out of use; see StackRegistry."""


def recorded_registry(registry: StackRegistry, audit: AuditStore) -> RecordedRegistry:
    """`registry` with the audit that tells of it, in its own file or beside it."""
    if isinstance(registry, LocalRegistry) and is_same_file(registry.path, audit.path):
        return _InOneFile(registry, audit)
    return _InTwoPlaces(registry, audit)


class _InOneFile(RecordedRegistry):
    """A registry in the audit's own file: nothing can be left unrecorded."""

    def __init__(self, registry: LocalRegistry, audit: AuditStore) -> None:
        self._registry = registry
        self._audit = audit

    def put(self, stack: NewStack, *, received: Received | None = None) -> Recorded:
        event = _applied(stack, self._registry.uri, at=stack.applied_at, by=stack.applied_by, received=received)
        registration = self._registry.put(
            stack, along_with=lambda transaction: self._audit.append_events([event], within=transaction)
        )
        return Recorded(stack=registration.stack, changed=isinstance(registration, Registered))

    def retire(
        self, name: str, version: str, *, by: str, at: str, reason: str, received: Received | None = None
    ) -> Recorded:
        before = self._registry.get(name, version, retired=True)
        if before.is_retired:
            return Recorded(stack=before, changed=False)
        event = _retired(before, self._registry.uri, at=at, by=by, reason=reason, received=received)
        told: list[Transaction] = []

        def tell(transaction: Transaction) -> None:
            self._audit.append_events([event], within=transaction)
            told.append(transaction)

        stack = self._registry.retire(name, before.version, by=by, at=at, reason=reason, along_with=tell)
        return Recorded(stack=stack, changed=bool(told))


class _InTwoPlaces(RecordedRegistry):
    """A company's registry, or a file of its own: the audit is told after it, and of a retirement before it too."""

    def __init__(self, registry: StackRegistry, audit: AuditStore) -> None:
        self._registry = registry
        self._audit = audit

    def put(self, stack: NewStack, *, received: Received | None = None) -> Recorded:
        registration = self._registry.put(stack)
        if not isinstance(registration, Registered):
            made_good = self._recover_registration(registration.stack, at=stack.applied_at)
            return Recorded(stack=registration.stack, changed=False, made_good=made_good)
        event = _applied(stack, self._registry.uri, at=stack.applied_at, by=stack.applied_by, received=received)
        self._audit.append_events([event])
        return Recorded(stack=registration.stack, changed=True)

    def _recover_registration(self, there: RegisteredStack, *, at: str) -> bool:
        """Record what this project registered, where a crash came before its event. Whether one was missing."""
        if there.decision_id is None:
            return False
        allow = self._audit.decision(there.decision_id)
        # The registry names the decision, and may name any.
        told = None if allow is None else (allow.operation, allow.outcome, allow.definition_digest)
        if allow is None or told != ("apply", "allow", there.digest):
            return False
        if self._audit.get_events(decision_id=there.decision_id, type=StackApplied.TYPE, limit=1):
            return False
        self._audit.append_events([_applied(there, self._registry.uri, at=at, by=allow.actor)])
        return True

    def retire(
        self, name: str, version: str, *, by: str, at: str, reason: str, received: Received | None = None
    ) -> Recorded:
        before = self._registry.get(name, version, retired=True)
        if before.is_retired:
            return self._recover_retirement(before, at=at)
        key = str(uuid4())
        event = _retired(before, self._registry.uri, at=at, by=by, reason=reason, received=received)
        self._audit.append_events([event.model_copy(update={"id": key, "type": StackRetiring.TYPE})])
        stack, is_own = self._registry.retire_once(name, before.version, by=by, at=at, reason=reason, key=key)
        if is_own is None and stack.retired is not None:
            # A server without keys may put its own name for who asked, and its own time, but none before it was asked.
            kept, asked = stack.retired, retirement(at=at, by=by, reason=reason)
            is_own = kept.reason == asked.reason and (kept.by == asked.by or kept.at >= at)
        changed = bool(is_own)
        if changed and stack.retired is not None:
            by = stack.retired.by
            event = _retired(before, self._registry.uri, at=at, by=by, reason=reason, received=received)
            self._audit.append_events([event])
        return Recorded(stack=stack, changed=changed)

    def _recover_retirement(self, there: RegisteredStack, *, at: str) -> Recorded:
        """Record the retirement that this project began, where a crash came before its event.

        The registry is asked again with the key of what was begun, and says whether it was that. Of a server without
        keys the same reason is believed: it may call the one who began by a name of its own.
        """
        unchanged = Recorded(stack=there, changed=False)
        if there.retired is None or not self._audit.path.exists() or self._events_of(StackRetired, there):
            return unchanged
        for begun in self._events_of(StackRetiring, there):
            by, reason = there.retired.by, there.retired.reason
            _, is_own = self._registry.retire_once(
                there.name, there.version, by=begun.actor, at=begun.at, reason=begun.reason or "", key=begun.id
            )
            if is_own or (is_own is None and reason == (begun.reason or "")):
                self._audit.append_events([_retired(there, self._registry.uri, at=at, by=by, reason=reason)])
                return Recorded(stack=there, changed=False, made_good=True)
        return unchanged

    def _events_of(self, kind: type[_RegistryEvent], there: RegisteredStack) -> list[_RegistryEvent]:
        """The events of this kind about this version in this registry."""
        events = self._audit.get_events(stack_name=there.name, type=kind.TYPE)
        wanted = (there.version, mask(self._registry.uri))
        return [one for one in events if isinstance(one, kind) and (one.version, one.registry) == wanted]


def _applied(stack: NewStack, registry: str, *, at: str, by: str, received: Received | None = None) -> NewEvent:
    decision_id = stack.decision_id if received is None else received.decision_id
    return _event(StackApplied.TYPE, stack, registry, at=at, by=by, decision_id=decision_id, **_of_request(received))


def _retired(
    stack: NewStack, registry: str, *, at: str, by: str, reason: str, received: Received | None = None
) -> NewEvent:
    return _event(StackRetired.TYPE, stack, registry, at=at, by=by, reason=reason, **_of_request(received))


def _of_request(received: Received | None) -> dict[str, Json]:
    return {} if received is None else {"request": received.request, "claimed": dict(received.claimed)}


def _event(
    kind: str, stack: NewStack, registry: str, *, at: str, by: str, decision_id: str | None = None, **more: Json
) -> NewEvent:
    return new_event(
        kind,
        at=at,
        actor=by,
        stack_name=stack.name,
        decision_id=decision_id,
        payload={
            "version": stack.version,
            "definition_digest": stack.digest,
            "source": stack.source.uri,
            "registry": registry,
            **more,
        },
    )
