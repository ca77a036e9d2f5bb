"""Images inspected as the settings say, at real registries of every kind, and at a real daemon beside them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme

from flowyml_policy.errors.images import ImageAccessDenied, ImageMissing, ImageUnreachable
from flowyml_policy.images.inspection import Inspection
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts
from flowyml_policy.settings.loading import load_settings
from tests.containers.daemons import Daemon
from tests.containers.redirecting import Redirecting
from tests.containers.registries import PASSWORD, USER, Registry, registry
from tests.image_builder import CREATED, Image, build, index, layer

Open: TypeAlias = Callable[..., Inspection]

IMAGE = build(
    labels={"maintainer": "ml-platform"},
    user="1000",
    Env=["PATH=/usr/bin", "TOKEN=never-to-be-seen"],
    Entrypoint=["/app/run"],
    ExposedPorts={"8080/tcp": {}},
    base=build(),
    layers=[layer({"app/run": b"#!/bin/sh\n"})],
)


def facts_of(image: Image) -> PlatformFacts:
    """What must be found of IMAGE, or of another platform's image like it."""
    config = image.config["config"]
    return PlatformFacts(
        platform="/".join(image.platform[key] for key in ("os", "architecture", "variant") if key in image.platform),
        digest=image.digest,
        labels=config["Labels"],
        user=config.get("User"),
        created=CREATED,
        size=sum(len(blob.data) for blob in image.blobs),
        architecture=image.config["architecture"],
        os=image.config["os"],
        ports=tuple(config.get("ExposedPorts", ())),
        entrypoint=tuple(config.get("Entrypoint", ())),
        env=tuple(one.partition("=")[0] for one in config.get("Env", ())),
        diff_ids=image.diff_ids,
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Makes what inspects images as `policy.images` says, with variables and one cache of the test's own."""
    with ExitStack() as stack:

        def made(images: dict[str, Any], *, refresh: bool = False, **variables: str) -> Inspection:
            (tmp_path / "flowyml.yaml").write_text(json.dumps({"policy": {"images": images}}), "utf-8")
            environ = {"HOME": str(tmp_path), **variables}
            settings = load_settings(project=tmp_path, environ=environ, system_file=tmp_path / "no-platform.yaml")
            return stack.enter_context(closing(Inspection.of(settings, environ=environ, refresh=refresh)))

        yield made


def plain(where: Registry | Redirecting, **more: Any) -> dict[str, Any]:
    """Settings for a registry without TLS."""
    return {"insecure": [where.host], **more}


def log_in(where: Registry | Redirecting, user: str = USER) -> dict[str, Any]:
    """Settings for a user whose password the variable PASSWORD has."""
    return {"credentials": {where.host: {"username": user, "password_env": "PASSWORD"}}}


def docker_login(home: Path, host: str, entry: dict[str, str]) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {host: entry}}), "utf-8")


def asked(where: Registry, repository: str) -> list[tuple[str, str, int]]:
    """Method, what, and status of the requests about a repository since the last push."""
    beginning = f"/v2/{repository}/"
    return [
        (method, path.removeprefix(beginning), status)
        for method, path, status in where.requests()
        if path.startswith(beginning)
    ]


@pytest.mark.parametrize("docker", [False, True])
def test_image_of_one_platform(plain_registry: Registry, opened: Open, docker: bool) -> None:
    image = build(labels={"maintainer": "ml-platform"}, docker=docker)
    repository = f"inspected/one-{docker}".lower()
    digest = plain_registry.push(repository, "1", image)

    facts = opened(plain(plain_registry)).inspect(plain_registry.reference(repository, "1"))

    assert (facts.digest, facts.kind, facts.via, facts.endpoint) == (
        digest,
        "manifest",
        "registry",
        plain_registry.host,
    )
    assert facts.platforms == (facts_of(image),)
    assert asked(plain_registry, repository) == [
        ("HEAD", "manifests/1", 200),
        ("GET", "manifests/1", 200),
        ("GET", f"blobs/{image.config_blob.digest}", 200),
    ]


