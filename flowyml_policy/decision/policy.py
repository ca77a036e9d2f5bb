"""The policy that the settings name, loaded and fit to judge by: what must hold before anything is judged.

Rules:
- A glob that OPA refuses would be undefined in a rule, so a name would pass or fail by accident: every pattern of a
  configured policy's data is compiled here once; what ships holds none, and settings took none that OPA refuses.
- A level or rule data for a code or rule that no loaded policy has would tighten nothing: it is an error with a hint.
- Rule data that a shipped rule cannot read is an error in the settings, not a denial of every stack: the rule says why.
- A demand of the project that looks like a secret is refused: the mask would make it equal to other values.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from flowyml_policy.decision.isolation import CONFIG_PATH, is_judged_apart
from flowyml_policy.decision.normaliser import require_open_demands
from flowyml_policy.errors.opa import OpaAnswerInvalid, OpaError, OpaUnavailable, PolicyInvalid
from flowyml_policy.errors.settings import FeatureUnavailable, SettingsInvalid
from flowyml_policy.network.offline import OFFLINE_VARIABLE, is_offline
from flowyml_policy.opa.configuration import read_configuration
from flowyml_policy.opa.copies import Remote
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.loading import PATTERNS_PATH, PolicySource
from flowyml_policy.opa.services import UnknownSetting
from flowyml_policy.records.decision import CatalogueEntry
from flowyml_policy.records.protocols import Evaluator, SequenceStore
from flowyml_policy.records.record import KeyPath
from flowyml_policy.settings.settings import Settings
from flowyml_policy.system.directories import state_directory

CATALOGUE_PATH = "flowyml/main/catalogue"
BUNDLES_PATH = "system/bundles"
SIDECAR_CA_PATH: KeyPath = ("policy", "opa", "sidecar", "ca")

_POLICY_ITSELF = "main."
"""How the codes of findings about the policy itself begin."""


def load_policy(
    settings: Settings, rules: Sequence[Path] = (), *, environ: Mapping[str, str] | None = None
) -> Evaluator:
    """OPA with the policy of `settings` and the rules in the folders `rules`, checked against the settings.

    Relative bundles lie beside the file that names them: those of the platform are never a project's to give. The
    project's own policy is judged apart, and the library is then not loaded here (`isolation`); in mode sidecar the
    server's policy is asked. Raises OpaError where OPA cannot start or answer, SettingsInvalid where settings and
    policy do not fit.
    """
    if settings.policy.opa.mode == "sidecar":
        evaluator = _sidecar(settings, rules, os.environ if environ is None else environ)
    else:
        evaluator = _own(settings, rules, os.environ if environ is None else environ)
    try:
        check_settings(evaluator, settings)
    except BaseException:
        evaluator.close()
        raise
    return evaluator


def _own(settings: Settings, rules: Sequence[Path], environ: Mapping[str, str]) -> OpaEvaluator:
    """OPA of this program, in this process or in one of its own."""
    opa = settings.policy.opa
    require_known_keys(settings)
    state = _state(environ) if _asks_servers(opa.config) else None
    sequences = None if state is None else _sequences(state)
    source = PolicySource.of(
        config=opa.config,
        rule_folders=[*settings.rule_folders, *rules],
        root=settings.resolved(CONFIG_PATH, "."),
        start_timeout=opa.start_timeout,
        deadline=opa.deadline,
        allow_hosts=opa.allow_hosts,
        require_signed=opa.require_signed,
        remote=Remote(opa.max_age, state, is_offline(environ)),
    )
    if is_judged_apart(settings, rules):
        from flowyml_policy.opa.process import ProcessEvaluator

        return ProcessEvaluator(source, memory=opa.memory, require_revision=opa.require_revision, sequences=sequences)
    return EmbeddedEvaluator.from_source(
        source, memory=opa.memory, require_revision=opa.require_revision, sequences=sequences
    )


def require_known_keys(settings: Settings) -> None:
    """Raise SettingsInvalid, with file and line, for a key of OPA's configuration that OPA does not know."""
    try:
        read_configuration(settings.policy.opa.config, Path())
    except (OpaError, FeatureUnavailable) as error:
        if not isinstance(error, UnknownSetting):
            return  # it is told where it is loaded, and each stack is then undecided
        where = settings.location(error.path) or settings.location(CONFIG_PATH)
        raise SettingsInvalid(f"{error.message}: {where}", advice=error.advice) from error


def _asks_servers(config: Mapping[str, object] | None) -> bool:
    """Whether a configuration names servers, so that something is remembered of what they gave."""
    return bool((config or {}).get("services"))


def _sequences(state: Path) -> SequenceStore:
    from flowyml_policy.storage.sequences import FileSequences

    return FileSequences(state)


def _state(environ: Mapping[str, str]) -> Path:
    """The folder for what is remembered of bundles. Raises OpaUnavailable."""
    try:
        return state_directory(environ)
    except SettingsInvalid as error:
        raise OpaUnavailable(
            "this user has no home folder to keep copies and sequences of bundles in", advice="set XDG_STATE_HOME"
        ) from error


