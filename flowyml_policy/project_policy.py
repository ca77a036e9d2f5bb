"""The policy that a project's settings name, loaded into OPA and fit to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.policy_checks import check_settings
from flowyml_policy.records.record import KeyPath
from flowyml_policy.settings import Settings

CONFIG_PATH: Final[KeyPath] = ("policy", "opa", "config")


def load_policy(settings: Settings, rules: Sequence[Path] = ()) -> EmbeddedEvaluator:
    """OPA with the policy of `settings` and the rules in the folders `rules`, checked against the settings.

    Relative bundles lie beside the file that names them: those of the platform are never a project's to give.
    Raises OpaError where OPA cannot start or answer, SettingsInvalid where settings and policy do not fit.
    """
    opa = settings.policy.opa
    evaluator = EmbeddedEvaluator(
        config=opa.config,
        rule_folders=[*settings.rule_folders, *rules],
        root=settings.resolved(CONFIG_PATH, "."),
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
