"""Which stack a run would be on: what names it, the definition that is meant, and FlowyML's stack of that."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowyml_policy.decision.candidates import StackDocument, read_one
from flowyml_policy.decision.engine import as_internal
from flowyml_policy.definitions.builtin import LOCAL_STACK
from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.integrations.flowyml.origins import facts_of, name_origin, origin_of
from flowyml_policy.integrations.flowyml.projects import GuardedProject, tell
from flowyml_policy.integrations.flowyml.stacks import make_stack, require_buildable
from flowyml_policy.records.policy_input import Source
from flowyml_policy.resolution.resolver import StackResolver

LIVE: Final = "_policy_live"
ASKED: Final = "_policy_asked"
MISREAD: Final = "_policy_misread"
"""What the guard keeps on a pipeline: the stack that it put there, what was asked for when it was made, and whether
FlowyML's own reading of flowyml.yaml finds another stack."""

UNRESOLVED: Final = "unresolved"
"""What stands for the stack of a pipeline that could not be found when it was made."""


@dataclass
class Found:
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


def wanted_stack(project: GuardedProject, pipeline: Any, stack: Any, env: str | None) -> Found:
    """What a run means that was given `stack` and `env`: those, else what the pipeline was made for, else the chain."""
    if stack is not None or env is not None:
        return find_stack(project, stack, env)
    asked = getattr(pipeline, ASKED, (None, None))
    live, ours = getattr(pipeline, "stack", None), getattr(pipeline, LIVE, None)
    if ours == UNRESOLVED:
        return find_stack(project, *asked)
    if live is not None and (live is not ours or asked != (None, None)):  # set by hand, or what it was made for
        return of_live(project, _activated(pipeline, asked) or live, asked[1])
    found = find_stack(project, *asked)
    if found.live is not None or found.is_unknown:
        return found
    stays = _activated(pipeline, asked) or live  # what it was made with, though nothing means that any more
    return found if stays is None else of_live(project, stays, None)


def standing_stack(project: GuardedProject, pipeline: Any) -> Found:
    """What a pipeline runs on that is given to an orchestrator as it is: its own stack, if that could be found."""
    asked = getattr(pipeline, ASKED, (None, None))
    if getattr(pipeline, LIVE, None) == UNRESOLVED:
        found = find_stack(project, *asked)
        if found.is_unknown:
            return found
    return of_live(project, getattr(pipeline, "stack", None), asked[1])


def _activated(pipeline: Any, asked: tuple[Any, str | None]) -> Any:
    """The stack that a program made FlowyML's active one, which counts where a pipeline was made for none."""
    from flowyml.stacks.registry import get_active_stack

    if asked != (None, None) or getattr(pipeline, "_stack_locked", False):
        return None
    return get_active_stack()


def find_stack(project: GuardedProject, stack: Any, env: str | None) -> Found:
    """The stack that is meant by `stack`, for environment `env`, or by the chain, and made live."""
    from flowyml.stacks.base import Stack

    if isinstance(stack, Stack):
        return of_live(project, stack, env)
    found = Found(_unknown(stack), environment=env)
    try:
        found.document = _document(project, stack, env)
        definition = found.document.content
        if not isinstance(definition, StackDefinition):
            found.is_unknown = True
        elif definition.source.kind != "builtin" or stack is not None or env is not None:
            found.live = _made(definition, project.settings.policy.run_locally)
            found.facts = name_origin(found.live, found.document.reference)
            found.is_built = True
    except Exception as error:  # noqa: BLE001  whatever FlowyML raises, too: nothing runs where a stack cannot be made
        found.failure = as_internal(error)
        found.is_unknown = True
    return found


def _made(definition: StackDefinition, run_locally: Collection[str]) -> Any:
    """FlowyML's stack of `definition`. What has no place there is told, also where warnings are errors."""
    live, told = make_stack(definition, run_locally)
    if told is not None:
        try:
            warnings.warn(told, stacklevel=2)
        except UserWarning:
            tell(told)
    return live


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


def of_live(project: GuardedProject, live: Any, env: str | None) -> Found:
    """A live stack: what it was made of, if it still is that, else what it is."""
    found = Found(_unknown(live), live, env, facts=facts_of(live))
    try:
        origin = origin_of(live, found.facts)
        if origin is not None:
            found.document = StackDocument(origin.definition.source, origin.definition, origin.reference)
            found.is_built = origin.is_built
            require_buildable(origin.definition, project.settings.policy.run_locally)
        elif live is None or _is_builtin(live):
            found.document = StackDocument(LOCAL_STACK.source, LOCAL_STACK)
        else:
            definition = definition_of(live)
            found.document = StackDocument(definition.source, definition)
    except Exception as error:  # noqa: BLE001  whatever the objects of a program raise
        found.failure = as_internal(error)
    return found


def _is_builtin(live: Any) -> bool:
    """Whether `live` is what FlowyML's `LocalStack()` makes, which says no more than that there is no other stack."""
    from flowyml.core.executor import LocalExecutor
    from flowyml.core.orchestrator import LocalOrchestrator
    from flowyml.stacks.base import StackConfig
    from flowyml.stacks.local import LocalStack
    from flowyml.storage.artifacts import LocalArtifactStore
    from flowyml.storage.metadata import SQLiteMetadataStore

    if type(live) is not LocalStack:
        return False
    kinds = {
        "executor": LocalExecutor,
        "artifact_store": LocalArtifactStore,
        "metadata_store": SQLiteMetadataStore,
        "orchestrator": LocalOrchestrator,
        "config": StackConfig,
    }
    held = {name: type(part) for name, part in vars(live).items() if part is not None}
    said = {name: one.default for name, one in inspect.signature(LocalStack).parameters.items()}
    return (
        held == {**kinds, "name": str}
        and live.name == said["name"]
        and vars(live.executor) == vars(LocalExecutor())
        and vars(live.orchestrator) == vars(LocalOrchestrator())
        and vars(live.artifact_store) == {"base_path": Path(said["artifact_path"])}
        and str(live.metadata_store.db_path) == said["metadata_path"]
    )


def _unknown(stack: Any) -> StackDocument:
    """What stands for a stack that was not found: what it was called by."""
    kind = "run" if stack is None else f"{type(stack).__module__}.{type(stack).__name__}"
    source = Source(kind="object", uri=stack if isinstance(stack, str) else f"object:{kind}")
    return StackDocument(source, UsageError("the stack was not found"))
