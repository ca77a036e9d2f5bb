"""The root of the tree of errors, and what any part may raise."""

from __future__ import annotations

from typing import ClassVar, Final

USE_NEWER: Final = "use the flowyml-policy version that wrote it, or a newer one"
"""Advice for a file of a version that this one does not know."""


class FlowymlPolicyError(Exception):
    """The root of the tree: something kept this program from deciding.

    `code` is stable and machine-readable, `message` says what and where in one sentence, `advice` says
    what to do next, `exit_code` is what a command that ends with this error exits with.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 3
    default_advice: ClassVar[str] = "run `flowyml-policy doctor` to see what is installed and configured"

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        self.message = message
        self.advice = self.default_advice if advice is None else advice
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message


class InternalError(FlowymlPolicyError):
    """A fault of this program itself; never an allow."""

    code = "internal_error"
    default_advice = "run the command again with --debug and report what it prints"


class UsageError(FlowymlPolicyError):
    """The call itself is wrong: an argument is missing, contradicts another, or names nothing."""

    code = "usage"
    exit_code = 2
    default_advice = "see --help"
