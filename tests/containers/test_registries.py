"""The real registries of these tests work, each in its own way: what tests of inspection build on."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest

from tests.containers.redirecting import Redirecting
from tests.containers.registries import PASSWORD, USER, Registry, basic
from tests.containers.token_server import SERVICE
from tests.image_builder import MANIFEST_TYPES, Index, build, index
from tests.oci_registry import digest_of


def manifest(registry: Registry, path: str, authorization: str | None = None) -> tuple[int, bytes]:
    """One manifest, asked for as a registry's client does."""
    headers = {"Accept": ", ".join(MANIFEST_TYPES)}
    headers |= {} if authorization is None else {"Authorization": authorization}
    request = urllib.request.Request(f"{registry.url}/v2/{path}", headers=headers)  # noqa: S310  a test's own address
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=registry.context)
    )
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("docker", [False, True])
def test_pushed_image_reads_back_by_digest(plain_registry: Registry, docker: bool) -> None:
    image = build(labels={"maintainer": "ml-platform"}, docker=docker)
    digest = plain_registry.push("team/app", "1", image)

    status, data = manifest(plain_registry, "team/app/manifests/1")

    assert (status, digest_of(data)) == (200, digest)
    config = json.loads(data)["config"]["digest"]
    status, _, data = plain_registry.ask("GET", f"/v2/team/app/blobs/{config}")
    assert (status, json.loads(data)["config"]["Labels"]) == (200, {"maintainer": "ml-platform"})


@pytest.mark.parametrize("docker", [False, True])
def test_index_holds_platforms_and_attestations(plain_registry: Registry, docker: bool) -> None:
    images = [build(platform=platform, docker=docker) for platform in ("linux/amd64", "linux/arm64/v8")]
    made: Index = index(*images, attested=not docker)
    digest = plain_registry.push("team/both", "1", made)

    status, data = manifest(plain_registry, "team/both/manifests/1")

    assert (status, digest_of(data)) == (200, digest)
    entries = json.loads(data)["manifests"]
    platforms = ["/".join(entry["platform"].values()) for entry in entries]
    assert platforms == ["linux/amd64", "linux/arm64/v8"] + ([] if docker else ["unknown/unknown"] * 2)


def test_requests_are_those_since_the_push(plain_registry: Registry) -> None:
    plain_registry.push("team/counted", "1", build())
    manifest(plain_registry, "team/counted/manifests/1")
    plain_registry.ask("HEAD", "/v2/team/counted/manifests/2")
    assert plain_registry.requests() == [
        ("GET", "/v2/team/counted/manifests/1", 200),
        ("HEAD", "/v2/team/counted/manifests/2", 404),
    ]


def test_password_registry_wants_the_password(password_registry: Registry) -> None:
    password_registry.push("team/app", "1", build())
    path = "team/app/manifests/1"
    found = [
        manifest(password_registry, path, given)[0] for given in (None, basic(USER, "wrong"), basic(USER, PASSWORD))
    ]
    assert found == [401, 401, 200]


def test_token_registry_wants_a_token_of_the_repository(token_registry: Registry) -> None:
    token_registry.push("team/app", "1", build())
    path, tokens = "team/app/manifests/1", token_registry.tokens
    assert tokens is not None
    status, headers, _ = token_registry.ask("GET", f"/v2/{path}")
    assert status == 401
    assert headers["www-authenticate"] == (
        f'Bearer realm="{tokens.url}/token",service="{SERVICE}",scope="repository:team/app:pull"'
    )
    accounts = [("", "team/app"), ("reader", "team/other"), ("reader", "team/app")]
    given = [f"Bearer {tokens.token(account, [f'repository:{name}:pull'])}" for account, name in accounts]
    assert [manifest(token_registry, path, one)[0] for one in given] == [401, 401, 200]


def test_token_server_gives_tokens_to_accounts(token_registry: Registry) -> None:
    """By a password, by an identity token, and to nobody for what is public."""
    token_registry.push("team/app", "1", build())
    token_registry.push("public/app", "1", build())
    tokens = token_registry.tokens
    assert tokens is not None

    def token(name: str, *, login: str | None = None, identity: str | None = None) -> str:
        asked = {"service": SERVICE, "scope": f"repository:{name}:pull"}
        asked |= {} if identity is None else {"grant_type": "refresh_token", "refresh_token": identity}
        headers = {} if login is None else {"Authorization": login}
        query = urlencode(asked)
        request = urllib.request.Request(  # noqa: S310  a test's own address
            f"{tokens.url}/token" if identity else f"{tokens.url}/token?{query}",
            query.encode() if identity else None,
            headers,
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return f"Bearer {json.load(answer)['token']}"

    assert manifest(token_registry, "team/app/manifests/1", token("team/app"))[0] == 401
    assert manifest(token_registry, "public/app/manifests/1", token("public/app"))[0] == 200
    by_password = token("team/app", login=basic("reader", "may-read"))
    by_identity = token("team/app", identity="identity-of-reader")
    assert [manifest(token_registry, "team/app/manifests/1", one)[0] for one in (by_password, by_identity)] == [
        200,
        200,
    ]
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        token("team/app", login=basic("reader", "wrong"))
    caught.value.close()


def test_tls_registry_is_believed_by_its_ca_alone(tls_registry: Registry) -> None:
    tls_registry.push("team/app", "1", build())
    assert manifest(tls_registry, "team/app/manifests/1")[0] == 200
    stranger = Registry(tls_registry.url, tls_registry.log)
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.ask("GET", "/v2/")


def test_mutual_tls_registry_wants_a_certificate(mutual_tls_registry: Registry) -> None:
    mutual_tls_registry.push("team/app", "1", build())
    assert manifest(mutual_tls_registry, "team/app/manifests/1")[0] == 200
    nameless = Registry(mutual_tls_registry.url, mutual_tls_registry.log, ca=mutual_tls_registry.ca)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        nameless.ask("GET", "/v2/")


def test_redirecting_registry_has_its_blobs_elsewhere(
    plain_registry: Registry, redirecting_registry: Redirecting
) -> None:
    image = build(labels={"team": "ml"})
    plain_registry.push("team/far", "1", image)
    front = Registry(redirecting_registry.url, plain_registry.log)
    path = f"/v2/team/far/blobs/{image.config_blob.digest}"

    status, headers, _ = front.ask("GET", path, "Basic secret")

    assert (status, headers["location"].partition("/v2/")[0]) == (307, redirecting_registry.store)
    assert manifest(front, f"team/far/blobs/{image.config_blob.digest}") == (200, image.config_blob.data)
    assert len(redirecting_registry.asked_there) == 1
