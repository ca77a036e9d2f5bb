"""An OCI registry of the tests' own on loopback, keeping to the specification or breaking it as a test asks.

It holds blobs, manifests and tags, and takes them, asks for a password or a token, lists referrers by pages, and notes
what it was asked. `start` runs one until the end of a block.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

_PATH = re.compile(r"/v2/(.+)/(manifests|blobs|referrers)/([^/]+)")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/(?:session)?")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Asked(NamedTuple):
    """One request. `path` is with its query; header names are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class Repository:
    """Blobs and manifests by digest, digests by tag, and the digests of what refers to a manifest."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add_blob(self, data: bytes) -> str:
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def add_manifest(self, document: object, media_type: str = OCI_MANIFEST, *tags: str) -> str:
        """Keep a manifest or index (bytes as they are, all else as JSON) under its digest, and these tags."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = digest_of(data)
        self.manifests[digest] = data, media_type
        self.tags |= dict.fromkeys(tags, digest)
        return digest

    def descriptor(self, digest: str, **more: object) -> dict[str, object]:
        """What an index says of a manifest that is here."""
        data, media_type = self.manifests[digest]
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def add_image(self, config: object, *tags: str, docker: bool = False, layers: int = 1, **more: object) -> str:
        """Keep an image of one platform, whose layers are nowhere; `more` goes into its manifest."""
        data = config if isinstance(config, bytes) else json.dumps(config).encode()
        media_type, config_type = (DOCKER_MANIFEST, DOCKER_CONFIG) if docker else (OCI_MANIFEST, OCI_CONFIG)
        manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": config_type, "digest": self.add_blob(data), "size": len(data)},
            "layers": [
                {"mediaType": OCI_LAYER, "digest": digest_of(b"%d" % number), "size": 1000 + number}
                for number in range(layers)
            ],
            **more,
        }
        return self.add_manifest(manifest, media_type, *tags)

    def add_index(self, entries: list[dict[str, object]], *tags: str, docker: bool = False) -> str:
        media_type = DOCKER_LIST if docker else OCI_INDEX
        return self.add_manifest({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}, media_type, *tags)

    def add_referrer(self, subject: str, manifest: dict[str, Any], *, listed: bool = True) -> str:
        """Keep a manifest that refers to `subject`, and list it by the API."""
        data, media_type = self.manifests.get(subject, (b"", OCI_MANIFEST))
        about = {"mediaType": media_type, "digest": subject, "size": len(data)}
        digest = self.add_manifest({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "subject": about, **manifest})
        if listed:
            kind = manifest.get("artifactType")
            entry = self.descriptor(digest, **({} if kind is None else {"artifactType": kind}))
            self.referrers.setdefault(subject, []).append(entry)
        return digest


class Handler(BaseHTTPRequestHandler):
    """Answers as the registry does, unless `server.misbehave` answers in its place."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the header's acknowledgement
    server: OciServer
    body: bytes

    def log_message(self, *_: object) -> None: ...

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; header names are written with underscores, an empty value leaves one out."""
        self.send_response(status)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Content-Length": str(len(body))} | given).items():
            if value:
                self.send_header(name, value)
        if (left := self.server.quota) is not None:
            self.send_header("ratelimit-limit", "100;w=21600")
            self.send_header("ratelimit-remaining", f"{left};w=21600")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, code: str, **headers: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": "a test asks for it"}]}).encode()
        self.reply(status, body, Content_Type="application/json", **headers)

    def redirect(self, url: str, status: int = 307) -> None:
        self.reply(status, Location=url)

    def handle_one(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.counting():
            self.server.requests.append(Asked(self.command, self.path, headers, self.body))
            time.sleep(self.server.delay)
        if self.server.misbehave is not None and self.server.misbehave(self):
            return
        if urlsplit(self.path).path == "/token":
            self.answer_token()
        elif self.may_enter():
            self.answer()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        match = _PATH.fullmatch(parts.path)
        if upload := _UPLOAD.fullmatch(parts.path):
            self.upload(self.server.repository(upload[1]), parts.query)
        elif parts.path == "/v2/":
            self.reply(200, b"{}", Content_Type="application/json")
        elif match is None or match[1] not in self.server.repositories:
            self.error(404, "NAME_UNKNOWN")
        else:
            repository = self.server.repositories[match[1]]
            {"manifests": self.manifest, "blobs": self.blob, "referrers": self.referrers}[match[2]](
                repository, match[3]
            )

    def upload(self, repository: Repository, query: str) -> None:
        """A blob on its way in: first where it is to go, then the blob."""
        if self.command == "POST":
            self.reply(202, Location=f"{self.path}session?_state=a%3D%3D")
        elif parse_qs(query) == {"_state": ["a=="], "digest": [repository.add_blob(self.body)]}:
            self.reply(201)
        else:
            self.error(400, "DIGEST_INVALID")

    def manifest(self, repository: Repository, reference: str) -> None:
        if self.command == "PUT":
            digest = repository.add_manifest(self.body, self.headers["Content-Type"], reference)
            self.reply(201, Docker_Content_Digest=self.server.says_digest or digest)
            return
        digest = repository.tags.get(reference, reference)
        if digest not in repository.manifests:
            self.error(404, "MANIFEST_UNKNOWN")
            return
        data, media_type = repository.manifests[digest]
        if self.server.quota and self.command == "GET":
            self.server.quota -= 1
        said = digest if self.server.says_digest is None else self.server.says_digest
        self.reply(200, data, Content_Type=media_type, Docker_Content_Digest=said)

    def blob(self, repository: Repository, digest: str) -> None:
        if self.server.blobs_at is not None:
            self.redirect(f"{self.server.blobs_at.url}{self.path}?signature=of-the-store")
        elif digest in repository.blobs:
            self.reply(200, repository.blobs[digest], Content_Type="application/octet-stream")
        else:
            self.error(404, "BLOB_UNKNOWN")

    def referrers(self, repository: Repository, digest: str) -> None:
        if not self.server.has_referrers:
            self.error(404, "NOT_FOUND")
            return
        start = int(parse_qs(urlsplit(self.path).query).get("from", ["0"])[0])
        end = start + self.server.page
        listed = repository.referrers.get(digest, [])
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed[start:end]}
        link = f'<{urlsplit(self.path).path}?from={end}>; rel="next"' if end < len(listed) else ""
        self.reply(200, json.dumps(index).encode(), Content_Type=OCI_INDEX, Link=link)

    def may_enter(self) -> bool:
        """Whether the request has what is asked for; if not it is answered with a challenge."""
        given = self.headers.get("Authorization", "")
        match self.server.asks_for:
            case "basic":
                is_known = given == self.server.basic
            case "bearer":
                is_known = given.removeprefix("Bearer ") in self.server.tokens
            case _:
                is_known = True
        if not is_known:
            self.error(401, "UNAUTHORIZED", WWW_Authenticate=self.server.challenge(self.path))
        return is_known

    def answer_token(self) -> None:
        """A token for whoever the token server knows; by POST for an identity token."""
        asked = parse_qs(self.body.decode() if self.command == "POST" else urlsplit(self.path).query)
        given = self.headers.get("Authorization")
        if self.command == "POST":
            is_known = asked.get("refresh_token", [""])[0] in self.server.identity_tokens
        else:
            is_known = given == self.server.basic or (given is None and self.server.is_public)
        if not is_known:
            self.error(401, "UNAUTHORIZED")
            return
        token = f"token-{len(self.server.issued)}-{'.'.join(asked.get('scope', ['none']))}"
        self.server.issued.append(token)
        self.server.tokens.add(token)
        for registry in self.server.tokens_for:
            registry.tokens.add(token)
        body = {"token": token, "expires_in": self.server.token_life}
        self.reply(200, json.dumps(body).encode(), Content_Type="application/json")

    do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815  the library's names


