"""What a newer Docker says of images: one that keeps them by their manifests, and leaves out what is not set."""

from __future__ import annotations

from typing import Any

import pytest

from flowyml_policy.errors.images import ImageInvalid, ImageMissing
from flowyml_policy.images.daemon import DaemonInspector
from flowyml_policy.records.policy_input import PlatformFacts
from tests.recorded_daemon import INDEX, LAYER, NAME, OTHER, REPOSITORY, RecordedDaemon, image


def test_newer_docker_is_read(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    facts = inspector.inspect(NAME)
    assert (facts.digest, facts.kind, facts.endpoint) == (INDEX, "index", daemon.url)
    assert facts.platforms == (
        PlatformFacts(
            platform="linux/arm64/v8",
            labels={"team": "ml"},
            created="2026-01-02T03:04:05.123456789Z",
            size=1234,
            architecture="arm64",
            os="linux",
            env=("PATH",),
            diff_ids=(LAYER,),
        ),
    )
    assert [path for path, _ in daemon.requests] == ["/version", f"/v1.55/images/{NAME}/json"]


@pytest.mark.parametrize("config", [None, {}, ...])
def test_image_without_configuration_sets_nothing(
    daemon: RecordedDaemon, inspector: DaemonInspector, config: object
) -> None:
    daemon.images[NAME] = image(Config=config, Created="0001-01-01T00:00:00Z", RootFS=None)
    (platform,) = inspector.inspect(NAME).platforms
    assert (platform.labels, platform.user, platform.created, platform.diff_ids) == ({}, None, None, ())
    assert (platform.env, platform.entrypoint, platform.ports) == ((), (), ())


def test_descriptor_of_a_manifest_is_the_platforms(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": INDEX}
    daemon.images[NAME] = image(Descriptor=descriptor)
    facts = inspector.inspect(NAME)
    assert (facts.digest, facts.kind, facts.platforms[0].digest) == (INDEX, "manifest", INDEX)


@pytest.mark.parametrize(
    ("changed", "version", "expected"),
    [
        pytest.param({}, {}, INDEX, id="pulled"),
        pytest.param({"Identity": {"Build": [{"Ref": "x"}]}}, {}, None, id="built here"),
        pytest.param({"Identity": ...}, {}, None, id="of no known origin"),
        pytest.param({"Identity": {"Pull": [{"Repository": f"{REPOSITORY}-2"}]}}, {}, None, id="from elsewhere"),
        pytest.param({"Identity": ...}, {"ApiVersion": "1.52"}, None, id="by manifest, before identities"),
        pytest.param({"Identity": ..., "Descriptor": ...}, {"ApiVersion": "1.52"}, INDEX, id="by configuration"),
        pytest.param({"Descriptor": ...}, {"Components": [{"Name": "Podman Engine"}]}, None, id="podman"),
        pytest.param({"Descriptor": ...}, {"Components": None}, None, id="unknown daemon"),
        pytest.param({"RepoDigests": [f"{REPOSITORY}-2@{INDEX}"]}, {}, None, id="digest of another repository"),
        pytest.param({"RepoDigests": None}, {}, None, id="no digests"),
        pytest.param({"RepoDigests": [f"{REPOSITORY}@{OTHER}", f"{REPOSITORY}@{INDEX}"]}, {}, INDEX, id="of two"),
        pytest.param({"RepoDigests": ["<none>@<none>", f"{REPOSITORY}@{OTHER}"]}, {}, OTHER, id="none beside it"),
    ],
)
def test_digest_of_a_tag_must_be_proven(
    daemon: RecordedDaemon,
    inspector: DaemonInspector,
    changed: dict[str, Any],
    version: dict[str, Any],
    expected: str | None,
) -> None:
    daemon.version |= version
    daemon.images[NAME] = image(**changed)
    assert inspector.inspect(NAME).digest == expected


def test_digest_that_was_asked_for_proves_itself(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    daemon.images[f"{REPOSITORY}@{INDEX}"] = image(Identity=..., RepoTags=None)
    assert inspector.inspect(f"{REPOSITORY}:9@{INDEX}").digest == INDEX
    daemon.images[f"{REPOSITORY}@{OTHER}"] = image()
    with pytest.raises(ImageMissing, match="answered with another image"):
        inspector.inspect(f"{REPOSITORY}@{OTHER}")


def test_repo_digests_are_normalised(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    daemon.images["docker.io/library/app:latest"] = image(
        RepoTags=["app:latest"], RepoDigests=[f"app@{INDEX}", "<none>@<none>", f"{REPOSITORY}@{OTHER}"]
    )
    assert inspector.repo_digests("docker.io/library/app:latest") == (
        f"docker.io/library/app@{INDEX}",
        f"{REPOSITORY}@{OTHER}",
    )


@pytest.mark.parametrize("asked", ["linux/arm64", "linux/arm64/v8"])
def test_platform_that_the_daemon_has(inspector: DaemonInspector, asked: str) -> None:
    assert inspector.inspect(NAME, asked).platforms[0].platform == "linux/arm64/v8"


@pytest.mark.parametrize("asked", ["linux/amd64", "linux/arm64/v9", "windows/arm64", "linux/arm", "linux", ""])
def test_platform_that_the_daemon_lacks_is_missing(inspector: DaemonInspector, asked: str) -> None:
    with pytest.raises(ImageMissing, match="for linux/arm64/v8, not for"):
        inspector.inspect(NAME, asked)


@pytest.mark.parametrize(
    "changed",
    [
        {"RepoTags": [f"{REPOSITORY}:2"]},
        {"RepoTags": None},
        {"RepoTags": ["localhost/team/app:1", "other.example.com/registry.example.com/team/app:1"]},
    ],
)
def test_answer_for_another_image_is_missing(
    daemon: RecordedDaemon, inspector: DaemonInspector, changed: dict[str, Any]
) -> None:
    daemon.images[NAME] = image(**changed)
    with pytest.raises(ImageMissing, match="answered with another image"):
        inspector.inspect(NAME)


@pytest.mark.parametrize(
    "changed",
    [
        {"Config": "text"},
        {"Config": {"Labels": ["a"]}},
        {"Config": {"Labels": {"team": 1}}},
        {"Config": {"Labels": {"team": None}}},
        {"Created": "yesterday"},
        {"Created": "2026-13-45T00:00:00Z"},
        {"Config": {"Env": [1]}},
        {"Config": {"Entrypoint": {"a": 1}}},
        {"Config": {"ExposedPorts": [1]}},
        {"Config": {"User": 0}},
        {"Os": ""},
        {"Architecture": ...},
        {"Architecture": 64},
        {"RootFS": {"Layers": ["sha256:short"]}},
        {"RootFS": []},
        {"RepoDigests": [1]},
        {"Descriptor": []},
    ],
)
def test_answer_of_another_shape_is_invalid(
    daemon: RecordedDaemon, inspector: DaemonInspector, changed: dict[str, Any]
) -> None:
    daemon.images[NAME] = image(**changed)
    with pytest.raises(ImageInvalid, match="cannot be read"):
        inspector.inspect(NAME)


def test_entrypoint_may_be_one_text(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    daemon.images[NAME] = image(Config={"Entrypoint": "/run"}, Size=-1)
    (platform,) = inspector.inspect(NAME).platforms
    assert (platform.entrypoint, platform.size) == (("/run",), None)


def test_absent_image_is_missing(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    with pytest.raises(ImageMissing) as caught:
        inspector.inspect(f"{REPOSITORY}:2")
    assert caught.value.message == f"the daemon at {daemon.url} has no {REPOSITORY}:2"


def test_malformed_reference_is_invalid(inspector: DaemonInspector) -> None:
    with pytest.raises(ImageInvalid):
        inspector.inspect("Registry/UPPER CASE")
