"""The registry's server that a company would run, on this machine, keeping the wire or breaking it as a test asks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from flowyml_policy.errors.registry import StackUnknown, VersionRetired, VersionTaken, VersionUnknown
from flowyml_policy.records.registry import NewStack, Registered, Retirement
from flowyml_policy.registry.local import LocalRegistry


class Wire(BaseHTTPRequestHandler):
    """A registry's server as docs/registry-wire.md describes it, on top of a real LocalRegistry.

    `server.misbehave`, where it is set, gets the handler first, and answers True when it has answered in its place;
    `server.before_answer` is called when all is done and nothing is said yet.
    """

    protocol_version = "HTTP/1.1"
    server: RegistryServer

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, body: object, *, etag: str | None = None, key: str | None = None) -> None:
        if self.server.before_answer is not None:
            self.server.before_answer(self)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if etag:
            self.send_header("ETag", etag)
        if key and self.server.repeats_keys:
            self.send_header("Idempotency-Key", key)
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
            is_first = not registry.get(str(name), version, retired=True).is_retired
            found = registry.retire(str(name), str(version), by=how.by, at=how.at, reason=how.reason)
            if is_first and "Idempotency-Key" in self.headers:
                self.server.keys[found.name, found.version] = self.headers["Idempotency-Key"]
            self.answer(200, found.model_dump(), key=self.server.keys.get((found.name, found.version)))
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
        self.before_answer: Callable[[Wire], object] | None = None
        self.token: str | None = None
        self.page = 100
        self.keys: dict[tuple[str, str], str] = {}
        self.repeats_keys = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None: ...


@contextmanager
def serving(registry: LocalRegistry) -> Iterator[RegistryServer]:
    """A server of `registry` that runs until the end of the block, and is heard of no more after it."""
    with RegistryServer(registry) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def answering(status: int, body: object, **headers: str) -> Callable[[Wire], bool]:
    """A misbehaviour: this answer to everything."""

    def misbehave(handler: Wire) -> bool:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | given).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = True
        return True

    return misbehave