def test_index_with_attestations_is_its_platforms(plain_registry: Registry, opened: Open) -> None:
    images = [
        build(labels={"of": platform}, platform=platform, layers=[platform.encode()])
        for platform in ("linux/amd64", "linux/arm64/v8")
    ]
    digest = plain_registry.push("inspected/two", "1", index(*images, attested=True))
    reference = plain_registry.reference("inspected/two", "1")

    facts = opened(plain(plain_registry)).inspect(reference)

    assert (facts.digest, facts.kind, facts.platforms) == (digest, "index", tuple(map(facts_of, images)))
    paths = [path for image in images for path in (f"manifests/{image.digest}", f"blobs/{image.config_blob.digest}")]
    expected = [("HEAD", "manifests/1", 200), ("GET", "manifests/1", 200), *(("GET", path, 200) for path in paths)]
    assert asked(plain_registry, "inspected/two") == expected
    assert opened(plain(plain_registry)).inspect(reference, "linux/arm64").platforms == (facts_of(images[1]),)


def test_unchanged_tag_takes_one_head(plain_registry: Registry, opened: Open) -> None:
    plain_registry.push("inspected/again", "1", index(IMAGE, attested=True))
    reference = plain_registry.reference("inspected/again", "1")
    first = opened(plain(plain_registry)).inspect(reference)
    plain_registry.forget()

    remembered = opened(plain(plain_registry)).inspect(reference)
    assert asked(plain_registry, "inspected/again") == []
    refreshed = opened(plain(plain_registry), refresh=True).inspect(reference)

    assert asked(plain_registry, "inspected/again") == [("HEAD", "manifests/1", 200)]
    assert remembered.platforms == refreshed.platforms == first.platforms


def test_moved_tag_is_seen(plain_registry: Registry, opened: Open) -> None:
    reference = plain_registry.reference("inspected/moved", "1")
    found: list[ImageFacts] = []
    for label in ("old", "new"):
        plain_registry.push("inspected/moved", "1", build(labels={"is": label}))
        found.append(opened(plain(plain_registry), refresh=True).inspect(reference))
    assert [facts.platforms[0].labels for facts in found] == [{"is": "old"}, {"is": "new"}]
    assert [method for method, _, _ in asked(plain_registry, "inspected/moved")] == ["HEAD", "GET", "GET"]


@pytest.mark.parametrize("name", ["inspected/none:1", "inspected/one:none", f"inspected/one@sha256:{'0' * 64}"])
def test_absent_image_fails_closed(plain_registry: Registry, opened: Open, name: str) -> None:
    plain_registry.push("inspected/one", "1", IMAGE)
    with pytest.raises(ImageMissing):
        opened(plain(plain_registry)).inspect(f"{plain_registry.host}/{name}")


def test_password_of_the_settings(password_registry: Registry, opened: Open) -> None:
    digest = password_registry.push("team/private", "1", IMAGE)
    images = plain(password_registry, **log_in(password_registry))

    facts = opened(images, PASSWORD=PASSWORD).inspect(password_registry.reference("team/private", "1"))

    assert (facts.digest, facts.platforms) == (digest, (facts_of(IMAGE),))
    statuses = [status for _, _, status in asked(password_registry, "team/private")]
    assert sorted(statuses) == [200, 200, 200, 401]


def test_password_of_dockers_configuration(password_registry: Registry, opened: Open, tmp_path: Path) -> None:
    password_registry.push("team/private", "2", IMAGE)
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    docker_login(tmp_path, password_registry.host, {"auth": login})
    facts = opened(plain(password_registry)).inspect(password_registry.reference("team/private", "2"))
    assert facts.platforms == (facts_of(IMAGE),)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_wrong_password_fails_closed(password_registry: Registry, opened: Open, password: str | None) -> None:
    password_registry.push("team/private", "1", IMAGE)
    images = plain(password_registry, **(log_in(password_registry) if password else {}))
    with pytest.raises(ImageAccessDenied) as caught:
        opened(images, PASSWORD=password or "").inspect(password_registry.reference("team/private", "1"))
    assert str(caught.value).count("wrong") == 0
    assert len(asked(password_registry, "team/private")) <= 2


