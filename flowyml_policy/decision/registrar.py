"""A registry, and the audit that tells of everything that is changed in it.

Rules:
- Where both are in one file, one transaction makes the change and records StackApplied or StackRetired.
- Where they are not, the event follows the change, and a crash in between is made good when the same is asked again: of
  a registration, where the decision that allowed it is in this audit; of a retirement, where StackRetiring is, which is
  on disk before such a registry is asked.
- What is made good is told of whoever did it, once.
- No clock is read: whoever asks says when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.mask.encodable import encodable
from flowyml_policy.mask.text import mask_text
from flowyml_policy.records.events import NewEvent, RegistryEvent, StackApplied, StackRetired, StackRetiring
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.record import Record
from flowyml_policy.records.registry import NewStack, Registered, RegisteredStack, Retirement
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.storage.database import Transaction, is_same_file

_RegistryEvent = TypeVar("_RegistryEvent", bound=RegistryEvent)


class Recorded(Record):
    """A version as it is registered now, or retired. `changed` says whether it was not before.

    `made_good` says that an earlier call had done it and ended before the audit said so, which it does now.
    """

    stack: RegisteredStack
    changed: bool
    made_good: bool = False


class RecordedRegistry(ABC):
    """Registers and retires what the audit then tells of; made by `recorded_registry`.

    Every call raises only RegistryError and AuditError.
    """

    @abstractmethod
    def put(self, stack: NewStack) -> Recorded:
        """Register a version; see StackRegistry."""

    @abstractmethod
    def retire(self, name: str, version: str, *, by: str, at: str, reason: str) -> Recorded:
        """Take a version out of use; see StackRegistry."""


def recorded_registry(registry: StackRegistry, audit: AuditStore) -> RecordedRegistry:
    """`registry` with the audit that tells of it, in its own file or beside it."""
    if isinstance(registry, LocalRegistry) and is_same_file(registry.path, audit.path):
        return _InOneFile(registry, audit)
    return _InTwoPlaces(registry, audit)


class _InOneFile(RecordedRegistry):
    """A registry in the audit's own file, so that there is nothing to make good."""

    def __init__(self, registry: LocalRegistry, audit: AuditStore) -> None:
        self._registry = registry
        self._audit = audit

    def put(self, stack: NewStack) -> Recorded:
        event = _applied(stack, self._registry.uri, at=stack.applied_at, by=stack.applied_by)
        registration = self._registry.put(
            stack, along_with=lambda transaction: self._audit.append_events([event], within=transaction)
        )
        return Recorded(stack=registration.stack, changed=isinstance(registration, Registered))

    def retire(self, name: str, version: str, *, by: str, at: str, reason: str) -> Recorded:
        before = self._registry.get(name, version, retired=True)
        if before.is_retired:
            return Recorded(stack=before, changed=False)
        event = _retired(before, self._registry.uri, at=at, by=by, reason=reason)
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

    def put(self, stack: NewStack) -> Recorded:
        registration = self._registry.put(stack)
        if not isinstance(registration, Registered):
            made_good = self._make_good(registration.stack, at=stack.applied_at)
            return Recorded(stack=registration.stack, changed=False, made_good=made_good)
        event = _applied(stack, self._registry.uri, at=stack.applied_at, by=stack.applied_by)
        self._audit.append_events([event])
        return Recorded(stack=registration.stack, changed=True)

    def _make_good(self, there: RegisteredStack, *, at: str) -> bool:
        """Record the application of what this project registered, where a crash came before its event.

        Answers whether it was missing. It is told of whoever was allowed to.
        """
        if there.decision_id is None:
            return False
        allow = self._audit.decision(there.decision_id)
        if allow is None or self._audit.get_events(decision_id=there.decision_id, type=StackApplied.TYPE, limit=1):
            return False
        self._audit.append_events([_applied(there, self._registry.uri, at=at, by=allow.actor)])
        return True

    def retire(self, name: str, version: str, *, by: str, at: str, reason: str) -> Recorded:
        before = self._registry.get(name, version, retired=True)
        if before.is_retired:
            return Recorded(stack=before, changed=False, made_good=self._make_good_retirement(before, at=at))
        event = _retired(before, self._registry.uri, at=at, by=by, reason=reason)
        self._audit.append_events([event.model_copy(update={"type": StackRetiring.TYPE})])
        stack = self._registry.retire(name, before.version, by=by, at=at, reason=reason)
        asked = Retirement(at=at, by=encodable(by), reason=encodable(mask_text(reason)[0]))
        changed = self._is_own_retirement(stack, asked)
        if changed and stack.retired is not None:
            self._audit.append_events([event.model_copy(update={"actor": stack.retired.by})])
        return Recorded(stack=stack, changed=changed)

    def _is_own_retirement(self, stack: RegisteredStack, asked: Retirement) -> bool:
        """Whether `stack` is retired as it was `asked` just now, and not by somebody who came first.

        A file keeps what it was sent. A server may put its own name for who asked and its own time for both, but no
        time before it was asked.
        """
        there = stack.retired
        if there is None or there.reason != asked.reason:
            return False
        if isinstance(self._registry, LocalRegistry):
            return there == asked
        return there.by == asked.by or there.at >= asked.at

    def _make_good_retirement(self, there: RegisteredStack, *, at: str) -> bool:
        """Record the retirement that this project began, where a crash came before its event. Whether it was missing.

        One for another reason is somebody else's, and not recorded. Who and why are told as the registry kept them: it
        may call whoever began it by a name of its own, or have been asked the same by somebody else.
        """
        kept = there.retired
        if kept is None or not self._audit.path.exists():
            return False
        begun = any(kept.reason == mask_text(one.reason or "")[0] for one in self._events_of(StackRetiring, there))
        if not begun or self._events_of(StackRetired, there):
            return False
        self._audit.append_events([_retired(there, self._registry.uri, at=at, by=kept.by, reason=kept.reason)])
        return True

    def _events_of(self, kind: type[_RegistryEvent], there: RegisteredStack) -> list[_RegistryEvent]:
        """The events of this kind about this version in this registry."""
        events = self._audit.get_events(stack_name=there.name, type=kind.TYPE)
        wanted = (there.version, self._registry.uri)
        return [one for one in events if isinstance(one, kind) and (one.version, one.registry) == wanted]


def _applied(stack: NewStack, registry: str, *, at: str, by: str) -> NewEvent:
    event = _event(StackApplied.TYPE, stack, registry, at=at, by=by)
    return event.model_copy(update={"decision_id": stack.decision_id})


def _retired(stack: NewStack, registry: str, *, at: str, by: str, reason: str) -> NewEvent:
    return _event(StackRetired.TYPE, stack, registry, at=at, by=by, reason=reason)


def _event(kind: str, stack: NewStack, registry: str, *, at: str, by: str, **more: str) -> NewEvent:
    return NewEvent(
        type=kind,
        at=at,
        actor=by,
        stack_name=stack.name,
        payload={
            "version": stack.version,
            "definition_digest": stack.digest,
            "source": stack.source.uri,
            "registry": registry,
            **more,
        },
    )
