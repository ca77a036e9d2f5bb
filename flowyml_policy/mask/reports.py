"""Errors as people and programs read them, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowyml_policy.mask.text import mask
from flowyml_policy.records.result import ErrorReport

if TYPE_CHECKING:
    from flowyml_policy.records.protocols import ReportableError


def error_report(error: ReportableError) -> ErrorReport:
    """Return what `error` says, masked: an exception may quote an address or a file."""
    return ErrorReport(code=error.code, message=mask(error.message), advice=mask(error.advice))
