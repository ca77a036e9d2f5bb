"""Whom the engine asks for its bundles, and who sees its token: what its settings say, whatever else lies."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from flowyml_policy.errors.opa import OpaStartFailed
from tests.bundle_server import BundleServer
from tests.contract.conftest import document
from tests.contract.remote import Publisher, config, start
from tests.unit.network.conftest import Proxy, proxy

__all__ = ["proxy"]

TOKEN: Final = "open-sesame"
TEAM: Final = "X-Team-Key"
SERVICE: Final[Mapping[str, Any]] = {"credentials": {"bearer": {"token": TOKEN}}, "headers": {TEAM: "of the team"}}
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  asked, not listened on: this machine, and to Go no loopback address

CHILD: Final = """\
import json, sys
from pathlib import Path
from tests.contract.conftest import document
from tests.contract.remote import start

evaluator = start("embedded", json.loads(sys.argv[1]), Path(sys.argv[2]), root=Path(sys.argv[2]))
print(evaluator.judge(document())[1].bundles["flowyml"])
"""
"""OPA takes the environment as it was when the process began."""


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    folder = tmp_path / "publisher"
    folder.mkdir()
    return Publisher(folder)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[BundleServer]:
    """A server with a certificate for policy.example and 0.0.0.0, by an authority in ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("policy.example", EVERYWHERE, "127.0.0.1").configure_cert(context)
    with BundleServer(context=context, token=TOKEN) as made:
        yield made


def revision_in_a_child(given: Mapping[str, Any], folder: Path, **environ: str) -> str:
    (folder / ".netrc").write_text(f"machine {EVERYWHERE} login eve password lies\ndefault login eve password lies\n")
    (folder / ".netrc").chmod(0o600)
    command = [sys.executable, "-c", CHILD, json.dumps(given), str(folder)]
    lies = {"HOME": str(folder), "NETRC": str(folder / ".netrc"), **environ}
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env={**kept, **lies}, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr


def authorizations(server: BundleServer) -> set[str | None]:
    return {request.headers.get("Authorization") for request in server.requests}


@pytest.mark.parametrize("token", [TOKEN, None])
def test_proxy_and_netrc_change_nothing_of_plain_http(publisher: Publisher, tmp_path: Path, token: str | None) -> None:
    with BundleServer(token=token) as server, BundleServer() as liar:
        server.put("flowyml", publisher.bundle("1", key="a"))
        given = config(server, service=SERVICE if token else {}, signing={}, keys={"a": publisher.key("a")})
        given["services"]["company"]["url"] = f"http://{EVERYWHERE}:{server.port}"
        names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
        assert revision_in_a_child(given, tmp_path, **dict.fromkeys(names, liar.url)) == "1"
        assert authorizations(server) == {token and f"Bearer {token}"}
        assert liar.requests == []


def test_proxy_of_https_sees_no_token(
    secured: BundleServer, publisher: Publisher, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.port = secured.port
    secured.put("flowyml", publisher.bundle("1"))
    given = config(secured, service={**SERVICE, "tls": {"ca_cert": "ca.pem"}})
    given["services"]["company"]["url"] = "https://policy.example"
    assert revision_in_a_child(given, tmp_path, HTTPS_PROXY=proxy.url) == "1"
    (head,) = set(proxy.heads)
    assert head.startswith("CONNECT policy.example:443 ")
    assert "authorization" not in head.lower()
    assert authorizations(secured) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(("host", "excepted"), [(EVERYWHERE, EVERYWHERE), ("127.0.0.1", "")])
def test_proxy_is_not_asked_of_excepted_hosts_and_of_this_machine(
    secured: BundleServer, publisher: Publisher, proxy: Proxy, tmp_path: Path, host: str, excepted: str
) -> None:
    secured.put("flowyml", publisher.bundle("1"))
    given = config(secured, service={**SERVICE, "tls": {"ca_cert": "ca.pem"}})
    given["services"]["company"]["url"] = f"https://{host}:{secured.port}"
    assert revision_in_a_child(given, tmp_path, HTTPS_PROXY=proxy.url, NO_PROXY=excepted) == "1"
    assert proxy.heads == []


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"], ids=["another port", "another host"])
def test_server_that_another_redirects_to_gets_nothing_that_is_not_for_it(
    publisher: Publisher, tmp_path: Path, host: str, status: int
) -> None:
    with BundleServer(token=TOKEN) as server, BundleServer(host=host) as other:
        other.put("elsewhere", publisher.bundle("1"))
        server.redirects["/bundles/flowyml"] = status, f"{other.url}/bundles/elsewhere"
        evaluator = start("embedded", config(server, service=SERVICE), tmp_path / "state")
        assert evaluator.judge(document())[1].bundles == {"flowyml": "1"}
        evaluator.close()
    assert authorizations(server) == {f"Bearer {TOKEN}"}
    for request in other.requests:
        assert request.headers.keys() <= {"Host", "Accept", "Accept-Encoding", "If-None-Match", "Prefer", "User-Agent"}


def test_redirect_on_one_server_keeps_the_token(publisher: Publisher, tmp_path: Path) -> None:
    with BundleServer(token=TOKEN) as server:
        server.put("moved", publisher.bundle("1"))
        server.redirects["/bundles/flowyml"] = 301, "/bundles/moved"
        evaluator = start("embedded", config(server, service=SERVICE), tmp_path / "state")
        assert evaluator.judge(document())[1].bundles == {"flowyml": "1"}
        evaluator.close()
    assert {request.headers[TEAM] for request in server.requests} == {"of the team"}


def test_redirect_from_https_to_http_is_not_followed(
    secured: BundleServer, publisher: Publisher, tmp_path: Path
) -> None:
    with BundleServer() as plain:
        plain.put("flowyml", publisher.bundle("1"))
        secured.redirects["/bundles/flowyml"] = 302, f"{plain.url}/bundles/flowyml"
        with pytest.raises(OpaStartFailed, match="redirects from https to http, which is not followed"):
            start(
                "embedded",
                config(secured, service={**SERVICE, "tls": {"ca_cert": "ca.pem"}}),
                tmp_path / "state",
                start_timeout=0.5,
                root=tmp_path,
            )
    assert plain.requests == []
