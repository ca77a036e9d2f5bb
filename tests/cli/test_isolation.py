"""A rule that does not end, in a whole command: its stack is undecided, and an interrupt ends it at once."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy import AuditStore

RULE = """\
package project.rules.endless

# METADATA
# title: No rule
# custom:
#   code: endless.rule
findings contains {"code": "endless.rule", "subject": "x", "path": [], "message": "m", "fix": "f"} if {
	input.stack.name == "hostile"
	nodes := {n | some n in numbers.range(0, 13)}
	count(graph.reachable_paths({a: nodes | some a in nodes}, {0})) == 1
}
"""

STACK = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {{name: {name}, version: 1.0.0}}
spec: {{compute: {{backend: local}}}}
"""


@pytest.fixture
def project(program: Any) -> Any:
    """Three stacks, of which the second meets a rule that does not end."""
    (program.here / "rules").mkdir()
    (program.here / "rules" / "endless.rego").write_text(RULE)
    for number, name in enumerate(["first", "hostile", "last"]):
        (program.here / f"{number}.yaml").write_text(STACK.format(name=name))
    return program


def settings(deadline: str) -> str:
    return f"policy: {{rules: [rules], opa: {{deadline: {deadline}, memory: 1.5GiB}}}}\n"


def test_rule_that_does_not_end_costs_its_stack_fails_closed(project: Any) -> None:
    (project.here / "flowyml.yaml").write_text(settings("300ms"))
    ran = project.run("stack", "validate", "0.yaml", "1.yaml", "2.yaml")
    assert (ran.exit_code, ran.stderr) == (3, "")
    said = " ".join(ran.stdout.split())
    assert "3 stacks: 2 allowed, 1 undecided" in said
    assert "in graph.reachable_paths: project/rules/endless.rego:10" in said
    with AuditStore(project.here / ".flowyml" / "policy.db") as audit:
        assert [decision.outcome for decision in audit.decisions(limit=None)].count("error") == 1
        assert len(list(audit.decisions(limit=None))) == 3


def test_interrupt_during_a_rule_that_does_not_end_ends_at_once(project: Any) -> None:
    (project.here / "flowyml.yaml").write_text(settings("60s"))
    with project.start("stack", "validate", "1.yaml") as process:
        await_child(process.pid)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, b"")
    assert stdout == b"broke off after 0 stacks; the others were not judged\n"
    assert time.monotonic() - began < 5


def await_child(number: int) -> None:
    children = Path(f"/proc/{number}/task/{number}/children")
    until = time.monotonic() + 30
    while not children.read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
