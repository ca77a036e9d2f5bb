"""The one way from a definition to a decision; command line, library and FlowyML call it and nothing below it.

Rules:
- The order is fixed: definition, normalise, judge, record, answer. A decision is on disk before anybody hears it;
  one that cannot be recorded is no decision.
- Undecided is never allowed: every failure ends as outcome `error` or as PolicyUndecided, recorded where it can be.
- One stack's failure never hides another's. What is wrong with the settings stops everything, before the first.
- `evaluated_at` is taken once for each call, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from typing_extensions import Self

from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.audit.writing import NotMasked
from flowyml_policy.decision import results
from flowyml_policy.decision.candidates import StackDocument, read_named, read_one
from flowyml_policy.decision.images import StackImages
from flowyml_policy.decision.normaliser import Normaliser
from flowyml_policy.decision.policy import load_policy, read_bundles, read_catalogue
from flowyml_policy.decision.results import Call
from flowyml_policy.decision.unsupported import require_supported, unsupported
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.audit import AuditError
from flowyml_policy.errors.decision import PolicyDenied, PolicyUndecided
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.opa import OpaError, OpaStartFailed
from flowyml_policy.errors.root import FlowymlPolicyError, InternalError, UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.images.inspection import Inspection, Told
from flowyml_policy.opa.unavailable import UnavailableEvaluator
from flowyml_policy.records.decision import CatalogueEntry, Decision
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.policy_input import Actor, ImageFacts, PolicyInput, RunFacts, Source, Stack
from flowyml_policy.records.protocols import Evaluator, Recorder
from flowyml_policy.records.record import Location, Operation
from flowyml_policy.records.result import DecisionRecord, ErrorReport, Evaluation, Result, StackName
from flowyml_policy.resolution.pins import ProjectPins, require_pinned
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from flowyml_policy.system.actor import current_actor
from flowyml_policy.system.files import is_folder, is_missing

if TYPE_CHECKING:
    from flowyml_policy.images.scans import ScanReports
    from flowyml_policy.records.pins import StackPins
    from flowyml_policy.resolution.resolver import StackResolver

Reports: TypeAlias = "Sequence[str | Path] | ScanReports | None"
"""Scan reports: their files, or what `read_reports` made of them."""

CHECKS = ("validate", "run")
"""What a check can be for. Who registers a stack goes through `lifecycle`, which then does."""

BATCH = 64
"""How many decisions share one commit of the audit. None of them is told before it."""


_OF_EVERY_DECISION: Final = (Location, Source, Stack, ImageFacts, PolicyInput, StackName, ErrorReport, Result)
"""Records that every decision, or every failure, is made of."""


class _Ready(NamedTuple):
    """One stack that can be judged."""

    definition: StackDefinition
    document: PolicyInput


class PolicyEngine:
    """Judges stacks by one project's settings. A context manager; safe from many threads.

    Made by `from_project`, or, where the parts are at hand, from them: `evaluator` judges, `recorder` records, `pins`
    are those of the project's lockfile, `inspection` examines images. Closing the engine closes them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        evaluator: Evaluator,
        recorder: Recorder,
        actor: Actor,
        pins: StackPins | None = None,
        inspection: Inspection | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self._environ = environ
        self.actor = actor
        self._evaluator = evaluator
        self._recorder = recorder
        self._pins = ProjectPins.of(settings) if pins is None else pins
        self._normaliser = Normaliser(settings, actor)
        inspection = inspection or Inspection.of(settings, environ=environ)
        self._images = StackImages(inspection, evaluator, settings.policies.for_policy_input())
        self._supported: set[tuple[str, tuple[str, ...]]] = set()
        for record in _OF_EVERY_DECISION:
            record.model_rebuild()  # here, and not by several threads at once

    @classmethod
    def from_project(
        cls,
        project: str | Path | None = None,
        *,
        rules: Sequence[str | Path] = (),
        refresh: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """The engine of the project in folder `project`, or of the one around the working directory (also for `.`).

        `rules` are folders of project rules beside those of `policy.rules`. `refresh` asks anew what the tags of
        images name, whatever is remembered. Raises SettingsInvalid, SigningKeyUnusable, FeatureUnavailable or
        UsageError. An OPA that cannot start raises nothing here: every stack is then undecided, and recorded as such.
        """
        settings = load_settings(project=None if project is None else Path(project), environ=environ)
        return cls.from_settings(settings, rules=rules, refresh=refresh, environ=environ)

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        rules: Sequence[str | Path] = (),
        refresh: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """As `from_project`, where the settings are loaded already."""
        if not all(str(folder) for folder in rules):
            raise UsageError("a folder of rules needs a name, and an empty text is none", advice="name the folder")
        for folder in rules:
            if is_missing(folder):
                raise UsageError(f"there is no such folder: {folder}", advice="name an existing folder")
            if not is_folder(folder):
                raise UsageError(f"this is no folder: {folder}", advice="name the folder that holds the rules")
        _require_loadable(settings)
        return cls(
            settings,
            inspection=Inspection.of(settings, refresh=refresh, environ=environ),
            evaluator=_start(settings, [Path(folder) for folder in rules], environ),
            recorder=_open_recorder(settings, environ),
            actor=current_actor(environ),
            environ=environ,
        )

    def check(
        self,
        stack: object = None,
        *,
        environment: str | None = None,
        operation: Operation = "run",
        scan_reports: Reports = (),
    ) -> Decision:
        """The decision on one stack, also when it denies. Recorded before it is returned.

        `environment` is the one asked for; without it FLOWYML_ENV names it. `scan_reports` are files of Trivy or Grype
        about the images of the stack, which can only add findings.

        `stack` is whatever StackResolver takes: a definition, the path of a file that holds exactly one, a name, an
        address, a FlowyML Stack, or nothing, for the stack that the environment or the settings name. Raises
        PolicyUndecided where there is no decision; and, with nothing recorded, EnvironmentUnknown, ScanReportInvalid,
        and UsageError for a path that does not exist or holds more than one document, or an object that is no stack.
        """
        decision, _ = self._check(stack, environment, operation, scan_reports)
        return decision

    async def acheck(
        self,
        stack: object = None,
        *,
        environment: str | None = None,
        operation: Operation = "run",
        scan_reports: Reports = (),
    ) -> Decision:
        """As `check`, without blocking the event loop. Raises as `check` does."""
        import asyncio

        return await asyncio.to_thread(
            self.check, stack, environment=environment, operation=operation, scan_reports=scan_reports
        )

    def require(
        self,
        stack: object = None,
        *,
        environment: str | None = None,
        operation: Operation = "run",
        scan_reports: Reports = (),
    ) -> Decision:
        """As `check`, but a denial raises PolicyDenied, which carries the decision.

        What `check` raises is raised here too.
        """
        decision, result = self._check(stack, environment, operation, scan_reports)
        if not decision.allowed:
            raise PolicyDenied(decision, result)
        return decision

    def validate(
        self,
        paths: Sequence[str],
        *,
        environment: str | None = None,
        stdin: bytes | None = None,
        passed_over: list[str] | None = None,
        scan_reports: Reports = (),
        told: Told | None = None,
    ) -> Iterator[Result]:
        """The result of every stack under `paths`, in order, each recorded before it is yielded.

        Each of `paths` is a path or a reference, as `is_reference` tells them apart; `-` stands for `stdin`. Raises
        UsageError for a path that does not exist, and EnvironmentUnknown, at the call; what else is wrong, be it a
        malformed reference, is the outcome of the stack that it befell. Where `passed_over` is given, files that are
        known to hold no stacks (flowyml.yaml, flowyml.lock, FlowyML's index) are put there in words, and not judged.
        `scan_reports` are as in `check`; `told` is called with how many images are examined, and of how many.
        """
        call = self._call("validate", environment, scan_reports)._replace(told=told)
        documents = self.candidates(paths, environment=environment, stdin=stdin, passed_over=passed_over)
        return self._decide_all(call, documents)

    def candidates(
        self,
        named: Sequence[str],
        *,
        environment: str | None = None,
        stdin: bytes | None = None,
        passed_over: list[str] | None = None,
    ) -> Iterator[StackDocument]:
        """Every document that `named`, paths and references, mean, in order; raises what `validate` does."""
        return read_named(
            named,
            open_resolver=self._open_resolver,
            project=self.settings.root,
            environment=environment,
            stdin=stdin,
            skip=[self.settings.waivers_path],
            passed_over=passed_over,
        )

    def answer(
        self,
        candidate: StackDocument,
        *,
        environment: str | None = None,
        operation: Operation,
        failure: FlowymlPolicyError | None = None,
        scans: ScanReports | None = None,
        told: Told | None = None,
        actor: Actor | None = None,
    ) -> Result:
        """The recorded result of one candidate, whatever it is; never raises for what is wrong with it.

        `failure` is why it could not be judged at all: it is then undecided. `scans` and `told` are as in `validate`.
        `actor` is who asks, where that is not this process's user. Raises EnvironmentUnknown.
        """
        call = self._call(operation, environment, scans)._replace(told=told, actor=actor or self.actor)
        return self._answered(call, candidate, failure).result

    def judge_run(
        self,
        candidate: StackDocument,
        run: RunFacts,
        *,
        environment: str | None = None,
        failure: FlowymlPolicyError | None = None,
    ) -> DecisionRecord:
        """The recorded answer to whether `candidate` may run so; its `decision` is null where there is none.

        `failure` is as in `answer`. An environment that does not exist is one.
        """
        try:
            call = self._call("run", environment)
        except EnvironmentUnknown as error:
            call, failure = Call("run", utc_now(), self.actor, self.settings.authority), failure or error
        return self._answered(call._replace(run=run), candidate, failure)

    def read_reports(self, reports: Reports) -> ScanReports | None:
        """Read scan reports, unless that is done; None for none.

        Raises ScanReportInvalid, and UsageError where no image is examined that they could be about.
        """
        if not isinstance(reports, Sequence):
            return reports
        if not reports:
            return None
        from flowyml_policy.images.scans import ScanReports

        if self.settings.policy.images.inspect == "off":
            raise UsageError(
                "scan reports are matched by digest, and no image is examined: policy.images.inspect is off",
                advice="set it to auto, or name no report",
            )
        return ScanReports.read(map(Path, reports))

    def bundles(self) -> dict[str, str]:
        """The revision of each bundle of the loaded policy. Raises OpaError."""
        return read_bundles(self._evaluator)

    def catalogue(self) -> tuple[CatalogueEntry, ...]:
        """Every code that the loaded policy can find, with the level in force for this project. Raises OpaError."""
        return read_catalogue(self._evaluator, self.settings)

    def close(self) -> None:
        """Release OPA and the audit; closing twice is fine."""
        self._evaluator.close()
        self._images.close()
        close = getattr(self._recorder, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_resolver(self) -> StackResolver:
        """A resolver of its own for each call, so that none is told what a source was long ago."""
        from flowyml_policy.resolution.resolver import StackResolver

        return StackResolver(settings=self.settings, pins=self._pins, environ=self._environ)

    def _call(self, operation: Operation, environment: str | None, scan_reports: Reports = ()) -> Call:
        environment = self.settings.requested_environment(environment)
        scans = self.read_reports(scan_reports)
        return Call(operation, utc_now(), self.actor, self.settings.authority, environment, scans=scans)

    def _check(
        self, stack: object, environment: str | None, operation: Operation, scan_reports: Reports
    ) -> tuple[Decision, Result]:
        if operation not in CHECKS:
            raise UsageError(f"a check is for no operation {operation!r}", advice=f"use {' or '.join(CHECKS)}")
        call = self._call(operation, environment, scan_reports)
        candidate = read_one(
            stack, open_resolver=self._open_resolver, project=self.settings.root, environment=environment
        )
        (record,) = self._record(self._decide_batch(call, [candidate]))
        if record.decision is None:
            raise PolicyUndecided(record.result) from record.cause
        return record.decision, record.result

    def _answered(self, call: Call, candidate: StackDocument, failure: FlowymlPolicyError | None) -> DecisionRecord:
        """The recorded answer about one candidate, which is undecided where there is a `failure`."""
        content = candidate.content
        if failure is None:
            batch = self._decide_batch(call, [candidate])
        else:
            definition = content if isinstance(content, StackDefinition) else None
            batch = [results.undecided(call, failure, candidate.source, definition=definition)]
        (record,) = self._record(batch)
        return record

    def _decide_all(self, call: Call, documents: Iterator[StackDocument]) -> Iterator[Result]:
        """Results in order, each once it is recorded."""
        while batch := list(islice(documents, BATCH)):
            for record in self._record(self._decide_batch(call, batch)):
                yield record.result

    def _record(self, batch: Sequence[DecisionRecord]) -> Sequence[DecisionRecord]:
        """`batch`, once it is durable; what cannot be recorded comes out as undecided."""
        try:
            self._recorder.record(batch)
        except NotMasked as error:
            if len(batch) == 1:
                return [results.unrecorded(batch[0], error)]
            return [kept for record in batch for kept in self._record([record])]
        except AuditError as error:
            return [results.unrecorded(record, error) for record in batch]
        return batch

    def _decide_batch(self, call: Call, batch: Sequence[StackDocument]) -> list[DecisionRecord]:
        """Decide on `batch`, in its order.

        Each step is done for all of them before the next: what it needs stays in the processor's cache, which takes a
        fifth off a batch. Judging on a second thread takes off less: OPA's calls are too short for Python's lock.
        """
        prepared = self._examine(call, [self._prepare(call, document) for document in batch])
        judged = [self._judge(one.document) if isinstance(one, _Ready) else None for one in prepared]
        return [
            one if isinstance(one, DecisionRecord) else _conclude(call, one, judgement)
            for one, judgement in zip(prepared, judged, strict=True)
        ]

    def _prepare(self, call: Call, candidate: StackDocument) -> _Ready | DecisionRecord:
        """What is to be judged, or, where it does not come that far, the answer."""
        content = candidate.content
        if isinstance(content, DefinitionInvalid):
            return results.invalid(call, content, candidate.source)
        if isinstance(content, FlowymlPolicyError):
            return results.undecided(call, content, candidate.source)
        document: PolicyInput | None = None
        try:
            document = self._normaliser.policy_input(
                content,
                operation=call.operation,
                evaluated_at=call.evaluated_at,
                environment=call.environment,
                actor=call.actor,
                pinned_as=self._pins.references_to(name=content.metadata.name, definition=content.digest),
                lock=self._pins.facts(
                    reference=candidate.reference,
                    name=content.metadata.name,
                    definition=content.digest,
                    commit=content.source.commit,
                ),
                run=call.run,
            )
            self._require_supported(call.operation, document)
            self._require_pinned(content, candidate.reference, _demanding(call, document))
        except Exception as error:  # noqa: BLE001  a fault in one stack's judgement must not hide the others
            fault = as_internal(error)
            return results.undecided(call, fault, content.source, definition=content, document=document)
        return _Ready(content, document)

    def _examine(self, call: Call, prepared: Sequence[_Ready | DecisionRecord]) -> list[_Ready | DecisionRecord]:
        """`prepared` with what the images of all of them are."""
        ready = [one for one in prepared if isinstance(one, _Ready)]
        try:
            completed = iter(self._images.complete(call, [one.document for one in ready]))
        except Exception as error:  # noqa: BLE001  as above
            fault = as_internal(error)
            return [_undecided(call, one, fault) if isinstance(one, _Ready) else one for one in prepared]
        return [one._replace(document=next(completed)) if isinstance(one, _Ready) else one for one in prepared]

    def _judge(self, document: PolicyInput) -> tuple[Decision, Evaluation] | FlowymlPolicyError:
        """What OPA says, or why it says nothing."""
        try:
            return self._evaluator.judge(document)
        except Exception as error:  # noqa: BLE001  as above
            return as_internal(error)

    def _require_pinned(self, definition: StackDefinition, reference: str | None, environments: Sequence[str]) -> None:
        """Raise SourceNotPinned or LockfileError where an environment takes only what is pinned, and this is not."""
        for name in environments:
            environment = self.settings.environments.get(name)
            if environment is not None and environment.require_pinned:
                require_pinned(name, definition)
            if environment is not None and environment.require_lock:
                self._pins.require(
                    environment=name,
                    reference=reference,
                    name=definition.metadata.name,
                    definition=definition.digest,
                    commit=definition.source.commit,
                )

    def _require_supported(self, operation: str, document: PolicyInput) -> None:
        """Raise FeatureUnavailable where a setting asks, for this stack, for what this version cannot do."""
        # Of environments only those count that the settings know; labels may name any.
        asked = (operation, tuple(name for name in document.environments if name in self.settings.environments))
        if asked not in self._supported:
            require_supported(self.settings, operation, asked[1])
            self._supported.add(asked)


def _conclude(
    call: Call, ready: _Ready, judgement: tuple[Decision, Evaluation] | FlowymlPolicyError | None
) -> DecisionRecord:
    definition, document = ready
    try:
        if isinstance(judgement, tuple):
            return results.judged(call, definition, document, *judgement)
        error = judgement or InternalError("OPA was not asked")
    except Exception as fault:  # noqa: BLE001  a fault in one stack's judgement must not hide the others
        error = as_internal(fault)
    return _undecided(call, ready, error)


def _undecided(call: Call, ready: _Ready, error: FlowymlPolicyError) -> DecisionRecord:
    definition, document = ready
    return results.undecided(call, error, definition.source, definition=definition, document=document)


def _demanding(call: Call, document: PolicyInput) -> Sequence[str]:
    """The environments whose demands for pins hold: all that apply to a run, else the one that is asked for.

    So a new version, which nothing pins yet, can be registered while no environment is asked for.
    """
    if call.operation == "run":
        return document.environments
    return () if call.environment is None else (call.environment,)


def as_internal(error: Exception) -> FlowymlPolicyError:
    """`error`, or this program's own fault that it is."""
    if isinstance(error, FlowymlPolicyError):
        return error
    fault = InternalError(f"judging failed with {type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault


def _require_loadable(settings: Settings) -> None:
    """Raise FeatureUnavailable for what is asked of every stack; what environments ask is judged stack by stack."""
    for missing in unsupported(settings, "validate"):
        if missing.path[:1] != ("environments",):
            raise missing.error()


def _open_recorder(settings: Settings, environ: Mapping[str, str] | None) -> Recorder:
    """The audit; where the settings name a server for it, one that reports there too."""
    recorder = AuditRecorder(settings.audit_path)
    if settings.policy.audit.report_to is None:
        return recorder
    from flowyml_policy.audit.reporting import ReportingRecorder, open_reporter

    reporter = open_reporter(settings, environ=environ)
    return recorder if reporter is None else ReportingRecorder(recorder, reporter)


def _start(settings: Settings, rules: Sequence[Path], environ: Mapping[str, str] | None) -> Evaluator:
    """OPA with the policy that `settings` name; or, if it cannot start, the reason for ever."""
    try:
        return load_policy(settings, rules, environ=environ)
    except OpaError as error:
        return UnavailableEvaluator(error)
    except FlowymlPolicyError:
        raise
    except Exception as error:  # noqa: BLE001  whatever kept it from starting, each stack is recorded as undecided
        return UnavailableEvaluator(OpaStartFailed(f"the policy could not be loaded: {type(error).__name__}: {error}"))
