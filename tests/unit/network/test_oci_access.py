"""Logging in to registries: challenges, tokens, who learns a login, and how often anybody is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flowyml_policy.network.credentials import Credentials, RegistryLogin
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.messages import Request, Response
from flowyml_policy.network.oci_access import Access
from flowyml_policy.network.oci_failures import RegistryFailure
from flowyml_policy.network.oci_registry import OciRegistry
from tests.child import succeeds_in_child
from tests.oci_registry import Handler, OciServer, answering, only, start

if TYPE_CHECKING:
    from tests.resolution.conftest import Authority

NAME = "team/app"
MANIFEST = "/v2/team/app/manifests/v1"
CONFIG = {"architecture": "amd64", "os": "linux"}


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with start() as running:
        running.repository(NAME).add_image(CONFIG, "v1")
        yield running


class Clock:
    """A clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


MakeClient = Callable[..., OciRegistry]


@pytest.fixture(name="make_client")
def _make_client(server: OciServer, clock: Clock, tmp_path: Path) -> Iterator[MakeClient]:
    """A client with the login of the settings (`given`), or with a Docker configuration."""
    made: list[OciRegistry] = []

    def make(given: Any = None, /, *, docker: object = None, **more: Any) -> OciRegistry:
        environ = {"PW": server.login[1], "TOKEN": "t0ken", "DOCKER_CONFIG": str(tmp_path)}
        if docker is not None:
            (tmp_path / "config.json").write_text(json.dumps(docker), "utf-8")
        credentials = Credentials({} if given is None else {server.host: given}, environ=environ)
        made.append(OciRegistry(credentials, environ={}, clock=clock, **{"insecure": [server.host], **more}))
        return made[-1]

    yield make
    for one in made:
        one.close()


BY_PASSWORD = RegistryLogin("robot", password_env="PW")
BY_TOKEN = RegistryLogin(token_env="TOKEN")


def read(client: OciRegistry, server: OciServer, name: str = NAME, tag: str = "v1") -> str:
    return client.manifest(client.endpoint(server.host, name), tag, Deadline(20)).digest


def refusal(client: OciRegistry, server: OciServer) -> RegistryFailure:
    with pytest.raises(RegistryFailure) as caught:
        read(client, server)
    assert server.login[1] not in f"{caught.value.what} {caught.value.advice}"
    return caught.value


# Basic


def test_password_is_sent_where_it_is_asked_for(server: OciServer, make_client: MakeClient) -> None:
    """And from then on with each request, so that a repository costs one demand."""
    server.asks_for = "basic"
    client = make_client(BY_PASSWORD)
    for _ in range(3):
        read(client, server)
    assert [asked.authorization for asked in server.requests] == [None, *[server.basic] * 3]


def test_open_registry_gets_no_login(server: OciServer, make_client: MakeClient) -> None:
    read(make_client(BY_PASSWORD), server)
    assert [asked.authorization for asked in server.requests] == [None]


