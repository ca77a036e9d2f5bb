"""The container images that a definition names, as facts that nobody has looked at yet.

An image reference that Docker would refuse, or that holds a secret, has `registry` null and the reason in `error`: the
policy denies it, and the other images are still judged.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from flowyml_policy.definitions.image_places import NamedImage, images_in
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.images import ImageError
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.mask.text import mask_report
from flowyml_policy.mask.value import mask_value_report
from flowyml_policy.records.policy_input import ImageFacts, ImageProblem, RunFacts
from flowyml_policy.records.record import Json, KeyPath
from flowyml_policy.references.image import parse_reference

IMAGE_PATH: Final = ("spec", "runtime", "docker_image")
"""The one place of both schemas that names a container image, in schema A's terms."""

DEPLOYER_PATH: Final = ("spec", "deployment", "config")
"""What a deployer is told, free of form: an image there is found, at any depth, by the name of its key.

`spec.deployment.registry_uri` is where images that the deployer builds are pushed to: no image, and no place to look.
"""

INSTANCE_PATH: Final = ("spec", "instance")
"""What a live object says of itself; an image there is found as it is in what a deployer is told."""


RUN_PATHS: Final = (("run", "docker_config"), ("run", "orchestrator_config"), ("run", "options"))
"""What a run and its orchestrator are told, and what that says of itself: paths of the input, not the definition."""


def named_images(definition: StackDefinition) -> tuple[ImageFacts, ...]:
    """What is known of each image that `definition` names without looking at it, in its order."""
    return images_of(definition.set_values().get("spec", {}), secrets=True)


def images_of(
    spec: dict[str, dict[str, Json]], *, secrets: bool, run: RunFacts | None = None
) -> tuple[ImageFacts, ...]:
    """Facts for each distinct reference, in the order of the definition, then of `run`; nothing is inspected here.

    `secrets`: the definition holds some, so that every reference is looked at.
    """
    places: dict[tuple[str, str | None, bool], list[KeyPath]] = {}
    named = chain(_named_images(spec, secrets=secrets), () if run is None else _images_of_run(run))
    for path, ref, problem, is_guessed in named:
        places.setdefault((ref, problem, is_guessed), []).append(path)
    return tuple(
        _image(ref, paths, is_guessed=is_guessed) if problem is None else _unreadable(ref, paths, problem)
        for (ref, problem, is_guessed), paths in places.items()
    )


def with_digests(definition: StackDefinition, images: Sequence[ImageFacts]) -> StackDefinition:
    """`definition` with its images named by the digests of `images`, which are the facts of them.

    Raises ImageError where one has no digest. What was found by its look alone stays as it is.
    """
    document = copy.deepcopy(definition.document)
    longest_first = sorted(images, key=lambda image: len(image.ref), reverse=True)
    for image in longest_first:
        if image.certainty == "guessed":
            continue
        if image.via == "off" and image.digest is None:
            raise ImageError(
                f"the image {image.ref} has no digest to be named by: policy.images.inspect is off",
                advice="set it to auto",
            )
        if image.registry is None or image.digest is None:
            reason = "no registry has it" if image.error is None else image.error.message
            raise ImageError(f"the image {image.ref} has no digest to be named by: {reason}")
        for path in image.paths:
            *parents, last = definition.written_path(path)
            place: Json = document
            for key in parents:
                place = place[key]
            exact = f"{image.registry}/{image.repository}@{image.digest}"
            whole = rf"(?<![\w./:@-]){re.escape(image.ref)}(?![\w./:@-])"
            place[last], number = re.subn(whole, exact, place[last])
            if not number:
                raise ImageError(f"the image {image.ref} cannot be told in its text: {dotted(path)}")
    return StackDefinition.from_dict(document, source=definition.source)


def _named_images(spec: dict[str, dict[str, Json]], *, secrets: bool) -> Iterator[NamedImage]:
    """Every image that `spec` names, masked where it holds secrets."""
    ref = spec.get("runtime", {}).get("docker_image")
    if isinstance(ref, str):
        masked, detectors = mask_report(ref) if secrets else (ref, ())
        yield NamedImage(IMAGE_PATH, masked, _secret(detectors) if detectors else None)
    for told, path in (
        (spec.get("deployment", {}).get("config"), DEPLOYER_PATH),
        (spec.get("instance"), INSTANCE_PATH),
    ):
        if told is not None:
            yield from _free_images(told, path, secrets=secrets)


def _images_of_run(run: RunFacts) -> Iterator[NamedImage]:
    for told, path in zip((run.docker_config, run.orchestrator_config, run.options), RUN_PATHS, strict=True):
        if told is not None:
            yield from _free_images(told, path, secrets=True)


def _free_images(told: Json, at: KeyPath, *, secrets: bool) -> Iterator[NamedImage]:
    """The images in what is free of form and stands at `at`, masked where it holds secrets."""
    detected: dict[KeyPath, list[str]] = {}
    if secrets:
        told, suspected = mask_value_report(told)
        for one in suspected:
            detected.setdefault((*at, *one.path), []).append(one.detector)
    for named in images_in(told, at):
        found = detected.get(named.path)
        yield named if found is None or named.problem else named._replace(problem=_secret(found))


def _secret(detectors: Sequence[str]) -> str:
    return f"it holds what looks like a secret ({', '.join(detectors)})"


def _image(ref: str, paths: Sequence[KeyPath], *, is_guessed: bool) -> ImageFacts:
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
        certainty="guessed" if is_guessed else "named",
    )


def _unreadable(ref: str, paths: Sequence[KeyPath], error: str) -> ImageFacts:
    problem = ImageProblem(code=ReferenceInvalid.code, message=error)
    return ImageFacts(ref=ref, registry=None, repository=None, paths=tuple(paths), via="off", error=problem)
