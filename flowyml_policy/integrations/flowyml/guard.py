"""The guard: no pipeline of FlowyML starts before policy allowed it.

Rules:
- Installing hooks in is all that an import pays for: no settings are read and no OPA is loaded before the first run.
- Every way to start a pipeline leads through `Pipeline.run`; there the decision is made, before anything else happens,
  and what reaches the orchestrator is compared with what was judged.
- A second layer stands before what runs steps without `Pipeline.run`: the local orchestrator, the step runner, the
  orchestrators of plugins. It lets through what the first has judged, once.
- A seam that this FlowyML lacks means that no pipeline runs; where not even that can be arranged, nothing is imported.
- Hooks are installed once, however often that is asked for. `disable` takes them out and says so in the audit.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Final

PIPELINES: Final = "flowyml.core.pipeline"
ORCHESTRATORS: Final = "flowyml.core.orchestrator"
RETRIES: Final = "flowyml.core.retry_policy"
STEP_RUNNER: Final = "flowyml.core.step_runner"
PLUGINS: Final = "flowyml.plugins"
PLUGIN_STACK: Final = "flowyml.plugins.stack"
DEFINITIONS: Final = "flowyml.stacks.enterprise.models"

RUN_PARAMETERS: Final = ("stack", "env", "orchestrator", "resources", "docker_config", "kwargs")
"""What `Pipeline.run` must take for the guard to tell what will run."""

DIRECT_PARAMETERS: Final = ("run_id", "resources", "docker_config", "inputs", "context")
"""What `LocalOrchestrator.run_pipeline` takes after the pipeline, in its order; its own signature does not say."""

STEP_RUNNER_PROGRAM: Final = f"from {STEP_RUNNER} import run_steps_from_env\nrun_steps_from_env()\n"
"""What `python -m flowyml.core.step_runner` runs here: the module that was hooked, and no second copy of it."""

_approved: ContextVar[list[object]] = ContextVar("flowyml_policy_approved")
"""The pipeline that was judged and is about to be run by an orchestrator; empty once it was let through, or ended."""


class _Guard:
    """What is hooked in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_on = True
        self.project: Path | None = None
        self.replaced: dict[tuple[int, str], tuple[Any, str, Any, Any]] = {}
        self.hooked: set[str] = set()
        self.missing: str | None = None

    def renew_lock(self) -> None:
        """In the child of a fork, where a thread that held it is gone."""
        self.lock = threading.RLock()


_guard = _Guard()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_guard.renew_lock)


def install() -> None:
    """Hook what is loaded of FlowyML; what is loaded later is hooked then. Safe to call again."""
    with _guard.lock:
        for name in SEAMS:
            module = sys.modules.get(name)
            if module is not None and _is_complete(module):
                hook(module)


def hook(module: ModuleType, *, is_new: bool = False) -> None:
    """Hook a module of FlowyML, unless it is, or the guard is disabled.

    `is_new`: its code has just run, and all that it holds is new, also where a module of its name was hooked before
    (`importlib.reload`, a second import). Raises AttributeError where not even runs can be kept from starting.
    """
    with _guard.lock:
        if not _guard.is_on or (module.__name__ in _guard.hooked and not is_new):
            return
        for key, (owner, *_) in list(_guard.replaced.items()):
            if owner is module:
                del _guard.replaced[key]
        _guard.hooked.discard(module.__name__)
        SEAMS[module.__name__](module)
        _guard.hooked.add(module.__name__)


def enable(project: str | Path = ".") -> None:
    """Guard every run of this process by the settings of `project`; `.` is the project around the working directory.

    It is what importing FlowyML does beside this package. Raises GuardInactive where FlowyML cannot be guarded.
    """
    folder = None if str(project) == "." else Path(project).absolute()
    _load_seams()  # not under the lock: a thread that imports one of them waits for it, to hook it
    with _guard.lock:
        _guard.is_on = True
        _guard.project = folder
        install()
    require_guard()


def _load_seams() -> None:
    """Import all that is hooked, since nothing hooks it later where no entry point of ours was loaded."""
    from importlib import import_module

    from flowyml_policy.errors.decision import GuardInactive

    try:
        for name in SEAMS:
            import_module(name)
    except ImportError as error:
        raise GuardInactive(f"runs of FlowyML cannot be guarded: {error}") from error


