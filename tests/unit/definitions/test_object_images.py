"""Every image that a live stack names reaches the images that policy judges, wherever among its attributes it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import pytest

from flowyml_policy import PolicyEngine
from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.errors.root import UsageError
from flowyml_policy.images.named import named_images
from tests.unit.definitions.test_objects import Component, LiveStack

IMAGE = "ghcr.io/team/train:1.4.0"


@dataclass
class DockerConfig:
    """FlowyML's own, as far as it names images."""

    image: str | None = None
    base_image: str = "python:3.11-slim"
    env_vars: dict[str, str] = field(default_factory=dict)


class Slotted:
    __slots__ = ("image",)

    def __init__(self, image: str) -> None:
        self.image = image


class OfTheClass:
    serving_image = IMAGE


class Computed:
    @property
    def image_uri(self) -> str:
        return IMAGE

    @property
    def address(self) -> str:
        raise AssertionError("nobody asks what names no image")

    def get_image(self) -> str:
        raise AssertionError("nobody calls it")

    @classmethod
    def default_image(cls) -> str:
        raise AssertionError("nobody calls it")


class Kept:
    @cached_property
    def image(self) -> str:
        return IMAGE


class Opaque:
    """A client of a cloud: its own affair."""

    def __init__(self) -> None:
        self.connection = SimpleNamespace(settings={"image": "of-nobody/here"})
        self.itself = self


class Environment:
    """Azure ML's own, as far as it names an image."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.name = "train"


def with_attributes(part: Any = None, /, **attributes: Any) -> Any:
    part = Component(type="x") if part is None else part
    for name, value in attributes.items():
        setattr(part, name, value)
    return part


def images_of(stack: LiveStack) -> dict[str, list[str]]:
    """The images that a stack names, each with its places below `spec.instance`."""
    found = named_images(definition_of(stack))
    return {one.ref: [".".join(map(str, path[2:])) for path in one.paths] for one in found}


@pytest.mark.parametrize(
    ("orchestrator", "place"),
    [
        (Component(type="x", image=IMAGE), "image"),
        (Component(type="x", config={"deep": [{"image_uri": IMAGE}]}), "config.deep.0.image_uri"),
        (Component(type="x", docker=DockerConfig(IMAGE)), "attributes.docker.image"),
        (with_attributes(image=IMAGE), "attributes.image"),
        (with_attributes(images={"train": IMAGE}), "attributes.images.train"),
        (with_attributes(docker_config=DockerConfig(IMAGE)), "attributes.docker_config.image"),
        (with_attributes(docker_config=SimpleNamespace(image=IMAGE)), "attributes.docker_config.image"),
        (with_attributes(_settings={"a": {"b": {"image": IMAGE}}}), "attributes._settings.a.b.image"),
        (with_attributes(environment=Environment(IMAGE)), "attributes.environment.image"),
        (with_attributes(environment=IMAGE), "attributes.environment.image"),
        (with_attributes(job=Slotted(IMAGE)), "attributes.job.image"),
        (
            with_attributes(_external_component=with_attributes(Opaque(), image=IMAGE)),
            "attributes._external_component.image",
        ),
        (OfTheClass(), "attributes.serving_image"),
        (Computed(), "attributes.image_uri"),
        (Kept(), "attributes.image"),
        (with_attributes(client=Opaque(), image=IMAGE), "attributes.image"),
    ],
)
def test_image_of_a_component_is_found(orchestrator: object, place: str) -> None:
    assert images_of(LiveStack(orchestrator=orchestrator)) == {IMAGE: [f"orchestrator.{place}"]}


@pytest.mark.parametrize("part", ["executor", "artifact_store", "metadata_store", "container_registry"])
def test_image_of_every_component_is_found(part: str) -> None:
    stack = LiveStack()
    setattr(stack, part, with_attributes(image=IMAGE))
    assert images_of(stack) == {IMAGE: [f"{part}.attributes.image"]}


@pytest.mark.parametrize("part", ["model_deployer", "model_registry"])
def test_image_of_what_serves_models_is_found(part: str) -> None:
    stack = with_attributes(LiveStack(), **{part: Component(type="x", config={"serving_container_image_uri": IMAGE})})
    assert images_of(stack) == {IMAGE: [f"{part}.config.serving_container_image_uri"]}


def test_image_of_the_stack_itself_and_of_what_its_plugins_were_told_is_found() -> None:
    stack = with_attributes(
        LiveStack(),
        docker_config=DockerConfig(),
        _model_registry_config={"type": "x", "inference_image": "a.io/serve:1"},
        _experiment_tracker_config={"type": "x", "server": DockerConfig("a.io/track:1")},
    )
    assert images_of(stack) == {
        "a.io/serve:1": ["model_registry_config.inference_image"],
        "a.io/track:1": ["experiment_tracker_config.attributes.server.image"],
        "python:3.11-slim": ["attributes.docker_config.base_image"],
    }


@pytest.mark.parametrize(
    "orchestrator",
    [
        Component(type="azure_ml"),
        with_attributes(environment="AzureML-sklearn-1.0-ubuntu20.04-py38-cpu@latest"),
        with_attributes(environment="azureml:train:3"),
        with_attributes(image=None, images=[], auto_image=True),
        with_attributes(client=Opaque()),
    ],
)
def test_image_is_seen_in_nothing_that_names_none(orchestrator: object) -> None:
    assert images_of(LiveStack(orchestrator=orchestrator)) == {}


def test_image_that_a_component_says_otherwise_of_itself_counts_as_well() -> None:
    orchestrator = with_attributes(Component(type="x", image="a.io/said:1"), image="b.io/used:1")
    assert images_of(LiveStack(orchestrator=orchestrator)) == {
        "b.io/used:1": ["orchestrator.attributes.image"],
        "a.io/said:1": ["orchestrator.image", "orchestrator.attributes._said.image"],
    }


@pytest.mark.parametrize(
    "image", [{"repository": "a.io/x", "tag": "1"}, SimpleNamespace(repository="a.io/x", tag=1), object()]
)
def test_image_that_is_no_text_fails_closed(image: object) -> None:
    (found,) = named_images(definition_of(LiveStack(orchestrator=with_attributes(image=image))))
    assert found.registry is None


def test_image_in_attributes_that_lead_back_to_themselves_is_found() -> None:
    settings: dict[str, Any] = {"image": IMAGE}
    settings["again"] = settings
    orchestrator = with_attributes(settings=settings)
    assert images_of(LiveStack(orchestrator=orchestrator)) == {IMAGE: ["orchestrator.attributes.settings.image"]}


def test_attributes_too_deep_to_be_looked_through_fail_closed() -> None:
    deep: dict[str, Any] = {"image": IMAGE}
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(UsageError, match="nested too deeply, or too large, to be looked through for images"):
        definition_of(LiveStack(orchestrator=with_attributes(settings=deep)))


def test_live_stack_with_an_image_of_another_registry_is_denied(project: Any) -> None:
    (project / "flowyml.yaml").write_text(
        "policies: {image_policy: {allowed_registries: [gcr.io]}}\npolicy: {images: {inspect: 'off'}}\n"
    )
    stack = LiveStack(orchestrator=with_attributes(docker_config=DockerConfig(IMAGE)))
    with PolicyEngine.from_project(project) as engine:
        denials = {(one.code, one.subject, one.path) for one in engine.check(stack).denials if "images_reg" in one.code}
    path = ("spec", "instance", "orchestrator", "attributes", "docker_config", "image")
    assert denials == {("images_registry.not_allowed", IMAGE, path)}
