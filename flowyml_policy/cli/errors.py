"""How a command ends: every exception becomes one line on stderr and an exit code.

A line reads `error: what; where; what to do`; a command that was asked for JSON writes the same as a document.
Tracebacks are for --debug. All are masked, whoever raised. Output that cannot be written is an error like any other: a
result that nobody could read is no allow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final

import click

from flowyml_policy.cli.root import HelpWanted, Session
from flowyml_policy.cli.stderr import masked, tell, tell_all
from flowyml_policy.errors.root import FlowymlPolicyError, InternalError

LONGEST_FAULT: Final = 200
"""Characters of a foreign exception's text that are shown."""

EXIT_UNDECIDED: Final = 3
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141
"""128 + SIGPIPE, what a shell reports of a program whose reader went away."""


_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF})


def ended(session: Session, command: Callable[[], int]) -> int:
    """Run `command`; answer its exit code, or the one of the exception that ended it, after saying why."""
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        return _told(_unwritable("standard output is closed"), session)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        try:
            code = command()
        finally:
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  the last stop before the user
        return _told(error, session)
    return code


def _told(error: BaseException, session: Session) -> int:
    """Say on stderr why the command ended, and answer the exit code."""
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, KeyboardInterrupt | click.Abort):
        _drop_output()
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _drop_output()
        return EXIT_BROKEN_PIPE
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        _drop_output()
        error = _unwritable(error.strerror)
    with contextlib.suppress(OSError):  # a stderr that nobody reads must not change the exit code
        if session.debug:
            _show_traceback(error)
        _say(error)
    if session.answers_in_json:
        with contextlib.suppress(OSError):
            _answer_in_json(error)
    return _exit_code(error)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, FlowymlPolicyError | click.ClickException):
        return error.exit_code
    return EXIT_UNDECIDED


def _answer_in_json(error: BaseException) -> None:
    """Write the document of a call that came to no result: an empty one, with the error."""
    if isinstance(error, click.ClickException):
        return
    import json

    known = error if isinstance(error, FlowymlPolicyError) else _as_internal(error)
    told = {"code": known.code, "message": masked(known.message), "advice": masked(known.advice)}
    summary = dict.fromkeys(("stacks", "allowed", "denied", "errors", "warnings"), 0)
    sys.stdout.write(json.dumps({"version": 1, "results": [], "summary": summary, "error": told}) + "\n")
    sys.stdout.flush()


def _as_internal(error: BaseException) -> FlowymlPolicyError:
    text = f"{type(error).__name__}: {masked(str(error))}".replace("\n", " ").rstrip(": ")
    return InternalError(f"unexpected {text[:LONGEST_FAULT]}")


def _show_traceback(error: BaseException) -> None:
    from traceback import format_exception

    tell_all("".join(format_exception(error)))


def _say(error: BaseException) -> None:
    if isinstance(error, HelpWanted) and error.ctx is not None:
        tell_all(error.ctx.get_help())
        return
    for label, line in _lines(error):
        tell(label, line, fg="red", bold=True)


def _lines(error: BaseException) -> Iterator[tuple[str, str]]:
    """What to say, line by line, each with its label; what is wrong in several places ends with one advice."""
    if isinstance(error, click.ClickException):
        yield "error", _usage(error)
        return
    if not isinstance(error, FlowymlPolicyError):
        error = _as_internal(error)
    problems = error.message.splitlines()
    if len(problems) > 1:
        yield from (("error", problem) for problem in problems)
        if error.advice:
            yield "fix", error.advice
    else:
        yield "error", str(error)


def _usage(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    ctx = getattr(error, "ctx", None)
    joint = " see" if message.endswith("?") else "; see"
    return f"{message}{joint} `{ctx.command_path} --help`" if ctx else message


def _unwritable(reason: str | None) -> FlowymlPolicyError:
    return FlowymlPolicyError(f"the result could not be written: {reason}", advice="see where stdout goes")


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail over it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