def test_wrong_password_is_tried_once(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for = "basic"
    client = make_client(BY_PASSWORD)
    server.login = ("robot", "another")
    failure = refusal(client, server)
    assert (failure.reason, failure.status, len(server.requests)) == ("denied", 401, 2)


def test_registry_without_login_is_told(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for = "basic"
    failure = refusal(make_client(), server)
    assert (failure.reason, failure.what) == ("denied", "the registry wants a user name and password")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("challenges", "what"),
    [
        ("Negotiate", "the registry wants a login of a kind that is not known: 'negotiate'"),
        ('Bearer realm="x', "the registry asks for a login in a way that cannot be read"),
        ("Bearer service=x", "the registry names no token server that is asked over https"),
        ("", "the registry wants other credentials (401, UNAUTHORIZED)"),
    ],
)
def test_demand_of_another_kind_is_refused(
    server: OciServer, make_client: MakeClient, challenges: str, what: str
) -> None:
    server.asks_for, server.challenges = "basic", challenges
    failure = refusal(make_client(BY_PASSWORD), server)
    assert (failure.reason, failure.what, len(server.requests)) == ("denied", what, 1)


# Tokens


def test_token_is_asked_for_once(server: OciServer, make_client: MakeClient) -> None:
    """For one repository, to pull from it, by the login of the registry."""
    server.asks_for = "bearer"
    server.repository("team/other").add_image(CONFIG, "v1")
    client = make_client(BY_PASSWORD)
    for name in (NAME, NAME, "team/other"):
        read(client, server, name)
    other = MANIFEST.replace("app", "other")
    expected = [f"GET {MANIFEST}", "GET /token", f"GET {MANIFEST}", f"GET {MANIFEST}"]
    assert server.log == [*expected, f"GET {other}", "GET /token", f"GET {other}"]
    assert [asked.authorization for asked in server.asked(part="/token")] == [server.basic] * 2
    asked = [parse_qs(urlsplit(one.path).query) for one in server.asked(part="/token")]
    scopes = [f"repository:{name}:pull" for name in (NAME, "team/other")]
    assert asked == [{"service": [server.host], "scope": [scope]} for scope in scopes]


def test_scope_is_never_more_than_pull(server: OciServer, make_client: MakeClient) -> None:
    """Whatever the registry names, which may also put a query into its realm."""
    server.asks_for, server.is_public = "bearer", True
    server.challenges = f'Bearer scope="registry:catalog:*",realm="{server.url}/token?account=x&y=%20"'
    read(make_client(), server)
    assert server.asked(part="/token")[0].path == "/token?account=x&y=%20&scope=repository%3Ateam%2Fapp%3Apull"


def test_public_image_needs_a_token_without_login(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for, server.is_public = "bearer", True
    read(make_client(), server)
    assert [asked.authorization for asked in server.asked(part="/token")] == [None]


def test_first_known_challenge_counts(server: OciServer, make_client: MakeClient) -> None:
    """Of Basic and Bearer; without a login it is Bearer."""
    bearer, basic = f'Bearer realm="{server.url}/token"', 'Basic realm="x"'
    server.asks_for, server.is_public = "bearer", True
    server.challenges = f"Negotiate abc=, {bearer}, {basic}"
    read(make_client(BY_PASSWORD), server)
    server.challenges = f"{basic}, {bearer}"
    read(make_client(), server)
    assert [asked.authorization for asked in server.asked(part="/token")] == [server.basic, None]
    server.asks_for = "basic"
    read(make_client(BY_PASSWORD), server)
    assert len(server.asked(part="/token")) == 2


def test_demands_in_two_fields_are_read(server: OciServer, make_client: MakeClient) -> None:
    def misbehave(handler: Handler) -> bool:
        if "Authorization" in handler.headers:
            return False
        handler.send_response(401)
        for demand in ("Negotiate", f'Bearer service="a, b",realm="{server.url}/token"'):
            handler.send_header("WWW-Authenticate", demand)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.asks_for, server.misbehave = "bearer", only("/manifests/", misbehave)
    read(make_client(BY_PASSWORD), server)
    assert "service=a%2C+b" in server.asked(part="/token")[0].path


def test_identity_token_is_changed_by_post(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for, server.identity_tokens = "bearer", {"identity"}
    read(make_client(docker={"auths": {server.host: {"identitytoken": "identity"}}}), server)
    (asked,) = server.asked(part="/token")
    assert (asked.method, asked.path, asked.authorization) == ("POST", "/token", None)
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["identity"],
        "client_id": ["flowyml-policy"],
        "service": [server.host],
        "scope": ["repository:team/app:pull"],
    }


def test_identity_token_is_no_password(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for = "basic"
    failure = refusal(make_client(docker={"auths": {server.host: {"identitytoken": "identity"}}}), server)
    assert (failure.reason, len(server.requests)) == ("denied", 1)


def test_bearer_token_is_sent_as_it_is(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for, server.tokens = "bearer", {"t0ken"}
    client = make_client(BY_TOKEN)
    for _ in range(2):
        read(client, server)
    assert [asked.authorization for asked in server.requests] == [None, "Bearer t0ken", "Bearer t0ken"]
    server.tokens = set()
    assert (refusal(client, server).status, len(server.requests)) == (401, 4)


def test_token_is_kept_until_it_expires(server: OciServer, make_client: MakeClient, clock: Clock) -> None:
    """Then another is asked for at once, without a new demand."""
    server.asks_for, server.token_life = "bearer", 100
    client = make_client(BY_PASSWORD)
    read(client, server)
    clock.now += 89
    read(client, server)
    clock.now += 2
    read(client, server)
    expected = [f"GET {MANIFEST}", "GET /token", f"GET {MANIFEST}"]
    assert server.log == [*expected, f"GET {MANIFEST}", "GET /token", f"GET {MANIFEST}"]


@pytest.mark.parametrize("life", [None, "300", True, -1, 0, [1]])
def test_token_without_life_is_kept_a_minute(
    server: OciServer, make_client: MakeClient, clock: Clock, life: object
) -> None:
    server.asks_for, server.token_life = "bearer", life
    client = make_client(BY_PASSWORD)
    for passed in (0, 53, 2):
        clock.now += passed
        read(client, server)
    assert len(server.issued) == 2


@pytest.mark.parametrize("life", [10**400, float("inf")])
def test_token_without_end_is_kept_a_day(
    server: OciServer, make_client: MakeClient, clock: Clock, life: object
) -> None:
    server.asks_for, server.token_life = "bearer", life
    client = make_client(BY_PASSWORD)
    for passed in (0, 70_000, 20_000):
        clock.now += passed
        read(client, server)
    assert len(server.issued) == 2


def test_token_refused_is_renewed_once(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for = "bearer"
    client = make_client(BY_PASSWORD)
    read(client, server)
    server.tokens.clear()
    read(client, server)
    assert len(server.issued) == 2
    server.misbehave = only("/manifests/", lambda handler: refused_again(handler, server))
    before = len(server.requests)
    failure = refusal(client, server)
    assert (failure.reason, failure.status) == ("denied", 401)
    assert server.log[before:] == [f"GET {MANIFEST}", "GET /token", f"GET {MANIFEST}"]


def refused_again(handler: Handler, server: OciServer) -> bool:
    handler.error(401, "UNAUTHORIZED", WWW_Authenticate=server.challenge(handler.path))
    return True


@pytest.mark.parametrize("status", [400, 403])
def test_old_token_refused_otherwise_is_renewed(
    server: OciServer, make_client: MakeClient, clock: Clock, status: int
) -> None:
    """As by ECR Public, which answers 400 to one that has expired; a young one is not asked for again."""
    server.asks_for = "bearer"
    client = make_client(BY_PASSWORD)
    read(client, server)
    server.misbehave = only("/manifests/", answering(status), times=1)
    assert (refusal(client, server).status, len(server.issued)) == (status, 1)
    clock.now += 61
    server.misbehave = only("/manifests/", answering(status), times=1)
    read(client, server)
    assert len(server.issued) == 2


def test_many_threads_ask_for_one_token(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for, server.delay = "bearer", 0.02
    client, found = make_client(BY_PASSWORD), list[str]()
    for _ in range(2):
        threads = [threading.Thread(target=lambda: found.append(read(client, server))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.tokens.clear()
    assert len(found) == 16
    assert len(server.issued) == 2


def test_image_of_two_platforms_costs_eight_requests(server: OciServer, make_client: MakeClient) -> None:
    """HEAD, the index, two for each platform, and two for the demand. Not changed, it is HEAD alone."""
    repository = server.repository(NAME)
    children = [repository.add_image({"os": "linux", "architecture": one}) for one in ("amd64", "arm64")]
    digest = repository.add_index([repository.descriptor(one) for one in children], "all")
    server.asks_for = "bearer"
    client = make_client(BY_PASSWORD)
    endpoint = client.endpoint(server.host, NAME)
    assert client.head(endpoint, "all", Deadline(20)) == digest
    for one in json.loads(client.manifest(endpoint, digest, Deadline(20)).data)["manifests"]:
        child = json.loads(client.manifest(endpoint, one["digest"], Deadline(20)).data)
        client.blob(endpoint, child["config"]["digest"], Deadline(20))
    assert len(server.requests) == 8
    client.head(endpoint, "all", Deadline(20))
    assert (len(server.requests), server.requests[-1].method) == (9, "HEAD")


# Token servers

ASKING = "asking the registry's token server, {host}"


@pytest.mark.parametrize(
    ("misbehave", "reason", "what", "requests"),
    [
        (answering(401), "denied", "the registry's token server wants other credentials (401)", 1),
        (answering(403), "denied", "the registry's token server gives no access (403)", 1),
        (answering(429), "limited", "the registry's token server takes no more requests for now (429)", 3),
        (answering(500), "server", "the registry's token server failed (500)", 1),
        (answering(404), "server", "the registry's token server gave no token (404)", 1),
        (answering(200, b"<html>"), "server", "the registry's token server gave no token (200)", 1),
        (answering(200, b"[1]"), "server", "the registry's token server gave no token (200)", 1),
        (answering(200, b"[" * 9999), "server", "the registry's token server gave no token (200)", 1),
        (answering(200, b"{}"), "server", "the registry's token server gave no token (200)", 1),
        (answering(200, b'{"token": 5}'), "server", "the registry's token server gave no token (200)", 1),
        (answering(200, b'{"token": "a\\r\\nX: y"}'), "server", "the registry's token server gave no token (200)", 1),
        (
            answering(200, b" " * (1 << 19)),
            "too_large",
            "asking the registry's token server, {host}: the answer is larger than 262,144 bytes",
            1,
        ),
    ],
)
def test_token_server_failing_is_told(
    server: OciServer,
    make_client: MakeClient,
    misbehave: Callable[[Handler], bool],
    reason: str,
    what: str,
    requests: int,
) -> None:
    server.asks_for = "bearer"
    server.misbehave = only("/token", misbehave)
    failure = refusal(make_client(BY_PASSWORD), server)
    assert (failure.reason, failure.what, len(server.asked(part="/token"))) == (
        reason,
        what.format(host=server.host),
        requests,
    )


def test_token_server_unreachable_is_named(server: OciServer, make_client: MakeClient) -> None:
    with start() as gone:
        server.asks_for, server.realm = "bearer", f"{gone.url}/token"
    failure = refusal(make_client(), server)
    assert failure.reason == "unreachable"
    assert failure.what.startswith(f"asking the registry's token server, {gone.host}: the server cannot be reached")


def test_access_token_is_a_token(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for, server.tokens = "bearer", {"by-another-name"}
    server.misbehave = only("/token", answering(200, b'{"access_token": "by-another-name"}'))
    read(make_client(), server)


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example.com/token",
        "ftp://auth.example.com/token",
        "//auth.example.com/token",
        "/token",
        "https://user:pw@auth.example.com/token",
        "https://auth.example.com/token#x",
        "https://auth.example.com /token",
        "https://",
    ],
)
def test_realm_that_is_not_safe_is_refused(server: OciServer, make_client: MakeClient, realm: str) -> None:
    server.asks_for, server.realm = "bearer", realm
    failure = refusal(make_client(BY_PASSWORD), server)
    assert (failure.reason, failure.what) == ("denied", "the registry names no token server that is asked over https")


@pytest.fixture(name="tls_servers")
def _tls_servers(authority: Authority) -> Iterator[tuple[OciServer, OciServer]]:
    """A registry, and its token server at another host; both by TLS."""
    with start(authority.server) as registry, start(authority.server) as tokens:
        registry.repository(NAME).add_image(CONFIG, "v1")
        registry.asks_for, registry.realm = "bearer", f"{tokens.url.replace('127.0.0.1', 'localhost')}/token"
        tokens.tokens_for = [registry]
        yield registry, tokens


def tls_client(registry: OciServer, authority: Authority) -> OciRegistry:
    credentials = Credentials({registry.host: BY_PASSWORD}, environ={"PW": registry.login[1]})
    return OciRegistry(credentials, ca=authority.file, environ={})


def test_token_server_elsewhere_gets_the_login(tls_servers: tuple[OciServer, OciServer], authority: Authority) -> None:
    """As from Docker: the registry itself named it, over TLS."""
    registry, tokens = tls_servers
    client = tls_client(registry, authority)
    read(client, registry)
    assert [asked.authorization for asked in tokens.requests] == [registry.basic]
    assert [asked.authorization for asked in registry.requests] == [None, f"Bearer {tokens.issued[0]}"]
    client.close()


def test_token_server_is_not_followed(
    tls_servers: tuple[OciServer, OciServer], authority: Authority, server: OciServer
) -> None:
    registry, tokens = tls_servers
    client = tls_client(registry, authority)
    for target in (f"{registry.url}/token", f"{server.url}/token", "/elsewhere"):
        tokens.misbehave = only("/token", answering(307, Location=target))
        assert refusal(client, registry).what == "the registry's token server gave no token (307)"
    assert [asked.authorization for asked in registry.requests] == [None] * 3
    assert server.requests == []
    client.close()


def test_plain_token_server_of_a_tls_registry_is_refused(
    tls_servers: tuple[OciServer, OciServer], authority: Authority, server: OciServer
) -> None:
    """Also on this machine."""
    registry, _ = tls_servers
    registry.realm = f"{server.url}/token"
    client = tls_client(registry, authority)
    assert refusal(client, registry).reason == "denied"
    assert server.requests == []


def test_login_stays_with_its_registry(server: OciServer, make_client: MakeClient) -> None:
    """A mirror, or another registry, gets none of it."""
    with start() as other:
        other.repository(NAME).add_image(CONFIG, "v1")
        other.asks_for, other.is_public = "bearer", True
        client = make_client(BY_PASSWORD, insecure=[server.host, other.host])
        endpoint = client.endpoint(other.host, NAME, mirror_of=server.host)
        client.manifest(endpoint, "v1", Deadline(20))
        assert [asked.authorization for asked in other.asked(part="/token")] == [None]


# Logins that cannot be used


def test_unusable_login_stops_no_public_image(server: OciServer, make_client: MakeClient) -> None:
    """What is wrong is told where the registry then wants a login."""
    server.asks_for, server.is_public = "bearer", True
    broken = {"credsStore": "absent"}
    read(make_client(docker=broken), server)
    server.is_public = False
    failure = refusal(make_client(docker=broken), server)
    what = "the credential helper docker-credential-absent is not installed"
    assert (failure.reason, failure.what) == ("credentials", what)
    server.asks_for = "basic"
    assert refusal(make_client(docker=broken), server).what == what
    server.asks_for, server.is_public = "bearer", True
    server.misbehave = only("/manifests/", lambda handler: "Authorization" in handler.headers and denied(handler))
    assert refusal(make_client(docker=broken), server).what == what


def denied(handler: Handler) -> bool:
    handler.error(403, "DENIED")
    return True


def test_login_of_the_settings_is_not_passed_over(server: OciServer, make_client: MakeClient) -> None:
    """Without it the answer might be another."""
    server.asks_for, server.is_public = "bearer", True
    failure = refusal(make_client(RegistryLogin("robot", password_env="ABSENT")), server)
    what = f"the environment variable ABSENT, which holds the login for {server.host}, is not set"
    assert (failure.reason, failure.what, failure.advice) == ("credentials", what, "set ABSENT")
    assert server.asked(part="/token") == []


def test_login_is_read_from_docker(server: OciServer, make_client: MakeClient) -> None:
    server.asks_for = "basic"
    auth = base64.b64encode(":".join(server.login).encode()).decode()
    read(make_client(docker={"auths": {server.host: {"auth": auth}}}), server)


def test_login_is_not_sent_over_plain_http() -> None:
    """Nor to a token server that was named over it: anybody on the way may have named one of their own."""
    asked: list[Request] = []

    def ask(request: Request) -> Response:
        asked.append(request)
        return Response(200, {}, b'{"token": "of-nobody"}')

    access = Access(
        NAME,
        is_safe=False,
        is_plain_loopback=False,
        login=lambda: Credentials({"r.example.com": BY_PASSWORD}, environ={"PW": "x"}).of("r.example.com"),
        clock=lambda: 0.0,
    )
    demand = {"www-authenticate": 'Bearer realm="https://auth.example.com/token"'}
    assert access.renewed(None, Response(401, demand, b""), ask).header == "Bearer of-nobody"
    assert [one.authorization for one in asked] == [None]
    with pytest.raises(RegistryFailure, match="a login is not sent over plain http"):
        access.renewed(access.current(ask), Response(401, {"www-authenticate": "Basic realm=x"}, b""), ask)


# After a fork


@pytest.mark.parametrize("part", ["/token", "/manifests/"])
def test_child_waits_for_no_thread_of_its_parent(server: OciServer, make_client: MakeClient, part: str) -> None:
    """Whose thread waits for a token, or for the one answer that may be under way."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def slow(_: Handler) -> bool:
        is_asked.set()
        may_answer.wait(30)
        return False

    server.asks_for, server.misbehave = "bearer", only(part, slow, times=1)
    client = make_client(BY_PASSWORD, most_at_once=1)
    thread = threading.Thread(target=read, args=(client, server))
    thread.start()
    assert is_asked.wait(10)
    is_read = succeeds_in_child(lambda: client.manifest(client.endpoint(server.host, NAME), "v1", Deadline(5)))
    may_answer.set()
    thread.join()
    assert is_read
    read(client, server)
