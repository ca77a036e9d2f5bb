"""Definitions on their way into a registry, and a server that keeps one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from flowyml_policy.definitions import StackDefinition
from flowyml_policy.errors import StackUnknown, VersionRetired, VersionTaken, VersionUnknown
from flowyml_policy.records import NewStack, Registered, Retirement, Source
from flowyml_policy.registry import LocalRegistry, new_stack

AT = "2026-11-23T10:00:00Z"


class MakeStack(Protocol):
    """A registration as `apply` makes it."""

    def __call__(self, version: str = ..., name: str = ..., *, nodes: int = ..., **labels: str) -> NewStack: ...


def make_stack(version: str = "1.0.0", name: str = "prod-gpu", *, nodes: int = 4, **labels: str) -> NewStack:
    definition = StackDefinition.from_dict(
        {
            "apiVersion": "flowyml/v1",
            "kind": "StackDefinition",
            "metadata": {"name": name, "version": version, "labels": labels},
            "spec": {"compute": {"backend": "local", "max_nodes": nodes}},
        },
        source=Source(kind="local", uri=f"stacks/{name}.yaml"),
    )
    return new_stack(definition, applied_by="ada", applied_at=AT, decision_id="d-1")


@pytest.fixture
def stack() -> MakeStack:
    return make_stack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".flowyml" / "policy.db"


@pytest.fixture
def registry(path: Path) -> LocalRegistry:
    return LocalRegistry(path)


@pytest.fixture
def put_all(registry: LocalRegistry) -> Callable[..., None]:
    """Registers these versions of `prod-gpu`."""

    def put(*versions: str, name: str = "prod-gpu") -> None:
        for version in versions:
            registry.put(make_stack(version, name))

    return put


class Wire(BaseHTTPRequestHandler):
    """A registry's server as docs/registry-wire.md describes it, on top of a real LocalRegistry.

    `server.misbehave`, where it is set, gets the handler first, and answers True when it has answered in its place.
    """

    protocol_version = "HTTP/1.1"
    server: RegistryServer

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, body: object, *, etag: str | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, code: str, **more: object) -> None:
        registered = more.pop("registered", None)
        self.answer(status, {"error": {"code": code, **more}, "registered": registered})

    def give(self, record: object) -> None:
        """A GET's answer, or 304 for one that has it."""
        data = json.dumps(record).encode()
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.send_header("ETag", etag)
            self.end_headers()
            return
        self.answer(200, data, etag=etag)

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        self.server.requests.append((self.command, self.path))
        if self.server.misbehave is not None and self.server.misbehave(self):
            return
        if self.server.token is not None and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.refuse(401, "unauthenticated")
            return
        try:
            self.route()
        except StackUnknown as error:
            self.refuse(404, "stack_unknown", near=error.near)
        except VersionUnknown:
            self.refuse(404, "version_unknown")
        except VersionRetired as error:
            self.refuse(410, "version_retired", message=error.message)
        except VersionTaken as error:
            self.refuse(409, "version_taken", registered=error.registered.model_dump())

    def route(self) -> None:
        registry, parts = self.server.registry, urlsplit(self.path)
        name, version, action = ([unquote(one) for one in parts.path.split("/")[3:]] + [None] * 3)[:3]
        asked = parse_qs(parts.query)
        if self.command == "PUT":
            said = registry.put(NewStack.model_validate_json(self.body))
            self.answer(201 if isinstance(said, Registered) else 200, said.model_dump())
        elif self.command == "POST":
            assert (name, version, action) == (name, version, "retirement")
            how = Retirement.model_validate_json(self.body)
            found = registry.retire(str(name), str(version), by=how.by, at=how.at, reason=how.reason)
            self.answer(200, found.model_dump())
        elif version is not None:
            self.give(registry.get(str(name), version, retired=True).model_dump())
        elif name is not None:
            self.give({"stacks": [one.model_dump() for one in registry.versions(name)]})
        else:
            self.give(self.listing(asked))

    def listing(self, asked: dict[str, list[str]]) -> dict[str, object]:
        labels = dict(one.split("=", 1) for one in asked.get("label", []))
        found = self.server.registry.list(
            name=asked.get("name", [None])[0], labels=labels, all_versions="all_versions" in asked
        )
        start = int(asked.get("after", ["0"])[0])
        end = start + self.server.page
        shown = [one.model_dump() for one in found[start:end]]
        return {"stacks": shown, "next": str(end) if end < len(found) else None}

    do_GET = do_PUT = do_POST = handle_one  # noqa: N815  the library's names


class RegistryServer(ThreadingHTTPServer):
    """The server that a company would run, on this machine."""

    daemon_threads = True

    def __init__(self, registry: LocalRegistry) -> None:
        super().__init__(("127.0.0.1", 0), Wire)
        self.registry = registry
        self.requests: list[tuple[str, str]] = []
        self.misbehave: Callable[[Wire], bool] | None = None
        self.token: str | None = None
        self.page = 100

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None: ...


@pytest.fixture
def server(registry: LocalRegistry) -> Iterator[RegistryServer]:
    with RegistryServer(registry) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
