"""What people hear and what is recorded are one: masked once, when the answer is made."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy import AuditStore, PolicyEngine, PolicyUndecided
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import Actor
from flowyml_policy.records.result import Result
from flowyml_policy.settings.loading import load_settings

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

SECRET = "AKIA" + string.ascii_uppercase[:16]
MASK = "masked:aws_access_key"
HEAD = "apiVersion: flowyml/v1\nkind: StackDefinition\n"

TELLING_RULE = """\
# METADATA
# title: Tells
package project.rules.tells

# METADATA
# title: Tells all
# custom:
#   code: tells.all
#   enforcement: hard
#   why: it is a test
findings contains {
	"code": "tells.all",
	"subject": "s-%(secret)s",
	"path": ["spec", "%(secret)s"],
	"message": "m-%(secret)s",
	"fix": "f-%(secret)s",
}
"""


def _recorded(result: Result) -> tuple[Result, Decision | None]:
    assert result.decision_id is not None
    with AuditStore() as audit:
        stored = audit.decision(result.decision_id)
        whole = json.dumps([str(stored), [str(event) for event in audit.get_events()]])
    assert stored is not None
    assert SECRET not in whole
    return stored.result, stored.decision


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"metadata: {{name: x, version: '1'}}\nspec: {{compute: {{{SECRET}: 3}}}}\n", ("spec", "compute", MASK)),
        (f"metadata: {{name: x, labels: {{{SECRET}: 5}}}}\nspec: {{}}\n", ("metadata", "labels", MASK)),
    ],
)
def test_validate_key_that_is_a_secret_is_masked_in_the_path(
    write_stack: WriteStack, text: str, path: tuple[str, ...]
) -> None:
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([write_stack("x", text=HEAD + text)])

    stored, decision = _recorded(result)
    assert [finding.path for finding in result.findings] == [path]
    assert SECRET not in result.model_dump_json()
    assert stored.findings == result.findings
    assert decision is not None
    assert [finding.path for finding in decision.findings] == [path]


def test_validate_finding_that_holds_a_secret_reads_the_same_on_screen_and_in_the_audit(
    write_stack: WriteStack, project: Path
) -> None:
    (project / "policy" / "rules" / "tells").mkdir(parents=True)
    (project / "policy" / "rules" / "tells" / "tells.rego").write_text(TELLING_RULE % {"secret": SECRET})
    path = write_stack("prod-gpu-x", file=f"{SECRET}.yaml")

    with PolicyEngine.from_project(rules=["policy"]) as engine:
        (result,) = engine.validate([path])
        decision = engine.check(path)

    (finding,) = result.denials
    assert (finding.subject, finding.path, finding.message, finding.fix) == (
        f"s-{MASK}",
        ("spec", MASK),
        f"m-{MASK}",
        f"f-{MASK}",
    )
    assert finding.location is not None
    assert (finding.location.file, finding.location.line) == (f"stacks/{MASK}.yaml", 9)
    stored, stored_decision = _recorded(result)
    assert stored.findings == result.findings
    assert stored_decision == decision
    assert SECRET not in result.model_dump_json() + decision.model_dump_json()


def test_validate_undecided_keeps_the_environments_and_images_that_were_known(
    write_stack: WriteStack, project: Path
) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text().replace("{stack: prod-gpu-large}", "{stack: prod-gpu-large, packs: [a]}"))

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([write_stack("prod-gpu-large")])

    assert result.outcome == "error"
    assert result.environments == ("production",)
    assert [image.ref for image in result.images] == ["myregistry.azurecr.io/flowyml:latest"]
    assert _recorded(result)[0] == result


def test_check_document_that_utf8_cannot_hold_is_undecided_and_recorded_fails_closed(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large")
    with PolicyEngine(
        load_settings(), evaluator=EmbeddedEvaluator(), recorder=AuditStore(), actor=Actor(name="ada\udcff")
    ) as engine:
        with pytest.raises(PolicyUndecided) as caught:
            engine.check(path)
        (result,) = engine.validate([path])

    assert (result.outcome, result.stack.name) == ("error", "prod-gpu-large")
    assert caught.value.result.outcome == "error"
    assert _recorded(result)[0] == result.model_copy(update={"images": ()})  # the record keeps them in its input


def test_validate_ci_variable_of_odd_bytes_changes_no_outcome(write_stack: WriteStack) -> None:
    with PolicyEngine.from_project(environ={"GITHUB_REF": "ref\udcff"}) as engine:
        (result,) = engine.validate([write_stack("prod-gpu-large")])

    assert result.allowed
    assert result.decision_id is not None
    with AuditStore() as audit:
        stored = audit.decision(result.decision_id)
    assert stored is not None
    assert stored.input is not None
    assert json.loads(stored.input)["actor"]["claimed"] == {"github_ref": "ref\\udcff"}
