"""A secret is planted before each place where text enters a record or reaches stderr, and none is seen behind it."""

from __future__ import annotations

import ast
import json
import string
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy import AuditStore, PolicyEngine
from flowyml_policy.cli.doctor_checks import Check
from flowyml_policy.cli.errors import ended
from flowyml_policy.cli.root import Session
from flowyml_policy.decision.normaliser import Normaliser
from flowyml_policy.decision.registrar import recorded_registry
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.audit import AuditUnwritable
from flowyml_policy.errors.root import UsageError
from flowyml_policy.integrations.flowyml import _ends_loudly
from flowyml_policy.mask.events import new_event
from flowyml_policy.mask.findings import hard_denial
from flowyml_policy.mask.reports import error_report
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.outputs.screens.explanation import SHOW, Shown
from flowyml_policy.outputs.terminal import Screen
from flowyml_policy.records.events import NewEvent, StackLocked, StackRetired, StackRetiring
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.policy_input import RunFacts, Source
from flowyml_policy.records.record import Location
from flowyml_policy.records.result import DecisionRecord, Result
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.registrable import new_stack
from flowyml_policy.resolution.explanation import Trail
from flowyml_policy.resolution.pinning import StackPinning
from flowyml_policy.resolution.resolver import StackResolver
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.storage.locks import StackLockManager
from flowyml_policy.system.actor import current_actor

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

