"""From a definition and its surroundings to the one document that OPA judges.

Rules of this room:
- No I/O and no clock: the instant, the actor and the settings are handed in.
- Everything is masked here, before OPA or the audit see it; only the definition's digest is of the real bytes.
- What a project demands is handed over as written: a demand that the mask would change is refused, because masks
  make different values equal.
- What is the same for every stack of a command (project, actor, authority) is built once, in `Normaliser`.
- An image reference that Docker would refuse, or that holds a secret, becomes facts with `registry` null and the
  reason in `error`: the policy denies it, and the other images are still judged. No other reference is judged for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from flowyml_policy.definitions import StackDefinition
from flowyml_policy.encodable import encodable, encodable_value
from flowyml_policy.errors import ReferenceInvalid, SettingsInvalid
from flowyml_policy.image_places import NamedImage, images_in
from flowyml_policy.image_reference import parse_reference
from flowyml_policy.mask import mask_text, mask_value
from flowyml_policy.mask.harmless import MASK_SIGN
from flowyml_policy.records import (
    Actor,
    ImageFacts,
    LockFacts,
    PolicyInput,
    Project,
    RunFacts,
    Source,
    Stack,
)
from flowyml_policy.records.record import Json, Key, KeyPath
from flowyml_policy.settings import Settings

IMAGE_PATH: Final = ("spec", "runtime", "docker_image")
"""The one place of both schemas that names a container image, in schema A's terms."""

DEPLOYER_PATH: Final = ("spec", "deployment", "config")
"""What a deployer is told, free of form: an image there is found, at any depth, by the name of its key.

`spec.deployment.registry_uri` is where images that the deployer builds are pushed to: no image, and no place to look.
"""

INSTANCE_PATH: Final = ("spec", "instance")
"""What a live object says of itself; an image there is found as it is in what a deployer is told."""

ENVIRONMENT_LABEL: Final = "environment"


