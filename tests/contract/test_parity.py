"""A server decides as the policy in this process does: the same stacks and samples, equal as canonical JSON.

The same of thousands of generated inputs, and of `opa exec`, shows test_parity_generated.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import rfc8785

from flowyml_policy.cli.doctor_checks import Check, examine
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.errors.decision import PolicyUndecided
from flowyml_policy.errors.opa import OpaError
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.opa import shipped
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.shipped import DECISION_PATH
from flowyml_policy.opa.sidecar import SidecarEvaluator
from flowyml_policy.records.decision import Decision
from tests.contract.inputs import NO_JSON, ROOT, SAMPLES, changed
from tests.opa_server import LIBRARY, OpaServer, free_port
from tests.stock_opa import stock_opa

PROGRAMS: dict[str, Callable[[], tuple[str, ...]]] = {"library": lambda: LIBRARY, "stock": lambda: (str(stock_opa()),)}
of_both = pytest.mark.parametrize("server", PROGRAMS, indirect=True)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaServer]:
    """A server on the policy as it ships: the library's own, or, in tests `of_both`, also the stock program."""
    folder = tmp_path_factory.mktemp("server")
    with shipped.bundle() as archive:
        shutil.copy(archive, folder / "flowyml.tar.gz")
    config = {"bundles": {"flowyml": {"resource": (folder / "flowyml.tar.gz").as_uri()}}}
    with OpaServer(config, folder, program=PROGRAMS[getattr(request, "param", "library")]()) as started:
        yield started.await_ready()


@pytest.fixture(scope="module")
def sidecar(server: OpaServer) -> Iterator[SidecarEvaluator]:
    with SidecarEvaluator(server.url, deadline=20) as evaluator:
        yield evaluator


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedEvaluator]:
    with EmbeddedEvaluator() as evaluator:
        yield evaluator


def canonical(decision: Decision) -> bytes:
    return rfc8785.dumps(json.loads(decision.model_dump_json()))


def give_company(server: OpaServer, company: object) -> None:
    """Give the server the company's data, or take it away."""
    method, body = ("DELETE", None) if company is None else ("PUT", json.dumps(company).encode())
    with urlopen(Request(f"{server.url}/v1/data/org", body, method=method), timeout=10):  # noqa: S310
        pass


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_sample_gets_the_same_decision_from_a_server(
    sample: Path, server: OpaServer, sidecar: SidecarEvaluator, embedded: EmbeddedEvaluator, tmp_path: Path
) -> None:
    content = json.loads(sample.read_text("utf-8"))
    document, company = changed(content["changes"]), content.get("org")
    if company is None:
        assert canonical(sidecar.evaluate(document)) == canonical(embedded.evaluate(document))
        return
    (tmp_path / ".manifest").write_text(json.dumps({"roots": ["org"], "revision": "samples"}), "utf-8")
    (tmp_path / "data.json").write_text(json.dumps({"org": company}), "utf-8")
    bundles = {"flowyml": {"resource": "shipped"}, "org": {"resource": tmp_path.as_uri()}}
    give_company(server, company)
    try:
        with EmbeddedEvaluator(config={"bundles": bundles}) as there:
            assert canonical(sidecar.evaluate(document)) == canonical(there.evaluate(document))
    finally:
        give_company(server, None)


@of_both
def test_side_questions_get_the_same_answers(sidecar: SidecarEvaluator, embedded: EmbeddedEvaluator) -> None:
    evaluators: list[OpaEvaluator] = [sidecar, embedded]
    for path in ("flowyml/main/catalogue", "flowyml/main/patterns"):
        first, second = (rfc8785.dumps(evaluator.query(path, {})) for evaluator in evaluators)
        assert first == second
    patterns = ["prod-*", "[a-z0-9]", "{a,b}", "{a", "[", ""]
    for evaluator in evaluators:
        assert [one.pattern for one in evaluator.check_globs(patterns)] == ["[a-z0-9]", "{a", "["]


