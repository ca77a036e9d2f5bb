"""Errors of flowyml.lock."""

from __future__ import annotations

from flowyml_policy.errors.root import USE_NEWER, FlowymlPolicyError


class LockfileError(FlowymlPolicyError):
    """What flowyml.lock pins cannot be told, or does not allow what was asked for."""

    code = "lockfile_error"
    default_advice = "run `flowyml-policy stack lock`, and commit the file that it writes"


class LockfileUnreadable(LockfileError):
    """The lockfile is there and cannot be read."""

    code = "lockfile_unreadable"
    default_advice = "let this user read the file"


class LockfileInvalid(LockfileError):
    """The lockfile is not what `stack lock` writes: edited, or left with the marks of a merge."""

    code = "lockfile_invalid"
    default_advice = "take it from version control, or write it anew with `flowyml-policy stack lock`"


class LockfileForeign(LockfileError):
    """A lockfile of FlowyML's own stands where this program's would."""

    code = "lockfile_foreign"
    default_advice = (
        "move it away if nobody reads it, then run `flowyml-policy stack lock`; it holds no commit, and FlowyML itself"
        " checks nothing against it"
    )


class LockfileTooNew(LockfileError):
    """A newer version of flowyml-policy has written the lockfile."""

    code = "lockfile_too_new"
    default_advice = USE_NEWER


class LockfileUnwritable(LockfileError):
    """The lockfile cannot be written; what was there before is still there."""

    code = "lockfile_unwritable"
    default_advice = "let this user write to the folder of flowyml.yaml"


class StackNotPinned(LockfileError):
    """An environment takes pinned stacks only, and the lockfile does not pin this one, or does not exist."""

    code = "stack_not_pinned"


class StackDrifted(LockfileError):
    """An environment takes pinned stacks only, and this one is not what the lockfile pins."""

    code = "stack_drifted"
    default_advice = (
        "`flowyml-policy stack verify` shows what changed; if it is meant, run `flowyml-policy stack lock` and commit"
    )
