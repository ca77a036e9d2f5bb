"""Nothing runs that policy did not allow, however it is started: the real FlowyML, and pipelines that write files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy import AuditStore

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.flowyml

PROGRAMS = Path(__file__).resolve().parent / "programs"
ROOT = Path(__file__).resolve().parents[2]

NO_IMAGES = "images: {inspect: 'off'}"
POLICIES = (
    "project: {name: fraud-detection, org: fintech-corp}\n"
    "policies: {allowed_stacks: [prod-*], required_labels: [team], image_policy: {allowed_registries: [a.io]}}\n"
)


def definition(name: str, backend: str = "local") -> str:
    return (
        "apiVersion: flowyml/v1\nkind: StackDefinition\n"
        f'metadata: {{name: {name}, version: "1.0.0", labels: {{team: ml}}}}\n'
        f"spec: {{compute: {{backend: {backend}}}, storage: {{artifact_store: ./own-artifacts}}}}\n"
    )


SETTINGS = {
    ".": f"{POLICIES}environments: {{dev: {{stack: toy-cpu}}, prod: {{stack: prod-cpu}}}}\npolicy: {{{NO_IMAGES}}}\n",
    "free": f"policy: {{{NO_IMAGES}}}\n",
    "active": f"{POLICIES}active_stack: prod-cpu\npolicy: {{{NO_IMAGES}}}\n",
    "strict": f"environments: {{production: {{stack: local}}}}\npolicy: {{{NO_IMAGES}, opa: {{config: {{bundles: "
    "{shipped: {resource: shipped}, org: {resource: 'file://org'}}}}}\n",
    "broken": "policies: {allowed_stacks: [prod-*\n",
    "bundle": f"policy: {{{NO_IMAGES}, opa: {{config: {{bundles: {{org: {{resource: 'file://none'}}}}}}}}}}\n",
    "rule": f"policy: {{{NO_IMAGES}, rules: [./policy]}}\n",
    "audit": f"policy: {{{NO_IMAGES}, audit: {{path: taken/policy.db}}}}\n",
    "observe": f"{POLICIES}policy: {{enforce: observe, {NO_IMAGES}}}\n",
    "observe-strict": f"{POLICIES}environments: {{strict: {{stack: toy-cpu, require_policy_validation: true}}}}\n"
    "stacks: {bad: {source: local, path: ./bad.yaml}}\n"
    f"policy: {{enforce: observe, {NO_IMAGES}}}\n",
    "named": f"{POLICIES}stacks: {{prod: {{source: local, path: ./stacks/prod-cpu.yaml}}}}\npolicy: {{{NO_IMAGES}}}\n",
    "none": f"{POLICIES}policy: {{enforce: none, {NO_IMAGES}}}\n",
    "none-strict": f"{POLICIES}environments: {{strict: {{stack: toy-cpu, requirePolicyValidation: true}}}}\n"
    f"policy: {{enforce: none, {NO_IMAGES}}}\n",
    "digest": f"policies: {{image_policy: {{require_digest: true}}}}\npolicy: {{{NO_IMAGES}}}\n",
    "here": f"{POLICIES}policy: {{run_locally: [kubernetes], {NO_IMAGES}}}\n",
}


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """A folder for each kind of settings, all with the same stacks."""
    root = tmp_path
    (root / "ran").mkdir()
    for folder, settings in SETTINGS.items():
        place = root / folder
        (place / "stacks").mkdir(parents=True)
        (place / "flowyml.yaml").write_text(settings)
        (place / "bad.yaml").write_text("apiVersion: flowyml/v1\nkind: StackDefinition\nspec: {}\n")
        for name, backend in (("prod-cpu", "local"), ("toy-cpu", "local"), ("prod-kube", "kubernetes")):
            (place / "stacks" / f"{name}.yaml").write_text(definition(name, backend))
    (root / "stacks" / "prod-odd.yaml").write_text(
        "apiVersion: flowyml.io/v1\nkind: Stack\nmetadata: {name: prod-odd, version: 1.0.0}\n"
        "spec: {backend: local, runtime: {pythonVersion: '3'}}\n"
    )
    (root / "audit" / "taken").write_text("a file where a folder should be")
    (root / "rule" / "policy").mkdir()
    (root / "rule" / "policy" / "gpu.rego").write_text("package project.rules.gpu\n\nfindings contains {\n")
    org = root / "strict" / "org"
    org.mkdir()
    (org / ".manifest").write_text('{"revision": "1", "roots": ["org"]}')
    (org / "data.json").write_text('{"org": {"levels": {}, "environments": {"production": {"builtin": "deny"}}}}')
    return root


NAMED = "naming.allowed_stacks"
OBJECT = f"labels.required, {NAMED}, version.missing"
BLOCKED: dict[str, object] = {
    "denied_default_stack": "PolicyDenied source.builtin",
    "denied_local": "PolicyDenied source.builtin",
    "denied_local_stack_as_flowyml_makes_it": "PolicyDenied source.builtin",
    "denied_definition_that_is_called_local": f"PolicyDenied labels.required, {NAMED}",
    "denied_local_stack_that_is_no_longer_so": "PolicyDenied version.missing",
    "denied_instance": f"PolicyDenied {OBJECT}",
    "denied_instance_in_run": f"PolicyDenied {OBJECT}",
    "denied_instance_called_as_allowed": "PolicyDenied labels.required, version.missing",
    "denied_their_definition": f"PolicyDenied labels.required, {NAMED}",
    "denied_their_stack": f"PolicyDenied labels.required, {NAMED}",
    "denied_by_their_own_policy": "PolicyViolationError",
    "denied_assigned": f"PolicyDenied {OBJECT}",
    "denied_changed_after_it_was_made": f"PolicyDenied {OBJECT}",
    "denied_swapped_after_it_was_judged": f"PolicyDenied {OBJECT}",
    "denied_active_stack_of_a_program": f"PolicyDenied {OBJECT}",
    "denied_direct_within_an_allowed_run": "success=False",
    "denied_schedule": ["PolicyDenied"],
    "denied_sub_pipeline": "success=False",
    "denied_dynamic_with_retries": "PolicyDenied, asked 1",
    "denied_rest": "HTTPException True",
    "denied_image_of_the_run": "PolicyDenied images_registry.not_allowed",
    "denied_build_of_the_run": "PolicyDenied images_registry.not_allowed",
    "denied_build_that_is_pushed_elsewhere": "PolicyDenied images_registry.not_allowed",
    "denied_build_pushed_to_the_registry_of_a_stack": "PolicyDenied images_registry.not_allowed, labels.required, "
    "version.missing",
    "denied_build_for_gpus_whose_base_is_flowymls": "PolicyDenied images_registry.not_allowed",
    "denied_build_where_a_digest_is_required": "PolicyDenied images_pinned.required",
    "denied_build_that_is_not_pushed_where_a_digest_is_required": "PolicyDenied images_pinned.required",
    "denied_image_among_the_options_of_an_orchestrator": "PolicyDenied images_registry.not_allowed",
    "denied_local_stack_whose_parts_are_no_longer_so": "PolicyDenied version.missing",
    "denied_local_stack_with_another_database": "PolicyDenied version.missing",
    "denied_where_the_program_went_elsewhere_meanwhile": f"PolicyDenied {OBJECT}",
    "denied_image_of_an_orchestrator": "PolicyDenied images_registry.not_allowed",
    "undecided_unknown_name": "PolicyUndecided stack_not_found",
    "undecided_unknown_name_in_run": "PolicyUndecided stack_not_found",
    "undecided_number": "PolicyUndecided usage",
    "undecided_mapping": "PolicyUndecided usage",
    "undecided_unknown_environment": "PolicyUndecided environment_unknown",
    "undecided_unknown_environment_variable": "PolicyUndecided environment_unknown",
    "undecided_direct": "PolicyUndecided stack_not_found",
    "undecided_backend_that_would_run_here": "PolicyUndecided stack_unbuildable",
    "undecided_their_backend_that_would_run_here": "PolicyUndecided stack_unbuildable",
    "undecided_definition_that_flowyml_refuses": "PolicyUndecided stack_unbuildable",
    "undecided_orchestrator_that_cannot_be_read": "PolicyUndecided usage",
    "undecided_docker_configuration_of_another_class": "PolicyUndecided usage",
    "undecided_build_by_an_orchestrator_itself": "PolicyUndecided usage",
    "undecided_broken_settings": "PolicyUndecided settings_invalid",
    "undecided_broken_bundle": "PolicyUndecided opa_start_failed",
    "undecided_broken_rule": "PolicyUndecided policy_invalid",
    "undecided_audit": "PolicyUndecided audit_unwritable",
    "observed_where_an_environment_blocks": f"PolicyDenied {NAMED}",
    "observed_where_an_environment_of_an_invalid_stack_may_block": "PolicyDenied definition.missing_key",
    "off_but_for_an_environment": f"PolicyDenied {NAMED}",
}
"""What stops each run; those that are not named are denied because the stack's name is not allowed."""

