"""Images that are named by their digests in a definition's text."""

from __future__ import annotations

import pytest

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.images import ImageError
from flowyml_policy.images.named import named_images, with_digests
from flowyml_policy.records.policy_input import ImageFacts

DIGESTS = {"ubuntu": "a", "ubuntu:22.04": "b", "ubuntu/sub:1": "c"}


def definition(text: str) -> StackDefinition:
    config = {"command": text}
    return StackDefinition.from_dict(
        {
            "apiVersion": "flowyml.io/v1",
            "kind": "Stack",
            "metadata": {"name": "a", "version": "1.0.0"},
            "spec": {"backend": "kubernetes", "deployment": {"config": config}},
        }
    )


def examined(stack: StackDefinition) -> list[ImageFacts]:
    return [
        image.model_copy(update={"inspected": True, "via": "registry", "digest": f"sha256:{DIGESTS[image.ref] * 64}"})
        for image in named_images(stack)
    ]


def test_each_image_of_a_text_gets_its_own_digest() -> None:
    stack = definition("IMAGE=ubuntu TRAIN_IMAGE=ubuntu:22.04 SUB_IMAGE=ubuntu/sub:1")
    pinned = with_digests(stack, examined(stack)).document["spec"]["deployment"]["config"]["command"]
    assert pinned == (
        f"IMAGE=docker.io/library/ubuntu@sha256:{'a' * 64} TRAIN_IMAGE=docker.io/library/ubuntu@sha256:{'b' * 64} "
        f"SUB_IMAGE=docker.io/ubuntu/sub@sha256:{'c' * 64}"
    )


@pytest.mark.parametrize(("via", "said"), [("off", "inspect is off"), ("registry", "no registry has it")])
def test_image_without_a_digest_cannot_be_pinned(via: str, said: str) -> None:
    stack = definition("IMAGE=ubuntu")
    images = [image.model_copy(update={"via": via}) for image in named_images(stack)]
    with pytest.raises(ImageError, match=said):
        with_digests(stack, images)
