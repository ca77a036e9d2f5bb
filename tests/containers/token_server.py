"""A token server for a registry: RS256 or ES256, with a certificate of its own that the registry is given."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.image_builder import encoded

SERVICE: Final = "registry.of.the.tests"
ISSUER: Final = "tokens.of.the.tests"
_LIFE: Final = 300


@dataclass
class TokenServer:
    """Tokens for those who have an account, and for anybody who only pulls below `public`.

    `requests` are the queries, or forms, that it was asked with. `pullers` may pull, `pushers` push as well;
    `identity_tokens` stand for accounts, as `docker login` keeps them.
    """

    certificate: Path
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    chain: bytes
    url: str = ""
    pullers: dict[str, str] = field(default_factory=lambda: {"reader": "may-read"})
    pushers: dict[str, str] = field(default_factory=lambda: {"writer": "may-write"})
    identity_tokens: dict[str, str] = field(default_factory=lambda: {"identity-of-reader": "reader"})
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def configuration(self) -> dict[str, object]:
        """The registry's `auth` section."""
        realm = f"{self.url}/token"
        bundle = str(self.certificate)
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}

    def token(self, account: str, scopes: list[str]) -> str:
        """A token for as much of `scopes` as the account may do; an account "" is nobody's."""
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": account, "aud": SERVICE, "exp": now + _LIFE, "nbf": now - 10, "iat": now}
        access = [found for scope in scopes if (found := self._access(account, scope))]
        is_rsa = isinstance(self.key, rsa.RSAPrivateKey)
        chain = [base64.b64encode(self.chain).decode()]
        header = {"typ": "JWT", "alg": "RS256" if is_rsa else "ES256", "x5c": chain}
        parts = (header, {**claims, "jti": str(time.monotonic_ns()), "access": access})
        signed = ".".join(_text(encoded(part)) for part in parts)
        return f"{signed}.{_text(self._signature(signed.encode()))}"

    def account(self, authorization: str | None) -> str | None:
        """Whose Basic login this is: "" without one, None for a wrong one."""
        if authorization is None:
            return ""
        scheme, _, login = authorization.partition(" ")
        name, _, password = base64.b64decode(login).decode().partition(":")
        known = self.pullers | self.pushers
        return name if scheme == "Basic" and name in known and known[name] == password else None

    def _access(self, account: str, scope: str) -> dict[str, object] | None:
        kind, name, actions = scope.split(":")
        allowed = {"pull"} if account or name.startswith("public/") else set()
        allowed |= {"push"} if account in self.pushers else set()
        granted = [action for action in actions.split(",") if action in allowed]
        return {"type": kind, "name": name, "actions": granted} if granted else None

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        first, second = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return first.to_bytes(32, "big") + second.to_bytes(32, "big")


@contextmanager
def token_server(folder: Path, algorithm: str = "ES256") -> Iterator[TokenServer]:
    """A running token server, whose certificate lies in `folder`."""
    made = _with_key(folder, algorithm)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self.grant(query, made.account(self.headers.get("Authorization")))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            self.grant(form, made.identity_tokens.get(form.get("refresh_token", [""])[0]))

        def grant(self, asked: dict[str, list[str]], account: str | None) -> None:
            made.requests.append({name: " ".join(values) for name, values in asked.items()})
            if account is None:
                self.reply(401, {"details": "incorrect username or password"})
                return
            scopes = [one for text in asked.get("scope", []) for one in text.split(" ")]
            token = made.token(account, scopes)
            self.reply(200, {"token": token, "access_token": token, "expires_in": _LIFE})

        def reply(self, status: int, document: object) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with serving(Handler) as made.url:
        yield made


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1") -> Iterator[str]:
    """A server on a free port of loopback, and its address."""
    server = ThreadingHTTPServer((host, 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with_key(folder: Path, algorithm: str) -> TokenServer:
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"tokens-{algorithm}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return TokenServer(file, key, certificate.public_bytes(serialization.Encoding.DER))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
