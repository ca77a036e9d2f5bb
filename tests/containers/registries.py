"""Real registries (Debian's docker-registry) on loopback, in every way that companies run them."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trustme

from tests.containers.programs import free_port, need, running
from tests.containers.token_server import TokenServer
from tests.image_builder import Image, Index, RegistryClient, push

USER: Final = "alice"
PASSWORD: Final = "open-sesame"
_HTPASSWD: Final = "alice:$2y$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO\n"
"""bcrypt of that password, at its lowest cost."""
_LINE: Final = re.compile(r'"(GET|HEAD|PUT|POST|PATCH|DELETE) (/v2/\S*) HTTP/1\.[01]" (\d{3})')


@dataclass
class Registry:
    """A running registry. `ca` and `client` are the files by which one speaks to it, where it asks for them."""

    url: str
    log: Path
    authority: trustme.CA | None = None
    ca: Path | None = None
    client: tuple[Path, Path] | None = None
    login: tuple[str, str] | None = None
    tokens: TokenServer | None = None
    _seen: int = field(default=0, repr=False)

    @property
    def host(self) -> str:
        """Its host and port, as a reference begins."""
        return urlsplit(self.url).netloc

    @property
    def context(self) -> ssl.SSLContext | None:
        if self.ca is None:
            return None
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.client is not None:
            context.load_cert_chain(*self.client)
        return context

    def authorization(self, repository: str) -> str | None:
        """What pushing to `repository` takes."""
        if self.tokens is not None:
            return f"Bearer {self.tokens.token('writer', [f'repository:{repository}:pull,push'])}"
        return None if self.login is None else basic(*self.login)

    def push(self, repository: str, tag: str | None, what: Image | Index) -> str:
        """Push an image, and return its digest. The requests that this takes do not count."""
        pushed = push(
            self.url, repository, tag, what, authorization=self.authorization(repository), context=self.context
        )
        self.forget()
        return pushed

    def reference(self, repository: str, tag: str) -> str:
        return f"{self.host}/{repository}:{tag}"

    def ask(self, method: str, path: str, authorization: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """One request as a client makes it that knows nothing of logins."""
        with RegistryClient(self.url, authorization, self.context) as client:
            return client.ask(method, path)

    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and status of all requests below /v2/ since `forget`, in the order of their answers."""
        found = [(method, path, int(status)) for method, path, status in _LINE.findall(self._lines())]
        return found[self._seen :]

    def forget(self) -> None:
        """Let `requests` begin anew."""
        self._seen = len(_LINE.findall(self._lines()))

    def _lines(self) -> str:
        return self.log.read_text("utf-8", "replace")


@contextmanager
def registry(
    folder: Path,
    *,
    auth: Mapping[str, Any] | None = None,
    authority: trustme.CA | None = None,
    wants_certificate: bool = False,
) -> Iterator[Registry]:
    """A registry that keeps everything in `folder`: with `auth`, over TLS by `authority`, asking for a certificate."""
    need("docker-registry")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    made = Registry(f"{'https' if authority else 'http'}://127.0.0.1:{port}", folder / "log", authority)
    http_section: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "of the tests"}
    if authority is not None:
        http_section["tls"] = _tls(folder, authority, made, wants_certificate=wants_certificate)
    configuration: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http_section,
    }
    configuration |= {} if auth is None else {"auth": auth}
    file = folder / "config.yml"
    file.write_text(json.dumps(configuration), "utf-8")

    def is_ready() -> bool:
        return made.ask("GET", "/v2/")[0] in {200, 401}

    with running(["docker-registry", "serve", file], made.log, is_ready=is_ready):
        made.forget()
        yield made


def htpasswd(folder: Path) -> dict[str, Any]:
    """The section `auth` for one user with a password."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "htpasswd"
    file.write_text(_HTPASSWD, "utf-8")
    return {"htpasswd": {"realm": "the tests", "path": str(file)}}


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _tls(folder: Path, authority: trustme.CA, made: Registry, *, wants_certificate: bool) -> dict[str, Any]:
    """Certificates for a registry and, where it asks for one, for who speaks to it."""
    made.ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(made.ca))
    section: dict[str, Any] = _pair(folder, "server", authority.issue_cert("127.0.0.1", "localhost"))
    if wants_certificate:
        client = _pair(folder, "client", authority.issue_cert("client.of.the.tests"))
        made.client = (Path(client["certificate"]), Path(client["key"]))
        section["clientcas"] = [str(made.ca)]
    return section


def _pair(folder: Path, name: str, issued: trustme.LeafCert) -> dict[str, str]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    issued.private_key_pem.write_to_path(str(key))
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return {"certificate": str(certificate), "key": str(key)}