LET_GO = {
    "allowed_image_by_its_full_name": ["docker.io/library/train:1"],
    "allowed_sub_pipeline": True,
    "allowed_in_many_threads": ["PolicyDenied"] * 4 + ["ran"] * 4,
    "allowed_in_children": [10, 20],
}


def outcomes(started: tuple[dict[str, Any], str], *kinds: str) -> dict[str, Any]:
    return {name: outcome for name, outcome in started[0].items() if name.startswith(kinds)}


def _runs_that_policy_allows_run(started: tuple[dict[str, Any], str]) -> None:
    found = outcomes(started, "allowed_")
    assert found == {name: [True, LET_GO.get(name, "ran")] for name in found}


def _runs_that_policy_does_not_allow_never_start_fails_closed(started: tuple[dict[str, Any], str]) -> None:
    found = outcomes(started, "denied_", "undecided_", "observed_where", "off_but")
    assert found == {name: [False, BLOCKED.get(name, f"PolicyDenied {NAMED}")] for name in found}
    assert found.keys() >= BLOCKED.keys()


def _observed_runs_go_on_and_say_so(started: tuple[dict[str, Any], str], projects: Path) -> None:
    assert outcomes(started, "observed_denied", "observed_orchestrator", "observed_unknown") == {
        "observed_denied": [True, "ran"],
        "observed_orchestrator_that_cannot_be_read": [True, "ran"],
        "observed_unknown": [True, "ran"],
        "observed_unknown_environment_variable": [True, "ran"],
    }
    told = [line for line in started[1].splitlines() if line.startswith("flowyml-policy: observe: ")]
    assert [line.partition(" goes on")[0] for line in told] == [
        "flowyml-policy: observe: the run of 'observed_denied'",
        "flowyml-policy: observe: the run of 'observed_orchestrator_that_cannot_be_read'",
        "flowyml-policy: observe: the run of 'observed_unknown'",
        "flowyml-policy: observe: the run of 'observed_unknown_environment_variable'",
    ]
    with AuditStore(projects / "observe" / ".flowyml" / "policy.db") as audit:
        events = [event for event in reversed(list(audit.get_events())) if event.type != "PolicyChecked"]
    assert [event.type for event in events][:2] == ["WouldBlock", "PipelineStarted"]


