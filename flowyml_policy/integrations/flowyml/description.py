"""What a run asks for beside its stack, as policy sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Final, NamedTuple

from flowyml_policy.definitions.objects import component_facts, facts_in
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.integrations.flowyml.guard import DIRECT_PARAMETERS
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
    options: Mapping[str, Any]


def asked_of(
    pipeline: Any, found: Found, orchestrator: Any, given: Mapping[str, Any], *, may_build: bool = True
) -> Asked:
    """What a run asks for, with what hangs on a stack that was made of a definition where it says nothing itself.

    `given` is what the orchestrator is given. Only `Pipeline.run` builds an image: elsewhere there is none that
    `may_build`. Raises UsageError for what cannot be judged.
    """
    from flowyml.core.orchestrator import LocalOrchestrator

    live = found.live
    docker, resources = given.get("docker_config"), given.get("resources")
    options = {name: value for name, value in given.items() if name not in DIRECT_PARAMETERS}
    if found.is_built:
        docker = getattr(live, "docker_config", None) if docker is None else docker
        resources = getattr(live, "resources", None) if resources is None else resources
    docker = _coerced(pipeline, "_coerce_docker_config", docker)
    resources = _coerced(pipeline, "_coerce_resource_config", resources)
    runs_by = getattr(live, "orchestrator", None) if orchestrator is None else orchestrator
    _require_judged(live, runs_by, docker)
    kind = LocalOrchestrator if runs_by is None else type(runs_by)
    packages = getattr(docker, "requirements", None) or ()
    run = RunFacts(
        pipeline=str(getattr(pipeline, "name", "")),
        orchestrator=f"{kind.__module__}.{kind.__qualname__}",
        docker_config=_docker_facts(docker),
        resources=_said(resources),
        packages=tuple(map(str, packages)),
        orchestrator_config=None if orchestrator is None else component_facts(orchestrator),
        builds=_built(pipeline, live, docker) if may_build else None,
        options=_option_facts(options),
    )
    return Asked(run, docker, resources, options)


def _require_judged(live: Any, orchestrator: Any, docker: Any) -> None:
    """Raise UsageError for a Docker configuration of which nobody can tell what FlowyML makes, or makes too late."""
    if docker is None:
        return
    from flowyml.stacks.components import DockerConfig

    if not isinstance(docker, DockerConfig):
        raise UsageError(
            f"a Docker configuration of class {type(docker).__qualname__} cannot be judged",
            advice="give FlowyML's DockerConfig, or a mapping",
        )
    if live is None and not docker.image and hasattr(orchestrator, "_auto_build_and_push"):
        raise UsageError(
            f"{type(orchestrator).__qualname__} would build the image of this run after it was judged",
            advice="name the image in docker_config, or run on a stack",
        )


def _option_facts(options: Mapping[str, Any]) -> dict[str, Json] | None:
    said = facts_in(options)
    return said if isinstance(said, dict) and said else None


def _docker_facts(docker: Any) -> dict[str, Json] | None:
    """What a Docker configuration says that counts: an image is built on nothing, a Dockerfile on what it says itself.

    FlowyML builds for GPUs on an image of its own choice, whatever `base_image` says.
    """
    said = _said(docker)
    if said is None:
        return None
    if said.get("image"):
        return _without(said, "base_image", "dockerfile")
    if said.get("dockerfile"):
        return _without(said, "base_image")
    from flowyml.core.image_builder import DockerImageBuilder

    said["base_image"] = DockerImageBuilder()._resolve_base_image(docker)  # noqa: SLF001  nothing else tells it
    return said


def _built(pipeline: Any, live: Any, docker: Any) -> BuiltImage | None:
    """What `Stack.prepare_docker_image` would build, and where it would push that; null where it builds nothing."""
    if live is None or docker is None or docker.image or not docker.auto_build:
        return None
    stacks = getattr(live, "container_registry", None)
    place = docker.registry_uri or getattr(stacks, "registry_uri", None)
    if not place:  # FlowyML refuses to build then
        return None
    name = "-".join(str(part) for part in (getattr(pipeline, "project_name", None), pipeline.name) if part)
    ref = re.sub(r"[^a-zA-Z0-9_-]", "_", name).lower()
    is_pushed = bool(docker.auto_push)
    if is_pushed:
        ref = f"{str(place).rstrip('/')}/{ref}"
    try:
        reference = parse_reference(ref)
    except ReferenceInvalid as error:
        problem = ImageProblem(code=error.code, message=error.problem)
        return BuiltImage(ref=ref, is_pushed=is_pushed, error=problem)
    return BuiltImage(ref=ref, is_pushed=is_pushed, registry=reference.registry, repository=reference.repository)


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
    """`asked` with its images named by the digests that were judged, or, where its image has none, in full.

    What is named without its registry Vertex AI would build, and push under another name.
    """
    exact = {name: judged[value] for name, value in asked.options.items() if isinstance(value, str) and value in judged}
    if exact:
        options = {**asked.options, **exact}
        asked = asked._replace(options=options, run=asked.run.model_copy(update={"options": _option_facts(options)}))
    docker, said = asked.docker, asked.run.docker_config
    if docker is None or said is None or not docker.image:
        return asked
    image = judged.get(docker.image) or _in_full(docker.image)
    run = asked.run.model_copy(update={"docker_config": {**said, "image": image}})
    return asked._replace(run=run, docker=replace(docker, image=image))


def _in_full(image: str) -> str:
    try:
        return str(parse_reference(image))
    except ReferenceInvalid:
        return image
