"""Real registries and daemons, one of each for a run, on loopback or a socket of their own.

What a machine cannot run is skipped with the reason; on a build machine (`CI=true`) that is a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.containers.daemons import Daemon, dockerd, podman
from tests.containers.redirecting import Redirecting, redirecting
from tests.containers.registries import PASSWORD, USER, Registry, htpasswd, registry
from tests.containers.token_server import token_server

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("containers")


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Without TLS or logins."""
    with registry(tmp_path_factory.mktemp("plain")) as made:
        yield made


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Without TLS, and with a user's password."""
    folder = tmp_path_factory.mktemp("password")
    with registry(folder, auth=htpasswd(folder)) as made:
        made.login = (USER, PASSWORD)
        yield made


@pytest.fixture(scope="session", params=["ES256", "RS256"])
def token_registry(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """Without TLS, and with a token server."""
    folder = tmp_path_factory.mktemp("token")
    with token_server(folder, request.param) as tokens, registry(folder, auth=tokens.configuration) as made:
        made.tokens = tokens
        yield made


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With a certificate by a private CA."""
    with registry(tmp_path_factory.mktemp("tls"), authority=trustme.CA()) as made:
        yield made


@pytest.fixture(scope="session")
def mutual_tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With a certificate by a private CA, which must have made the client's too."""
    with registry(tmp_path_factory.mktemp("mutual"), authority=trustme.CA(), wants_certificate=True) as made:
        yield made


@pytest.fixture
def redirecting_registry(plain_registry: Registry) -> Iterator[Redirecting]:
    """What the plain one holds, with its blobs on another host."""
    with redirecting(plain_registry) as made:
        yield made


@pytest.fixture(scope="session")
def docker_daemon() -> Iterator[Daemon]:
    with dockerd() as made:
        yield made


@pytest.fixture(scope="session")
def podman_service(plain_registry: Registry) -> Iterator[Daemon]:
    with podman(plain_registry.host) as made:
        yield made