def outcome(evaluator: OpaEvaluator, encoded: bytes) -> bytes | str:
    """The decision as canonical JSON, or the kind of error."""
    try:
        return canonical(evaluator.judge_recorded(encoded)[0])
    except OpaError as error:
        return error.code


@of_both
def test_input_is_judged_alike_as_it_was_recorded(sidecar: SidecarEvaluator, embedded: EmbeddedEvaluator) -> None:
    document = changed({})
    expected = canonical(embedded.evaluate(document))
    assert outcome(embedded, document.encoded) == outcome(sidecar, document.encoded) == expected
    assert b"main.invalid_input" in outcome(embedded, b"{}")


@pytest.mark.parametrize("text", NO_JSON, ids=lambda text: repr(text[:20]))
def test_text_that_is_no_json_gets_no_decision(
    sidecar: SidecarEvaluator, embedded: EmbeddedEvaluator, text: bytes
) -> None:
    """A server would read some of these, and each of them in its own way."""
    assert [outcome(one, text) for one in (embedded, sidecar)] == ["opa_evaluation_failed"] * 2


@of_both
def test_no_input_at_all_is_denied(server: OpaServer, embedded: EmbeddedEvaluator) -> None:
    with urlopen(Request(f"{server.url}/v1/data/{DECISION_PATH}", b"{}", method="POST"), timeout=10) as said:  # noqa: S310
        answer = json.loads(said.read())
    assert answer["warning"]["code"] == "api_usage_warning"
    assert rfc8785.dumps(answer["result"]) == outcome(embedded, b"null")