def _guard_off_is_told_and_recorded_once(started: tuple[dict[str, Any], str], projects: Path) -> None:
    assert started[0]["off"] == [True, "ran"]
    assert started[1].count("runs are not judged, because policy.enforce is none") == 1
    with AuditStore(projects / "none" / ".flowyml" / "policy.db") as audit:
        assert [(event.type, event.payload["why"]) for event in audit.get_events()] == [
            ("GuardOff", "policy.enforce: none")
        ]


def _guard_disabled_lets_go_until_it_is_enabled(started: tuple[dict[str, Any], str]) -> None:
    assert started[0]["disabled_and_enabled_again"] == [
        False,
        ["runs of FlowyML are not guarded in this process: disable() was called", [True, False], "PolicyDenied"],
    ]


def _runs_are_recorded_with_their_decisions(projects: Path) -> None:
    with AuditStore(projects / ".flowyml" / "policy.db") as audit:
        events = list(audit.get_events())
    outcome = {event.decision_id: event.payload["outcome"] for event in events if event.type == "PolicyChecked"}
    runs = [event for event in events if event.type in {"PipelineStarted", "PipelineBlocked"}]
    assert {(event.type, outcome[event.decision_id]) for event in runs} == {
        ("PipelineStarted", "allow"),
        ("PipelineBlocked", "deny"),
        ("PipelineBlocked", "error"),
    }
    assert all(event.payload["run_id"] for event in runs)
    assert {event.payload["pipeline"] for event in runs if event.type == "PipelineStarted"}.isdisjoint(BLOCKED)
    direct = [event.payload["run_id"] for event in runs if event.payload["pipeline"] == "allowed_direct"]
    assert direct == ["run-direct"]
    assert "undecided_unknown_environment_variable" in {event.payload["pipeline"] for event in runs}
    retried = [event for event in runs if event.payload["pipeline"] == "denied_with_retries"]
    assert [event.payload["denials"] for event in retried] == [[NAMED]]
    assert [event.payload["why"] for event in events if event.type == "GuardOff"] == ["disable()"]
    with AuditStore(projects / "free" / ".flowyml" / "policy.db") as audit:
        (blocked,) = [event for event in audit.get_events() if "flowyml" in event.payload]
    assert blocked.type == "PipelineBlocked"
    assert blocked.payload["pipeline"] == "denied_by_their_own_policy"
    assert blocked.payload["outcome"] == "deny"


