"""Every exception ends as a line on stderr and an exit code."""

from __future__ import annotations

from typing import NoReturn

import click
import pytest

from flowyml_policy.cli.errors import ended
from flowyml_policy.cli.root import Session
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.errors.definitions import DefinitionInvalid, DefinitionProblem
from flowyml_policy.errors.root import InternalError, UsageError
from flowyml_policy.records.record import Location

SECRET = "AKIA" + "IOSFODNN7EXAMPLE"


def end(error: BaseException, *, debug: bool = False) -> int:
    def command() -> NoReturn:
        raise error

    return ended(Session(debug=debug), command)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no such path: x", advice="name one"), 2, "error: no such path: x; name one\n"),
        (
            AuditUnwritable("the disk is full: a.db", advice="make room"),
            3,
            "error: the disk is full: a.db; make room\n",
        ),
        (click.UsageError("Missing argument 'PATH...'."), 2, "error: missing argument 'PATH...'\n"),
        (UsageError("a\x1b[2Jb", advice=""), 2, "error: a\\x1b[2Jb\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (
            RuntimeError("surprise\nof two lines"),
            3,
            f"error: unexpected RuntimeError: surprise of two lines; {InternalError.default_advice}\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_ended_by_an_exception_says_why_and_answers_its_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    assert end(error) == code
    assert capsys.readouterr() == ("", said)


def test_ended_by_an_error_of_several_problems_says_each(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [
        DefinitionProblem("definition.type", what, fix="", location=Location(file="a.yaml", line=line, column=1))
        for line, what in enumerate(("one", "two"), 1)
    ]
    assert end(DefinitionInvalid(problems)) == 1
    assert capsys.readouterr().err == "error: a.yaml:1:1: one\nerror: a.yaml:2:1: two\n"


def test_ended_by_a_fault_hides_the_secrets_in_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(RuntimeError(f"cannot use {SECRET}")) == 3
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), AssertionError()])
def test_ended_by_any_fault_is_undecided_fails_closed(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    assert end(error) == 3
    assert capsys.readouterr().err.startswith(f"error: unexpected {type(error).__name__}")


def test_ended_with_debug_shows_the_traceback_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(RuntimeError("surprise"), debug=True) == 3
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert "error: unexpected RuntimeError: surprise; " in said


def test_ended_by_a_command_that_ends_the_process_keeps_its_exit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="7"):
        end(SystemExit(7))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [
        AuditUnwritable(f"no place for {SECRET}", advice="try another"),
        AuditUnwritable("no place", advice=f"try another than {SECRET}"),
        click.UsageError(f"no such option: {SECRET}"),
        AuditUnwritable(f"one\ntwo {SECRET}", advice=f"not {SECRET}"),
        RuntimeError(f"surprise {SECRET}"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_ended_by_an_error_that_quotes_a_secret_masks_it(
    capsys: pytest.CaptureFixture[str], error: BaseException, *, debug: bool
) -> None:
    end(error, debug=debug)
    said = capsys.readouterr().err
    assert SECRET not in said
    assert "masked:aws_access_key" in said