# The whole engine.


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example stacks and their project, which a test says more of under `policy`."""
    for name in ("FLOWYML_ENV", "FLOWYML_POLICY_SETTINGS", "FLOWYML_POLICY_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    shutil.copy(ROOT / "flowyml.yaml", tmp_path)
    return tmp_path


def say(project: Path, opa: str, *, more: str = "") -> None:
    text = (ROOT / "flowyml.yaml").read_text("utf-8")
    (project / "flowyml.yaml").write_text(f"{text}  opa: {opa}\n{more}", "utf-8")


def results(project: Path) -> list[dict[str, Any]]:
    """What the engine answers to the example stacks, without what differs from run to run."""
    with PolicyEngine.from_project(project) as engine:
        answered = [json.loads(one.model_dump_json()) for one in engine.validate([str(project / "stacks")])]
    for one in answered:
        del one["decision_id"]
    return answered


@of_both
def test_stacks_get_the_same_results_from_a_server(server: OpaServer, project: Path) -> None:
    here = results(project)
    say(project, f"{{mode: sidecar, sidecar: {{url: '{server.url}'}}, deadline: 20s}}")
    there = results(project)
    judged = [one for one in there if one["evaluator"] is not None]
    assert len(judged) >= 10
    assert {one["evaluator"].pop("name") for one in judged} == {"sidecar"}
    for one in here:
        if one["evaluator"] is not None:
            assert one["evaluator"].pop("name") == "embedded"
    assert rfc8785.dumps(there) == rfc8785.dumps(here)


def test_acheck_asks_the_server_on_a_thread(server: OpaServer, project: Path) -> None:
    say(project, f"{{mode: sidecar, sidecar: {{url: '{server.url}'}}, deadline: 20s}}")

    async def ask(engine: PolicyEngine) -> bool:
        stack = str(project / "stacks" / "prod-gpu-large.yaml")
        decisions = await asyncio.gather(*(engine.acheck(stack) for _ in range(8)))
        return all(decision.allowed for decision in decisions)

    with PolicyEngine.from_project(project) as engine:
        assert asyncio.run(ask(engine))


@pytest.mark.parametrize("mode", ["embedded", "sidecar"])
def test_revision_that_is_demanded_decides_alone(server: OpaServer, project: Path, mode: str) -> None:
    stack = str(project / "stacks" / "prod-gpu-large.yaml")
    with EmbeddedEvaluator() as evaluator:
        revision = evaluator.judge(changed({}))[1].bundles["flowyml"]
    ask = f"mode: {mode}, sidecar: {{url: '{server.url}'}}, deadline: 20s"
    say(project, f"{{{ask}, require_revision: {{flowyml: '{revision}'}}}}")
    with PolicyEngine.from_project(project) as engine:
        assert engine.check(stack).allowed
    say(project, f"{{{ask}, require_revision: {{flowyml: another}}}}")
    with PolicyEngine.from_project(project) as engine, pytest.raises(PolicyUndecided, match="demands another"):
        engine.check(stack)


def test_server_down_leaves_every_stack_undecided_and_recorded(project: Path) -> None:
    say(project, f"{{mode: sidecar, sidecar: {{url: 'http://127.0.0.1:{free_port()}'}}, start_timeout: 200ms}}")
    answered = results(project)
    assert {one["outcome"] for one in answered} <= {"error", "deny"}
    assert {one["error"]["code"] for one in answered if one["error"]} == {"opa_unavailable"}


@pytest.mark.parametrize(
    ("opa", "more", "key"),
    [
        ("{mode: sidecar}", "  rules: [policy]\n", "policy.rules"),
        ("{mode: sidecar, config: {bundles: {flowyml: {resource: shipped}}}}", "", "policy.opa.config"),
    ],
)
def test_policy_of_its_own_beside_a_server_is_a_settings_error(project: Path, opa: str, more: str, key: str) -> None:
    say(project, opa, more=more)
    with pytest.raises(SettingsInvalid, match=f"`{key}` would be passed over.*flowyml.yaml:"):
        PolicyEngine.from_project(project)


def test_rules_of_one_call_beside_a_server_are_refused(server: OpaServer, project: Path) -> None:
    say(project, f"{{mode: sidecar, sidecar: {{url: '{server.url}'}}}}")
    with pytest.raises(SettingsInvalid, match="--policy adds rules"):
        PolicyEngine.from_project(project, rules=[project])


@pytest.mark.parametrize("url", ["https://opa.example/v1", "https://opa.example:8181?x", "https://opa.example/#a"])
def test_address_that_goes_on_after_its_port_is_a_settings_error(project: Path, url: str) -> None:
    say(project, f"{{sidecar: {{url: '{url}'}}}}")
    with pytest.raises(SettingsInvalid, match=r"`policy\.opa\.sidecar\.url` (goes on after its port|has a '#' part)"):
        PolicyEngine.from_project(project)


def test_offline_asks_no_server(server: OpaServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")
    say(project, f"{{mode: sidecar, sidecar: {{url: '{server.url}'}}}}")
    with PolicyEngine.from_project(project) as engine, pytest.raises(PolicyUndecided, match="FLOWYML_POLICY_OFFLINE"):
        engine.check(str(project / "stacks" / "prod-gpu-large.yaml"))


@of_both
def test_doctor_says_which_server_and_whether_it_answers(server: OpaServer, project: Path) -> None:
    say(project, f"{{mode: sidecar, sidecar: {{url: '{server.url}'}}}}")
    found = {check.name: check for check in examine(str(project))}
    version = found["sidecar"].found.rpartition(" ")[2]
    assert found["sidecar"] == Check("sidecar", f"{server.url} answers, OPA {version}")
    assert found["policy"].found.startswith("bundle flowyml, revision ")
    assert "isolation" not in found
    url = f"http://127.0.0.1:{free_port()}"
    say(project, f"{{mode: sidecar, sidecar: {{url: '{url}'}}, start_timeout: 200ms}}")
    found = {check.name: check for check in examine(str(project))}
    assert found["sidecar"].found == f"the OPA server cannot be reached: Connection refused: {url}"
    assert "start the server" in found["sidecar"].todo
