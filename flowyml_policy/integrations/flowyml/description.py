"""What a run asks for beside its stack, as policy sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Final, NamedTuple

from flowyml_policy.definitions.objects import component_facts
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.integrations.flowyml.resolution import Found
from flowyml_policy.records.policy_input import BuiltImage, ImageProblem, RunFacts
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import parse_reference

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
    packages = getattr(docker, "requirements", None) or ()
    run = RunFacts(
        pipeline=str(getattr(pipeline, "name", "")),
        orchestrator=f"{kind.__module__}.{kind.__qualname__}",
        docker_config=_docker_facts(docker),
        resources=_said(resources),
        packages=tuple(map(str, packages)),
        orchestrator_config=None if orchestrator is None else component_facts(orchestrator),
        builds=_built(pipeline, live, docker),
    )
    return Asked(run, docker, resources)


def _docker_facts(docker: Any) -> dict[str, Json] | None:
    """What a Docker configuration says that counts: an image is built on nothing, a Dockerfile on what it says itself.

    FlowyML builds for GPUs on an image of its own choice, whatever `base_image` says.
    """
    from flowyml.core.image_builder import DockerImageBuilder
    from flowyml.stacks.components import DockerConfig

    said = _said(docker)
    if said is None:
        return None
    if said.get("image"):
        return _without(said, "base_image", "dockerfile")
    if said.get("dockerfile"):
        return _without(said, "base_image")
    if isinstance(docker, DockerConfig):
        said["base_image"] = DockerImageBuilder()._resolve_base_image(docker)  # noqa: SLF001  nothing else tells it
    return said


def _built(pipeline: Any, live: Any, docker: Any) -> BuiltImage | None:
    """Where `Stack.prepare_docker_image` would push what it builds; null where it builds or pushes nothing."""
    is_built = live is not None and docker is not None and not getattr(docker, "image", None)
    if not is_built or not (getattr(docker, "auto_build", True) and getattr(docker, "auto_push", True)):
        return None
    stacks = getattr(live, "container_registry", None)
    place = getattr(docker, "registry_uri", None) or getattr(stacks, "registry_uri", None)
    if not place:  # FlowyML refuses to build then
        return None
    name = "-".join(str(part) for part in (getattr(pipeline, "project_name", None), pipeline.name) if part)
    ref = f"{str(place).rstrip('/')}/{re.sub(r'[^a-zA-Z0-9_-]', '_', name).lower()}"
    try:
        reference = parse_reference(ref)
    except ReferenceInvalid as error:
        return BuiltImage(ref=ref, error=ImageProblem(code=error.code, message=error.problem))
    return BuiltImage(ref=ref, registry=reference.registry, repository=reference.repository)


def _without(said: dict[str, Json], *keys: str) -> dict[str, Json]:
    return {key: value for key, value in said.items() if key not in keys}


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
    """`asked` with its image named by the digest that was judged, or where it has none in full.

    What is named without its registry Vertex AI would build, and push under another name.
    """
    docker, said = asked.docker, asked.run.docker_config
    image = getattr(docker, "image", None)
    if not image or said is None or not is_dataclass(docker) or isinstance(docker, type):
        return asked
    exact = judged.get(image) or _in_full(image)
    run = asked.run.model_copy(update={"docker_config": {**said, "image": exact}})
    return asked._replace(run=run, docker=replace(docker, image=exact))


def _in_full(image: str) -> str:
    try:
        return str(parse_reference(image))
    except ReferenceInvalid:
        return image