class OciServer(ThreadingHTTPServer):
    """A registry on this machine. A repository that is not there yet is made by `repository`.

    Each request waits for `delay` seconds; `busiest` is how many ever did so at once. `misbehave`, where it is set,
    gets each handler first, and answers True when it has answered in its place.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http" if tls is None else "https"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Asked] = []
        self.ended = threading.Event()
        self.misbehave: Callable[[Handler], bool] | None = None
        self.delay = 0.0
        self.busiest = 0
        self._busy = 0
        self._lock = threading.Lock()
        # Logins: `asks_for` "basic" or "bearer"; what is public has tokens for those without a login.
        self.asks_for: str | None = None
        self.login = ("robot", "s3cret-of-the-test")
        self.is_public = False
        self.identity_tokens: set[str] = set()
        self.tokens: set[str] = set()
        self.issued: list[str] = []
        self.token_life: object = 300
        self.realm: str | None = None
        self.tokens_for: list[OciServer] = []
        self.challenges: str | None = None
        # Manifests, blobs and referrers
        self.quota: int | None = None
        self.says_digest: str | None = None
        self.blobs_at: OciServer | None = None
        self.has_referrers = True
        self.page = 100

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(":".join(self.login).encode()).decode()

    def repository(self, name: str = "team/app") -> Repository:
        return self.repositories.setdefault(name, Repository())

    def challenge(self, path: str) -> str:
        """What is asked for in WWW-Authenticate."""
        if self.challenges is not None:
            return self.challenges
        if self.asks_for == "basic":
            return 'Basic realm="the registry"'
        match = _PATH.fullmatch(urlsplit(path).path)
        scope = f',scope="repository:{match[1]}:pull"' if match else ""
        return f'Bearer realm="{self.realm or f"{self.url}/token"}",service="{self.host}"{scope}'

    def asked(self, method: str | None = None, part: str = "") -> list[Asked]:
        """What was asked, of one method where one is given, with `part` in its path."""
        return [one for one in self.requests if method in {None, one.method} and part in one.path]

    @property
    def log(self) -> list[str]:
        """Each request's method and path without its query, in order."""
        return [f"{one.method} {urlsplit(one.path).path}" for one in self.requests]

    @contextmanager
    def counting(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def handle_error(self, *_: object) -> None:
        """Clients that leave early are what is tested."""


@contextmanager
def start(tls: ssl.SSLContext | None = None) -> Iterator[OciServer]:
    """A registry that runs until the end of the block."""
    with OciServer(tls) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.ended.set()
            running.shutdown()
            thread.join()


# Misbehaviours


def only(part: str, misbehave: Callable[[Handler], bool], *, times: int = 1_000_000) -> Callable[[Handler], bool]:
    """A misbehaviour at paths that hold `part`, for the first `times` of them."""
    left = [times]

    def at(handler: Handler) -> bool:
        if part not in handler.path or left[0] <= 0:
            return False
        left[0] -= 1
        return misbehave(handler)

    return at


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Handler], bool]:
    """This answer."""

    def misbehave(handler: Handler) -> bool:
        handler.reply(status, body, **headers)
        return True

    return misbehave


def truncated(handler: Handler) -> bool:
    """The connection ends in the middle of a body."""
    handler.close_connection = True
    handler.reply(200, b'{"schemaVersion"', Content_Type=OCI_MANIFEST, Content_Length="5000")
    return True


def silent(handler: Handler) -> bool:
    """Nothing is said until the test ends."""
    handler.close_connection = True
    handler.server.ended.wait(60)
    return True


def looping(handler: Handler) -> bool:
    """A redirect to the same address."""
    handler.redirect(handler.path)
    return True
