"""What people read; whole screens are kept in tests/cli/golden."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.outputs.formats.table import FEW, LONGEST
from flowyml_policy.outputs.results import open_output, show
from flowyml_policy.outputs.terminal import Screen
from flowyml_policy.records.result import Result


def written(results: Iterable[Result], *, width: int = 80, fail_on_warn: bool = False) -> str:
    stream = io.StringIO()
    screen = Screen(stream, width=width)
    show(results, open_output("table", screen, notes=["audit: somewhere"], fail_on_warn=fail_on_warn))
    return stream.getvalue()


def test_table_shows_undecided_then_denied_then_warned_then_allowed(
    result: Any, finding: Any, timeout: Callable[[], Any]
) -> None:
    off = finding("images_inspected.off", severity="warn")
    results = [
        result("prod", findings=[off]),
        result("payments", "deny", [off, finding("naming.allowed")]),
        result("slow", "error", error=timeout()),
        result("slower", "error", error=timeout()),
    ]
    assert (
        written(results)
        == """\
UNDECIDED  slow 1.0.0    stacks/slow.yaml
UNDECIDED  slower 1.0.0  stacks/slower.yaml
  opa_deadline_exceeded
    OPA took longer than 2s
    fix: raise it

DENIED  payments 1.0.0
  stacks/payments.yaml:4:9  naming.allowed
    what naming.allowed says of this stack is a sentence that needs more than
    one line of 80 columns
    fix: do what naming.allowed asks for

warning  images_inspected.off
  stacks/payments.yaml:4:9
    what images_inspected.off says of this stack is a sentence that needs more
    than one line of 80 columns
  stacks/payments.yaml:4:9
    what images_inspected.off says of this stack is a sentence that needs more
    than one line of 80 columns
    fix: do what images_inspected.off asks for

allowed  prod 1.0.0  stacks/prod.yaml

authority: project (no platform settings: this project decides for itself)
audit: somewhere
4 stacks: 1 allowed, 1 denied, 2 undecided, 2 warnings
"""
    )


def test_table_of_one_allowed_stack_is_terse(result: Any) -> None:
    platform = result("prod").model_copy(update={"authority": "platform"})
    assert (
        written([platform])
        == """\
allowed  prod 1.0.0  stacks/prod.yaml

audit: somewhere
1 stack: 1 allowed
"""
    )


def test_table_says_that_warnings_count_where_they_do(result: Any, finding: Any) -> None:
    warned = result("prod", findings=[finding("images_inspected.off", severity="warn")])
    assert written([warned], fail_on_warn=True).splitlines()[-1] == (
        "1 stack: 1 allowed, 1 warning (which --fail-on warn refuses)"
    )


def test_table_of_many_warnings_of_one_code_says_it_once_and_lists_the_places(result: Any, finding: Any) -> None:
    warned = [
        result(f"prod-{line}", findings=[finding("images_inspected.off", severity="warn", line=line)])
        for line in range(FEW + 1)
    ]
    assert (
        written(warned).partition("\n\n")[0]
        == """\
warning  images_inspected.off
  stacks/payments.yaml:0:9
    what images_inspected.off says of this stack is a sentence that needs more
    than one line of 80 columns
  likewise in 3 more places
    stacks/payments.yaml:1:9
    stacks/payments.yaml:2:9
    stacks/payments.yaml:3:9
    fix: do what images_inspected.off asks for"""
    )


def test_table_puts_a_code_that_does_not_fit_on_a_line_of_its_own(result: Any, finding: Any) -> None:
    lines = written([result("payments", "deny", [finding("naming.allowed")])], width=40).splitlines()
    assert lines[1:3] == ["  stacks/payments.yaml:4:9", "    naming.allowed"]


def test_table_shows_names_that_would_act_on_a_terminal_as_escapes(result: Any, finding: Any) -> None:
    hostile = result("a\x1b[2Jb\u202ec\nd", "deny", [finding("naming.safe")])
    assert written([hostile]).splitlines()[0] == r"DENIED  a\x1b[2Jb\u202ec\nd 1.0.0"


def test_table_beyond_its_longest_is_columns_of_findings_and_a_count(result: Any, finding: Any) -> None:
    denied = result("payments", "deny", [finding("naming.allowed")])
    lines = written([denied, *[result("prod")] * LONGEST]).splitlines()
    assert lines == [
        f"DENIED  stacks/payments.yaml:4:9  naming.allowed  {denied.findings[0].message}",
        "",
        "authority: project (no platform settings: this project decides for itself)",
        "audit: somewhere",
        "201 stacks: 200 allowed, 1 denied",
    ]


def test_table_of_a_run_that_breaks_off_does_not_look_complete_fails_closed(result: Any) -> None:
    stream = io.StringIO()

    def judged() -> Iterator[Result]:
        yield result("prod")
        raise AuditUnwritable("the disk is full")

    with pytest.raises(AuditUnwritable):
        show(judged(), open_output("table", Screen(stream)))
    assert stream.getvalue() == (
        "allowed  prod 1.0.0  stacks/prod.yaml\n\nbroke off after 1 stack; the others were not judged\n"
    )
