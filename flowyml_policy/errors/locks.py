"""Errors of the locks on stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records.events import LockHolder


class LockError(FlowymlPolicyError):
    """A stack's lock cannot be used, so nothing that it protects may be done."""

    code = "lock_error"
    default_advice = "let this user write to its state directory, or set XDG_STATE_HOME to a folder that it may"


class LockTimeout(LockError):
    """Somebody else held a stack's lock for all the time that was given; the message names the holder.

    `holder` is None where it could not be told: a holder that was killed is no holder.
    """

    code = "lock_timeout"
    default_advice = "wait for the holder to finish, or try again with a longer timeout"

    def __init__(self, stack: str, timeout: float, holder: LockHolder | None) -> None:
        self.holder = holder
        who = f"it is held by {holder}" if holder else "its holder is not known"
        super().__init__(f"the lock on stack {stack!r} did not come free within {timeout:g} s: {who}")


class LockReentered(LockError):
    """The thread (or task) that asks for a stack's lock holds it already, and would wait for itself."""

    code = "lock_reentered"
    default_advice = "take the lock once, and hand on that it is held"
