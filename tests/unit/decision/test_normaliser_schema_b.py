"""What policy is given of a stack in FlowyML's own schema, and what it makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowyml_policy import AuditStore, PolicyEngine
from flowyml_policy.decision.normaliser import Normaliser
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.images.named import named_images
from flowyml_policy.records.policy_input import ImageFacts, ImageProblem
from flowyml_policy.records.record import Location
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.system.actor import current_actor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import WriteStack

TEXT = """\
apiVersion: flowyml.io/v1
kind: Stack
metadata:
  name: prod-gpu-b
  version: "2.1.0"
  description: token=ghp_0123456789abcdefghijABCDEFGHIJ012345
  owner: ml-platform
  tags: [gpu]
spec:
  backend: gcp
  compute: {type: gpu, maxInstances: 4}
  runtime: {baseImage: docker.io/evil/x:1}
  deployment:
    modelDeployer: kubernetes
    config: {image: quay.io/evil/serve:1, containerImage: docker.io/evil/x:1, baseImage: 3, n: {image: 4, imagery: no}}
"""


def test_policy_input_of_schema_b_holds_all_of_it_in_terms_of_schema_a(project: Path) -> None:
    definition = StackDefinition.from_yaml(TEXT, file="f")
    document = Normaliser(load_settings(project), current_actor()).policy_input(
        definition, operation="validate", evaluated_at="2026-01-01T00:00:00Z"
    )

    stack = document.stack
    assert (stack.name, stack.version, stack.labels) == ("prod-gpu-b", "2.1.0", {})
    assert (stack.owner, stack.tags) == ("ml-platform", ("gpu",))
    assert stack.description is not None
    assert stack.description.startswith("token=masked:")
    assert stack.spec == definition.set_values()["spec"]
    assert stack.spec["compute"] == {"backend": "gcp", "type": "gpu", "max_nodes": 4}
    assert stack.document["spec"] == definition.document["spec"]
    assert stack.document["metadata"]["description"] == stack.description
    assert stack.definition_digest == definition.digest
    assert [secret.path for secret in stack.suspected_secrets] == [("metadata", "description")]
    assert [(image.ref, image.paths) for image in document.images] == [
        (
            "docker.io/evil/x:1",
            (("spec", "runtime", "docker_image"), ("spec", "deployment", "config", "containerImage")),
        ),
        ("quay.io/evil/serve:1", (("spec", "deployment", "config", "image"),)),
    ]


def test_policy_input_of_schema_a_says_nothing_that_schema_a_has_no_place_for(
    project: Path, write_stack: WriteStack
) -> None:
    definition = StackDefinition.from_file(project / write_stack("prod-gpu-large"))
    document = Normaliser(load_settings(project), current_actor()).policy_input(
        definition, operation="validate", evaluated_at="2026-01-01T00:00:00Z"
    )

    assert (document.stack.description, document.stack.owner, document.stack.tags) == (None, None, ())
    assert document.stack.document == definition.document


def test_validate_of_schema_b_denies_with_paths_of_schema_a_and_lines_of_the_file(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-b", text=TEXT)

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path])

    found = {(one.code, one.path): one.location for one in result.findings}
    assert result.outcome == "deny"
    assert found["images_registry.not_allowed", ("spec", "runtime", "docker_image")] == Location(
        file=path, line=12, column=24
    )
    assert found["images_registry.not_allowed", ("spec", "deployment", "config", "image")] == Location(
        file=path, line=15, column=21
    )
    assert {code for code, _ in found if code.startswith("labels")} == {"labels.required"}
    with AuditStore() as audit:
        assert [event.type for event in audit.get_events(stack_name="prod-gpu-b")] == [
            "StackValidated",
            "PolicyChecked",
        ]
        assert audit.verify().ok


def images_of(project: Path, config: str, *, description: str = "none") -> list[ImageFacts]:
    """What policy is given of the images of a stack whose deployer is told `config`, and lockfiles alike."""
    text = (
        "apiVersion: flowyml.io/v1\nkind: Stack\n"
        f"metadata: {{name: b, version: 1.0.0, description: '{description}'}}\n"
        f"spec: {{backend: gcp, deployment: {{modelDeployer: kubernetes, config: {config}}}}}\n"
    )
    definition = StackDefinition.from_yaml(text, file="f")
    document = Normaliser(load_settings(project), current_actor()).policy_input(
        definition, operation="validate", evaluated_at="2026-01-01T00:00:00Z"
    )
    assert named_images(definition) == document.images
    return list(document.images)


CONFIG = ("spec", "deployment", "config")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("{predictor: {image: q.io/a}}", {"q.io/a": [("predictor", "image")]}),
        (
            "{containers: [{name: x, image: q.io/a}, {image: q.io/b}]}",
            {"q.io/a": [("containers", 0, "image")], "q.io/b": [("containers", 1, "image")]},
        ),
        ("{SERVING-Image_URI: q.io/a}", {"q.io/a": [("SERVING-Image_URI",)]}),
        ("{sidecarImage: q.io/a, init_image: q.io/a}", {"q.io/a": [("sidecarImage",), ("init_image",)]}),
        (
            "{image: [q.io/a, {train: q.io/b}]}",
            {"q.io/a": [("image", 0)], "q.io/b": [("image", 1, "train")]},
        ),
        ("{image: {gpu: {tf: q.io/a}}}", {"q.io/a": [("image", "gpu", "tf")]}),
        ("{images: [q.io/a, {train: q.io/b}]}", {"q.io/a": [("images", 0)], "q.io/b": [("images", 1, "train")]}),
        ("{initImages: {x: q.io/a}, imageUris: [q.io/a]}", {"q.io/a": [("initImages", "x"), ("imageUris", 0)]}),
        ("{imageRef: q.io/a, image_url: q.io/b}", {"q.io/a": [("imageRef",)], "q.io/b": [("image_url",)]}),
        ("{imagePullSecrets: [{name: a}], imageTag: null, image_pull_timeout: 3}", {}),
        ("{imagery: q.io/a, image: 3, image_pull_policy: Always, baseImage: null}", {}),
        ("{}", {}),
    ],
)
def test_image_anywhere_in_what_the_deployer_is_told_is_found(
    project: Path, config: str, expected: dict[str, list[tuple[str | int, ...]]]
) -> None:
    found = images_of(project, config)
    assert {image.ref: list(image.paths) for image in found} == {
        ref: [(*CONFIG, *path) for path in paths] for ref, paths in expected.items()
    }
    assert all(image.registry == "q.io" and image.error is None for image in found)


@pytest.mark.parametrize(
    ("config", "ref"),
    [
        ("{image: {repository: q.io/a, tag: '1'}}", "q.io/a:1"),
        ("{image: {repository: q.io/a, tag: 2}}", "q.io/a:2"),
        ("{image: {Repository: q.io/a, pullPolicy: Always}}", "q.io/a"),
        ("{image: {repository: null}}", "?"),
        ("{image: {registry: evil.io, name: python}}", "python"),
        ("{image: {registry: evil.io}}", "evil.io"),
        ("{a: [{image: [{repository: q.io/a}]}]}", "q.io/a"),
        ("{images: [{name: q.io/a, newTag: '1'}]}", "q.io/a:1"),
        ("{images: [{name: python, newName: q.io/a}]}", "q.io/a"),
        ("{imageRepository: q.io/a, imageTag: '1'}", "q.io/a:1"),
        ("{n: [{serving_image_repo: q.io/a, serving-image-tag: 2}]}", "q.io/a:2"),
        ("{imageName: q.io/a}", "q.io/a"),
        ("{imageRegistry: evil.io, imagePullPolicy: Always}", "evil.io"),
        ("{image_version: '1'}", "?"),
        ("{imageDigest: 'sha256:0'}", "?"),
    ],
)
def test_image_that_is_written_in_parts_fails_closed(project: Path, config: str, ref: str) -> None:
    (image,) = images_of(project, config)
    assert (image.ref, image.registry, image.repository) == (ref, None, None)
    assert image.error == ImageProblem(
        code="reference_invalid", message="it is written in parts, which cannot be judged"
    )


def test_images_in_parts_side_by_side_are_told_apart_at_the_key_that_names_each(project: Path) -> None:
    config = "{imageTag: 1, imageRepository: q.io/a, initImageTag: 2, initImageRepository: q.io/b}"
    assert [(image.ref, image.registry, image.paths) for image in images_of(project, config)] == [
        ("q.io/a:1", None, ((*CONFIG, "imageRepository"),)),
        ("q.io/b:2", None, ((*CONFIG, "initImageRepository"),)),
    ]


def test_image_in_parts_beside_the_same_one_in_whole_is_still_refused(project: Path) -> None:
    whole, parts = images_of(project, "{image: 'q.io/a:1', sideImage: {repository: q.io/a, tag: 1}}")
    assert (whole.ref, whole.registry, whole.paths) == ("q.io/a:1", "q.io", ((*CONFIG, "image"),))
    assert (parts.ref, parts.registry, parts.paths) == ("q.io/a:1", None, ((*CONFIG, "sideImage"),))


def test_secret_where_an_image_is_looked_for_is_masked(project: Path) -> None:
    token = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    config = f"{{image: {{password: hunter22hunter22, a: q.io/a}}, {token}: {{image: q.io/b}}, xImage: {token}}}"
    found = images_of(project, config)
    shown = repr(found)
    assert "hunter22" not in shown
    assert token not in shown
    assert [(image.ref, image.registry) for image in found if image.registry] == [
        ("q.io/a", "q.io"),
        ("q.io/b", "q.io"),
    ]
    refused = [image for image in found if image.registry is None]
    assert [image.error and image.error.message.partition(" (")[0] for image in refused] == [
        "it holds what looks like a secret"
    ] * 2


def test_validate_denies_images_in_depth_and_in_parts_with_their_lines(write_stack: WriteStack) -> None:
    text = TEXT.partition("    config:")[0] + (
        "    config:\n"
        "      predictor:\n"
        "        containers:\n"
        "          - image: quay.io/evil/serve:1\n"
        "      image: {repository: quay.io/evil/serve, tag: 1}\n"
    )
    path = write_stack("prod-gpu-b", text=text)

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path])

    found = {(one.code, one.path): one.location for one in result.findings if one.code.startswith("images_registry")}
    assert result.outcome == "deny"
    assert found["images_registry.not_allowed", (*CONFIG, "predictor", "containers", 0, "image")] == Location(
        file=path, line=18, column=20
    )
    assert found["images_registry.reference", (*CONFIG, "image")] == Location(file=path, line=19, column=7)
