"""The life of a stack: it is applied when policy allows it, and retired when its time is over.

Rules:
- One stack at a time, under its lock: judged, recorded, registered, in that order. Only an explicit allow registers;
  undecided never does.
- StackLocked and StackUnlocked stand around all of it; where the first cannot be recorded, nothing is done.
- PolicyChecked and StackValidated are on disk before the registry is asked; StackApplied and StackRetired go with the
  change that they tell of, as recorded_registry says.
- A dry run writes the decision and nothing else, takes no lock, and shows what would change.
- What goes wrong with one stack is what became of that stack, and never hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from typing_extensions import Self

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.candidates import StackDocument
from flowyml_policy.decision.engine import PolicyEngine, Reports
from flowyml_policy.decision.registrar import Recorded, recorded_registry
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.definitions.text import difference
from flowyml_policy.errors.audit import AuditError
from flowyml_policy.errors.locks import LockError
from flowyml_policy.errors.registry import StackUnknown, VersionRetired, VersionTaken, VersionUnknown
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.images.inspection import Told
from flowyml_policy.mask.reports import error_report
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.record import Record
from flowyml_policy.records.registry import NewStack, RegisteredStack
from flowyml_policy.records.result import EXIT_ALLOWED, EXIT_DENIED, EXIT_UNDECIDED, ErrorReport, Result
from flowyml_policy.registry.opening import open_registry
from flowyml_policy.registry.registrable import new_stack
from flowyml_policy.registry.versions import retired_already, taken
from flowyml_policy.settings.settings import Settings
from flowyml_policy.storage.locks import DEFAULT_TIMEOUT, StackLockManager

Status: TypeAlias = Literal["registered", "unchanged", "would_register", "denied", "refused", "undecided"]
"""What became of a stack. `refused`: policy allows it, and the registry does not take it."""

_Done = TypeVar("_Done")
_Answer: TypeAlias = Callable[..., Result]
"""`PolicyEngine.answer` for one call."""

_EXITS: Final[dict[Status, int]] = {
    "registered": EXIT_ALLOWED,
    "unchanged": EXIT_ALLOWED,
    "would_register": EXIT_ALLOWED,
    "denied": EXIT_DENIED,
    "refused": EXIT_DENIED,
    "undecided": EXIT_UNDECIDED,
}


class Applied(Record):
    """What became of one stack that was to be applied.

    `result` is the decision. `stack` is what is registered under its version, where anything is; `diff` what differs
    from there, or in a dry run from the version in use. `error` is why an allowed stack is not registered. `made_good`
    says that an earlier call had registered it and ended before the audit said so, which it does now.
    """

    status: Status
    result: Result
    stack: RegisteredStack | None = None
    diff: str = ""
    error: ErrorReport | None = None
    made_good: bool = False

    @property
    def exit_code(self) -> int:
        """0 registered, or so already, 1 denied or refused, 3 undecided."""
        return _EXITS[self.status]


class StackLifecycle:
    """Applies and retires stacks of one project. A context manager; safe from many threads.

    Made by `from_project`, or, where the parts are at hand, from them. Closing it closes `engine` and `audit`.
    """

    def __init__(
        self, engine: PolicyEngine, *, registry: StackRegistry, audit: AuditStore, locks: StackLockManager
    ) -> None:
        self.engine = engine
        self.registry = registry
        self._audit = audit
        self._locks = locks

    @classmethod
    def from_project(
        cls,
        project: str | Path | None = None,
        *,
        rules: Sequence[str | Path] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """The stacks of the project in folder `project`, or of the one around the working directory.

        Raises what PolicyEngine.from_project raises, and RegistryError for a registry that cannot be used at all.
        """
        return cls._of(PolicyEngine.from_project(project, rules=rules, environ=environ), environ)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        rules: Sequence[str | Path] = (),
        refresh: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """As `from_project`, where the settings are loaded already. `refresh` is as in PolicyEngine.from_project."""
        return cls._of(PolicyEngine.from_settings(settings, rules=rules, refresh=refresh, environ=environ), environ)

    @classmethod
    def _of(cls, engine: PolicyEngine, environ: Mapping[str, str] | None) -> Self:
        audit = AuditStore(engine.settings.audit_path)
        registry = open_registry(engine.settings, decisions=audit, environ=environ)
        return cls(engine, registry=registry, audit=audit, locks=StackLockManager(recorder=audit))

    def apply(
        self,
        named: Sequence[str],
        *,
        environment: str | None = None,
        stdin: bytes | None = None,
        dry_run: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        passed_over: list[str] | None = None,
        scan_reports: Reports = (),
        told: Told | None = None,
    ) -> Iterator[Applied]:
        """Judge every stack under `named`, paths or references, and register those that are allowed, one by one.

        `-` stands for `stdin`. `timeout` is how many seconds each stack's lock is waited for. Raises UsageError for a
        path that does not exist, and EnvironmentUnknown, at the call; what else is wrong, be it a malformed reference,
        is what became of the stack that it befell. `passed_over`, `scan_reports` and `told` are as in
        `PolicyEngine.validate`.
        """
        self.engine.settings.requested_environment(environment)
        scans = self.engine.read_reports(scan_reports)
        answer = partial(self.engine.answer, environment=environment, operation="apply", scans=scans, told=told)
        candidates = self.engine.candidates(named, environment=environment, stdin=stdin, passed_over=passed_over)
        one = self._tried if dry_run else self._applied
        return (one(candidate, answer, timeout) for candidate in candidates)

    def retire(self, name: str, version: str, *, reason: str = "", timeout: float = DEFAULT_TIMEOUT) -> Recorded:
        """Take a version out of use, under the stack's lock; its history stays.

        Raises StackUnknown, VersionUnknown, VersionMalformed, other RegistryError leaves, AuditError and LockError.
        """

        def retired() -> Recorded:
            registry = recorded_registry(self.registry, self._audit)
            return registry.retire(name, version, by=self.engine.actor.name, at=utc_now(), reason=reason)

        return self._locked(name, timeout, retired)

    def close(self) -> None:
        """Release everything; closing twice is fine."""
        self.engine.close()
        self._audit.close()
        close = getattr(self.registry, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _locked(self, name: str, timeout: float, work: Callable[[], _Done]) -> _Done:
        """What `work` came to under the stack's lock, also where the end of the lock cannot be recorded any more.

        Raises LockError, UsageError, AuditError where its beginning cannot be, and whatever `work` raises.
        """
        done: list[_Done] = []
        try:
            with self._locks.acquire(name, timeout):
                done.append(work())
        except AuditError:
            if not done:
                raise
        return done[0]

    def _applied(self, candidate: StackDocument, answer: _Answer, timeout: float) -> Applied:
        """One stack, judged and registered under its lock; what is no definition has no lock, and is judged alone."""
        definition = candidate.content
        if not isinstance(definition, StackDefinition):
            return _judged(candidate, answer)

        def registered() -> Applied:
            return self._registered(_judged(candidate, answer), definition)

        try:
            return self._locked(definition.metadata.name, timeout, registered)
        except (AuditError, LockError, UsageError) as error:
            return Applied(status="undecided", result=answer(candidate, failure=error))

    def _tried(self, candidate: StackDocument, answer: _Answer, _timeout: float) -> Applied:
        """One stack, judged; what its registration would come to is only looked up."""
        judged = _judged(candidate, answer)
        if not judged.result.allowed or not isinstance(candidate.content, StackDefinition):
            return judged
        try:
            return self._compared(judged.result, self._new(candidate.content, judged.result))
        except FlowymlPolicyError as error:
            return _not_registered(judged.result, error)

    def _registered(self, judged: Applied, definition: StackDefinition) -> Applied:
        result = judged.result
        if not result.allowed:
            return judged
        try:
            found = recorded_registry(self.registry, self._audit).put(self._new(definition, result))
        except FlowymlPolicyError as error:
            return _not_registered(result, error)
        status: Status = "registered" if found.changed else "unchanged"
        return Applied(status=status, result=result, stack=found.stack, made_good=found.made_good)

    def _new(self, definition: StackDefinition, result: Result) -> NewStack:
        """`definition` as it is to be registered by the decision `result`. Raises StackUnregistrable."""
        return new_stack(
            definition, applied_by=self.engine.actor.name, applied_at=utc_now(), decision_id=result.decision_id
        )

    def _compared(self, result: Result, stack: NewStack) -> Applied:
        """What registering `stack` would come to. Raises RegistryError."""
        there, uri = self._there(stack), self.registry.uri
        if there is not None and there.digest == stack.digest and not there.is_retired:
            return Applied(status="unchanged", result=result, stack=there)
        if there is not None:
            refused = retired_already(there, uri) if there.digest == stack.digest else taken(there, stack, uri)
            raise refused
        in_use = self._in_use(stack.name)
        diff = "" if in_use is None else _difference(in_use, stack)
        return Applied(status="would_register", result=result, stack=in_use, diff=diff)

    def _there(self, stack: NewStack) -> RegisteredStack | None:
        """What is registered under the version of `stack`, whatever its build."""
        try:
            return self.registry.get(stack.name, stack.version.partition("+")[0], retired=True)
        except (StackUnknown, VersionUnknown):
            return None

    def _in_use(self, name: str) -> RegisteredStack | None:
        """What the bare name means now."""
        try:
            return self.registry.get(name)
        except (StackUnknown, VersionUnknown):
            return None


def _not_registered(result: Result, error: FlowymlPolicyError) -> Applied:
    """An allowed stack that the registry does not take, or that could not be brought to it."""
    return Applied(
        status="refused" if error.exit_code == EXIT_DENIED or isinstance(error, VersionRetired) else "undecided",
        result=result,
        stack=error.registered if isinstance(error, VersionTaken) else None,
        diff=error.diff if isinstance(error, VersionTaken) else "",
        error=error_report(error),
    )


def _difference(there: RegisteredStack, stack: NewStack) -> str:
    return difference(
        there.document,
        stack.document,
        old_name=f"{there.name}@{there.version} (in use)",
        new_name=f"{stack.name}@{stack.version} ({stack.source.uri})",
    )


def _judged(candidate: StackDocument, answer: _Answer) -> Applied:
    result = answer(candidate)
    return Applied(status="denied" if result.outcome == "deny" else "undecided", result=result)