def test_every_way_to_start_fails_closed(run: Run, flowyml_python: Path, projects: Path) -> None:
    """All cases are one process, since each import of FlowyML takes seconds."""
    results = projects / "results.json"
    ended = run(flowyml_python, PROGRAMS / "starts.py", results, cwd=projects, PYTHONPATH=str(ROOT))
    assert ended.returncode == 0, ended.stderr
    started = json.loads(results.read_text()), ended.stderr
    _runs_that_policy_allows_run(started)
    _runs_that_policy_does_not_allow_never_start_fails_closed(started)
    _observed_runs_go_on_and_say_so(started, projects)
    _guard_off_is_told_and_recorded_once(started, projects)
    _guard_disabled_lets_go_until_it_is_enabled(started)
    _runs_are_recorded_with_their_decisions(projects)


def test_step_runner_started_as_a_module_is_judged(run: Run, flowyml_python: Path, projects: Path) -> None:
    """`python -m` runs a module's own code: it must not be a copy without hooks."""
    (projects / "container.py").write_text(
        "from flowyml import Pipeline, step\n\n\n"
        "@step(name='write')\ndef write():\n    open('ran/container', 'a').close()\n\n\n"
        "def build():\n    pipeline = Pipeline('container', stack='toy-cpu')\n    pipeline.add_step(write)\n"
        "    return pipeline\n"
    )
    ended = run(
        flowyml_python,
        "-m",
        "flowyml.core.step_runner",
        cwd=projects,
        PYTHONPATH=str(projects),
        FLOWYML_PIPELINE_MODULE="container:build",
        FLOWYML_STEP_NAMES="write",
        FLOWYML_RUN_ID="run-1",
        FLOWYML_ARTIFACT_DIR=str(projects / "artifacts"),
    )
    assert ended.returncode == 1
    assert "PolicyDenied: stack 'toy-cpu' is denied: naming.allowed_stacks" in ended.stderr
    assert not (projects / "ran" / "container").exists()


DENIED_TABLE = """\
DENIED  toy-cpu 1.0.0
  stacks/toy-cpu.yaml:3:18  naming.allowed_stacks
    the stack's name "toy-cpu" is not allowed: the project
    (policies.allowed_stacks) allows "prod-*"
    fix: use a stack whose name matches "prod-*", or add a pattern for this one
         to the list in flowyml.yaml

authority: project (no platform settings: this project decides for itself)
audit: flowyml enterprise audit list
1 stack: 0 allowed, 1 denied
"""
UNDECIDED_TABLE = """\
UNDECIDED  object:run
  environment_unknown
    there is no environment 'nowhere':
    {file}
    fix: name one of dev, prod, or add it to flowyml.yaml

authority: project (no platform settings: this project decides for itself)
audit: flowyml enterprise audit list
1 stack: 0 allowed, 1 undecided
"""


@pytest.mark.parametrize(("env", "code", "shown"), [("dev", 1, DENIED_TABLE), ("nowhere", 3, UNDECIDED_TABLE)])
def test_flowyml_run_shows_what_policy_stops_as_a_table(
    run: Run, flowyml_python: Path, projects: Path, env: str, code: int, shown: str
) -> None:
    (projects / "by_command.py").write_text(
        "from flowyml import Pipeline, step\n\n\n"
        "@step(name='write')\ndef write():\n    open('ran/by_command', 'a').close()\n\n\n"
        "pipeline = Pipeline('by_command')\npipeline.add_step(write)\n"
    )
    ended = run(flowyml_python.parent / "flowyml", "run", "by_command", "--env", env, "--retry", "3", cwd=projects)
    assert (ended.returncode, ended.stderr) == (code, shown.format(file=projects / "flowyml.yaml"))
    assert "Pipeline" not in ended.stdout
    assert not (projects / "ran" / "by_command").exists()


def test_check_says_whether_a_process_is_guarded(run: Run, flowyml_python: Path, projects: Path) -> None:
    ended = run(flowyml_python, "-m", "flowyml_policy.integrations.flowyml", "--check", cwd=projects)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "runs of FlowyML 2.2.1 are guarded\n", "")
