"""The one way from a definition to a decision: what it answers, what it records, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy import AuditStore, PolicyDenied, PolicyEngine, PolicyUndecided, StackDefinition
from flowyml_policy.audit.reading import StoredDecision
from flowyml_policy.decision import policy as project_policy
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.errors.opa import OpaDeadlineExceeded
from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown, SettingsInvalid
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.events import PolicyChecked, StackValidated
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import DecisionRecord, Evaluation, GlobProblem
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.system.actor import current_actor

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack


def _stored(decision_id: str | None) -> StoredDecision:
    assert decision_id is not None
    with AuditStore() as audit:
        stored = audit.decision(decision_id)
    assert stored is not None
    return stored


def test_check_allowed_stack_gives_the_recorded_allow(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine:
        decision = engine.check(path, environment="production")

    assert decision.allowed
    assert [finding.code for finding in decision.findings] == [
        "images_inspected.off",
        "images_pinned.digest",
        "images_tag.mutable",
    ]
    with AuditStore() as audit:
        (event,) = audit.get_events(stack_name="prod-gpu-large")
        assert isinstance(event, PolicyChecked)
        assert event.outcome == "allow"
        assert audit.verify().ok


def test_check_denied_stack_gives_a_decision_and_require_raises(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large", image="docker.io/evil/x:1")

    with PolicyEngine.from_project() as engine:
        decision = engine.check(path)
        with pytest.raises(PolicyDenied) as caught:
            engine.require(path)

    assert not decision.allowed
    assert [finding.code for finding in decision.denials] == ["images_registry.not_allowed"]
    assert caught.value.decision == decision
    assert caught.value.exit_code == 1
    assert not isinstance(caught.value, ImportError)


def test_require_allowed_stack_gives_the_decision(write_stack: WriteStack) -> None:
    with PolicyEngine.from_project() as engine:
        assert engine.require(write_stack("staging-cpu")).allowed


def test_acheck_answers_as_check(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine:
        assert asyncio.run(engine.acheck(path)) == engine.check(path)


def test_check_definition_object_is_judged_without_a_file(project: Path) -> None:
    definition = StackDefinition.from_dict(
        {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": {"name": "other"}, "spec": {}}
    )

    with PolicyEngine.from_project(project) as engine:
        decision = engine.check(definition)

    assert {finding.code for finding in decision.denials} == {
        "naming.allowed_stacks",
        "version.missing",
        "labels.required",
    }


def test_check_invalid_definition_is_a_denial_without_opa(write_stack: WriteStack) -> None:
    path = write_stack("x", text="kind: StackDefinition\nfoo: 1\n")

    with PolicyEngine.from_project() as engine:
        decision = engine.check(path)

    assert not decision.allowed
    assert decision.rules == ("definition",)
    assert all(finding.code.startswith("definition.") for finding in decision.findings)


def test_check_file_of_two_stacks_is_a_usage_error(write_stack: WriteStack, project: Path) -> None:
    one = (project / write_stack("prod-gpu-large")).read_text()
    path = write_stack("two", text=f"{one}---\n{one}")

    with PolicyEngine.from_project() as engine, pytest.raises(UsageError, match="more than one document"):
        engine.check(path)


def test_check_path_that_does_not_exist_is_a_usage_error_and_records_nothing(project: Path) -> None:
    with PolicyEngine.from_project(project) as engine:
        for check in (engine.check, engine.require):
            with pytest.raises(UsageError, match=r"there is no such file or folder: nope\.yaml"):
                check("nope.yaml")
        assert not engine.settings.audit_path.exists()


@pytest.mark.parametrize("reference", ["", " ", "a b", "a\0b", "github://org@main", "\udcff"])
def test_check_malformed_reference_is_undecided_and_recorded_fails_closed(project: Path, reference: str) -> None:
    with PolicyEngine.from_project(project) as engine:
        for check in (engine.check, engine.require):
            with pytest.raises(PolicyUndecided) as caught:
                check(reference)
            assert isinstance(caught.value.__cause__, ReferenceMalformed)
            assert _stored(caught.value.result.decision_id).outcome == "error"


@pytest.mark.usefixtures("project")
def test_check_malformed_reference_in_a_variable_is_undecided_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYML_STACK", "a b")

    with PolicyEngine.from_project() as engine, pytest.raises(PolicyUndecided, match="FLOWYML_STACK: the stack"):
        engine.check()


def test_check_unknown_environment_is_refused_with_a_hint(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine, pytest.raises(EnvironmentUnknown, match="did you mean production"):
        engine.check(path, environment="prodution")


def test_validate_records_each_result_before_it_is_told(write_stack: WriteStack) -> None:
    write_stack("prod-gpu-large")
    write_stack("other")

    with PolicyEngine.from_project() as engine:
        for result in engine.validate(["stacks"]):
            stored = _stored(result.decision_id)
            assert stored.outcome == result.outcome


def test_validate_writes_checked_then_validated(write_stack: WriteStack) -> None:
    write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine:
        list(engine.validate(["stacks"]))
    with AuditStore() as audit:
        newest_first = audit.get_events(stack_name="prod-gpu-large")

    assert [type(event) for event in newest_first] == [StackValidated, PolicyChecked]


def test_validate_input_is_recorded_byte_for_byte_and_masked(write_stack: WriteStack) -> None:
    secret = "AKIA" + "QWERTYUIOPASDFGH"
    text = (
        "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod-gpu-x, version: 1.0.0}\n"
        f"spec: {{storage: {{artifact_store: 's3://{secret}@bucket'}}}}\n"
    )
    write_stack("prod-gpu-x", text=text)

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate(["stacks"])
    stored = _stored(result.decision_id)

    assert stored.input is not None
    document = PolicyInput.model_validate_json(stored.input)
    assert document.encoded.decode() == stored.input
    assert secret not in stored.input
    assert {secret.path for secret in document.stack.suspected_secrets} == {("spec", "storage", "artifact_store")}


def test_validate_finding_has_its_place_in_the_file(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large", image="docker.io/evil/x:1")

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path])

    (denial,) = result.denials
    assert str(denial.location) == "stacks/prod-gpu-large.yaml:14:19"
    assert denial.path == ("spec", "runtime", "docker_image")


def test_validate_one_bad_file_never_hides_the_others(write_stack: WriteStack, project: Path) -> None:
    write_stack("prod-gpu-a")
    write_stack("b", text="{ not: [yaml")
    write_stack("c", text="")
    (project / "stacks" / "d.yaml").symlink_to("nowhere.yaml")
    write_stack("prod-gpu-e", image="docker.io/evil/x:1")
    write_stack("prod-gpu-f")

    with PolicyEngine.from_project() as engine:
        results = list(engine.validate(["stacks"]))

    assert [(result.source.uri, result.outcome) for result in results] == [
        ("stacks/b.yaml", "deny"),
        ("stacks/c.yaml", "deny"),
        ("stacks/d.yaml", "error"),
        ("stacks/prod-gpu-a.yaml", "allow"),
        ("stacks/prod-gpu-e.yaml", "deny"),
        ("stacks/prod-gpu-f.yaml", "allow"),
    ]
    assert all(_stored(result.decision_id).outcome == result.outcome for result in results)


def test_validate_missing_path_is_refused_before_anything_is_judged(write_stack: WriteStack, project: Path) -> None:
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine, pytest.raises(UsageError, match="nowhere"):
        engine.validate([path, "stacks/nowhere.yaml"])

    assert not (project / ".flowyml").exists()


def test_validate_empty_folder_is_undecided(project: Path) -> None:
    with PolicyEngine.from_project(project) as engine:
        (result,) = engine.validate(["stacks"])

    assert result.error is not None
    assert (result.outcome, result.error.code) == ("error", "no_stacks")


def test_validate_environments_are_all_that_apply(write_stack: WriteStack, project: Path) -> None:
    path = write_stack("prod-gpu-large")
    file = project / path
    file.write_text(file.read_text().replace("team: ml-platform", "team: ml-platform\n    environment: eu"))

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path], environment="dev")

    assert result.environments == ("dev", "eu", "production")


def test_engine_bad_glob_is_refused_when_it_is_made(project: Path) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text().replace("staging-*]", '"prod-[a-z0-9]"]'))

    with pytest.raises(SettingsInvalid, match=r"a class that tools .*: 'prod-\[a-z0-9\]': .*flowyml.yaml:3:32; write"):
        PolicyEngine.from_project()


def test_engine_bad_glob_of_rule_data_is_refused_when_it_is_made(project: Path) -> None:
    settings = project / "flowyml.yaml"
    rule_data = '  rule_data: {naming: {allowed_stacks: ["prod-*", "prod-["]}}'
    settings.write_text(settings.read_text().replace("policies:\n", f"policies:\n{rule_data}\n"))

    with pytest.raises(SettingsInvalid, match=r"without its other half: 'prod-\[': .*flowyml.yaml:3:51; close"):
        PolicyEngine.from_project()


def test_engine_refused_settings_leave_no_opa_running(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[EmbeddedEvaluator] = []

    class Watched(EmbeddedEvaluator):
        def _close(self) -> None:
            closed.append(self)
            super()._close()

    monkeypatch.setattr(project_policy, "EmbeddedEvaluator", Watched)
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text().replace("policies:\n", "policies:\n  levels: {no.code: hard}\n"))

    with pytest.raises(SettingsInvalid):
        PolicyEngine.from_project()

    assert len(closed) == 1


def test_check_without_environment_is_for_the_one_of_flowyml_env(write_stack: WriteStack) -> None:
    path = write_stack("staging-cpu")

    with PolicyEngine.from_project(environ={"FLOWYML_ENV": "production"}) as engine:
        (result,) = engine.validate([path])
    with PolicyEngine.from_project(environ={"FLOWYML_ENV": "nosuch"}) as engine, pytest.raises(EnvironmentUnknown):
        engine.check(path)

    assert result.environments == ("production",)


def test_check_unknown_operation_is_a_usage_error(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine, pytest.raises(UsageError, match="for no operation 'apply'"):
        engine.check(path, operation="apply")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("levels: {main.no_rules: hard}", r"'main.no_rules' has no level, .*: flowyml.yaml:3:27; take it out"),
        ("levels: {naming.saef: hard}", r"the code 'naming.saef': .*flowyml.yaml:3:25; did you mean naming.safe"),
        ("rule_data: {namings: {}}", r"the rule 'namings': .*flowyml.yaml:3:15; did you mean naming"),
        ("rule_data: {main: {x: 1}}", r"the rule 'main': .*flowyml.yaml:3:15; did you mean"),
    ],
)
def test_engine_setting_for_nothing_that_is_loaded_is_refused(project: Path, text: str, message: str) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text().replace("policies:\n", f"policies:\n  {text}\n"))

    with pytest.raises(SettingsInvalid, match=message):
        PolicyEngine.from_project()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("naming: {allowed_stacks: x}", "must be a list of patterns for names of stacks, but it is .x.: @:3:"),
        ("naming: {allowed_stacks: [1]}", "must be a list of patterns for names of stacks, but it is .1.: @:3:"),
        ("naming: {foo: []}", "policies.rule_data.naming.foo is no key that the rule reads: @:3:"),
        ("labels: {required: [team, a=]}", r"labels.required\[1\]` asks for no value: 'a=': @:3:"),
        ("labels: {required: x}", r"must be a list of labels, .* but it is .x.: @:3:"),
        ("images_registry: {allowed_registries: ['http://x']}", r"is refused: 'http://x' cannot stand .*: @:3:"),
        ("images_registry: {allowed_registries: [hub.docker.com]}", "Docker Hub is docker.io.*: @:3:"),
        ("images_registry: {allowed_registries: x}", "must be a list of registries, .*: @:3:"),
        ("images_inspected: {required_labels: {a: b}}", "must be a list of labels, .*: @:3:"),
        ("version: {minimum: 1}", "policies.rule_data.version.minimum is no key that the rule reads: @:3:"),
    ],
)
def test_engine_rule_data_that_its_rule_cannot_read_fails_closed(project: Path, data: str, message: str) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text().replace("policies:\n", f"policies:\n  rule_data: {{{data}}}\n"))

    with pytest.raises(SettingsInvalid, match=message.replace("@", ".*flowyml.yaml")):
        PolicyEngine.from_project()


def test_engine_stricter_level_turns_a_warning_into_a_denial(write_stack: WriteStack, project: Path) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(
        settings.read_text().replace("policies:\n", "policies:\n  levels: {images_inspected.off: hard}\n")
    )

    with PolicyEngine.from_project() as engine:
        decision = engine.check(write_stack("prod-gpu-large"))

    assert [finding.code for finding in decision.denials] == ["images_inspected.off"]


def test_engine_missing_bundle_leaves_every_stack_undecided_fails_closed(
    write_stack: WriteStack, project: Path
) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(
        settings.read_text() + '  opa: {config: {bundles: {flowyml: {resource: "file:///no/such/bundle.tar.gz"}}}}\n'
    )
    write_stack("prod-gpu-a")
    write_stack("prod-gpu-b")

    with PolicyEngine.from_project() as engine:
        results = list(engine.validate(["stacks"]))
        with pytest.raises(PolicyUndecided) as caught:
            engine.check("stacks/prod-gpu-a.yaml")

    assert [result.outcome for result in results] == ["error", "error"]
    assert all(_stored(result.decision_id).outcome == "error" for result in results)
    assert "/no/such/bundle.tar.gz" in str(caught.value)


def test_engine_project_rules_are_added(write_stack: WriteStack, project: Path) -> None:
    rule = project / "policy" / "rules" / "nodes"
    rule.mkdir(parents=True)
    (rule / "nodes.rego").write_text(
        """\