def disable() -> None:
    """Let runs of this process start unjudged, until `enable`. Recorded in the audit first.

    Raises AuditError, and SettingsInvalid where it cannot be told which audit; the guard then stays.
    """
    from flowyml_policy.integrations.flowyml.runs import record_off

    with _guard.lock:
        if not _guard.is_on:
            return
        record_off(_guard.project)
        _guard.is_on = False
        for owner, name, original, replacement in reversed(list(_guard.replaced.values())):
            if inspect.getattr_static(owner, name, None) is replacement:
                setattr(owner, name, original)
        _guard.replaced.clear()
        _guard.hooked.clear()


def require_guard() -> None:
    """Raise GuardInactive unless no run of this process can start unjudged."""
    from flowyml_policy.errors.decision import GuardInactive

    why = why_inactive()
    if why is not None:
        advice = None if _guard.is_on else "call enable() to guard them again"
        raise GuardInactive(f"runs of FlowyML are not guarded in this process: {why}", advice=advice)


def why_inactive() -> str | None:
    """What keeps the guard from judging runs; null where it does."""
    with _guard.lock:
        if not _guard.is_on:
            return "disable() was called"
        if _guard.missing is not None:
            return f"this FlowyML lacks {_guard.missing}, so that no pipeline runs"
        pipeline = getattr(sys.modules.get(PIPELINES), "Pipeline", None)
        if (id(pipeline), "run") not in _guard.replaced:
            return "FlowyML is not loaded, or was loaded without flowyml-policy's entry point"
        changed = [
            f"{owner.__name__}.{name}"
            for owner, name, _, replacement in _guard.replaced.values()
            if inspect.getattr_static(owner, name, None) is not replacement
        ]
        return f"something replaced {', '.join(changed)}" if changed else None


def take_approval(pipeline: object) -> bool:
    """Whether `pipeline` was judged and is about to run; asked again, it is not."""
    given = _approved.get([])
    if not given or given[0] is not pipeline:
        return False
    given.clear()
    return True


@contextmanager
def approved(pipeline: object | None) -> Iterator[None]:
    """Let `pipeline` through the second layer once; null lets nothing through."""
    given = [] if pipeline is None else [pipeline]
    token = _approved.set(given)
    try:
        yield
    finally:
        given.clear()  # threads and tasks that were started here have it, too
        _approved.reset(token)


def _is_complete(module: ModuleType) -> bool:
    """Whether `module` holds what is to be hooked; FlowyML asks for its bridges in the midst of an import."""
    return module.__spec__ is None or not getattr(module.__spec__, "_initializing", False)