class Normaliser:
    """Builds the PolicyInput of one definition after another, for one project and one actor."""

    def __init__(self, settings: Settings, actor: Actor) -> None:
        self._settings = settings
        self._actor = actor
        self._project = _project(settings)

    def policy_input(
        self,
        definition: StackDefinition,
        *,
        operation: Literal["validate", "apply", "run"],
        evaluated_at: str,
        environment: str | None = None,
        pinned_as: Collection[str] = (),
        lock: LockFacts | None = None,
        run: RunFacts | None = None,
    ) -> PolicyInput:
        """The document for `definition`; `environment` is the one asked for, known to exist.

        `pinned_as` are the references that flowyml.lock pins to what `definition` is.
        """
        stack = _stack(definition)
        return PolicyInput(
            operation=operation,
            evaluated_at=evaluated_at,
            authority=self._settings.authority,
            environments=self.environments(definition, environment, pinned_as),
            actor=self._actor,
            project=self._project,
            stack=stack,
            source=masked_source(definition.source),
            lock=lock,
            run=None if run is None else _masked_run(run),
            images=_images(definition.set_values().get("spec", {}), secrets=bool(stack.suspected_secrets)),
        )

    def environments(
        self, definition: StackDefinition, asked: str | None, pinned_as: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Every environment that applies, sorted: the one asked for, those mapped to this stack, its label's.

        One that runs on a reference of `pinned_as` is mapped to this stack, wherever this copy of it was read.
        The label counts for what it says, known here or not: company data may know the environment.
        """
        file = Path(definition.source.uri) if definition.source.kind == "local" else None
        names = set(self._settings.environments_of(definition.metadata.name, file=file))
        if self._settings.has_distant_stacks or definition.source.kind == "registry":
            from flowyml_policy.resolution.same_place import environments_of  # noqa: PLC0415  only for addresses

            names.update(environments_of(self._settings, definition))
        if pinned_as:
            names.update(name for name, one in self._settings.environments.items() if one.stack in pinned_as)
        label = definition.metadata.labels.get(ENVIRONMENT_LABEL)
        if label and label not in self._settings.environments:
            label, _ = mask_text(label)
        names.update(name for name in (asked, label) if name)
        return tuple(sorted(names))


def named_images(definition: StackDefinition) -> tuple[ImageFacts, ...]:
    """What is known of each image that `definition` names without looking at it, in its order."""
    return _images(definition.set_values().get("spec", {}), secrets=True)


def masked_source(source: Source) -> Source:
    """`source` with secrets in its address masked, as text that UTF-8 can hold."""
    uri, _ = mask_text(encodable(source.uri))
    ref = None if source.ref is None else mask_text(encodable(source.ref))[0]
    unchanged = uri == source.uri and ref == source.ref
    return source if unchanged else source.model_copy(update={"uri": uri, "ref": ref})


def require_open_demands(settings: Settings) -> None:
    """Raise SettingsInvalid where the project demands something that is, or looks like, a secret or its mask."""
    demands = settings.policies.for_policy_input()
    _, suspected = mask_value(demands)
    path = suspected[0].path if suspected else _path_of_mask(demands)
    if path is None:
        return
    where = next(filter(None, (settings.location(("policies", *path[:end])) for end in range(len(path), -1, -1))), None)
    raise SettingsInvalid(
        f"a demand of the project looks like a secret: {where or settings.file or settings.root}",
        advice="a demand stands in the open: ask for a value that is no secret, nor the mask of one",
    )


def _path_of_mask(value: Json) -> KeyPath | None:
    """Where `value` holds what stands in the place of a secret; null where nothing in it does."""
    waiting: list[tuple[Json, KeyPath]] = [(value, ())]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, str) and MASK_SIGN in node:
            return path
        items: list[tuple[Key, Json]] = []
        if isinstance(node, dict):
            items = list(node.items())
        elif isinstance(node, list | tuple):
            items = list(enumerate(node))
        for key, item in items:
            if isinstance(key, str) and MASK_SIGN in key:
                return (*path, key)
            waiting.append((item, (*path, key)))
    return None


def _project(settings: Settings) -> Project:
    """The project's own say: its name masked, its demands as they are, because none holds a secret."""
    require_open_demands(settings)
    identity = settings.project
    values, _ = mask_value({"name": identity.name, "org": identity.org})
    return Project.model_validate({**values, "policies": settings.policies.for_policy_input()}, strict=False)


def _stack(definition: StackDefinition) -> Stack:
    values, suspected = mask_value(definition.set_values())
    written = definition.document
    document = values if written == definition.set_values() else mask_value(written)[0]
    metadata = values["metadata"]
    return Stack(
        name=metadata["name"],
        version=metadata.get("version"),
        labels=metadata.get("labels", {}),
        description=metadata.get("description"),
        owner=metadata.get("owner"),
        tags=tuple(metadata.get("tags", ())),
        spec=values.get("spec", {}),
        document=document,
        definition_digest=definition.digest,
        suspected_secrets=suspected,
    )


def _masked_run(run: RunFacts) -> RunFacts:
    return RunFacts.model_validate(mask_value(encodable_value(run.model_dump()))[0], strict=False)


def _images(spec: dict[str, dict[str, Json]], *, secrets: bool) -> tuple[ImageFacts, ...]:
    """Facts for each distinct reference, in the order of the definition; nothing is inspected here.

    `secrets`: the definition holds some, so that every reference is looked at.
    """
    places: dict[tuple[str, str | None], list[KeyPath]] = {}
    for path, ref, problem in _named_images(spec, secrets=secrets):
        places.setdefault((ref, problem), []).append(path)
    return tuple(
        _image(ref, paths) if problem is None else _unreadable(ref, paths, problem)
        for (ref, problem), paths in places.items()
    )


def _named_images(spec: dict[str, dict[str, Json]], *, secrets: bool) -> Iterator[NamedImage]:
    """Every image that `spec` names, masked where it holds secrets."""
    ref = spec.get("runtime", {}).get("docker_image")
    if isinstance(ref, str):
        masked, detectors = mask_text(ref) if secrets else (ref, ())
        yield NamedImage(IMAGE_PATH, masked, _secret(detectors) if detectors else None)
    for told, path in (
        (spec.get("deployment", {}).get("config"), DEPLOYER_PATH),
        (spec.get("instance"), INSTANCE_PATH),
    ):
        if told is not None:
            yield from _free_images(told, path, secrets=secrets)


def _free_images(told: Json, at: KeyPath, *, secrets: bool) -> Iterator[NamedImage]:
    """The images in what is free of form and stands at `at`, masked where it holds secrets."""
    detected: dict[KeyPath, list[str]] = {}
    if secrets:
        told, suspected = mask_value(told)
        for one in suspected:
            detected.setdefault((*at, *one.path), []).append(one.detector)
    for named in images_in(told, at):
        found = detected.get(named.path)
        yield named if found is None or named.problem else named._replace(problem=_secret(found))


def _secret(detectors: Sequence[str]) -> str:
    return f"it holds what looks like a secret ({', '.join(detectors)})"


def _image(ref: str, paths: Sequence[KeyPath]) -> ImageFacts:
    try:
        reference = parse_reference(ref)
    except ReferenceInvalid as error:
        return _unreadable(ref, paths, error.problem)
    return ImageFacts(
        ref=ref,
        registry=reference.registry,
        repository=reference.repository,
        tag=reference.tag,
        digest=reference.digest,
        paths=tuple(paths),
        via="off",
    )


def _unreadable(ref: str, paths: Sequence[KeyPath], error: str) -> ImageFacts:
    return ImageFacts(ref=ref, registry=None, repository=None, paths=tuple(paths), via="off", error=error)
