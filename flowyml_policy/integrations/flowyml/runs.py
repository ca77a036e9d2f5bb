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

import copy
import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

from flowyml_policy.decision import results
from flowyml_policy.decision.candidates import StackDocument, read_one
from flowyml_policy.decision.engine import as_internal
from flowyml_policy.decision.results import Call
from flowyml_policy.definitions.builtin import LOCAL_STACK
from flowyml_policy.definitions.objects import component_facts, definition_of
from flowyml_policy.definitions.schema_b import API_VERSION_B
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.decision import PolicyDenied, PolicyUndecided
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.integrations.flowyml import guard
from flowyml_policy.integrations.flowyml.projects import GuardedProject, current_project, tell
from flowyml_policy.integrations.flowyml.stacks import (
    facts_of,
    keep_origin,
    origin_of,
    require_buildable,
    to_stack,
)
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.policy_input import RunFacts, Source
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.resolution.resolver import StackResolver
from flowyml_policy.system.actor import current_actor

_LIVE: Final = "_policy_live"
_ASKED: Final = "_policy_asked"
"""What the guard keeps on a pipeline: the stack that it put there, and what was asked for when it was made."""

_UNRESOLVED: Final = "unresolved"
"""What stands for the stack of a pipeline that could not be found when it was made."""

_BUILT_FROM: Final = frozenset({"base_image", "dockerfile"})
_NOTHING: Final[tuple[Json, ...]] = (None, "", [], {})

_starting: ContextVar[object] = ContextVar("flowyml_policy_starting", default=None)
"""The pipeline whose run is being started by FlowyML, on the stack that was judged."""


@dataclass
class _Found:
    """What a run would run on. `live` is null for what FlowyML runs on without a stack; `failure` is why nothing may.

    `is_unknown`: nobody knows what was meant, so that only FlowyML itself could go on. `facts` are the digest of what
    `live` is. `is_built`: it was built here, and says what the run is to be told.
    """

    document: StackDocument
    live: Any = None
    environment: str | None = None
    failure: FlowymlPolicyError | None = None
    is_unknown: bool = False
    facts: str = ""
    is_built: bool = False


class _Asked(NamedTuple):
    """What a run asks for; all but `run` as FlowyML takes it."""

    run: RunFacts
    docker: Any
    resources: Any


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
    run = _Run(pipeline, run_id, project, is_dry=bool(arguments.get("dry_run")))
    with _only_policy_errors():
        run.judge(
            arguments.get("stack"),
            arguments.get("env"),
            arguments.get("orchestrator"),
            arguments.get("docker_config"),
            arguments.get("resources"),
        )
        run.hand_over(arguments)
    token = _starting.set(pipeline)
    try:
        return original(*bound.args, **bound.kwargs)
    finally:
        _starting.reset(token)


def resolve(original: Any, pipeline: Any, stack: Any, env: str | None, *, project: Path | None) -> Any:
    """`Pipeline._resolve_stack_arg`: the live stack that is meant, or null where there is none, or not yet.

    What is wrong is told when the pipeline runs. Where that does not stop it, FlowyML looks for the stack itself.
    """
    from flowyml.stacks.base import Stack

    if _starting.get() is pipeline:
        return stack if isinstance(stack, Stack) else original(pipeline, stack, env)
    setattr(pipeline, _ASKED, (stack, env))
    setattr(pipeline, _LIVE, _UNRESOLVED)
    try:
        with current_project(project) as of:
            found = _find(of, stack, env)
            is_blocked = of.settings.policy.enforce == "block"
    except Exception:  # noqa: BLE001  the run says what it was
        return None
    if not found.is_unknown:
        setattr(pipeline, _LIVE, found.live)
        return found.live
    return None if is_blocked else original(pipeline, stack, env)


