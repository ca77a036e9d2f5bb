"""Errors of the audit."""

from __future__ import annotations

from flowyml_policy.errors.root import USE_NEWER, FlowymlPolicyError


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
    default_advice = USE_NEWER
