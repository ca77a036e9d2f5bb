"""A rule for FlowyML's own PolicyEngine that asks ours, for programs that call that engine themselves.

    from flowyml.stacks.enterprise.policy import PolicyEngine
    from flowyml_policy.integrations.flowyml.rules import OpaRule

    PolicyEngine(rules=[*PolicyEngine.get_default_rules(), OpaRule()]).check(context)

A run needs none: the guard has judged it before FlowyML's engine is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flowyml_policy.decision.candidates import StackDocument
from flowyml_policy.decision.engine import as_internal
from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.integrations.flowyml.projects import GuardedProject, current_project
from flowyml_policy.records.policy_input import RunFacts
from flowyml_policy.records.result import Result

if TYPE_CHECKING:
    from flowyml.stacks.enterprise.policy import PolicyContext, PolicyResult

_NO_PIPELINE: Final = ""
"""FlowyML's context names none."""


class OpaRule:
    """FlowyML's `PolicyRule`: the stack, the environment and the packages of its context, judged and recorded.

    `failed` is a denial, and whatever could not be decided; a warning is `warning`. `policy.enforce` holds as it does
    for runs: what `observe` lets go is a warning, and `none` judges nothing. `project` is a folder with a flowyml.yaml;
    by default it is the one around the working directory. Who asks is who runs the process, whatever the context says.
    """

    name = "opa"

    def __init__(self, project: str | Path | None = None) -> None:
        self._project = None if project is None else Path(project).absolute()

    def validate(self, context: PolicyContext) -> PolicyResult:
        """FlowyML's answer to `context`. Raises nothing, since FlowyML would hide what it was."""
        try:
            with current_project(self._project) as project:
                return self._answer(project, context)
        except Exception as error:  # noqa: BLE001  whatever it is, there is no decision
            return _undecided(as_internal(error))

    def _answer(self, project: GuardedProject, context: PolicyContext) -> PolicyResult:
        if project.is_off:
            project.tell_off()
            return _result("passed", "nothing is judged, because policy.enforce is none")
        definition = definition_of(context.stack.model_copy(deep=True))  # it may change, and what was judged must not
        run = RunFacts(pipeline=_NO_PIPELINE, packages=tuple(context.pipeline_packages))
        result = project.judge(StackDocument(definition.source, definition), run, context.environment).result
        if result.allowed:
            return _told("warning" if result.warnings else "passed", result)
        return _told("failed" if project.enforcement(result) == "block" else "warning", result)


def _told(status: str, result: Result) -> PolicyResult:
    """What was found, in FlowyML's words: one message and one suggestion."""
    if result.error is not None:
        return _result(status, f"undecided: {result.error.message}", result.error.advice)
    findings = result.findings if result.allowed else result.denials
    if not findings:
        return _result(status, f"policy allows stack {result.stack.name!r}")
    message = "; ".join(f"{finding.code}: {finding.message}" for finding in findings)
    return _result(status, message, "; ".join(dict.fromkeys(finding.fix for finding in findings)))


def _undecided(error: FlowymlPolicyError) -> PolicyResult:
    return _result("failed", f"undecided: {error.message}", error.advice)


def _result(status: str, message: str, suggestion: str | None = None) -> Any:
    from flowyml.stacks.enterprise.policy import PolicyResult

    return PolicyResult(rule_name=OpaRule.name, status=status, message=message, suggestion=suggestion or None)
