"""What every evaluator answers where policy does decide."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.decision import Decision, Finding, Waivers
from flowyml_policy.records.result import GlobProblem
from tests.contract.conftest import GLOBS, NAMING, MakeEvaluator, document, manifest, policy, write

ALLOWED = Decision(
    schema_version=1, allow=True, findings=(), waivers=Waivers(applied=(), expired=()), rules=("naming",)
)
TOO_LONG = Finding(
    code="naming.long",
    severity="deny",
    enforcement="hard",
    subject="much-too-long",
    path=("metadata", "name"),
    message="the name has 13 characters",
    fix="use at most 8 characters",
    waiver=None,
    override=None,
    effective_on=None,
)


def test_judge_a_stack_that_keeps_to_the_policy_allows(make: MakeEvaluator) -> None:
    decision, evaluation = make({"flowyml": policy()}).judge(document())
    assert decision == ALLOWED
    assert evaluation.bundles == {"flowyml": "f1"}
    assert evaluation.evaluator.version.startswith("1.")
    assert evaluation.duration_ns > 0


def test_evaluate_a_stack_that_breaks_a_rule_denies_with_the_whole_finding(make: MakeEvaluator) -> None:
    decision = make({"flowyml": policy()}).evaluate(document("much-too-long"))
    assert not decision.allowed
    assert decision.denials == (TOO_LONG,)
    assert decision == ALLOWED.model_copy(update={"allow": False, "findings": (TOO_LONG,)})


def test_judge_with_several_bundles_answers_the_revision_of_each(loading: MakeEvaluator, tmp_path: Path) -> None:
    rules = write(
        tmp_path / "rules",
        {"size.rego": NAMING.replace("flowyml.rules.naming", "project.rules.size").replace("naming.long", "size.long")},
    )
    evaluator = loading(
        {"flowyml": policy(), "company": {".manifest": manifest("o7", "org", "system/log"), "data.json": "{}"}},
        rules=[rules],
    )
    decision, evaluation = evaluator.judge(document("much-too-long"))
    assert evaluation.bundles.keys() == {"flowyml", "company", "project"}
    assert evaluation.bundles["company"] == "o7"
    assert evaluation.bundles["project"].startswith("project+")
    assert decision.rules == ("naming", "size")
    assert [finding.code for finding in decision.denials] == ["naming.long", "size.long"]


def test_judge_with_the_bundle_of_a_company_answers_its_revision(make: MakeEvaluator) -> None:
    company = {".manifest": manifest("o7", "org", "system/log"), "data.json": "{}"}
    _, evaluation = make({"flowyml": policy(), "company": company}).judge(document())
    assert evaluation.bundles == {"flowyml": "f1", "company": "o7"}


def test_query_answers_any_document_below_data(make: MakeEvaluator) -> None:
    evaluator = make({"flowyml": policy(more="package flowyml.more\n\nanswer := {input.n, 2, 3}")})
    assert evaluator.query("flowyml/more/answer", {"n": 1}) == [1, 2, 3]
    assert evaluator.query("flowyml/catalogue/rules", {}) == ["naming"]


def test_check_globs_names_the_patterns_that_glob_match_refuses(make: MakeEvaluator) -> None:
    evaluator = make({"flowyml": policy(globs=GLOBS)})
    assert evaluator.check_globs(["prod-*", "{a,b}", "é?"]) == ()
    assert [problem.pattern for problem in evaluator.check_globs(["ok*", "[a-z0-9]", "{a", "["])] == [
        "[a-z0-9]",
        "{a",
        "[",
    ]
    (problem,) = evaluator.check_globs(["[a-z0-9]"])
    assert isinstance(problem, GlobProblem)
    assert "syntax error" in problem.reason


def test_evaluate_on_eight_threads_answers_each_its_own(make: MakeEvaluator) -> None:
    evaluator = make({"flowyml": policy()})

    def ask(number: int) -> bool:
        name = f"n{number}" if number % 2 else f"n{number}-too-long"
        decision = evaluator.evaluate(document(name))
        return decision.allowed == bool(number % 2) and [finding.subject for finding in decision.findings] == (
            [] if number % 2 else [name]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(2000)))


def test_judge_input_with_every_kind_of_text_reaches_policy_unchanged(make: MakeEvaluator) -> None:
    odd = 'é "quoted" \\ \n \u2028 😀 \x7f'
    decision = make({"flowyml": policy()}).evaluate(document(odd))
    assert [finding.subject for finding in decision.findings] == [odd]


def test_embedded_without_configuration_judges_by_the_shipped_policy() -> None:
    with EmbeddedEvaluator() as evaluator:
        decision, evaluation = evaluator.judge(document("small"))
        assert evaluation.bundles.keys() == {"flowyml"}
        assert "naming" in decision.rules
        assert not evaluator.evaluate(document("not/a/safe name")).allowed


@pytest.mark.parametrize("spelling", ["{folder}", "file://{folder}", "relative"])
def test_embedded_resource_spelled_in_each_way_loads_the_folder(tmp_path: Path, spelling: str) -> None:
    folder = write(tmp_path / "relative", policy())
    config = {"bundles": {"flowyml": {"resource": spelling.format(folder=folder)}}}
    with EmbeddedEvaluator(config=config, root=tmp_path) as evaluator:
        assert evaluator.judge(document())[1].bundles == {"flowyml": "f1"}
