"""Errors of deciding: settings, OPA, the audit, and the answers that stop a caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records import Decision, Location, Result


# Settings


class SettingsProblem:
    """One thing wrong with one settings file: what, where, and what to write instead."""

    __slots__ = ("fix", "location", "what")

    def __init__(self, what: str, *, location: Location, fix: str) -> None:
        self.what = what
        self.location = location
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.location}; {self.fix}"

    def __repr__(self) -> str:
        return f"SettingsProblem({str(self)!r})"


class SettingsInvalid(FlowymlPolicyError):
    """flowyml.yaml or the platform settings cannot be used as written.

    `problems` holds everything that was found in the files, in their order; it is empty where a file as a
    whole is the problem. Several problems stand in `message` a line each.
    """

    code = "settings_invalid"
    default_advice = "correct the file; `flowyml-policy schema settings` prints what may stand there"

    def __init__(self, message: str, *, advice: str | None = None, problems: Sequence[SettingsProblem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message, advice=advice)

    @classmethod
    def found(cls, problems: Sequence[SettingsProblem]) -> SettingsInvalid:
        """The error for `problems`, of which there is at least one."""
        if not problems:
            raise ValueError("invalid settings need at least one problem")
        if len(problems) > 1:
            return cls("\n".join(str(problem) for problem in problems), problems=problems)
        return cls(f"{problems[0].what}: {problems[0].location}", advice=problems[0].fix, problems=problems)

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if len(self.problems) > 1 else super().__str__()


class EnvironmentUnknown(FlowymlPolicyError):
    """An environment was asked for that the settings do not name."""

    code = "environment_unknown"
    default_advice = "name one of the environments of flowyml.yaml, or add it there"


class FeatureUnavailable(FlowymlPolicyError):
    """A setting is valid, but this version cannot honour it yet, and what it asks for would be skipped."""

    code = "feature_unavailable"
    default_advice = "take the setting out, or use a version of flowyml-policy that supports it"


# OPA


class OpaError(FlowymlPolicyError):
    """OPA gave no usable decision. What it means is always: undecided."""

    code = "opa_error"


class OpaUnavailable(OpaError):
    """There is no OPA to ask: library missing, unloadable or of another version, closed, or dead after fork."""

    code = "opa_unavailable"
    default_advice = "reinstall flowyml-policy; `flowyml-policy doctor` says what it found"


class OpaStartFailed(OpaError):
    """OPA could not start or could not activate a bundle; the message carries OPA's own reason."""

    code = "opa_start_failed"
    default_advice = "correct policy.opa.config, or the bundle that it names"


class PolicyInvalid(OpaError):
    """A bundle or a project's rules break a rule of this program: roots, conventions, globs, missing rules."""

    code = "policy_invalid"
    default_advice = "correct what it names; no policy is loaded until then"


class OpaDeadlineExceeded(OpaError):
    """A decision took longer than `policy.opa.deadline`."""

    code = "opa_deadline_exceeded"
    default_advice = "raise policy.opa.deadline, or profile the policy with `flowyml-policy opa bench`"


class OpaEvaluationFailed(OpaError):
    """A rule failed while it was evaluated (builtin error, conflict, refused builtin, panic)."""

    code = "opa_evaluation_failed"
    default_advice = "correct the rule that OPA names"


class OpaUndefined(OpaError):
    """The decision is undefined: no loaded bundle defines it."""

    code = "opa_undefined"
    default_advice = "load a bundle that defines data.flowyml.main.decision"


class OpaAnswerInvalid(OpaError):
    """OPA answered, but not with a decision of the agreed shape, or without a bundle that must have judged."""

    code = "opa_answer_invalid"
    default_advice = "load the policy bundle that belongs to this version of flowyml-policy"


# Audit


class AuditError(FlowymlPolicyError):
    """The audit cannot be used, so no decision can be given: it would not be recorded."""

    code = "audit_error"
    default_advice = "point policy.audit.path of flowyml.yaml at a writable file on a local disk"


class AuditUnwritable(AuditError):
    """The audit file cannot be created or appended to (read-only, full, locked, in memory)."""

    code = "audit_unwritable"


class AuditUnreadable(AuditError):
    """The audit file is missing where it is asked for, or is no audit of this program."""

    code = "audit_unreadable"
    default_advice = "name the project with --project DIR; nothing is recorded before the first decision"


class AuditCorrupt(AuditError):
    """The audit file is damaged, or its chain does not verify."""

    code = "audit_corrupt"
    default_advice = "keep the file as evidence, and move it aside so that a new audit can be started"


class AuditTooNew(AuditError):
    """A newer version of flowyml-policy has written this audit file."""

    code = "audit_too_new"
    default_advice = "use the flowyml-policy version that wrote it, or a newer one"


# Answers that stop the caller


class PolicyDenied(FlowymlPolicyError):
    """Raised only by calls whose point is to stop: the stack was judged and denied. Carries the decision."""

    code = "policy_denied"
    exit_code = 1
    default_advice = "correct what the findings name"

    def __init__(self, decision: Decision, result: Result) -> None:
        self.decision = decision
        self.result = result
        reasons = "; ".join(f"{finding.code}: {finding.message}" for finding in decision.denials)
        super().__init__(f"stack {result.stack.name!r} is denied: {reasons}")


class PolicyUndecided(FlowymlPolicyError):
    """There is no decision; nothing may run. `result` carries what was recorded, the cause is chained."""

    code = "policy_undecided"

    def __init__(self, result: Result) -> None:
        self.result = result
        error = result.error
        super().__init__(error.message if error else "no decision was reached", advice=error.advice if error else None)
