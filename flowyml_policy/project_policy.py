"""The policy that a project's settings name, loaded into OPA and fit to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.policy_checks import check_settings
from flowyml_policy.settings import Settings


def load_policy(settings: Settings, rules: Sequence[Path] = ()) -> EmbeddedEvaluator:
    """OPA with the policy of `settings` and the rules in the folders `rules`, checked against the settings.

    Raises OpaError where OPA cannot start or answer, SettingsInvalid where settings and policy do not fit.
    """
    opa = settings.policy.opa
    evaluator = EmbeddedEvaluator(
        config=opa.config,
        rule_folders=[*settings.rule_folders, *rules],
        root=settings.root,
        start_timeout=opa.start_timeout,
        deadline=opa.deadline,
        allow_hosts=opa.allow_hosts,
    )
    try:
        check_settings(evaluator, settings)
    except BaseException:
        evaluator.close()
        raise
    return evaluator