SECRET = "AKIA" + string.ascii_uppercase[:16]
MASK = "masked:aws_access_key"
AT = "2026-11-23T10:00:00Z"
PACKAGE = Path(__file__).resolve().parents[3] / "flowyml_policy"
STACK = "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: %s, version: '1.0.0'}\nspec: {}\n"
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
	"subject": "%(subject)s",
	"path": ["spec", "%(path)s"],
	"message": "%(message)s",
	"fix": "%(fix)s",
}
"""

MADE_BY = {
    "ErrorReport": {"mask/reports.py"},
    "NewEvent": {"mask/events.py"},
    "Retirement": {"mask/registry.py", "registry/local.py"},
    "StackPin": {"resolution/pinning.py"},
    "Step": {"resolution/explanation.py"},
    "Place": {"resolution/explanation.py"},
    "Actor": {"mask/policy_input.py"},
    "Stack": {"mask/policy_input.py"},
}
"""Records with text from outside, and the files that call their constructors. A registry reads what it has kept."""


@pytest.fixture(autouse=True)
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and cache of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))


def definition(
    *, source: Source | None = None, spec: str = "", labels: dict[str, str] | None = None
) -> StackDefinition:
    value = {
        "apiVersion": "flowyml/v1",
        "kind": "StackDefinition",
        "metadata": {"name": "prod-gpu", "version": "1.0.0", "labels": labels or {}},
        "spec": {"runtime": {"docker_image": spec}} if spec else {},
    }
    return StackDefinition.from_dict(value, source=source or Source(kind="local", uri="stacks/prod-gpu.yaml"))


def test_records_are_made_where_they_are_masked() -> None:
    made: dict[str, set[str]] = {name: set() for name in MADE_BY}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in made:
                made[node.func.id].add(path.relative_to(PACKAGE).as_posix())
    assert made == MADE_BY


# PolicyInput


@pytest.mark.parametrize(
    "planted",
    [
        definition(source=Source(kind="git", uri=f"https://git.host/{SECRET}")),
        definition(source=Source(kind="git", uri="https://git.host/x", ref=SECRET)),
        definition(labels={"note": SECRET}),
        definition(labels={SECRET: "x"}),
        definition(labels={"environment": SECRET}),
        definition(spec=f"docker.io/team/x:{SECRET}"),
    ],
    ids=["uri", "ref", "label", "key", "environment", "image"],
)
def test_policy_input_masks_a_definition(project: Path, planted: StackDefinition) -> None:
    normaliser = Normaliser(load_settings(project=project), current_actor({}))
    document = normaliser.policy_input(planted, operation="validate", evaluated_at=AT).encoded.decode()
    assert (SECRET in document, MASK in document) == (False, True)


def test_policy_input_masks_what_surrounds_it(project: Path) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text(settings.read_text().replace("fintech-corp", SECRET))
    normaliser = Normaliser(load_settings(project=project), current_actor({"GITHUB_REF": SECRET}))
    run = RunFacts(pipeline="p", resources={"env": [SECRET]}, packages=(f"git+https://ada:{SECRET}@git.host/x",))
    document = normaliser.policy_input(definition(), operation="run", evaluated_at=AT, run=run)
    assert (SECRET in document.encoded.decode(), document.project.org) == (False, MASK)
    assert document.actor.claimed == {"github_ref": MASK}
    assert document.run == RunFacts(
        pipeline="p", resources={"env": [MASK]}, packages=(f"git+https://ada:{MASK}@git.host/x",)
    )


# Findings


@pytest.mark.parametrize("planted", ["subject", "path", "message", "fix"])
def test_finding_of_a_rule_is_masked(project: Path, write_stack: WriteStack, planted: str) -> None:
    rule = project / "policy" / "rules" / "tells" / "tells.rego"
    rule.parent.mkdir(parents=True)
    plain = dict.fromkeys(("subject", "path", "message", "fix"), "x")
    rule.write_text(TELLING_RULE % {**plain, planted: SECRET})
    with PolicyEngine.from_project(rules=["policy"]) as engine:
        (result,) = engine.validate([write_stack("prod-gpu-x")])
    (finding,) = (one for one in result.findings if one.code == "tells.all")
    assert (SECRET in result.model_dump_json(), MASK in finding.model_dump_json()) == (False, True)


def test_finding_in_a_file_of_a_secret_name_is_masked(write_stack: WriteStack) -> None:
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([write_stack("other", file=f"{SECRET}.yaml")])
    assert SECRET not in result.model_dump_json()
    assert {one.location.file for one in result.findings if one.location} == {f"stacks/{MASK}.yaml"}


def test_finding_of_an_invalid_definition_is_masked(write_stack: WriteStack) -> None:
    text = STACK.replace("spec: {}", f"spec: {{compute: {{{SECRET}: 3}}}}") % SECRET
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([write_stack("x", text=text, file=f"{SECRET}.yaml")])
    (finding,) = result.findings
    assert SECRET not in result.model_dump_json()
    assert (result.stack.name, finding.subject, finding.path) == (MASK, MASK, ("spec", "compute", MASK))
    assert (MASK in finding.message, finding.location and finding.location.file) == (True, f"stacks/{MASK}.yaml")


def test_finding_of_a_definition_masks_every_text() -> None:
    place = Location(file=f"{SECRET}.yaml", line=1, column=1)
    found = hard_denial("x", subject=SECRET, message=SECRET, fix=SECRET, path=(SECRET, 0), location=place)
    assert (found.subject, found.message, found.fix, found.path) == (MASK, MASK, MASK, (MASK, 0))
    assert found.location == Location(file=f"{MASK}.yaml", line=1, column=1)


# Errors


def test_error_report_masks_what_the_error_says() -> None:
    report = error_report(UsageError(f"no {SECRET}", advice=f"name {SECRET}"))
    assert (report.message, report.advice) == (f"no {MASK}", f"name {MASK}")


def test_error_of_an_undecided_stack_is_masked(project: Path) -> None:
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([SECRET])
    assert result.error is not None
    assert (SECRET in result.model_dump_json(), MASK in result.error.message) == (False, True)
    assert SECRET.encode() not in (project / ".flowyml" / "policy.db").read_bytes()


# Events, retirements, registered sources, pins


def test_event_masks_every_text() -> None:
    event = new_event("X", at=AT, actor=SECRET, stack_name=SECRET, payload={SECRET: SECRET, "password": "hunter2"})
    assert (event.actor, event.stack_name) == (MASK, MASK)
    assert event.payload == {MASK: MASK, "password": "masked:named_secret"}


def test_event_of_a_lock_is_masked(project: Path) -> None:
    with AuditStore(project / "a.db") as audit:
        with StackLockManager(project / "locks", recorder=audit).acquire(SECRET, timeout=1):
            pass
        events = audit.get_events()
    assert [event.stack_name for event in events] == [MASK, MASK]
    assert SECRET.encode() not in (project / "a.db").read_bytes()


def test_event_payload_of_a_registry_is_masked(project: Path) -> None:
    registry = LocalRegistry(project / SECRET / "registry.db")
    with AuditStore(project / "a.db") as audit:
        recorded_registry(registry, audit).put(new_stack(definition(), applied_by="ada", applied_at=AT))
        (event,) = audit.get_events()
    assert event.payload["registry"] == f"{project}/{MASK}/registry.db"


@pytest.mark.parametrize("file", ["a.db", "registry.db"], ids=["one file", "two files"])
def test_retirement_reason_is_masked(project: Path, file: str) -> None:
    with AuditStore(project / "a.db") as audit:
        registry = recorded_registry(LocalRegistry(project / file), audit)
        registry.put(new_stack(definition(), applied_by="ada", applied_at=AT))
        done = registry.retire("prod-gpu", "1.0.0", by="ada", at=AT, reason=f"leaked {SECRET}")
        reasons = {one.reason for one in audit.get_events() if isinstance(one, StackRetired | StackRetiring)}
    assert done.changed
    assert (done.stack.retired and done.stack.retired.reason, reasons) == (f"leaked {MASK}", {f"leaked {MASK}"})


def test_registered_source_is_masked() -> None:
    source = Source(kind="git", uri=f"https://git.host/{SECRET}", ref=SECRET)
    stack = new_stack(definition(source=source), applied_by="ada", applied_at=AT)
    assert (stack.source.uri, stack.source.ref) == (f"https://git.host/{MASK}", MASK)


def test_pin_in_the_lockfile_is_masked(project: Path) -> None:
    (project / "stacks" / f"{SECRET}.yaml").write_text(STACK % "prod-gpu-large")
    settings = load_settings(project=project)
    pinning = StackPinning(settings, bundles=dict, registry=LocalRegistry(settings.audit_path))
    report = pinning.lock()
    pin = report.lockfile.stacks["prod-gpu-large"]
    assert (report.written, isinstance(pin, StackPin), pin.uri) == (True, True, f"stacks/{MASK}.yaml")
    assert SECRET not in (project / "flowyml.lock").read_text()
    assert pinning.verify().exit_code == 0


# What commands show


@pytest.mark.parametrize("planted", ["looked_at", "found", "why", "where", "there", "demanded"])
def test_explanation_step_is_masked(planted: str) -> None:
    told = {**dict.fromkeys(("looked_at", "found", "why", "where", "there", "demanded"), "x"), planted: SECRET}
    trail = Trail(environment=told["demanded"])
    trail.step("argument", told["looked_at"], told["found"], verdict="chosen", why=told["why"])
    trail.place(told["where"], told["there"])
    explained = repr(trail.explained())
    assert (SECRET in explained, MASK in explained) == (False, True)


def test_explanation_of_a_resolver_is_masked(project: Path) -> None:
    with StackResolver(settings=load_settings(project=project)) as resolver:
        told = resolver.explain(f"stacks/{SECRET}.yaml")
    assert SECRET not in repr((told.steps, told.places, told.environment))


@pytest.mark.parametrize("output_format", ["table", "json"])
@pytest.mark.parametrize("named", [f"stacks/{SECRET}.yaml", SECRET], ids=["found", "not found"])
def test_shown_explanation_is_masked(project: Path, output_format: str, named: str) -> None:
    (project / "stacks" / f"{SECRET}.yaml").write_text(STACK % "prod-gpu")
    with StackResolver(settings=load_settings(project=project)) as resolver:
        told = resolver.explain(named)
    stream = StringIO()
    document = None if told.resolved is None else Shown.written(told.resolved.definition, None)
    SHOW[output_format](Screen(stream), Shown(told, document, explain=True))
    assert (SECRET in stream.getvalue(), MASK in stream.getvalue()) == (False, True)


def test_doctor_check_is_masked() -> None:
    check = Check("audit", f"no {SECRET}", f"name {SECRET}")
    assert (check.found, check.todo) == (f"no {MASK}", f"name {MASK}")


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_stderr_line_of_an_error_is_masked(capsys: pytest.CaptureFixture[str], *, debug: bool) -> None:
    def command() -> int:
        raise AuditUnwritable(f"no {SECRET}", advice=f"name {SECRET}") from ValueError(SECRET)

    ended(Session(debug=debug), command)
    said = capsys.readouterr().err
    assert (SECRET in said, f"ValueError: {MASK}" in said) == (False, debug)
    assert said.endswith(f"error: no {MASK}; name {MASK}\n")


def test_stderr_line_inside_flowyml_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), _ends_loudly():
        raise RuntimeError(SECRET)
    assert f"cannot join FlowyML: {MASK}; " in capsys.readouterr().err


# The last look before the disk


class Leaky:
    """A recorder that undoes what the mask did."""

    def __init__(self, audit: AuditStore) -> None:
        self._audit = audit

    def record(self, records: Sequence[DecisionRecord]) -> None:
        self._audit.record([record._replace(result=self._leaking(record)) for record in records])

    def _leaking(self, record: DecisionRecord) -> Result:
        source = record.result.source.model_copy(update={"uri": SECRET})
        return record.result.model_copy(update={"source": source})


def test_record_that_slipped_through_is_undecided(project: Path, write_stack: WriteStack) -> None:
    path, audit = write_stack("prod-gpu-x"), AuditStore(project / "audit" / "a.db")
    with PolicyEngine(
        load_settings(), evaluator=EmbeddedEvaluator(), recorder=Leaky(audit), actor=current_actor({})
    ) as engine:
        (result,) = engine.validate([path])
    assert (result.outcome, result.decision_id) == ("error", None)
    assert (result.error and result.error.code, SECRET in json.dumps(result.model_dump())) == (
        "audit_unwritable",
        False,
    )
    assert not (project / "audit").exists()


@pytest.mark.parametrize(
    "slipped",
    [
        {"stack_name": SECRET},
        {"actor": SECRET},
        {"payload": {"reason": SECRET}},
        {"payload": {"password": "hunter2"}},
        {"payload": {"source": "\udcff"}},
    ],
    ids=["stack", "actor", "text", "key", "odd bytes"],
)
def test_event_that_slipped_through_is_refused(project: Path, slipped: dict[str, object]) -> None:
    event = NewEvent.model_validate({"type": StackLocked.TYPE, "at": AT, "actor": "ada", **slipped})
    with AuditStore(project / "audit" / "a.db") as audit, pytest.raises(AuditUnwritable, match="was not masked"):
        audit.append_events([event])
    assert not (project / "audit").exists()


@pytest.mark.parametrize("name", ["prod-gpu-b", "q7Xk2Lm9Zp4Rt8Vb3Nc6Wd1Ys5"])
def test_begin_of_a_certificate_hides_no_secret(project: Path, write_stack: WriteStack, name: str) -> None:
    """What is public up to its end would hide the texts that follow, and one stack's fault is no other's."""
    token = "q7Xk2Lm9Zp4Rt8Vb3Nc6Wd1Ys5"
    labels = {"a": "-----BEGIN CERTIFICATE-----", "b": token, "team": "x", "approved": "true"}
    text = json.dumps(
        {
            "apiVersion": "flowyml/v1",
            "kind": "StackDefinition",
            "metadata": {"name": name, "version": "1.0.0", "labels": labels},
            "spec": {},
        }
    )
    paths = [write_stack("prod-gpu-a"), write_stack("odd", text=text), write_stack("prod-gpu-c")]
    with PolicyEngine.from_project(project) as engine:
        outcomes = [result.outcome for result in engine.validate(paths)]
    assert (outcomes[0], outcomes[2]) == ("allow", "allow")
    recorded = b"".join(file.read_bytes() for file in (project / ".flowyml").iterdir())
    assert token.encode() not in recorded
