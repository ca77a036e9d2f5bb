"""Pushing to a registry of this machine that keeps to the distribution API or breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flowyml_policy.network.credentials import Credentials, RegistryLogin
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_failures import RegistryFailure
from flowyml_policy.network.oci_push import PushDeclined, WritableRegistry
from flowyml_policy.network.oci_registry import Document, Endpoint
from tests.oci_registry import OCI_MANIFEST, Handler, OciServer, answering, digest_of, only, start

NAME = "team/policy"
BLOB = b"a bundle"
MANIFEST = b'{"schemaVersion":2}'
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
TAGGED = f"/v2/{NAME}/manifests/1"


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with start() as running:
        running.repository(NAME)
        yield running


@pytest.fixture(name="other")
def _other() -> Iterator[OciServer]:
    """Another host, which must not be asked."""
    with start() as running:
        yield running


def to(method: str, misbehave: Callable[[Handler], bool]) -> Callable[[Handler], bool]:
    """A misbehaviour at requests of one method."""
    return lambda handler: handler.command == method and misbehave(handler)


MakeClient = Callable[..., WritableRegistry]


@pytest.fixture(name="make_client")
def _make_client(server: OciServer) -> Iterator[MakeClient]:
    made: list[WritableRegistry] = []

    def make(**more: Any) -> WritableRegistry:
        login = RegistryLogin(server.login[0], password_env="PW")
        credentials = Credentials({server.host: login}, environ={"PW": server.login[1]})
        made.append(WritableRegistry(credentials, **{"insecure": [server.host], "environ": {}, **more}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(name="client")
def _client(make_client: MakeClient) -> WritableRegistry:
    return make_client()


def at(client: WritableRegistry, server: OciServer) -> Endpoint:
    return client.endpoint(server.host, NAME)


def put_blob(client: WritableRegistry, server: OciServer, data: bytes = BLOB) -> str:
    return client.put_blob(at(client, server), data, Deadline(20))


def put_manifest(client: WritableRegistry, server: OciServer) -> str:
    return client.put_manifest(at(client, server), "1", MANIFEST, OCI_MANIFEST, Deadline(20))


def refusal(act: Callable[..., str], client: WritableRegistry, server: OciServer) -> RegistryFailure:
    with pytest.raises(RegistryFailure) as caught:
        act(client, server)
    assert server.login[1] not in f"{caught.value.what} {caught.value.advice}"
    return caught.value


def test_blob_and_manifest_are_there_after_their_push(client: WritableRegistry, server: OciServer) -> None:
    assert put_blob(client, server) == digest_of(BLOB)
    assert put_manifest(client, server) == digest_of(MANIFEST)
    assert server.log == [
        f"HEAD /v2/{NAME}/blobs/{digest_of(BLOB)}",
        f"POST {UPLOADS}",
        f"PUT {UPLOADS}session",
        f"PUT {TAGGED}",
    ]
    place, deadline = at(client, server), Deadline(20)
    assert client.blob(place, digest_of(BLOB), deadline) == BLOB
    assert client.manifest(place, "1", deadline) == Document(MANIFEST, OCI_MANIFEST, digest_of(MANIFEST))


def test_blob_that_is_there_is_not_sent_again(client: WritableRegistry, server: OciServer) -> None:
    for _ in range(2):
        put_blob(client, server)
    assert len(server.asked("POST")) == len(server.asked("PUT")) == 1


@pytest.mark.parametrize("asks_for", ["basic", "bearer"])
def test_login_is_made_once_and_for_pushing(client: WritableRegistry, server: OciServer, asks_for: str) -> None:
    server.asks_for = asks_for
    put_blob(client, server)
    put_manifest(client, server)
    asked = [parse_qs(urlsplit(one.path).query)["scope"] for one in server.asked("GET", "/token")]
    assert asked == ([[f"repository:{NAME}:pull,push"]] if asks_for == "bearer" else [])
    assert [one.authorization is None for one in server.asked(part="/v2/")] == [True, False, False, False, False]


def test_token_that_expired_is_made_anew_for_an_upload(client: WritableRegistry, server: OciServer) -> None:
    server.asks_for = "bearer"
    put_manifest(client, server)
    server.tokens.clear()
    server.misbehave = to("HEAD", answering(404))
    put_blob(client, server)
    assert len(server.issued) == 2
    assert server.repository(NAME).blobs == {digest_of(BLOB): BLOB}


@pytest.mark.parametrize(
    "there",
    ["{other}/v2/x/blobs/uploads/1", "//{other_host}/u", "https://{host}/u", "http://user@{host}/u", "", "http://["],
)
def test_upload_elsewhere_is_refused_and_nothing_sent(
    client: WritableRegistry, server: OciServer, other: OciServer, there: str
) -> None:
    server.asks_for = "basic"
    url = there.format(other=other.url, other_host=other.host, host=server.host)
    server.misbehave = to("POST", answering(202, Location=url))
    failure = refusal(put_blob, client, server)
    assert failure.reason == "invalid"
    assert failure.what == "the registry wants the upload at another scheme, host or port than its own"
    assert (server.asked("PUT"), other.requests) == ([], [])


@pytest.mark.parametrize("there", ["{url}/v2/{name}/blobs/uploads/session?_state=a%3D%3D", "session?_state=a%3D%3D"])
def test_upload_goes_to_where_the_registry_itself_says(client: WritableRegistry, server: OciServer, there: str) -> None:
    server.misbehave = to("POST", answering(202, Location=there.format(url=server.url, name=NAME)))
    put_blob(client, server)
    assert server.asked("PUT")[0].path == f"{UPLOADS}session?_state=a%3D%3D&digest={digest_of(BLOB)}"


def test_upload_place_without_a_query_gets_one(client: WritableRegistry, server: OciServer) -> None:
    server.misbehave = to("POST", answering(202, Location=f"{UPLOADS}session"))
    assert refusal(put_blob, client, server).status == 400
    assert server.asked("PUT")[0].path == f"{UPLOADS}session?digest={digest_of(BLOB)}"


def test_redirect_of_a_push_is_not_followed(client: WritableRegistry, server: OciServer, other: OciServer) -> None:
    server.misbehave = to("PUT", answering(307, Location=f"{other.url}/here"))
    for act in (put_blob, put_manifest):
        assert (refusal(act, client, server).status, other.requests) == (307, [])


def test_digest_that_another_manifest_has_is_not_believed(client: WritableRegistry, server: OciServer) -> None:
    server.says_digest = digest_of(b"another")
    failure = refusal(put_manifest, client, server)
    assert failure.reason == "mismatch"
    assert digest_of(b"another") in failure.what


@pytest.mark.parametrize(
    ("status", "reason", "what"),
    [
        (401, "denied", "the registry wants other credentials (401, CODE)"),
        (403, "denied", "the registry gives no access (403, CODE)"),
        (404, "missing", "the registry has no such repository (404, CODE)"),
        (429, "limited", "the registry takes no more requests for now (429, CODE)"),
        (503, "server", "the registry failed (503, CODE)"),
        (405, "invalid", "the registry does not take {what} (405, CODE)"),
        (412, "invalid", "the registry does not take {what} (412, CODE)"),
        (413, "invalid", "the registry does not take {what} (413, CODE)"),
        (200, "invalid", "the registry does not take {what} (200, CODE)"),
    ],
)
@pytest.mark.parametrize("step", ["POST", "PUT", "TAG"])
def test_status_of_a_push_has_its_reason(
    client: WritableRegistry, server: OciServer, status: int, reason: str, what: str, step: str
) -> None:
    answer = answering(status, b'{"errors":[{"code":"CODE"}]}')
    server.misbehave = to(step.replace("TAG", "PUT"), answer)
    failure = refusal(put_manifest if step == "TAG" else put_blob, client, server)
    named = {"POST": "an upload", "PUT": "a blob of 8 bytes", "TAG": "the manifest"}[step]
    assert (failure.reason, failure.what, failure.status) == (reason, what.format(what=named), status)
    assert isinstance(failure, PushDeclined) == (reason == "invalid")


def test_blob_cut_off_on_its_way_is_sent_once(client: WritableRegistry, server: OciServer) -> None:
    """An upload that the registry may have finished has no session any longer; the whole push may be tried again."""

    def hang_up(handler: Handler) -> bool:
        handler.close_connection = True
        return True

    server.misbehave = only("session", hang_up, times=1)
    assert refusal(put_blob, client, server).reason == "unreachable"
    assert put_blob(client, server) == digest_of(BLOB)
    assert len(server.asked("PUT")) == 2


def test_offline_nothing_is_pushed(make_client: MakeClient, server: OciServer) -> None:
    assert refusal(put_blob, make_client(offline=True), server).reason == "offline"
    assert server.requests == []
