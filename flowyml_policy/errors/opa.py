"""Errors of OPA: it cannot start, answer, or be believed."""

from __future__ import annotations

from flowyml_policy.errors.root import FlowymlPolicyError


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
    default_advice = "correct policy.opa.config, or the bundle that it names (see `flowyml-policy bundle verify`)"


class PolicyRolledBack(OpaError):
    """A server gives a signed bundle that is older than one that was seen before."""

    code = "policy_rolled_back"
    default_advice = "publish the bundle with a higher sequence; where it is older on purpose, build it anew"


class PolicyExpired(OpaError):
    """A bundle is past the time that it states itself."""

    code = "policy_expired"
    default_advice = "publish a newer bundle, with a later `expires`"


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