def judge_direct(pipeline: Any, orchestrator: Any, given: Mapping[str, Any], *, project: Path | None) -> None:
    """Judge what is run past `Pipeline.run`, as it stands. Raises PolicyDenied, PolicyUndecided."""
    run = _Run(pipeline, str(given.get("run_id") or uuid4()), project)
    with _only_policy_errors():
        run.judge(None, None, orchestrator, given.get("docker_config"), given.get("resources"), is_started=True)


def remember(live: Any, theirs: Any) -> None:
    """Keep what FlowyML's own definition was when it became `live`. What cannot be read is judged by what `live` is."""
    with suppress(FlowymlPolicyError):
        keep_origin(live, definition_of(theirs.model_copy(deep=True)), is_built=False)


def record_off(project: Path | None) -> None:
    """Put it into the audit that runs of this process are not judged any more. Raises AuditError, SettingsInvalid."""
    with current_project(project) as of:
        of.record("GuardOff", {"why": "disable()", "pid": os.getpid()})


class _Run:
    """One run, from the question whether it may start to the orchestrator's door."""

    def __init__(self, pipeline: Any, run_id: str, project: Path | None, *, is_dry: bool = False) -> None:
        self.pipeline = pipeline
        self.run_id = run_id
        self._project = project
        self._is_dry = is_dry
        self._orchestrator: Any = None
        self._found: _Found
        self._asked: _Asked
        self._judged: _What | None = None
        self._record: DecisionRecord | None = None

    def judge(
        self,
        stack: Any,
        env: str | None,
        orchestrator: Any,
        docker: Any,
        resources: Any,
        *,
        is_started: bool = False,
    ) -> None:
        """Find what would run, and judge it; `is_started`: it starts right then. Raises PolicyDenied, PolicyUndecided.

        What else goes wrong is raised as it is.
        """
        self._orchestrator = orchestrator
        with current_project(self._project) as project:
            self._found = _wanted(project, self.pipeline, stack, env)
            self._asked = _asked(self.pipeline, self._found, orchestrator, docker, resources)
            self._decide(project)
            if is_started:
                self._record_start(project)

    def hand_over(self, arguments: dict[str, Any]) -> None:
        """Put what was judged into the arguments of `Pipeline.run`."""
        found, asked = self._found, self._asked
        if found.live is not None:
            arguments["stack"] = found.live
        if asked.docker is not None:
            arguments["docker_config"] = asked.docker
        if asked.resources is not None:
            arguments["resources"] = asked.resources
        if not found.is_unknown:
            self.pipeline._stack_definition = _for_their_policy(found.document)  # noqa: SLF001  upstream judges it too
        arguments["orchestrator"] = _Gate(self)

    def run_pipeline(self, pipeline: Any, given: dict[str, Any]) -> Any:
        """What the orchestrator does, if what is at its door is what was judged, or may run too."""
        from flowyml.core.orchestrator import LocalOrchestrator

        live = getattr(pipeline, "stack", None)
        with _only_policy_errors(), current_project(self._project) as project:
            there = _of_live(project, live, self._found.environment)
            asked = _asked(pipeline, there, self._orchestrator, given.get("docker_config"), given.get("resources"))
            if not project.is_off and _What(there.facts, asked.run) != self._judged:
                self._found, self._asked = there, asked
                self._decide(project)
                given["docker_config"] = self._asked.docker
            self._record_start(project)
        orchestrator = getattr(live, "orchestrator", None) if self._orchestrator is None else self._orchestrator
        orchestrator = LocalOrchestrator() if orchestrator is None else orchestrator
        with guard.approved(pipeline):
            return orchestrator.run_pipeline(pipeline, **given)

    def _record_start(self, project: GuardedProject) -> None:
        """Put it into the audit that the run starts."""
        if not project.is_off:
            self._event(project, "PipelineStarted", {"orchestrator": self._asked.run.orchestrator})

    def _decide(self, project: GuardedProject) -> None:
        found = self._found
        if project.is_off:
            project.tell_off()
            return
        try:
            record = project.engine.judge_run(
                found.document, self._asked.run, environment=found.environment, failure=found.failure
            )
        except EnvironmentUnknown as error:
            record = project.engine.judge_run(found.document, self._asked.run, failure=found.failure or error)
        self._record = record
        if not record.result.allowed:
            self._refuse(project, record)
        self._asked = _by_digest(self._asked, record.result.judged_images)
        self._judged = _What(found.facts, self._asked.run)

    def _refuse(self, project: GuardedProject, record: DecisionRecord) -> None:
        """Raise what keeps the run from starting, or record that it would have been kept."""
        result, settings = record.result, project.settings
        is_placed = result.outcome == "deny" or bool(result.environments)
        mode = settings.enforcement(result.environments if is_placed else settings.environments)
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
            self._event(project, "WouldBlock", said)
            tell(f"observe: the run of {self.pipeline.name!r} goes on, and block would stop it: {error}")
            return
        self._event(project, "PipelineBlocked", said)
        raise error from record.cause

    def _event(self, project: GuardedProject, kind: str, payload: Mapping[str, Json]) -> None:
        result = None if self._record is None else self._record.result
        project.record(
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


def _wanted(project: GuardedProject, pipeline: Any, stack: Any, env: str | None) -> _Found:
    """What a run means that was given `stack` and `env`: those, else what the pipeline was made for, else the chain."""
    if stack is not None or env is not None:
        setattr(pipeline, _ASKED, (stack, env))
        return _find(project, stack, env)
    asked = getattr(pipeline, _ASKED, (None, None))
    live, ours = getattr(pipeline, "stack", None), getattr(pipeline, _LIVE, None)
    if ours == _UNRESOLVED:
        return _find(project, *asked)
    if live is not None and (live is not ours or asked != (None, None)):  # set by hand, or what it was made for
        return _of_live(project, _activated(pipeline, asked) or live, asked[1])
    found = _find(project, *asked)
    activated = _activated(pipeline, asked) if found.live is None and found.failure is None else None
    return found if activated is None else _of_live(project, activated, None)


def _activated(pipeline: Any, asked: tuple[Any, str | None]) -> Any:
    """The stack that a program made FlowyML's active one, which counts where a pipeline was made for none."""
    from flowyml.stacks.registry import get_active_stack

    if asked != (None, None) or getattr(pipeline, "_stack_locked", False):
        return None
    return get_active_stack()


def _find(project: GuardedProject, stack: Any, env: str | None) -> _Found:
    """The stack that is meant by `stack`, for environment `env`, or by the chain, and made live."""
    from flowyml.stacks.base import Stack

    if isinstance(stack, Stack):
        return _of_live(project, stack, env)
    found = _Found(_unknown(stack), environment=env)
    try:
        found.document = _document(project, stack, env)
        definition = found.document.content
        if not isinstance(definition, StackDefinition):
            found.is_unknown = True
        elif definition.source.kind != "builtin" or stack is not None or env is not None:
            found.live = to_stack(definition, run_locally=project.settings.policy.run_locally)
            found.facts = keep_origin(found.live, definition, found.document.reference)
            found.is_built = True
    except Exception as error:  # noqa: BLE001  whatever FlowyML raises, too: nothing runs where a stack cannot be made
        found.failure = as_internal(error)
        found.is_unknown = True
    return found


def _document(project: GuardedProject, stack: Any, env: str | None) -> StackDocument:
    """The one document that is meant. Raises UsageError, EnvironmentUnknown."""
    if not (stack is None or isinstance(stack, str | Path | StackDefinition)):
        stack = definition_of(copy.deepcopy(stack))  # it may change, and what was judged must not
    settings = project.settings
    return read_one(
        stack,
        open_resolver=lambda: StackResolver(settings=settings),
        project=settings.root,
        environment=settings.requested_environment(env),
    )


def _of_live(project: GuardedProject, live: Any, env: str | None) -> _Found:
    """A live stack: what it was made of, if it still is that, else what it is."""
    found = _Found(_unknown(live), live, env, facts=facts_of(live))
    try:
        origin = origin_of(live, found.facts)
        if live is None:
            found.document = StackDocument(LOCAL_STACK.source, LOCAL_STACK)
        elif origin is not None:
            found.document = StackDocument(origin.definition.source, origin.definition, origin.reference)
            found.is_built = origin.is_built
            require_buildable(origin.definition, project.settings.policy.run_locally)
        else:
            definition = definition_of(live)
            found.document = StackDocument(definition.source, definition)
    except FlowymlPolicyError as error:
        found.failure = error
    return found


def _unknown(stack: Any) -> StackDocument:
    """What stands for a stack that was not found: what it was called by."""
    kind = type(stack)
    source = Source(kind="object", uri=stack if isinstance(stack, str) else f"object:{kind.__module__}.{kind.__name__}")
    return StackDocument(source, UsageError("the stack was not found"))


def _asked(pipeline: Any, found: _Found, orchestrator: Any, docker: Any, resources: Any) -> _Asked:
    """What a run asks for, with what hangs on a stack that was made of a definition where it says nothing itself."""
    from flowyml.core.orchestrator import LocalOrchestrator

    live = found.live
    if found.is_built:
        docker = getattr(live, "docker_config", None) if docker is None else docker
        resources = getattr(live, "resources", None) if resources is None else resources
    docker = _coerced(pipeline, "_coerce_docker_config", docker)
    resources = _coerced(pipeline, "_coerce_resource_config", resources)
    runs_by = getattr(live, "orchestrator", None) if orchestrator is None else orchestrator
    kind = LocalOrchestrator if runs_by is None else type(runs_by)
    said = _said(docker)
    if said is not None and said.get("image"):  # nothing is built then
        said = {key: value for key, value in said.items() if key not in _BUILT_FROM}
    packages = getattr(docker, "requirements", None) or ()
    run = RunFacts(
        pipeline=str(getattr(pipeline, "name", "")),
        orchestrator=f"{kind.__module__}.{kind.__qualname__}",
        docker_config=said,
        resources=_said(resources),
        packages=tuple(map(str, packages)),
        orchestrator_config=None if orchestrator is None else component_facts(orchestrator),
    )
    return _Asked(run, docker, resources)


def _coerced(pipeline: Any, name: str, value: Any) -> Any:
    """`value` as FlowyML would make it, and nobody else's to change."""
    if value is None:
        return None
    coerce = getattr(pipeline, name, None)
    made = value if coerce is None else coerce(value)
    return replace(made) if is_dataclass(made) and not isinstance(made, type) else made


def _said(part: Any) -> dict[str, Json] | None:
    """The keys of a configuration that say something."""
    if part is None:
        return None
    said = component_facts(part) or {}
    return {key: value for key, value in said.items() if key != "class" and value not in _NOTHING}


def _by_digest(asked: _Asked, judged: Mapping[str, str]) -> _Asked:
    """`asked` with its image named by the digest that was judged, where it has one."""
    docker, said = asked.docker, asked.run.docker_config
    exact = judged.get(getattr(docker, "image", None) or "")
    if exact is None or said is None or not is_dataclass(docker) or isinstance(docker, type):
        return asked
    run = asked.run.model_copy(update={"docker_config": {**said, "image": exact}})
    return asked._replace(run=run, docker=replace(docker, image=exact))


def _for_their_policy(document: StackDocument) -> Any:
    """The definition that FlowyML's own policy looks at as well: one that is written in its own schema."""
    definition = document.content
    if not isinstance(definition, StackDefinition) or definition.written_schema != API_VERSION_B:
        return None
    from flowyml.stacks.enterprise.models import StackDefinition as Theirs

    return Theirs.model_validate(definition.document)


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
