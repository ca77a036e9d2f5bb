"""What a run asks for beside its stack, as policy sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Final, NamedTuple

from flowyml_policy.definitions.objects import component_facts
from flowyml_policy.integrations.flowyml.resolution import Found
from flowyml_policy.records.policy_input import RunFacts
from flowyml_policy.records.record import Json

_BUILT_FROM: Final = frozenset({"base_image", "dockerfile"})
_NOTHING: Final[tuple[Json, ...]] = (None, "", [], {})


class Asked(NamedTuple):
    """What a run asks for; all but `run` as FlowyML takes it."""

    run: RunFacts
    docker: Any
    resources: Any


def asked_of(pipeline: Any, found: Found, orchestrator: Any, docker: Any, resources: Any) -> Asked:
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
    return Asked(run, docker, resources)


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


def by_digest(asked: Asked, judged: Mapping[str, str]) -> Asked:
    """`asked` with its image named by the digest that was judged, where it has one."""
    docker, said = asked.docker, asked.run.docker_config
    exact = judged.get(getattr(docker, "image", None) or "")
    if exact is None or said is None or not is_dataclass(docker) or isinstance(docker, type):
        return asked
    run = asked.run.model_copy(update={"docker_config": {**said, "image": exact}})
    return asked._replace(run=run, docker=replace(docker, image=exact))