def _sidecar(settings: Settings, rules: Sequence[Path], environ: Mapping[str, str]) -> OpaEvaluator:
    """The OPA server of the settings. Raises SettingsInvalid for rules that it would not judge by."""
    from flowyml_policy.opa.sidecar import SidecarEvaluator

    if rules:
        raise SettingsInvalid(
            "--policy adds rules, and `policy.opa.mode` is sidecar: the server judges by its own policy",
            advice="leave --policy out, or set policy.opa.mode to embedded",
        )
    opa = settings.policy.opa
    if is_offline(environ):
        raise OpaUnavailable(
            f"{OFFLINE_VARIABLE} asks that no server be asked, and `policy.opa.mode` is sidecar: {opa.sidecar.url}",
            advice=f"unset {OFFLINE_VARIABLE}, or set policy.opa.mode to embedded",
        )
    return SidecarEvaluator(
        opa.sidecar.url,
        token_env=opa.sidecar.token_env,
        ca=None if opa.sidecar.ca is None else settings.resolved(SIDECAR_CA_PATH, opa.sidecar.ca),
        start_timeout=opa.start_timeout,
        deadline=opa.deadline,
        require_revision=opa.require_revision,
        sequences=_sequences(_state(environ)) if opa.require_signed else None,
        environ=environ,
    )


def check_settings(evaluator: Evaluator, settings: Settings) -> None:
    """Raise SettingsInvalid or PolicyInvalid where settings and policy do not fit; OpaError if OPA cannot say."""
    require_open_demands(settings)
    policies = settings.policies
    if policies.levels or policies.rule_data:
        entries = read_catalogue(evaluator, settings)
        _check_names(entries, settings)
        _check_rule_data(evaluator, entries, settings)
    if settings.policy.opa.config is not None or settings.policy.opa.mode == "sidecar":
        for problem in evaluator.check_globs(_policy_patterns(evaluator)):
            raise PolicyInvalid(
                f"the policy's data holds a pattern that OPA cannot read: {problem.pattern!r}: {problem.reason}"
            )


def _check_names(entries: Sequence[CatalogueEntry], settings: Settings) -> None:
    """Raise SettingsInvalid for a level or rule data of what no entry of the catalogue has, or of what has no level."""
    codes = {entry.code for entry in entries}
    rules = {entry.rule for entry in entries if not entry.code.startswith(_POLICY_ITSELF)}
    for code in settings.policies.levels:
        if code.startswith(_POLICY_ITSELF):
            raise SettingsInvalid(
                f"the code {code!r} has no level, it always denies: {settings.location(('policies', 'levels', code))}",
                advice="take it out; codes of rules can be given a level, and `flowyml-policy policy list` shows them",
            )
        _require_known(settings, "code", code, codes, ("policies", "levels", code))
    for rule in settings.policies.rule_data:
        _require_known(settings, "rule", rule, rules, ("policies", "rule_data", rule))


def _check_rule_data(evaluator: Evaluator, entries: Sequence[CatalogueEntry], settings: Settings) -> None:
    """Raise SettingsInvalid for rule data that a shipped rule cannot read; other rules say so in their decisions."""
    said = settings.policies.rule_data
    question = {"project": {"policies": settings.policies.for_policy_input()}}
    for rule in sorted({entry.rule for entry in entries if entry.root == "flowyml"} & said.keys()):
        answer = evaluator.query(f"flowyml/rules/{rule}/findings", question)
        places = {f"policies.rule_data.{rule}.{key}": ("policies", "rule_data", rule, key) for key in said[rule]}
        try:
            for found in answer:
                if found["code"] == f"{rule}.rule_data" and found["subject"] in places:
                    where = settings.location(places[found["subject"]])
                    raise SettingsInvalid(f"{found['message']}: {where}", advice=found["fix"])
        except (TypeError, KeyError) as error:
            raise OpaAnswerInvalid(f"the findings of the rule {rule} have not the agreed shape") from error


def read_bundles(evaluator: Evaluator) -> dict[str, str]:
    """The revision of each loaded bundle, by its name. Raises OpaError."""
    answer = evaluator.query(BUNDLES_PATH, {})
    try:
        return {name: str(answer[name]["manifest"]["revision"]) for name in sorted(answer)}
    except (TypeError, KeyError) as error:
        raise OpaAnswerInvalid(f"a loaded bundle has no revision (data.{BUNDLES_PATH})") from error


def read_catalogue(evaluator: Evaluator, settings: Settings) -> tuple[CatalogueEntry, ...]:
    """Every code of the loaded policy, sorted, with the level in force for this project. Raises OpaError."""
    question = {"project": {"policies": {"levels": dict(settings.policies.levels)}}}
    answer = evaluator.query(CATALOGUE_PATH, question)
    try:
        return tuple(
            CatalogueEntry.model_validate({"code": code, **answer[code]}, strict=False) for code in sorted(answer)
        )
    except (ValidationError, TypeError) as error:
        raise OpaAnswerInvalid(f"the policy's catalogue (data.{CATALOGUE_PATH}) has not the agreed shape") from error


def _policy_patterns(evaluator: Evaluator) -> tuple[str, ...]:
    answer = evaluator.query(PATTERNS_PATH, {})
    if not isinstance(answer, list) or not all(isinstance(pattern, str) for pattern in answer):
        raise OpaAnswerInvalid(f"the policy's patterns (data.{PATTERNS_PATH}) are not a set of strings")
    return tuple(answer)


def _require_known(settings: Settings, what: str, name: str, known: Collection[str], path: KeyPath) -> None:
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`flowyml-policy policy list` shows them"
    raise SettingsInvalid(f"no loaded policy has the {what} {name!r}: {settings.location(path)}", advice=hint)
