"""How OPA shows itself to services, by what settings say: each way of docs/bundles.md, but for Amazon's registry.

The clouds' own servers of tokens are paths of the server that gives the bundle. A bearer token, and registries, are
tested beside.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from tests.bundle_server import BundleServer
from tests.contract.conftest import document
from tests.contract.remote import Publisher, config, start
from tests.contract.test_remote_environment import revision_in_a_child

GCP = "/computeMetadata/v1/instance/service-accounts/default/token"
TOKEN = {"access_token": "of-the-cloud", "token_type": "Bearer"}


def shown(server: BundleServer, service: Mapping[str, Any], folder: Path) -> str:
    """What was shown with the request for the bundle, which decides."""
    server.put("flowyml", Publisher(folder).bundle("1"))
    evaluator = start("embedded", config(server, service=service), folder / "state", root=folder)
    try:
        assert evaluator.judge(document())[1].bundles == {"flowyml": "1"}
    finally:
        evaluator.close()
    return _shown(server)


def _shown(server: BundleServer) -> str:
    return next(one.headers.get("Authorization", "") for one in server.requests if one.path == "/bundles/flowyml")


def secured(folder: Path) -> tuple[ssl.SSLContext, trustme.CA]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, authority


def test_google_by_the_account_of_the_machine(tmp_path: Path) -> None:
    with BundleServer() as server:
        server.bundles[GCP] = json.dumps({**TOKEN, "expires_in": 3600}).encode()
        google = {"endpoint": server.url, "scopes": ["https://www.googleapis.com/auth/devstorage.read_only"]}
        assert shown(server, {"credentials": {"gcp_metadata": google}}, tmp_path) == "Bearer of-the-cloud"
    asked = next(request for request in server.requests if request.path.startswith(GCP))
    assert asked.headers["Metadata-Flavor"] == "Google"


def test_azure_by_the_identity_of_the_machine(tmp_path: Path) -> None:
    resource = "https://storage.azure.com"
    with BundleServer() as server:
        server.bundles["/metadata/identity"] = json.dumps({**TOKEN, "expires_in": "3600"}).encode()
        azure = {"endpoint": f"{server.url}/metadata/identity", "resource": resource}
        service = {"headers": {"x-ms-version": "2020-02-10"}, "credentials": {"azure_managed_identity": azure}}
        assert shown(server, service, tmp_path) == "Bearer of-the-cloud"
    versions = {request.headers.get("X-Ms-Version") for request in server.requests if "identity" not in request.path}
    assert versions == {"2020-02-10"}


def test_s3_by_the_variables_of_the_process(tmp_path: Path) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    with BundleServer() as server:
        server.put("flowyml", Publisher(tmp_path).bundle("1"))
        given = config(server, service={"credentials": {"s3_signing": {"environment_credentials": {}}}})
        assert revision_in_a_child(given, tmp_path, **variables) == "1"
    signature = _shown(server)
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIA/")
    assert "/eu-west-1/s3/aws4_request" in signature


def test_oauth_by_a_secret(tmp_path: Path) -> None:
    context, _ = secured(tmp_path)
    with BundleServer(context=context) as server:
        server.bundles["/token"] = json.dumps({**TOKEN, "expires_in": 3600}).encode()
        oauth = {
            "token_url": f"{server.url}/token",
            "client_id": "us",
            "client_secret": "secret",
            "scopes": ["bundles"],
        }
        service = {"tls": {"ca_cert": "ca.pem"}, "credentials": {"oauth2": oauth}}
        assert shown(server, service, tmp_path) == "Bearer of-the-cloud"
    assert next(one for one in server.requests if one.path == "/token").headers["Authorization"].startswith("Basic ")


def test_a_clients_certificate(tmp_path: Path) -> None:
    context, authority = secured(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "ca.pem")
    issued = authority.issue_cert("client.example")
    issued.private_key_pem.write_to_path(tmp_path / "client.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    certificate = {"cert": "client.pem", "private_key": "client.key"}
    with BundleServer(context=context) as server:
        service = {"tls": {"ca_cert": "ca.pem"}, "credentials": {"client_tls": certificate}}
        assert shown(server, service, tmp_path) == ""
