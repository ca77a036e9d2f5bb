"""Images in what is free of form: under any spelling of their key, in pairs and arguments, and by their look."""

from __future__ import annotations

from typing import Any

import pytest

from flowyml_policy.definitions.image_places import images_in

IMAGE = "evil.io/x"
EXACT = "evil.io/team/x:1.4.0"
DIGEST = f"evil.io:5000/x@sha256:{'0' * 64}"


def found(value: Any) -> list[tuple[str, bool]]:
    return [(named.ref, named.is_guessed) for named in images_in(value, ())]


@pytest.mark.parametrize(
    "key",
    [
        "image",
        "IMAGE",
        "image1",
        "image_2",
        "docker.image",
        "train.image",
        "Image URI",
        "image uri",
        "imageUrl",
        "container-image-ref",
        "IMAGE_REFERENCE",
        "baseImage",
        "sidecarImages",
    ],
)
def test_image_is_found_under_any_spelling_of_its_key(key: str) -> None:
    assert found({key: IMAGE}) == [(IMAGE, False)]


@pytest.mark.parametrize(
    "value",
    [
        {"env": [{"name": "IMAGE", "value": IMAGE}]},
        {"env": [{"name": "TRAIN_IMAGE_URI", "value": IMAGE}]},
        {"params": [{"key": "image", "default": IMAGE}]},
        {"args": ["--image", IMAGE]},
        {"args": ["run", "-worker-image", IMAGE, "--fast"]},
        {"args": [f"--image={IMAGE}"]},
        {"command": f"train --image={IMAGE} --epochs 3"},
        {"env": [f"IMAGE={IMAGE}"]},
        {"set": f"worker.image={IMAGE},replicas=3"},
    ],
    ids=str,
)
def test_image_is_found_by_what_stands_beside_it(value: Any) -> None:
    assert found(value) == [(IMAGE, False)]


@pytest.mark.parametrize("ref", [EXACT, DIGEST, "localhost/x:1", "evil.io:443/x:1"])
@pytest.mark.parametrize(
    "text", ["{}", "docker run --rm {} train", '{{"worker": "{}"}}', "from={}", "docker://{}", "see {}."], ids=str
)
def test_image_is_guessed_by_its_look(ref: str, text: str) -> None:
    assert found({"anything": text.format(ref)}) == [(ref, True)]


@pytest.mark.parametrize(
    "key",
    ["image.repository", "image_repository", "imageRepository", "IMAGE_NAME", "image.tag", "my.image.digest"],
)
def test_image_in_flat_parts_is_found(key: str) -> None:
    (named,) = images_in({key: "x"}, ())
    assert (named.path, named.problem is None) == ((key,), False)


HARMLESS = [
    "https://evil.io/x:1.4.0",
    "https://user@evil.io/x:1",
    "s3://bucket.io/path/x:1",
    "gs://my.bucket/x:1",
    "abfs://artifacts@store.dfs.core.windows.net/x:1",
    "sqlite:///shared/metadata.db",
    "postgresql://db.acme.example:5432/ml",
    "package.module:Class",
    "package.module/sub",
    "flowyml.steps.train:Trainer.run",
    "db.acme.example:5432",
    "db.acme.example/ml",
    "team/x:1.4.0",
    "x:1.4.0",
    "/var/lib/data.d/x:ro",
    "./data.d/x:1",
    "C:/data.d/x:1",
    "ada@acme.example",
    "10.0.0.0/8",
    "1.2/x:3",
    "a.b/c d:e",
    "2026-11-29T10:00:00.000/x",
    "Standard_NC6s_v3",
    "images are kept elsewhere",
    "image",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_text_that_names_no_image_is_left_alone(text: str) -> None:
    assert found({"anything": text, "list": [text, "x"]}) == []


@pytest.mark.parametrize("key", ["imagePullPolicy", "image_pull_secrets", "image_size", "imagination", "village"])
def test_key_that_names_no_image_is_left_alone(key: str) -> None:
    assert found({key: "Always"}) == []


def test_long_text_is_looked_through_in_time() -> None:
    assert found({"a": "a.b/" * 100_000, "b": "a." * 200_000 + "/x:1", "c": "=" * 300_000}) == []
