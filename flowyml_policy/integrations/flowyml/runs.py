"""Whether one run of a pipeline may start: what it would run on, what it asks for, what policy says.

Rules:
- Only our resolver turns names, addresses and environments into stacks, in its own order; what it makes of them runs.
- A live stack is judged by what it is now, or, where it was made of a definition and is unchanged, by that.
- Judged, recorded, started, in that order: PipelineStarted is on disk before the orchestrator is asked.
- An image runs by the digest that was judged.
- Whatever goes wrong here ends as PolicyDenied or PolicyUndecided, and nothing has started. Neither is an ImportError,
  which FlowyML swallows.
- `policy.enforce: observe` changes nothing about what runs: it records WouldBlock, says so, and leaves a stack that we
  cannot find to FlowyML.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from flowyml_policy.decision import results
from flowyml_policy.decision.candidates import StackDocument
from flowyml_policy.decision.engine import as_internal
from flowyml_policy.decision.results import Call
from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.definitions.schema_b import API_VERSION_B
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.decision import PolicyDenied, PolicyUndecided
from flowyml_policy.errors.definitions import StackUnbuildable
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.integrations.flowyml import guard
from flowyml_policy.integrations.flowyml.description import Asked, asked_of, by_digest
from flowyml_policy.integrations.flowyml.origins import keep_origin
from flowyml_policy.integrations.flowyml.projects import GuardedProject, current_project, tell
from flowyml_policy.integrations.flowyml.resolution import (
    ASKED,
    LIVE,
    MISREAD,
    UNRESOLVED,
    Found,
    find_stack,
    of_live,
    standing_stack,
    wanted_stack,
)
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.policy_input import RunFacts, Source
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.system.actor import current_actor

_Made = TypeVar("_Made")

_starting: ContextVar[object] = ContextVar("flowyml_policy_starting", default=None)
"""The pipeline whose run is being started by FlowyML, on the stack that was judged."""


class _What(NamedTuple):
    """What would run, to be compared with what will."""

    stack: str
    run: RunFacts


def start(original: Any, bound: inspect.BoundArguments, *, project: Path | None) -> Any:
    """`Pipeline.run`, if it may. Raises PolicyDenied, PolicyUndecided."""
    arguments = bound.arguments
    pipeline = arguments["self"]
    extra = arguments.setdefault("kwargs", {})
    extra["run_id"] = run_id = extra.get("run_id") or str(uuid4())
    with ExitStack() as held:
        with _only_policy_errors():
            of = held.enter_context(current_project(project))
            run = _Run(pipeline, run_id, of, is_dry=bool(arguments.get("dry_run")))
            run.judge(
                arguments.get("stack"),
                arguments.get("env"),
                arguments.get("orchestrator"),
                {**extra, **{name: arguments.get(name) for name in ("docker_config", "resources")}},
            )
            run.hand_over(arguments)
        token = _starting.set(pipeline)
        try:
            return original(*bound.args, **bound.kwargs)
        except Exception as error:
            with _only_policy_errors():
                run.record_their_denial(error)
            raise
        finally:
            _starting.reset(token)


def resolve(original: Any, pipeline: Any, stack: Any, env: str | None, *, project: Path | None) -> Any:
    """`Pipeline._resolve_stack_arg`: the live stack that is meant, or null where there is none, or not yet.

    What is wrong is told when the pipeline runs. Where that does not stop it, FlowyML looks for the stack itself.
    """
    from flowyml.stacks.base import Stack

    if _starting.get() is pipeline:
        return stack if isinstance(stack, Stack) else original(pipeline, stack, env)
    setattr(pipeline, ASKED, (stack, env))
    setattr(pipeline, LIVE, UNRESOLVED)
    try:
        with current_project(project) as of:
            found = find_stack(of, stack, env)
            settings = of.settings
    except Exception:  # noqa: BLE001  the run says what it was
        return None
    if not found.is_unknown:
        setattr(pipeline, LIVE, found.live)
        setattr(pipeline, MISREAD, found.live is None and bool(settings.stacks))
        return found.live
    return None if settings.policy.enforce == "block" else original(pipeline, stack, env)


def is_misread(pipeline: Any) -> bool:
    """Whether `pipeline` is being made, on the built-in stack, and FlowyML gives it the first entry of our `stacks:`.

    It takes those for its own, and would run on a stack that is only called so.
    """
    return getattr(pipeline, MISREAD, False) and not hasattr(pipeline, "_built")


def judge_direct(pipeline: Any, orchestrator: Any, given: Mapping[str, Any], *, project: Path | None) -> None:
    """Judge what is run past `Pipeline.run`, as it stands. Raises PolicyDenied, PolicyUndecided."""
    with _only_policy_errors(), current_project(project) as of:
        run = _Run(pipeline, given.get("run_id") or uuid4(), of)
        run.judge_standing(orchestrator, given)


def remember(live: Any, theirs: Any) -> None:
    """Keep what FlowyML's own definition was when it became `live`. What cannot be read is judged by what `live` is."""
    with suppress(FlowymlPolicyError):
        keep_origin(live, definition_of(theirs.model_copy(deep=True)), is_built=False)


