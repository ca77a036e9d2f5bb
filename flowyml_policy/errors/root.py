"""The root of the tree of errors, and what any part may raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

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

    def __reduce__(self) -> tuple[Callable[..., FlowymlPolicyError], tuple[Any, ...]]:
        """Cross to another process by fields: a constructor of this tree takes more than the message."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[FlowymlPolicyError], args: tuple[Any, ...], fields: dict[str, Any]) -> FlowymlPolicyError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class InternalError(FlowymlPolicyError):
    """A fault of this program itself; never an allow."""

    code = "internal_error"
    default_advice = "run the command again with --debug and report what it prints"


class UsageError(FlowymlPolicyError):
    """The call itself is wrong: an argument is missing, contradicts another, or names nothing."""

    code = "usage"
    exit_code = 2
    default_advice = "see --help"
