"""A batch that is killed: whatever it had said is in the audit, and the audit is whole."""

from __future__ import annotations

import random
import re
import signal
import time
from typing import Final

from flowyml_policy import AuditStore
from tests.cli.conftest import Program

KILLS: Final = 30
STACKS: Final = 400
SEED: Final = 20261123

_DECISION_ID: Final = re.compile(rb'"decision_id":"([0-9a-f-]{36})"')

_STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {{name: prod-{number}, version: 1.0.{number}}}
spec: {{compute: {{backend: local}}}}
"""


def _write_project(program: Program) -> None:
    """Stacks of which every one is denied, for want of a label."""
    (program.here / "flowyml.yaml").write_text("policies: {allowed_stacks: [prod-*], required_labels: [team]}\n")
    stacks = program.here / "stacks"
    stacks.mkdir()
    for number in range(STACKS):
        (stacks / f"{number:04}.yaml").write_text(_STACK.format(number=number))


def _said_before_the_kill(program: Program, delay: float | None) -> tuple[set[str], int]:
    """Validate, killed after `delay` seconds (null: never): the decisions that it had told, and its exit code."""
    with (program.here / "said.json").open("wb+") as said:
        with program.start("stack", "validate", "stacks", "--format", "json", stdout=said) as process:
            if delay is not None:
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
            process.communicate()
        said.seek(0)
        return {found.decode() for found in _DECISION_ID.findall(said.read())}, process.returncode


def test_validate_killed_at_random_points_has_recorded_all_that_it_said(program: Program) -> None:
    _write_project(program)
    chance = random.Random(SEED)
    started = time.monotonic()
    said, exit_code = _said_before_the_kill(program, None)
    whole = time.monotonic() - started
    assert (len(said), exit_code) == (STACKS, 1)

    told = [said]
    killed = 0
    for _ in range(KILLS):
        said, exit_code = _said_before_the_kill(program, chance.uniform(0, whole))
        told.append(said)
        if exit_code == -signal.SIGKILL:
            killed += 1
        else:  # the first run was slower, as on a machine that was busy
            whole *= 0.8

    with AuditStore(program.here / ".flowyml" / "policy.db") as audit:
        recorded = {decision.decision_id for decision in audit.decisions(limit=None)}
        verification = audit.verify()
    assert set().union(*told) <= recorded
    assert verification.ok
    assert killed >= KILLS // 2
    assert any(0 < len(some) < STACKS for some in told), "no run was killed in the middle of its answers"