def record_off(project: Path | None) -> None:
    """Put it into the audit that runs of this process are not judged any more. Raises AuditError, SettingsInvalid."""
    with current_project(project) as of:
        of.record("GuardOff", {"why": "disable()", "pid": os.getpid()})


class _Run:
    """One run, from the question whether it may start to the call of its orchestrator.

    The settings that it is judged by stay those of its start, wherever its program goes meanwhile.
    """

    def __init__(self, pipeline: Any, run_id: object, project: GuardedProject, *, is_dry: bool = False) -> None:
        self.pipeline = pipeline
        self.run_id = str(run_id)
        self._project = project
        self._is_dry = is_dry
        self._is_started = False
        self._orchestrator: Any = None
        self._theirs: Any = None
        self._found: Found
        self._asked: Asked
        self._judged: _What | None = None
        self._record: DecisionRecord | None = None

    def judge(
        self,
        stack: Any,
        env: str | None,
        orchestrator: Any,
        given: Mapping[str, Any],
    ) -> None:
        """Find what would run, and judge it. Raises PolicyDenied, PolicyUndecided.

        What else goes wrong is raised as it is.
        """
        self._orchestrator = orchestrator
        self._look(self.pipeline, wanted_stack(self._project, self.pipeline, stack, env), given)
        self._theirs = self._tried(_for_their_policy, self._found.document)
        self._decide()

    def judge_standing(self, orchestrator: Any, given: Mapping[str, Any]) -> None:
        """Judge the pipeline on the stack that it holds: it starts right then. Raises as `judge` does."""
        self._orchestrator = orchestrator
        self._look(self.pipeline, standing_stack(self._project, self.pipeline), given, may_build=False)
        self._decide()
        self._record_start()

    def hand_over(self, arguments: dict[str, Any]) -> None:
        """Put what was judged into the arguments of `Pipeline.run`."""
        found, asked = self._found, self._asked
        given = (arguments.get("stack"), arguments.get("env"))
        if given != (None, None):  # it stays for later runs
            setattr(self.pipeline, ASKED, given)
            setattr(self.pipeline, LIVE, UNRESOLVED if found.is_unknown else found.live)
        if found.live is not None:
            arguments["stack"] = found.live
        if asked.docker is not None:
            arguments["docker_config"] = asked.docker
        if asked.resources is not None:
            arguments["resources"] = asked.resources
        arguments["kwargs"].update(asked.options)
        if not found.is_unknown:
            self.pipeline._stack_definition = self._theirs  # noqa: SLF001  upstream judges it too
        arguments["orchestrator"] = _Gate(self)

    def run_pipeline(self, pipeline: Any, given: dict[str, Any]) -> Any:
        """What the orchestrator does, if what reaches it is what was judged, or may run too."""
        from flowyml.core.orchestrator import LocalOrchestrator

        live = getattr(pipeline, "stack", None)
        with _only_policy_errors():
            there = of_live(self._project, live, self._found.environment)
            self._look(pipeline, there, given)
            if not self._project.is_off and _What(there.facts, self._asked.run) != self._judged:
                self._decide()
                given.update(self._asked.options, docker_config=self._asked.docker)
            self._record_start()
        orchestrator = getattr(live, "orchestrator", None) if self._orchestrator is None else self._orchestrator
        orchestrator = LocalOrchestrator() if orchestrator is None else orchestrator
        with guard.approved(pipeline):
            return orchestrator.run_pipeline(pipeline, **given)

    def record_their_denial(self, error: Exception) -> None:
        """Put it into the audit where `error` is FlowyML's own policy, which kept the run from starting."""
        theirs = getattr(sys.modules.get("flowyml.stacks.enterprise.policy"), "PolicyViolationError", ())
        if isinstance(error, theirs) and not self._is_started and not self._project.is_off:
            said: dict[str, Json] = {"outcome": "deny", "dry_run": self._is_dry, "flowyml": str(error)}
            self._event("PipelineBlocked", said)

    def _look(self, pipeline: Any, found: Found, given: Mapping[str, Any], *, may_build: bool = True) -> None:
        """Take `found` for the stack of this run, and with it what the run asks for."""
        self._found = found
        asked = self._tried(asked_of, pipeline, found, self._orchestrator, given, may_build=may_build)
        if asked is None:
            nothing = RunFacts(pipeline=str(getattr(pipeline, "name", "")))
            asked = Asked(nothing, given.get("docker_config"), given.get("resources"), {})
        self._asked = asked

    def _tried(self, made: Callable[..., _Made], *given: Any, **named: Any) -> _Made | None:
        """What `made` makes of `given`; where it cannot, the run has no decision, and that is recorded as such."""
        try:
            return made(*given, **named)
        except Exception as error:  # noqa: BLE001  whatever the objects of a program raise
            self._found.failure = self._found.failure or as_internal(error)
            return None

    def _record_start(self) -> None:
        """Put it into the audit that the run starts."""
        if not self._project.is_off:
            self._event("PipelineStarted", {"orchestrator": self._asked.run.orchestrator})
        self._is_started = True

    def _decide(self) -> None:
        found, project = self._found, self._project
        if project.is_off:
            project.tell_off()
            return
        record = project.judge(found.document, self._asked.run, found.environment, found.failure)
        self._record = record
        if not record.result.allowed:
            self._refuse(record)
        self._asked = by_digest(self._asked, record.result.judged_images)
        self._judged = _What(found.facts, self._asked.run)

    def _refuse(self, record: DecisionRecord) -> None:
        """Raise what keeps the run from starting, or record that it would have been kept."""
        result = record.result
        mode = self._project.enforcement(result)
        if mode == "none":
            return
        error = (
            PolicyUndecided(result)
            if record.decision is None or result.outcome == "error"
            else PolicyDenied(record.decision, result)
        )
        said: dict[str, Json] = {"outcome": result.outcome, "dry_run": self._is_dry}
        if result.error is not None:
            said["error"] = result.error.code
        said["denials"] = sorted({finding.code for finding in result.denials})
        if mode == "observe":
            self._event("WouldBlock", said)
            tell(f"observe: the run of {self.pipeline.name!r} goes on, and block would stop it: {error}")
            return
        self._event("PipelineBlocked", said)
        raise error from record.cause

    def _event(self, kind: str, payload: Mapping[str, Json]) -> None:
        result = None if self._record is None else self._record.result
        self._project.record(
            kind,
            {"run_id": self.run_id, "pipeline": str(getattr(self.pipeline, "name", "")), **payload},
            stack_name=None if result is None else result.stack.name,
            decision_id=None if result is None else result.decision_id,
        )