package project.rules.nodes

# METADATA
# title: Few nodes
# description: At most two nodes.
# custom:
#   code: nodes.many
#   enforcement: soft
#   why: Money.
findings contains finding if {
	input.stack.spec.compute.max_nodes > 2
	finding := {
		"code": "nodes.many",
		"subject": input.stack.name,
		"path": ["spec", "compute", "max_nodes"],
		"message": "too many nodes",
		"fix": "take two",
	}
}
"""
    )
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project(rules=["policy"]) as engine:
        (result,) = engine.validate([path])
        catalogue = {entry.code: entry.root for entry in engine.catalogue()}

    assert [(denial.code, denial.enforcement, str(denial.location)) for denial in result.denials] == [
        ("nodes.many", "soft", "stacks/prod-gpu-large.yaml:12:16")
    ]
    assert sorted(result.bundles) == ["flowyml", "project"]
    assert catalogue["nodes.many"] == "project"


def test_engine_unwritable_audit_leaves_every_stack_undecided_fails_closed(
    write_stack: WriteStack, project: Path
) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text() + "  audit: {path: flowyml.yaml/policy.db}\n")
    path = write_stack("prod-gpu-large")

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path])
        with pytest.raises(PolicyUndecided):
            engine.require(path)

    assert (result.outcome, result.decision_id, result.findings) == ("error", None, ())
    assert result.error is not None
    assert result.error.code == "audit_unwritable"


def test_engine_eight_threads_give_every_stack_its_own_answer(write_stack: WriteStack) -> None:
    allowed = {write_stack(f"prod-gpu-{number}"): True for number in range(20)}
    denied = {write_stack(f"other-{number}"): False for number in range(20)}
    expected = {**allowed, **denied}

    with PolicyEngine.from_project() as engine, ThreadPoolExecutor(8) as pool:
        answers = dict(zip(expected, pool.map(lambda path: engine.check(path).allowed, expected), strict=True))
    with AuditStore() as audit:
        verification = audit.verify()

    assert answers == expected
    assert verification.ok


class _Evaluator:
    """Raises what it is told to, as an evaluator in trouble does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def judge(self, _document: PolicyInput) -> tuple[Decision, Evaluation]:
        raise self.error

    def evaluate(self, _document: PolicyInput) -> Decision:
        raise self.error

    def query(self, _path: str, _document: Json) -> Json:
        raise self.error

    def check_globs(self, _patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        raise self.error

    def close(self) -> None: ...


class _Recorder:
    """Keeps records in memory, or refuses them."""

    def __init__(self, error: AuditUnwritable | None = None) -> None:
        self.error = error
        self.records: list[DecisionRecord] = []

    def record(self, records: Sequence[DecisionRecord]) -> None:
        if self.error:
            raise self.error
        self.records.extend(records)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OpaDeadlineExceeded("the decision took longer than 2 s"), "opa_deadline_exceeded"),
        (ZeroDivisionError("division by zero"), "internal_error"),
        (MemoryError(), "internal_error"),
    ],
)
def test_engine_evaluator_in_trouble_fails_closed(
    write_stack: WriteStack, project: Path, error: Exception, code: str
) -> None:
    recorder = _Recorder()
    engine = PolicyEngine(
        load_settings(project=project), evaluator=_Evaluator(error), recorder=recorder, actor=current_actor({})
    )

    (result,) = engine.validate([write_stack("prod-gpu-large")])

    assert result.error is not None
    assert (result.outcome, result.error.code, result.exit_code()) == ("error", code, 3)
    (record,) = recorder.records
    assert record.decision is None
    assert record.input is not None
    assert json.loads(record.input)["stack"]["name"] == "prod-gpu-large"


def test_engine_recorder_that_refuses_fails_closed_for_denials_too(write_stack: WriteStack, project: Path) -> None:
    refused = AuditUnwritable("the disk is full: policy.db")
    engine = PolicyEngine(
        load_settings(project=project),
        evaluator=_Evaluator(OpaDeadlineExceeded("late")),
        recorder=_Recorder(refused),
        actor=current_actor({}),
    )

    (result,) = engine.validate([write_stack("x", text="not a stack")])

    assert (result.outcome, result.findings, result.decision_id) == ("error", (), None)


def test_from_project_with_a_folder_of_rules_that_has_no_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="a folder of rules needs a name"):
        PolicyEngine.from_project(rules=[""])
