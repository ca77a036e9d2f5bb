"""In front of a real registry: its blobs lie on another host, 127.0.0.2, as those of many lie in a store."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.containers.registries import Registry, basic
from tests.containers.token_server import serving


@dataclass
class Redirecting:
    """What is in front of the registry `behind`, which has neither TLS nor logins, and the address of the store.

    With a `login` it wants that user's password, which is nothing to the store; by `status` it leads there. What the
    store was asked is `asked_there`, its headers; `is_down` says that it answers no more.
    """

    behind: Registry
    url: str = ""
    store: str = ""
    login: tuple[str, str] | None = None
    status: int = 307
    is_down: bool = False
    asked_there: list[dict[str, str]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@contextmanager
def redirecting(behind: Registry) -> Iterator[Redirecting]:
    """A front and its store, until the end of the block."""
    made = Redirecting(behind)

    class Store(_Handler):
        def do_GET(self) -> None:
            made.asked_there.append({name.lower(): value for name, value in self.headers.items()})
            if made.is_down:
                self.answer(503)
            else:
                self.relay(behind)

    class Front(_Handler):
        def do_GET(self) -> None:
            if made.login and self.headers.get("Authorization") != basic(*made.login):
                self.answer(401, {"WWW-Authenticate": 'Basic realm="the tests"'})
            elif "/blobs/" in self.path:
                self.answer(made.status, {"Location": f"{made.store}{self.path}?signature=of-the-store"})
            else:
                self.relay(behind)

    with serving(Store, "127.0.0.2") as made.store, serving(Front) as made.url:
        yield made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def relay(self, behind: Registry) -> None:
        """Answer as the registry does."""
        with closing(http.client.HTTPConnection(behind.host, timeout=10)) as connection:
            accept = {"Accept": ", ".join(self.headers.get_all("Accept", []))}  # Docker sends one for each type
            connection.request(self.command, self.path.partition("?")[0], headers=accept)
            answer = connection.getresponse()
            body = answer.read()
        names = ("Content-Type", "Docker-Content-Digest", *(["Content-Length"] if self.command == "HEAD" else []))
        self.answer(answer.status, {name: answer.headers[name] for name in names if name in answer.headers}, body)