def test_token_by_a_password(token_registry: Registry, opened: Open) -> None:
    digest = token_registry.push("team/private", "1", index(IMAGE, attested=True))
    tokens = token_registry.tokens
    assert tokens is not None
    tokens.requests.clear()
    images = plain(token_registry, **log_in(token_registry, "reader"))

    facts = opened(images, PASSWORD="may-read").inspect(token_registry.reference("team/private", "1"))

    assert (facts.digest, facts.platforms) == (digest, (facts_of(IMAGE),))
    assert [one["scope"] for one in tokens.requests] == ["repository:team/private:pull"]
    found = [(method, status) for method, _, status in asked(token_registry, "team/private")]
    assert found == [("HEAD", 401), ("HEAD", 200), *[("GET", 200)] * 3]


def test_token_by_an_identity_token(token_registry: Registry, opened: Open, tmp_path: Path) -> None:
    token_registry.push("team/private", "2", IMAGE)
    docker_login(tmp_path, token_registry.host, {"identitytoken": "identity-of-reader"})
    facts = opened(plain(token_registry)).inspect(token_registry.reference("team/private", "2"))
    assert facts.platforms == (facts_of(IMAGE),)


def test_token_of_nobody_reads_what_is_public(token_registry: Registry, opened: Open) -> None:
    token_registry.push("public/app", "1", IMAGE)
    token_registry.push("team/private", "3", IMAGE)
    inspection = opened(plain(token_registry))
    assert inspection.inspect(token_registry.reference("public/app", "1")).platforms == (facts_of(IMAGE),)
    with pytest.raises(ImageAccessDenied):
        inspection.inspect(token_registry.reference("team/private", "3"))


def test_token_for_a_wrong_password_fails_closed(token_registry: Registry, opened: Open) -> None:
    token_registry.push("team/private", "4", IMAGE)
    images = plain(token_registry, **log_in(token_registry, "reader"))
    with pytest.raises(ImageAccessDenied):
        opened(images, PASSWORD="wrong").inspect(token_registry.reference("team/private", "4"))


def test_private_ca(tls_registry: Registry, opened: Open) -> None:
    digest = tls_registry.push("team/app", "1", IMAGE)
    reference = tls_registry.reference("team/app", "1")
    for ca in (str(tls_registry.ca), {tls_registry.host: str(tls_registry.ca)}):
        facts = opened({"ca": ca}, refresh=True).inspect(reference)
        assert (facts.digest, facts.endpoint, facts.platforms) == (digest, tls_registry.host, (facts_of(IMAGE),))


def test_wrong_ca_fails_closed(tls_registry: Registry, opened: Open, tmp_path: Path) -> None:
    tls_registry.push("team/app", "1", IMAGE)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    for ca in ({}, {"ca": "other.pem"}, {"ca": {"127.0.0.1:1": str(tls_registry.ca)}}):
        with pytest.raises(ImageUnreachable, match="certificate is not trusted"):
            opened(ca).inspect(tls_registry.reference("team/app", "1"))
    assert asked(tls_registry, "team/app") == []


def test_tls_registry_is_not_asked_in_clear(tls_registry: Registry, opened: Open) -> None:
    with pytest.raises((ImageUnreachable, ImageAccessDenied, ImageMissing)):
        opened(plain(tls_registry)).inspect(tls_registry.reference("team/app", "1"))


def test_client_certificate(mutual_tls_registry: Registry, opened: Open) -> None:
    digest = mutual_tls_registry.push("team/app", "1", IMAGE)
    reference, host = mutual_tls_registry.reference("team/app", "1"), mutual_tls_registry.host
    assert mutual_tls_registry.client is not None
    certificate, key = map(str, mutual_tls_registry.client)
    images = {"ca": str(mutual_tls_registry.ca)}

    with pytest.raises(ImageUnreachable):
        opened(images).inspect(reference)
    facts = opened({**images, "client_certificates": {host: {"certificate": certificate, "key": key}}}).inspect(
        reference
    )

    assert (facts.digest, facts.platforms) == (digest, (facts_of(IMAGE),))


