"""What the company's registry client reuses of earlier answers: only what was believed for the reasons of now."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.errors.registry import RegistryUnreachable
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.remote import RemoteRegistry
from flowyml_policy.storage.cache import ContentCache
from tests.registry_server import RegistryServer, answering

PutAll = Callable[..., None]


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


@pytest.fixture
def validators(server: RegistryServer) -> list[str | None]:
    """The ETag that each request to the server names, as they come."""
    found: list[str | None] = []
    server.misbehave = lambda handler: found.append(handler.headers.get("If-None-Match")) or False  # type: ignore[func-returns-value]
    return found


def authority(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A CA of that name: its file, and what a server of it speaks TLS with."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(folder / f"{name}.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    return folder / f"{name}.pem", context


def test_answer_of_another_projects_ca_is_not_reused(
    server: RegistryServer, put_all: PutAll, tmp_path: Path, cache: ContentCache, registry: LocalRegistry
) -> None:
    """A server that one project trusts cannot answer for the one that another project trusts."""
    put_all("1.0.0")
    url = server.url.replace("http:", "https:")
    attacker, company = authority(tmp_path, "attacker"), authority(tmp_path, "company")
    server.socket = attacker[1].wrap_socket(server.socket, server_side=True)
    RemoteRegistry(url, ca=attacker[0], cache=cache).get("prod-gpu")
    with pytest.raises(RegistryUnreachable, match="not trusted"):
        RemoteRegistry(url, ca=company[0], cache=cache).get("prod-gpu")
    given: list[str | None] = []

    def answer(handler: Any) -> bool:
        given.append(handler.headers.get("If-None-Match"))
        return False

    server.misbehave = answer
    listener = socket.socket(fileno=server.socket.detach())
    server.socket = company[1].wrap_socket(listener, server_side=True)
    assert RemoteRegistry(url, ca=company[0], cache=cache).get("prod-gpu") == registry.get("prod-gpu")
    assert given == [None, None]


def test_answer_is_not_reused_when_the_token_changes(
    server: RegistryServer, put_all: PutAll, cache: ContentCache, validators: list[str | None]
) -> None:
    put_all("1.0.0")
    environ = {"T": "first-token"}
    remote = RemoteRegistry(server.url, token_env="T", environ=environ, cache=cache)
    for token in ("first-token", "first-token", "second-token"):
        environ["T"] = token
        remote.versions("prod-gpu")
    RemoteRegistry(server.url, cache=cache).versions("prod-gpu")
    assert [one is not None for one in validators] == [False, True, False, False]


def test_weak_etag_of_the_registry_is_not_sent(
    server: RegistryServer, registry: LocalRegistry, put_all: PutAll, cache: ContentCache
) -> None:
    put_all("1.0.0")
    listed = {"stacks": [one.model_dump() for one in registry.versions("prod-gpu")]}
    given: list[str | None] = []

    def answer(handler: Any) -> bool:
        given.append(handler.headers.get("If-None-Match"))
        return answering(200, listed, ETag='W/"v1"')(handler)

    server.misbehave = answer
    for _ in range(2):
        RemoteRegistry(server.url, cache=cache).versions("prod-gpu")
    assert given == [None, None]


def test_registry_entry_of_the_old_form_is_not_read(
    server: RegistryServer, put_all: PutAll, cache: ContentCache, validators: list[str | None]
) -> None:
    put_all("1.0.0")
    cache.put("registry", server.url, "/v1/stacks/prod-gpu", data=b"{}", notes={"etag": '"v1"'})
    assert RemoteRegistry(server.url, cache=cache).versions("prod-gpu")
    assert validators == [None]