def _replace(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    """Put what `made` makes of `owner.name` in its place, once. Raises AttributeError where there is none."""
    key = (id(owner), name)
    if key in _guard.replaced:
        return
    original = inspect.getattr_static(owner, name)
    replacement = made(original)
    setattr(owner, name, replacement)
    _guard.replaced[key] = (owner, name, original, replacement)


def _runs() -> Any:
    """What judges runs, loaded by the first. A broken package is no ImportError here, since FlowyML swallows those."""
    try:
        from flowyml_policy.integrations.flowyml import runs
    except ImportError as error:
        raise RuntimeError(f"flowyml-policy cannot judge this run, and so nothing runs: {error}") from error
    return runs


def _hook_pipelines(module: ModuleType) -> None:
    """Hook the method that every run goes through, and where names of stacks and environments become stacks."""
    pipeline = module.Pipeline
    missing = _missing(pipeline)
    _guard.missing = missing
    if missing is not None:
        _replace(pipeline, "run", _blocking(missing))
        return
    _replace(pipeline, "_resolve_stack_arg", _resolving)
    _replace(pipeline, "_apply_stack", _applying)
    _replace(pipeline, "run", _running)


def _missing(pipeline: Any) -> str | None:
    """What the guard needs of `Pipeline` and this one lacks."""
    source = inspect.signature(pipeline.run).parameters
    for parameter in RUN_PARAMETERS:
        if parameter not in source:
            return f"the parameter {parameter!r} of Pipeline.run"
    for name in ("_resolve_stack_arg", "_apply_stack", "_coerce_docker_config", "_coerce_resource_config"):
        if not callable(getattr(pipeline, name, None)):
            return f"Pipeline.{name}"
    held = inspect.unwrap(pipeline.__init__).__code__.co_names
    lost = [name for name in ("stack", "_stack_locked", "_stack_definition", "_env") if name not in held]
    return f"Pipeline's attribute {lost[0]!r}" if lost else None


def _blocking(missing: str) -> Callable[[Any], Any]:
    def made(original: Any) -> Any:
        @wraps(original)
        def run(self: Any, *_: Any, **__: Any) -> Any:
            from flowyml_policy.errors.decision import GuardInactive

            raise GuardInactive(
                f"pipeline {getattr(self, 'name', '?')!r} cannot be judged, and so does not run: this FlowyML lacks "
                f"{missing}",
                advice="install a FlowyML that this version fits: pip install 'flowyml-policy[flowyml]'",
            )

        return run

    return made


def _running(original: Any) -> Any:
    signature = inspect.signature(original)

    @wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _guard.is_on:
            return original(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        return _runs().start(original, bound, project=_guard.project)

    return run


def _resolving(original: Any) -> Any:
    @wraps(original)
    def resolve(self: Any, stack: Any = None, env: str | None = None) -> Any:
        if not _guard.is_on:
            return original(self, stack, env)
        install()  # what was half imported when FlowyML asked for its bridges
        return _runs().resolve(original, self, stack, env, project=_guard.project)

    return resolve


def _applying(original: Any) -> Any:
    @wraps(original)
    def apply(self: Any, stack: Any, *args: Any, **kwargs: Any) -> Any:
        if _guard.is_on and _runs().is_misread(self):
            return None
        return original(self, stack, *args, **kwargs)

    return apply


def _hook_orchestrators(module: ModuleType) -> None:
    def judging(original: Any) -> Any:
        @wraps(original)
        def run_pipeline(self: Any, pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            if _guard.is_on and not take_approval(pipeline):
                given = {**dict(zip(DIRECT_PARAMETERS, args, strict=False)), **kwargs}
                _runs().judge_direct(pipeline, self, given, project=_guard.project)
            with approved(None):
                return original(self, pipeline, *args, **kwargs)

        return run_pipeline

    _replace(module.LocalOrchestrator, "run_pipeline", judging)


def _hook_retries(module: ModuleType) -> None:
    """Nothing that policy said is asked again: a sub-pipeline's denial is no failure of its orchestrator."""

    def sparing(original: Any) -> Any:
        @wraps(original)
        def to_retry_config(self: Any) -> Any:
            from flowyml_policy.errors.root import FlowymlPolicyError

            config = original(self)
            config.not_retry_on = [*config.not_retry_on, FlowymlPolicyError]
            return config

        return to_retry_config

    _replace(module.OrchestratorRetryPolicy, "to_retry_config", sparing)


def _hook_step_runner(module: ModuleType) -> None:
    def judging(original: Any) -> Any:
        @wraps(original)
        def run(self: Any) -> Any:
            if not _guard.is_on:
                return original(self)
            pipeline = self.discover_pipeline()
            _runs().judge_direct(pipeline, self, {"run_id": self.run_id}, project=_guard.project)
            self.discover_pipeline = lambda: pipeline  # what was judged is what runs
            try:
                return original(self)
            finally:
                del self.discover_pipeline

        return run

    _replace(module.StepRunner, "run", judging)


def _hook_plugins(module: ModuleType) -> None:
    def judging(original: Any) -> Any:
        @wraps(original)
        def run_pipeline(pipeline: Any, run_id: str, *args: Any, **kwargs: Any) -> Any:
            if _guard.is_on:
                given = {**kwargs, "run_id": run_id}
                _runs().judge_direct(pipeline, module.get_orchestrator(), given, project=_guard.project)
            return original(pipeline, run_id, *args, **kwargs)

        return run_pipeline

    _replace(module, "run_pipeline", judging)
    package = sys.modules.get(PLUGINS)
    if package is not None and hasattr(package, "run_pipeline"):
        _replace(package, "run_pipeline", lambda _: module.run_pipeline)


def _hook_definitions(module: ModuleType) -> None:
    def remembering(original: Any) -> Any:
        @wraps(original)
        def to_stack(self: Any) -> Any:
            live = original(self)
            if _guard.is_on:
                _runs().remember(live, self)
            return live

        return to_stack

    _replace(module.StackDefinition, "to_stack", remembering)


SEAMS: Final[dict[str, Callable[[ModuleType], None]]] = {
    PIPELINES: _hook_pipelines,
    ORCHESTRATORS: _hook_orchestrators,
    RETRIES: _hook_retries,
    STEP_RUNNER: _hook_step_runner,
    PLUGIN_STACK: _hook_plugins,
    DEFINITIONS: _hook_definitions,
}
"""Modules of FlowyML and what is hooked in each."""