def test_redirected_blob_takes_no_login_along(
    plain_registry: Registry, redirecting_registry: Redirecting, opened: Open
) -> None:
    digest = plain_registry.push("inspected/far", "1", IMAGE)
    redirecting_registry.login = (USER, PASSWORD)
    images = plain(redirecting_registry, **log_in(redirecting_registry))

    facts = opened(images, PASSWORD=PASSWORD).inspect(f"{redirecting_registry.host}/inspected/far:1")

    assert (facts.digest, facts.platforms) == (digest, (facts_of(IMAGE),))
    (headers,) = redirecting_registry.asked_there
    assert "authorization" not in headers
    assert f"blobs/{IMAGE.config_blob.digest}" in {path for _, path, _ in asked(plain_registry, "inspected/far")}


def test_mirror_stands_in_for_docker_hub(plain_registry: Registry, opened: Open) -> None:
    digest = plain_registry.push("mirror/library/app", "1", IMAGE)
    images = plain(plain_registry, mirrors={"docker.io": [f"{plain_registry.host}/mirror"]})
    facts = opened(images).inspect("app:1")
    assert (facts.registry, facts.digest, facts.endpoint) == ("docker.io", digest, f"{plain_registry.host}/mirror")


def test_registry_that_went_away(tmp_path: Path, opened: Open) -> None:
    """What is pinned by digest is remembered for ever, a tag no longer than it may be."""
    with registry(tmp_path / "registry") as made:
        digest = made.push("team/app", "1", IMAGE)
        images = plain(made, tag_ttl="0s")
        opened(images).inspect(made.reference("team/app", "1"))
    with pytest.raises(ImageUnreachable):
        opened(images).inspect(made.reference("team/app", "1"))
    facts = opened(images).inspect(f"{made.host}/team/app@{digest}")
    assert facts.platforms == (facts_of(IMAGE),)


def test_daemon_answers_for_what_is_local(plain_registry: Registry, docker_daemon: Daemon, opened: Open) -> None:
    """Where the registry has no such image, and the settings allow for that."""
    reference = plain_registry.reference("local/built", "1")
    docker_daemon.load(IMAGE, reference)
    with pytest.raises(ImageMissing):
        opened(plain(plain_registry), **docker_daemon.environ).inspect(reference)

    images = plain(plain_registry, allow_local=[f"{plain_registry.host}/local/*"])
    facts = opened(images, **docker_daemon.environ).inspect(reference)

    assert (facts.via, facts.digest, facts.endpoint) == ("daemon", None, docker_daemon.url)
    assert facts.platforms[0].labels == {"maintainer": "ml-platform"}


def test_daemon_stands_in_for_a_store_that_is_down(
    plain_registry: Registry, redirecting_registry: Redirecting, docker_daemon: Daemon, opened: Open
) -> None:
    """Its image is the very one that the registry names."""
    digest = plain_registry.push("inspected/cut", "1", IMAGE)
    reference = f"{redirecting_registry.host}/inspected/cut:1"
    docker_daemon.pull(reference)
    redirecting_registry.is_down = True

    facts = opened(plain(redirecting_registry), **docker_daemon.environ).inspect(reference)

    assert (facts.via, facts.digest, facts.kind, facts.endpoint) == ("daemon", digest, "manifest", docker_daemon.url)
    assert facts.platforms[0].model_copy(update={"size": None}) == facts_of(IMAGE).model_copy(update={"size": None})
    with pytest.raises(ImageUnreachable):
        opened(plain(redirecting_registry)).inspect(reference)


def test_daemons_image_must_be_of_its_repository(plain_registry: Registry, docker_daemon: Daemon, opened: Open) -> None:
    digest = plain_registry.push("pulled/app", "1", IMAGE)
    reference = plain_registry.reference("pulled/app", "1")
    docker_daemon.pull(reference)
    docker_daemon.tag(reference, f"{plain_registry.host}/pulled/other", "1")
    plain_registry.forget()
    inspection = opened(plain(plain_registry, inspect="daemon"), **docker_daemon.environ)

    facts = inspection.inspect(reference)

    assert (facts.via, facts.digest, facts.endpoint) == ("daemon", digest, docker_daemon.url)
    with pytest.raises(ImageMissing, match="no digest of"):
        inspection.inspect(plain_registry.reference("pulled/other", "1"))
    assert asked(plain_registry, "pulled/app") == []
