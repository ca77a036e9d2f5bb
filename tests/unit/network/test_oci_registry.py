"""The distribution API, against a registry of this machine that keeps to it or breaks it."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from flowyml_policy.network.credentials import Credentials, RegistryLogin
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_failures import RegistryFailure
from flowyml_policy.network.oci_registry import Endpoint, OciRegistry, Quota
from tests.oci_registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Handler,
    OciServer,
    answering,
    digest_of,
    looping,
    only,
    silent,
    start,
    truncated,
)

if TYPE_CHECKING:
    from tests.resolution.conftest import Authority

NAME = "team/app"
CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"team": "ml"}}}
Misbehaviour = Callable[[Handler], bool]


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with start() as running:
        running.repository(NAME).add_image(CONFIG, "v1")
        yield running


@pytest.fixture(name="client")
def _client(server: OciServer) -> Iterator[OciRegistry]:
    made = OciRegistry(Credentials({}, environ={}), insecure=[server.host], environ={})
    yield made
    made.close()


def at(client: OciRegistry, server: OciServer, name: str = NAME) -> Endpoint:
    return client.endpoint(server.host, name)


def soon(seconds: float = 20) -> Deadline:
    return Deadline(seconds)


def failure_of(call: Callable[[], object]) -> RegistryFailure:
    with pytest.raises(RegistryFailure) as caught:
        call()
    return caught.value


def digest_at(server: OciServer, tag: str = "v1") -> str:
    return server.repository(NAME).tags[tag]


# Endpoints


@pytest.mark.parametrize(
    ("host", "mirror_of", "expected", "place"),
    [
        ("docker.io", None, Endpoint("registry-1.docker.io", "a/b"), "registry-1.docker.io"),
        ("index.docker.io", None, Endpoint("registry-1.docker.io", "a/b"), "registry-1.docker.io"),
        ("r.example.com", None, Endpoint("r.example.com", "a/b"), "r.example.com"),
        ("r.example.com:5000", None, Endpoint("r.example.com:5000", "a/b", plain=True), "r.example.com:5000"),
        ("any.example.com:7", None, Endpoint("any.example.com:7", "a/b", plain=True), "any.example.com:7"),
        ("localhost:5000", None, Endpoint("localhost:5000", "a/b"), "localhost:5000"),
        ("127.0.0.1:5000", None, Endpoint("127.0.0.1:5000", "a/b", plain=True), "127.0.0.1:5000"),
        (
            "127.0.0.1:5000/hub",
            "docker.io",
            Endpoint("127.0.0.1:5000", "hub/a/b", plain=True, mirror_of="docker.io", prefix="hub"),
            "127.0.0.1:5000/hub",
        ),
    ],
)
def test_endpoint_is_who_is_asked(host: str, mirror_of: str | None, expected: Endpoint, place: str) -> None:
    insecure = ["r.example.com:5000", "Any.Example.com", "127.0.0.1"]
    client = OciRegistry(Credentials({}, environ={}), insecure=insecure)
    found = client.endpoint(host, "a/b", mirror_of=mirror_of)
    assert (found, found.place) == (expected, place)


def test_registry_not_named_insecure_is_asked_by_tls(server: OciServer) -> None:
    """Also on this machine; what fails then is told with what to do."""
    client = OciRegistry(Credentials({}, environ={}), environ={})
    failure = failure_of(lambda: client.manifest(at(client, server), "v1", soon()))
    assert (failure.reason, failure.what, server.requests) == ("unreachable", "the server does not speak TLS", [])
    assert failure.advice == "if it speaks plain http, name it under policy.images.insecure"


# HEAD


def test_head_says_the_digest(client: OciRegistry, server: OciServer) -> None:
    assert client.head(at(client, server), "v1", soon()) == digest_at(server)
    assert server.log == ["HEAD /v2/team/app/manifests/v1"]


@pytest.mark.parametrize(
    "misbehave",
    [
        pytest.param(answering(404), id="404"),
        pytest.param(answering(405), id="405"),
        pytest.param(answering(400), id="400"),
        pytest.param(answering(200), id="no digest"),
        pytest.param(answering(204, Docker_Content_Digest=digest_of(b"")), id="204"),
        pytest.param(answering(200, Docker_Content_Digest="sha256:abc"), id="no digest's length"),
        pytest.param(answering(200, Docker_Content_Digest=digest_of(b"").upper()), id="capital letters"),
        pytest.param(answering(200, Docker_Content_Digest=f"sha512:{'0' * 128}"), id="another algorithm"),
        pytest.param(answering(200, Docker_Content_Digest=f"{digest_of(b'')}, {digest_of(b'1')}"), id="two"),
        pytest.param(answering(304, Docker_Content_Digest=digest_of(b"")), id="304"),
    ],
)
def test_head_that_says_nothing_leaves_it_to_get(
    client: OciRegistry, server: OciServer, misbehave: Misbehaviour
) -> None:
    server.misbehave = misbehave
    assert client.head(at(client, server), "v1", soon()) is None
    assert len(server.requests) == 1


def test_head_with_digest_twice_leaves_it_to_get(client: OciRegistry, server: OciServer) -> None:
    def misbehave(handler: Handler) -> bool:
        handler.send_response(200)
        for _ in range(2):
            handler.send_header("Docker-Content-Digest", digest_of(b""))
        handler.end_headers()
        return True

    server.misbehave = misbehave
    assert client.head(at(client, server), "v1", soon()) is None


# Manifests


@pytest.mark.parametrize("docker", [False, True])
def test_manifest_is_read_by_tag_and_digest(client: OciRegistry, server: OciServer, docker: bool) -> None:
    repository = server.repository(NAME)
    digest = repository.add_image(CONFIG, "one", docker=docker)
    index = repository.add_index([repository.descriptor(digest)], "all", docker=docker)
    expected = [(digest, DOCKER_MANIFEST if docker else OCI_MANIFEST), (index, DOCKER_LIST if docker else OCI_INDEX)]
    for given in (["one", "all"], [digest, index]):
        found = [client.manifest(at(client, server), reference, soon()) for reference in given]
        assert [(one.digest, one.media_type) for one in found] == expected
        assert [one.data for one in found] == [repository.manifests[one][0] for one, _ in expected]
    accepted = {asked.headers["accept"] for asked in server.requests}
    assert [set(one.split(", ")) for one in accepted] == [{OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST}]


def test_manifest_digest_is_computed(client: OciRegistry, server: OciServer) -> None:
    """Whatever the header says, and however the digest that was asked for is made."""
    server.says_digest = digest_of(b"another")
    data = server.repository(NAME).manifests[digest_at(server)][0]
    longer = f"sha512:{hashlib.sha512(data).hexdigest()}"
    server.repository(NAME).manifests[longer] = data, OCI_MANIFEST
    found = [client.manifest(at(client, server), one, soon()).digest for one in ("v1", digest_at(server), longer)]
    assert found == [digest_at(server)] * 3


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_of_another_digest_is_refused(client: OciRegistry, server: OciServer, algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, b'what was pinned').hexdigest()}"
    server.repository(NAME).manifests[digest] = b"{}", OCI_MANIFEST
    failure = failure_of(lambda: client.manifest(at(client, server), digest, soon()))
    assert (failure.reason, failure.what) == ("mismatch", f"what the registry sent has another digest than {digest}")


def test_manifest_of_unknown_algorithm_is_refused(client: OciRegistry, server: OciServer) -> None:
    digest = "md5:" + "0" * 32
    server.repository(NAME).manifests[digest] = b"{}", OCI_MANIFEST
    assert failure_of(lambda: client.manifest(at(client, server), digest, soon())).reason == "invalid"


CODED = b'{"errors": [{"code": "A_CODE", "message": "s3cret"}]}'
ODD = b'{"errors": [{"code": "no code: s3cret"}]}'


@pytest.mark.parametrize(
    ("misbehave", "reason", "what", "requests"),
    [
        (answering(401), "denied", "the registry wants other credentials (401)", 1),
        (answering(403, CODED), "denied", "the registry gives no access (403, A_CODE)", 1),
        (answering(404, CODED), "missing", "the registry has no such image (404, A_CODE)", 1),
        (answering(404, ODD), "missing", "the registry has no such image (404)", 1),
        (answering(404, b"[" * 5000), "missing", "the registry has no such image (404)", 1),
        (answering(410), "missing", "the registry has no such image any longer (410)", 1),
        (answering(429), "limited", "the registry takes no more requests for now (429)", 3),
        (answering(500), "server", "the registry failed (500)", 1),
        (answering(503), "server", "the registry failed (503)", 3),
        (answering(400), "server", "the registry gave an answer that it should not (400)", 1),
        (answering(206, b"{}"), "server", "the registry gave an answer that it should not (206)", 1),
        (truncated, "unreachable", "the answer was cut off", 3),
        (looping, "unreachable", "more than 5 redirects", 6),
        (answering(307), "unreachable", "a redirect that leads nowhere", 1),
        (answering(307, Location="https://127.0.0.1:1/"), "unreachable", "a redirect to another scheme, 'https'", 1),
        (
            answering(307, Location="http://registry.example.com/"),
            "unreachable",
            "the registry leads to an address that is not asked (plain)",
            1,
        ),
        (answering(200, b"{}", Content_Encoding="gzip"), "invalid", "the answer is encoded ('gzip')", 1),
        (answering(200, b" " * ((4 << 20) + 1)), "too_large", "the answer is larger than 4,194,304 bytes", 1),
    ],
)
def test_manifest_failing_is_told(
    client: OciRegistry, server: OciServer, misbehave: Misbehaviour, reason: str, what: str, requests: int
) -> None:
    server.misbehave = misbehave
    failure = failure_of(lambda: client.manifest(at(client, server), "v1", soon()))
    assert (failure.reason, failure.what[: len(what)], len(server.requests)) == (reason, what, requests)
    assert "s3cret" not in f"{failure.what} {failure.advice}"


@pytest.mark.parametrize("method", ["head", "manifest"])
@pytest.mark.parametrize("status", [401, 403, 429, 500, 502])
def test_head_fails_as_get_does(client: OciRegistry, server: OciServer, method: str, status: int) -> None:
    server.misbehave = answering(status)
    failure = failure_of(lambda: getattr(client, method)(at(client, server), "v1", soon()))
    assert failure.status == status


def test_quota_used_up_is_waited_for(client: OciRegistry, server: OciServer) -> None:
    """Where that ends in time; else it is told for how long."""
    server.misbehave = only("", answering(429, Retry_After="1"), times=1)
    assert client.manifest(at(client, server), "v1", soon()).digest == digest_at(server)
    server.misbehave = answering(429, Retry_After="300")
    failure = failure_of(lambda: client.manifest(at(client, server), "v1", soon()))
    assert failure.advice == "log in for a larger quota, or try again in 300 s"
    assert len(server.requests) == 3


def test_silent_registry_is_given_up(client: OciRegistry, server: OciServer) -> None:
    server.misbehave = silent
    failure = failure_of(lambda: client.manifest(at(client, server), "v1", soon(0.3)))
    assert (failure.reason, failure.what) == ("unreachable", "no complete answer within 0.3 s")


def test_offline_asks_nothing(server: OciServer) -> None:
    client = OciRegistry(Credentials({}, environ={}), insecure=[server.host], offline=True)
    for call in (client.head, client.manifest, client.blob):
        assert failure_of(lambda call=call: call(at(client, server), digest_at(server), soon())).reason == "offline"  # type: ignore[misc]
    found = client.referrers(at(client, server), digest_at(server), soon())
    assert (found.error and found.error.reason, server.requests) == ("offline", [])


def test_host_that_is_none_is_refused(client: OciRegistry) -> None:
    endpoint = client.endpoint("registry.example.com:99999", NAME)
    for call in (lambda: client.head(endpoint, "v1", soon()), lambda: client.trust(endpoint)):
        assert failure_of(call).reason == "unreachable"


# Blobs


@pytest.fixture(name="store")
def _store() -> Iterator[OciServer]:
    """Where blobs lie that the registry redirects to: it refuses a second way to log in, as S3 does."""
    with start() as running:

        def misbehave(handler: Handler) -> bool:
            return "Authorization" in handler.headers and answering(400)(handler)

        running.misbehave = misbehave
        yield running


def test_blob_is_read_where_it_lies(client: OciRegistry, server: OciServer, store: OciServer) -> None:
    """Without the token of the registry."""
    server.asks_for, server.is_public, server.blobs_at = "bearer", True, store
    digest = store.repository(NAME).add_blob(b"config")
    assert client.blob(at(client, server), digest, soon()) == b"config"
    assert [asked.authorization for asked in store.requests] == [None]
    assert server.requests[-1].authorization in {f"Bearer {token}" for token in server.tokens}


def test_blob_of_another_digest_is_refused(client: OciRegistry, server: OciServer, store: OciServer) -> None:
    server.blobs_at = store
    store.repository(NAME).blobs[digest_of(b"right")] = b"wrong"
    failure = failure_of(lambda: client.blob(at(client, server), digest_of(b"right"), soon()))
    assert failure.reason == "mismatch"


def test_blob_is_bounded(client: OciRegistry, server: OciServer) -> None:
    digest = server.repository(NAME).add_blob(b"0123456789")
    assert client.blob(at(client, server), digest, soon(), largest=10) == b"0123456789"
    failure = failure_of(lambda: client.blob(at(client, server), digest, soon(), largest=9))
    assert (failure.reason, failure.what) == ("too_large", "the answer is larger than 9 bytes")


def test_blob_missing_is_told(client: OciRegistry, server: OciServer) -> None:
    failure = failure_of(lambda: client.blob(at(client, server), digest_of(b"1"), soon()))
    assert (failure.reason, failure.status) == ("missing", 404)


def test_demand_of_another_host_gets_no_login(server: OciServer, store: OciServer) -> None:
    """A store that asks for a login, and names itself as the token server, learns none."""
    login = {server.host: RegistryLogin("robot", password_env="PW")}
    client = OciRegistry(Credentials(login, environ={"PW": server.login[1]}), insecure=[server.host], environ={})
    server.asks_for, server.blobs_at = "bearer", store
    for demand in ('Basic realm="x"', f'Bearer realm="{store.url}/token"'):
        store.misbehave = answering(401, WWW_Authenticate=demand)
        assert failure_of(lambda: client.blob(at(client, server), digest_of(b"1"), soon())).reason == "denied"
    assert [asked.authorization for asked in store.requests] == [None] * 2
    assert [asked.path for asked in store.requests if "/token" in asked.path] == []
    assert len(server.asked(part="/token")) == 1


# Many at once, quotas


def test_requests_at_one_host_are_bounded(server: OciServer) -> None:
    server.delay = 0.03
    client = OciRegistry(Credentials({}, environ={}), insecure=[server.host], most_at_once=2, environ={})
    found: list[str] = []

    def ask() -> None:
        found.append(client.manifest(at(client, server), "v1", soon()).digest)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [digest_at(server)] * 8
    assert server.busiest == 2
    client.close()


def test_turn_that_does_not_come_is_given_up(server: OciServer) -> None:
    client = OciRegistry(Credentials({}, environ={}), insecure=[server.host], most_at_once=1, environ={})
    release = threading.Event()
    server.misbehave = lambda _: not release.wait(60)
    first = threading.Thread(target=lambda: client.manifest(at(client, server), "v1", soon(60)))
    first.start()
    while not server.requests:
        time.sleep(0.01)
    failure = failure_of(lambda: client.manifest(at(client, server), "v1", soon(0.2)))
    assert (failure.reason, len(server.requests)) == ("unreachable", 1)
    release.set()
    first.join()
    client.close()


def test_quota_is_what_was_said_last(client: OciRegistry, server: OciServer) -> None:
    """It counts manifests that are read, and no HEAD."""
    endpoint = at(client, server)
    client.head(endpoint, "v1", soon())
    assert client.quota(endpoint) is None
    server.quota = 76
    client.head(endpoint, "v1", soon())
    assert client.quota(endpoint) == Quota(76, 100, 21600)
    client.manifest(endpoint, "v1", soon())
    assert client.quota(at(client, server, "team/other")) == Quota(75, 100, 21600)
    server.misbehave = answering(200, b"{}", ratelimit_remaining="many")
    server.quota = None
    client.manifest(endpoint, "v1", soon())
    assert client.quota(endpoint) == Quota(75, 100, 21600)


# TLS


@pytest.fixture(name="tls_server")
def _tls_server(authority: Authority) -> Iterator[OciServer]:
    with start(authority.server) as running:
        running.repository(NAME).add_image(CONFIG, "v1")
        yield running


def test_private_ca_is_trusted_for_its_host(tls_server: OciServer, authority: Authority) -> None:
    for ca in (authority.file, {tls_server.host: authority.file}, {"127.0.0.1": authority.file}):
        client = OciRegistry(Credentials({}, environ={}), ca=ca, environ={})
        assert client.manifest(at(client, tls_server), "v1", soon()).digest == digest_at(tls_server)
        client.close()
    client = OciRegistry(Credentials({}, environ={}), ca={"other.example.com": authority.file}, environ={})
    failure = failure_of(lambda: client.manifest(at(client, tls_server), "v1", soon()))
    assert (failure.reason, failure.advice) == (
        "unreachable",
        "name the registry's CA certificates in policy.images.ca",
    )


def test_client_certificate_is_shown(tmp_path: Path) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = ca.issue_cert("client.example.com")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    with start(context) as server:
        server.repository(NAME).add_image(CONFIG, "v1")
        files = {server.host: (tmp_path / "own.pem", tmp_path / "key.pem")}
        known = OciRegistry(Credentials({}, environ={}), ca=tmp_path / "ca.pem", certificates=files, environ={})
        unknown = OciRegistry(Credentials({}, environ={}), ca=tmp_path / "ca.pem", environ={})
        assert known.manifest(at(known, server), "v1", soon()).digest == digest_at(server)
        assert failure_of(lambda: unknown.manifest(at(unknown, server), "v1", soon())).reason == "unreachable"
        assert known.trust(at(known, server)) != unknown.trust(at(unknown, server))
        known.close()


# Trust


def test_trust_stands_for_all_that_is_believed(tmp_path: Path, authority: Authority) -> None:
    def trust(
        host: str = "r.example.com", *, mirror_of: str | None = None, login: dict[str, Any] | None = None, **given: Any
    ) -> str:
        credentials = Credentials(login or {}, environ={"PW": "one", "OTHER": "two"})
        client = OciRegistry(credentials, **given)
        return client.trust(client.endpoint(host, NAME, mirror_of=mirror_of))

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    copy = tmp_path / "copy.pem"
    copy.write_bytes(authority.file.read_bytes())
    by_login = {"r.example.com": RegistryLogin("robot", password_env="PW")}
    found = [
        trust(),
        trust("s.example.com"),
        trust("r.example.com:5000"),
        trust(insecure=["r.example.com"]),
        trust(mirror_of="docker.io"),
        trust(login=by_login),
        trust(login={"r.example.com": RegistryLogin("robot", password_env="OTHER")}),
        trust(login={"r.example.com": RegistryLogin(token_env="PW")}),
        trust(ca=authority.file),
        trust(ca=other),
    ]
    assert len(set(found)) == len(found)
    elsewhere = {"s.example.com": by_login["r.example.com"]}
    same = [(trust(ca=copy), found[8]), (trust(ca={"r.example.com": copy}), found[8])]
    same += [(trust(login=by_login), found[5]), (trust(login=elsewhere), found[0])]
    same += [(trust(ca={"s.example.com": copy}), found[0])]
    same += [(trust("docker.io"), trust("index.docker.io"))]
    assert [one for one, _ in same] == [two for _, two in same]
    assert failure_of(lambda: trust(ca=tmp_path / "absent.pem")).reason == "unreachable"


def test_trust_needs_no_client_and_no_network() -> None:
    """It is the same in another process, which loads nothing that asks a server or starts a program."""
    program = (
        "import sys\n"
        "from flowyml_policy.network.credentials import Credentials\n"
        "from flowyml_policy.network.oci_registry import OciRegistry\n"
        "client = OciRegistry(Credentials({}, environ={}))\n"
        "print(client.trust(client.endpoint('docker.io', 'library/ubuntu')))\n"
        "print(*{'urllib3', 'docker', 'cryptography', 'subprocess'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    client = OciRegistry(Credentials({}, environ={}))
    assert done.stdout.split("\n")[:2] == [client.trust(client.endpoint("docker.io", "library/ubuntu")), ""]


def test_connections_of_many_threads_are_kept(
    client: OciRegistry, server: OciServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.delay = 0.2
    threads = [threading.Thread(target=client.manifest, args=(at(client, server), "v1", soon())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.busiest > 1
    assert [record.message for record in caplog.records if record.name.startswith("urllib3")] == []
