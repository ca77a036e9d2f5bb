"""A real Docker daemon, and podman's service, asked for images that were loaded, tagged and pulled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowyml_policy.errors.images import ImageMissing
from flowyml_policy.images.daemon import DaemonInspector
from flowyml_policy.records.policy_input import PlatformFacts
from tests.containers.daemons import Daemon
from tests.containers.registries import Registry
from tests.image_builder import CREATED, build, index, layer

IMAGE = build(
    labels={"maintainer": "ml-platform", "version": "2"},
    user="1000:1000",
    Env=["PATH=/usr/bin", "TOKEN=never-to-be-seen"],
    Entrypoint=["/app/run", "--fast"],
    ExposedPorts={"8080/tcp": {}, "53/udp": {}},
    base=build(),
    layers=[layer({"app/run": b"#!/bin/sh\n"})],
)
FACTS = PlatformFacts(
    platform="linux/amd64",
    labels={"maintainer": "ml-platform", "version": "2"},
    user="1000:1000",
    created=CREATED,
    architecture="amd64",
    os="linux",
    ports=("53/udp", "8080/tcp"),
    entrypoint=("/app/run", "--fast"),
    env=("PATH", "TOKEN"),
    diff_ids=IMAGE.diff_ids,
)


@pytest.fixture(params=["docker_daemon", "podman_service"])
def daemon(request: pytest.FixtureRequest) -> Daemon:
    """Either daemon."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Daemon)
    return found


@pytest.fixture
def inspector(daemon: Daemon) -> Iterator[DaemonInspector]:
    made = DaemonInspector(environ=daemon.environ)
    yield made
    made.close()


def test_loaded_image_is_local(daemon: Daemon, inspector: DaemonInspector) -> None:
    """Nothing says that any registry has it, so it has no digest, even where podman counts one."""
    daemon.load(IMAGE, "registry.example.com/team/loaded:1")

    facts = inspector.inspect("registry.example.com/team/loaded:1")

    assert (facts.inspected, facts.via, facts.endpoint, facts.digest) == (True, "daemon", daemon.url, None)
    assert (facts.registry, facts.repository, facts.tag) == ("registry.example.com", "team/loaded", "1")
    assert facts.inspected_at is not None
    (platform,) = facts.platforms
    assert platform.model_copy(update={"size": None}) == FACTS
    assert platform.size is not None
    assert platform.size > 0


def test_pulled_image_has_the_registrys_digest(plain_registry: Registry, docker_daemon: Daemon) -> None:
    digest = plain_registry.push("team/pulled", "1", IMAGE)
    reference = plain_registry.reference("team/pulled", "1")
    docker_daemon.pull(reference)
    inspector = DaemonInspector(environ=docker_daemon.environ)

    facts = inspector.inspect(reference)

    assert facts.digest == digest
    assert facts.platforms[0].model_copy(update={"size": None}) == FACTS
    assert inspector.repo_digests(reference) == (f"{plain_registry.host}/team/pulled@{digest}",)
    inspector.close()


def test_pulled_image_by_digest(plain_registry: Registry, daemon: Daemon, inspector: DaemonInspector) -> None:
    digest = plain_registry.push("team/pinned", "1", IMAGE)
    reference = f"{plain_registry.host}/team/pinned@{digest}"
    daemon.pull(reference)

    facts = inspector.inspect(reference)

    assert (facts.digest, facts.platforms[0].labels) == (digest, FACTS.labels)
    with pytest.raises(ImageMissing):
        inspector.inspect(f"{plain_registry.host}/team/pinned@sha256:{'0' * 64}")


def test_pulled_index_is_known_by_its_digest(plain_registry: Registry, docker_daemon: Daemon) -> None:
    """The daemon has one platform of it, and says nothing of the other."""
    images = [build(labels={"of": platform}, platform=platform) for platform in ("linux/amd64", "linux/arm64")]
    digest = plain_registry.push("team/both", "2", index(*images, attested=True))
    reference = plain_registry.reference("team/both", "2")
    docker_daemon.pull(reference)
    inspector = DaemonInspector(environ=docker_daemon.environ)

    facts = inspector.inspect(reference)

    assert (facts.digest, facts.kind) == (digest, None)
    assert [one.labels for one in facts.platforms] == [{"of": facts.platforms[0].platform}]
    other = next(one for one in ("linux/amd64", "linux/arm64") if one != facts.platforms[0].platform)
    with pytest.raises(ImageMissing, match=f"for {facts.platforms[0].platform}, not for '{other}'"):
        inspector.inspect(reference, other)
    assert inspector.inspect(reference, facts.platforms[0].platform).digest == digest
    inspector.close()


def test_tag_of_another_image_takes_no_digest_along(
    plain_registry: Registry, daemon: Daemon, inspector: DaemonInspector
) -> None:
    """Whoever tags an image with a trusted repository's name does not make it one of that repository."""
    digest = plain_registry.push("team/theirs", "1", IMAGE)
    reference = plain_registry.reference("team/theirs", "1")
    daemon.pull(reference)
    daemon.tag(reference, f"{plain_registry.host}/team/trusted", "1")

    facts = inspector.inspect(plain_registry.reference("team/trusted", "1"))

    assert facts.digest is None
    assert f"{plain_registry.host}/team/theirs@{digest}" in inspector.repo_digests(reference)


@pytest.mark.parametrize(
    "reference", ["registry.example.com/team/loaded:none", "docker.io/library/loaded:1", "docker.io/team/loaded:1"]
)
def test_absent_image_is_missing(daemon: Daemon, inspector: DaemonInspector, reference: str) -> None:
    """Podman answers for a name that another name ends in; that is another image."""
    daemon.load(IMAGE, "registry.example.com/team/loaded:1")
    with pytest.raises(ImageMissing):
        inspector.inspect(reference)


def test_image_by_its_id_is_missing(daemon: Daemon, inspector: DaemonInspector) -> None:
    daemon.load(IMAGE, "registry.example.com/team/loaded:1")
    identity = IMAGE.config_blob.digest
    for reference in (f"docker.io/library/{identity[7:19]}:latest", f"docker.io/team/loaded@{identity}"):
        with pytest.raises(ImageMissing):
            inspector.inspect(reference)


def test_image_that_sets_nothing(docker_daemon: Daemon) -> None:
    """Not asked of podman, which says when it was loaded for when it was made."""
    bare = build(created=None)
    docker_daemon.load(bare, "registry.example.com/team/bare:1")
    inspector = DaemonInspector(environ=docker_daemon.environ)
    (platform,) = inspector.inspect("registry.example.com/team/bare:1").platforms
    inspector.close()
    assert platform.model_copy(update={"size": None}) == PlatformFacts(
        platform="linux/amd64", architecture="amd64", os="linux", diff_ids=bare.diff_ids
    )


def test_many_threads_share_an_inspector(docker_daemon: Daemon) -> None:
    docker_daemon.load(IMAGE, "registry.example.com/team/loaded:1")
    inspector = DaemonInspector(environ=docker_daemon.environ)
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(inspector.inspect, ["registry.example.com/team/loaded:1"] * 12))
    assert [facts.platforms for facts in found] == [found[0].platforms] * 12
    inspector.close()
