"""What must hold between the settings and the loaded policy before anything is judged.

Rules of this room:
- A glob that OPA refuses would be undefined in a rule, so a name would pass or fail by accident: every pattern, of
  the settings and of the policy's data, is compiled here once.
- A level or rule data for a code or rule that no loaded policy has would tighten nothing: it is an error with a hint.
- An OPA that could not start stands here as an evaluator that answers every question with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from pydantic import TypeAdapter, ValidationError

from flowyml_policy.errors import OpaAnswerInvalid, OpaError, PolicyInvalid, SettingsInvalid
from flowyml_policy.records import CatalogueEntry, Decision, Evaluator, GlobProblem, Judgement, PolicyInput
from flowyml_policy.records.record import Json, KeyPath
from flowyml_policy.settings import Settings

CATALOGUE_PATH = "flowyml/main/catalogue"
PATTERNS_PATH = "flowyml/main/patterns"
BUNDLES_PATH = "system/bundles"

_ENTRIES = TypeAdapter(tuple[CatalogueEntry, ...])
_PATTERNS = TypeAdapter(tuple[str, ...])
_REVISION = TypeAdapter(str)


class UnavailableEvaluator:
    """Stands in for an OPA that could not start: every question raises why."""

    def __init__(self, reason: OpaError) -> None:
        self._reason = reason

    def judge(self, _document: PolicyInput) -> Judgement:
        raise self._again()

    def evaluate(self, _document: PolicyInput) -> Decision:
        raise self._again()

    def query(self, _path: str, _document: Json) -> Json:
        raise self._again()

    def check_globs(self, _patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        raise self._again()

    def close(self) -> None:
        """There is nothing to release."""

    def _again(self) -> OpaError:
        error = type(self._reason)(self._reason.message, advice=self._reason.advice)
        error.__cause__ = self._reason
        return error


def check_settings(evaluator: Evaluator, settings: Settings) -> None:
    """Raise SettingsInvalid or PolicyInvalid where settings and policy do not fit; OpaError if OPA cannot say."""
    entries = read_catalogue(evaluator, settings)
    policies = settings.policies
    codes = {entry.code for entry in entries}
    rules = {entry.rule for entry in entries}
    for code in policies.levels:
        _require_known(settings, "code", code, codes, ("policies", "levels", code))
    for rule in policies.rule_data:
        _require_known(settings, "rule", rule, rules, ("policies", "rule_data", rule))
    for problem in evaluator.check_globs(policies.allowed_stacks or ()):
        index = (policies.allowed_stacks or ()).index(problem.pattern)
        where = settings.location(("policies", "allowed_stacks", index))
        raise SettingsInvalid(
            f"OPA cannot read the pattern {problem.pattern!r} ({problem.reason}): {where}",
            advice="write a glob such as prod-*, dev-[ab]* or {prod,staging}-gpu",
        )
    for problem in evaluator.check_globs(_policy_patterns(evaluator)):
        raise PolicyInvalid(
            f"the policy's data holds a pattern that OPA cannot read: {problem.pattern!r}: {problem.reason}"
        )


def read_bundles(evaluator: Evaluator) -> dict[str, str]:
    """The revision of each loaded bundle, by its name. Raises OpaError."""
    answer = evaluator.query(BUNDLES_PATH, {})
    try:
        return {name: _REVISION.validate_python(answer[name]["manifest"]["revision"]) for name in sorted(answer)}
    except (ValidationError, TypeError, KeyError) as error:
        raise OpaAnswerInvalid(f"a loaded bundle has no revision (data.{BUNDLES_PATH})") from error


def read_catalogue(evaluator: Evaluator, settings: Settings) -> tuple[CatalogueEntry, ...]:
    """Every code of the loaded policy, sorted, with the level in force for this project. Raises OpaError."""
    question = {"project": {"policies": {"levels": dict(settings.policies.levels)}}}
    answer = evaluator.query(CATALOGUE_PATH, question)
    try:
        return tuple(
            _ENTRIES.validate_python([{"code": code, **answer[code]} for code in sorted(answer)], strict=False)
        )
    except (ValidationError, TypeError) as error:
        raise OpaAnswerInvalid(f"the policy's catalogue (data.{CATALOGUE_PATH}) has not the agreed shape") from error


def _policy_patterns(evaluator: Evaluator) -> tuple[str, ...]:
    try:
        return _PATTERNS.validate_python(evaluator.query(PATTERNS_PATH, {}))
    except ValidationError as error:
        raise OpaAnswerInvalid(f"the policy's patterns (data.{PATTERNS_PATH}) are not a set of strings") from error


def _require_known(settings: Settings, what: str, name: str, known: Collection[str], path: KeyPath) -> None:
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`flowyml-policy policy list` shows them"
    raise SettingsInvalid(f"no loaded policy has the {what} {name!r}: {settings.location(path)}", advice=hint)
