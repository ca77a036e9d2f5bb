"""By what stacks are judged here: the server's own policy, in a process of its own, with the registries that it names.

Rules:
- What is wrong with the settings is told before the server listens. A policy that cannot be loaded yet, because its
  server does not answer, leaves stacks undecided until it can: it is tried again when somebody asks.
- Only registries that `inspect_hosts` names are asked for images, and no daemon ever is.
- What a client claims of itself and of where its stack comes from is recorded as its claim, and vouches for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final, NamedTuple, TypeVar

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.engine import PolicyEngine, as_internal
from flowyml_policy.decision.policy import load_policy, require_known_keys
from flowyml_policy.decision.unsupported import require_supported
from flowyml_policy.errors.opa import OpaStartFailed, OpaUnavailable, PolicyInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.images.inspection import Inspection
from flowyml_policy.mask.policy_input import masked_actor
from flowyml_policy.mask.text import mask
from flowyml_policy.opa.configuration import read_configuration
from flowyml_policy.records.decision import Decision
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.records.protocols import Evaluator
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import Evaluation, GlobProblem
from flowyml_policy.resolution.pins import ProjectPins
from flowyml_policy.server.configuration import Configuration
from flowyml_policy.settings.project_file import PoliciesSection, ProjectIdentity
from flowyml_policy.settings.settings import Origins, Settings

LONGEST_IMAGE: Final = 5.0
"""Seconds that one image may take, so that a slow registry is a finding and not the end of the request."""

_PAUSE: Final = 5.0
"""Seconds between two attempts to load a policy."""
_RELOADED: Final = (OpaUnavailable, OpaStartFailed, PolicyInvalid)
"""What keeps a loaded policy from ever judging again."""

_Answer = TypeVar("_Answer")


def judging_settings(configuration: Configuration) -> Settings:
    """The settings by which stacks are judged: the section `policy` of server.yaml, which is the platform's."""
    values = configuration.values
    policy = values.policy
    images = policy.images.model_copy(
        update={
            "inspect": "off" if policy.images.inspect == "off" else "registry",
            "timeout": min(policy.images.timeout, LONGEST_IMAGE),
        }
    )
    opa = policy.opa.model_copy(update={"isolation": "process"})
    waivers = configuration.place(policy.waivers)
    return Settings.made_from(
        Origins(platform=configuration.document),
        root=configuration.path.parent,
        file=None,
        is_above=False,
        platform_file=configuration.path,
        project=ProjectIdentity(),
        policies=PoliciesSection(),
        environments={},
        active_stack=None,
        default_stack=None,
        fallback_environment=None,
        stacks={},
        policy=policy.model_copy(update={"images": images, "opa": opa}),
        rule_folders=tuple(configuration.place(folder) for folder in policy.rules),
        waivers_path=waivers,
        has_waivers="waivers" in policy.model_fields_set or waivers.exists(),
        audit_path=configuration.database,
    )


class Judge(NamedTuple):
    """What judges stacks. Closing the engine closes all of it."""

    engine: PolicyEngine
    evaluator: ReloadedEvaluator


def open_judge(
    configuration: Configuration, audit: AuditStore, environ: Mapping[str, str], tell: Callable[[str], None]
) -> Judge:
    """What judges stacks and records it in `audit`. Its policy is on its way; `tell` is told why it cannot be loaded.

    Raises what is wrong with the settings: SettingsInvalid, FeatureUnavailable, SigningKeyUnusable, UsageError, or an
    OpaError for OPA's own configuration.
    """
    settings = judging_settings(configuration)
    require_supported(settings, "apply")
    require_known_keys(settings)
    read_configuration(settings.policy.opa.config, settings.root, require_signed=settings.policy.opa.require_signed)
    inspection = Inspection.of(settings, environ=environ, hosts=configuration.values.inspect_hosts)
    evaluator = ReloadedEvaluator(lambda: load_policy(settings, environ=environ), tell)
    try:
        evaluator.start()
        engine = PolicyEngine(
            settings,
            evaluator=evaluator,
            recorder=audit,
            actor=masked_actor("server", (), {}),
            pins=ProjectPins.nothing(settings),
            inspection=inspection,
            environ=environ,
        )
    except BaseException:
        evaluator.close()
        inspection.close()
        raise
    return Judge(engine, evaluator)


class ReloadedEvaluator:
    """OPA with a policy that `load` loads; where it cannot, or not any more, every question says so, and tries again.

    There are `pause` seconds between two attempts. Safe from many threads; an Evaluator.
    """

    def __init__(self, load: Callable[[], Evaluator], tell: Callable[[str], None], *, pause: float = _PAUSE) -> None:
        self._load = load
        self._tell = tell
        self._pause = pause
        self._lock = threading.Lock()
        self._evaluator: Evaluator | None = None
        self._failure: FlowymlPolicyError | None = None
        self._again = 0.0
        self._closed = False

    def start(self) -> None:
        """Begin to load; who asks meanwhile waits for it."""
        threading.Thread(target=self._try_to_load, name="flowyml-policy-load", daemon=True).start()

    @property
    def failure(self) -> FlowymlPolicyError | None:
        """Why nothing can be judged, as far as that is known; None where all is well, or the first load goes on."""
        return self._failure

    def judge(self, document: PolicyInput) -> tuple[Decision, Evaluation]:
        return self._asked(lambda evaluator: evaluator.judge(document))

    def evaluate(self, document: PolicyInput) -> Decision:
        return self._asked(lambda evaluator: evaluator.evaluate(document))

    def query(self, path: str, document: Json) -> Json:
        return self._asked(lambda evaluator: evaluator.query(path, document))

    def check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        return self._asked(lambda evaluator: evaluator.check_globs(patterns))

    def close(self) -> None:
        """Release everything; closing twice is fine. A policy that is being loaded is released when it is."""
        self._closed = True
        self._drop(self._evaluator)

    def _asked(self, question: Callable[[Evaluator], _Answer]) -> _Answer:
        evaluator = self._try_to_load()
        if evaluator is None:
            failure = self._failure or OpaUnavailable("the policy is closed", advice="ask the server again")
            raise OpaUnavailable(f"the policy is not loaded: {failure.message}", advice=failure.advice) from failure
        try:
            return question(evaluator)
        except _RELOADED as error:
            self._drop(evaluator)
            self._note(error)
            raise

    def _try_to_load(self) -> Evaluator | None:
        """The policy, loaded now where it was not; None where it cannot be, and `_failure` says why."""
        with self._lock:
            if self._evaluator is None and not self._closed and monotonic() >= self._again:
                try:
                    self._evaluator = self._load()
                except Exception as error:  # noqa: BLE001  whatever it is, stacks are undecided until it is over
                    self._note(as_internal(error))
                    self._again = monotonic() + self._pause
                else:
                    self._note(None)
            if self._closed and self._evaluator is not None:
                self._evaluator.close()
                self._evaluator = None
            return self._evaluator

    def _drop(self, evaluator: Evaluator | None) -> None:
        if evaluator is not None:
            evaluator.close()
        if self._evaluator is evaluator:
            self._evaluator = None

    def _note(self, failure: FlowymlPolicyError | None) -> None:
        """Keep why there is no policy, and tell it when it changes."""
        before, self._failure = self._failure, failure
        if failure is None:
            if before is not None:
                self._tell("stacks: the policy is loaded again")
        elif before is None or before.message != failure.message:
            self._tell(mask(f"stacks: no stack can be judged: {failure}"))