class _Gate:
    """Stands in for the orchestrator that FlowyML would ask."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def run_pipeline(self, pipeline: Any, **given: Any) -> Any:
        return self._run.run_pipeline(pipeline, given)


def _for_their_policy(document: StackDocument) -> Any:
    """The definition that FlowyML's own policy looks at as well: one that is written in its own schema.

    Raises StackUnbuildable where FlowyML does not take it.
    """
    definition = document.content
    if not isinstance(definition, StackDefinition) or definition.written_schema != API_VERSION_B:
        return None
    from flowyml.stacks.enterprise.models import StackDefinition as Theirs

    try:
        return Theirs.model_validate(definition.document)
    except ValidationError as error:
        told = "; ".join(f"{dotted(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False))
        raise StackUnbuildable(
            f"FlowyML does not take the definition of {definition.metadata.name!r}, so that its own policy cannot "
            f"judge it: {told}",
            advice="write it as FlowyML's schema says, or as flowyml/v1, which FlowyML's policy is not asked about",
        ) from error


@contextmanager
def _only_policy_errors() -> Iterator[None]:
    """Raise whatever comes out of the block as PolicyUndecided, unless policy itself said no."""
    try:
        yield
    except (PolicyDenied, PolicyUndecided):
        raise
    except Exception as error:
        fault = as_internal(error)
        call = Call("run", utc_now(), current_actor(), "project")
        source = Source(kind="object", uri="object:run")
        record = results.unrecorded(results.undecided(call, fault, source), fault)
        raise PolicyUndecided(record.result) from error
