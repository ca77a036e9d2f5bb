"""Bundles pushed to real registries of every kind by the program itself, and loaded from there by a real OPA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.bundles.build import build_bundle
from flowyml_policy.bundles.keys import make_keys, read_private_key
from flowyml_policy.bundles.oci import Pulled, pull_bundle, push_bundle
from flowyml_policy.bundles.publication import Published
from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.bundles.signing import sign_bundle
from flowyml_policy.errors.bundles import BundleAccessDenied, BundleTampered, BundleUnreachable, PushRefused
from flowyml_policy.images.opening import open_registry
from flowyml_policy.network.oci_push import WritableRegistry
from flowyml_policy.network.oci_registry import OciRegistry
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.events import BundleTagForced
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from tests.containers.redirecting import Redirecting
from tests.containers.registries import PASSWORD, USER, Registry
from tests.opa_server import OpaServer
from tests.unit.bundles.conftest import RECIPES
from tests.unit.network.conftest import Proxy, proxy

__all__ = ["proxy"]

PASSWORDS: Final = {"PASSWORD": PASSWORD, "WRITER": "may-write", "READER": "may-read"}
RELEASES: Final = (3, 2)
LEVELS: Final = {"cost_centre.format": "soft", "version.missing": "soft"}


@dataclass(frozen=True)
class Company:
    """Bundles of one company, signed, by their sequence, and the public key."""

    bundles: Mapping[int, Path]
    public: Path


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    folder = tmp_path_factory.mktemp("company")
    pair = make_keys(folder / "k", "ES256")
    made = {}
    for sequence in RELEASES:
        file = folder / f"{sequence}.tar.gz"
        build_bundle(read_recipe(RECIPES / "company.yaml"), sequence=sequence, output=file)
        sign_bundle(file, read_private_key(pair.private))
        made[sequence] = file
    return Company(made, pair.public)


@dataclass
class Client:
    """What pushes and pulls by settings for images, in a folder of its own: the program, or what it calls."""

    folder: Path
    company: Company

    def settings(self, images: Mapping[str, Any]) -> Settings:
        (self.folder / "flowyml.yaml").write_text(json.dumps({"policy": {"images": images}}), "utf-8")
        return load_settings(project=self.folder, environ=self.environ, system_file=self.folder / "none.yaml")

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.folder), **PASSWORDS}

    def run(self, images: Mapping[str, Any], *arguments: object) -> subprocess.CompletedProcess[str]:
        """`flowyml-policy bundle ...`."""
        self.settings(images)
        command = [sys.executable, "-m", "flowyml_policy", "bundle", *map(str, arguments)]
        environ = {**os.environ, **self.environ}
        return subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)

    def push(self, images: Mapping[str, Any], sequence: int, address: str) -> Published:
        settings = self.settings(images)
        with closing(open_registry(settings, self.environ, WritableRegistry)) as registry:
            return push_bundle(self.company.bundles[sequence], address, registry)

    def pull(self, images: Mapping[str, Any], address: str) -> Pulled:
        with closing(open_registry(self.settings(images), self.environ, OciRegistry)) as registry:
            return pull_bundle(address, registry, output=self.folder / "p.tar.gz")

    def check(self, images: Mapping[str, Any], where: Registry, name: str = "team/company") -> str:
        """Push, push again, try to go back, pull; the address that was pushed to."""
        address = f"oci://{where.host}/{name}:stable"
        pushed = self.push(images, 3, address)
        assert self.push(images, 3, address) == pushed._replace(changed=False)
        with pytest.raises(PushRefused, match="would go back, from sequence 3"):
            self.push(images, 2, address)
        pulled = self.pull(images, address)
        assert (pulled.manifest, pulled.digest) == (pushed.manifest, pushed.digest)
        assert pulled.file.read_bytes() == self.company.bundles[3].read_bytes()
        return address


@pytest.fixture
def client(tmp_path: Path, company: Company) -> Client:
    return Client(tmp_path, company)


def insecure(where: Registry, user: str | None = None, variable: str = "PASSWORD") -> dict[str, Any]:
    login = {} if user is None else {"credentials": {where.host: {"username": user, "password_env": variable}}}
    return {"insecure": [where.host], **login}


def opa_config(where: Registry | Redirecting, name: str, key: Path, folder: Path, **service: object) -> dict[str, Any]:
    """A real OPA that polls the tag, and demands the signature."""
    bundle = {"service": "registry", "resource": name.removeprefix("oci://"), "persist": True, "signing": {}}
    polling = {"min_delay_seconds": 1, "max_delay_seconds": 1}
    return {
        "services": {"registry": {"url": where.url, "type": "oci", **service}},
        "bundles": {"company": {**bundle, "polling": polling}},
        "keys": {"k": {"algorithm": "ES256", "key": key.read_text()}},
        "persistence_directory": str(folder / "persisted"),
    }


def sequence_of(server: OpaServer) -> Any:
    """The sequence of the bundle that a real OPA has, as Rego reads it."""
    url = f"{server.url}/v1/data/system/bundles/company/manifest/metadata/sequence"
    with urlopen(url, timeout=10) as answer:  # noqa: S310  a test's own
        return json.loads(answer.read()).get("result")


def decided(server: OpaServer) -> tuple[str, Any]:
    """The revision that a real OPA has, and the levels that it brings."""
    with urlopen(f"{server.url}/v1/data/org/levels?provenance=true", timeout=10) as answer:  # noqa: S310  a test's own
        said = json.loads(answer.read())
    return said["provenance"]["bundles"]["company"]["revision"], said["result"]


def test_real_opa_loads_what_the_program_pushed(client: Client, plain_registry: Registry, tmp_path: Path) -> None:
    images, address = insecure(plain_registry), f"oci://{plain_registry.host}/team/company:stable"
    pushed = client.run(images, "push", client.company.bundles[3], address, "--format", "json")
    assert (pushed.returncode, pushed.stderr) == (0, "")
    config = opa_config(plain_registry, address, client.company.public, tmp_path)
    with OpaServer(config, tmp_path).await_ready() as server:
        revision, levels = decided(server)
    assert levels == LEVELS
    pulled = client.run(images, "pull", address, "--key", client.company.public, "--format", "json")
    assert (pulled.returncode, pulled.stderr) == (0, "")
    told, found = (json.loads(one.stdout)["bundle"] for one in (pushed, pulled))
    assert (found["file"], found["is_verified"], found["revision"]) == ("company.tar.gz", True, revision)
    assert {key: found[key] for key in ("place", "digest", "manifest", "sequence")} == {
        key: told[key] for key in ("place", "digest", "manifest", "sequence")
    }


def test_forced_tag_is_told_of_and_moved(client: Client, plain_registry: Registry) -> None:
    images = insecure(plain_registry)
    address = client.check(images, plain_registry, "team/forced")
    forced = client.run(images, "push", client.company.bundles[2], address, "--force")
    assert (forced.returncode, forced.stdout.split()[0]) == (0, "pushed")
    assert forced.stderr == "warning: the tag was moved by --force from sequence 3 to sequence 2; the audit has it\n"
    with AuditStore(client.settings(images).audit_path) as audit:
        (event,) = audit.get_events()
    assert isinstance(event, BundleTagForced)
    assert client.pull(images, address).sequence == event.sequence == 2


def test_running_opa_takes_a_new_release(client: Client, plain_registry: Registry, tmp_path: Path) -> None:
    images, address = insecure(plain_registry), f"oci://{plain_registry.host}/team/moving:stable"
    client.push(images, 2, address)
    config = opa_config(plain_registry, address, client.company.public, tmp_path)
    with OpaServer(config, tmp_path).await_ready() as server:
        assert sequence_of(server) == 2
        client.push(images, 3, address)
        until = time.monotonic() + 20
        while sequence_of(server) != 3 and time.monotonic() < until:
            time.sleep(0.05)
        assert sequence_of(server) == 3


def test_registry_with_a_password(client: Client, password_registry: Registry, tmp_path: Path) -> None:
    address = client.check(insecure(password_registry, USER), password_registry)
    with pytest.raises(BundleAccessDenied) as caught:
        client.push(insecure(password_registry), 3, address)
    assert "the registry wants a user name and password" in caught.value.message
    assert "policy.images.credentials" in caught.value.advice
    credentials = {"bearer": {"scheme": "Basic", "token": f"{USER}:{PASSWORD}"}}
    config = opa_config(password_registry, address, client.company.public, tmp_path, credentials=credentials)
    with OpaServer(config, tmp_path).await_ready() as server:
        assert decided(server)[1] == LEVELS


def test_registry_with_tokens(client: Client, token_registry: Registry) -> None:
    assert token_registry.tokens is not None
    token_registry.tokens.requests.clear()
    address = client.check(insecure(token_registry, "writer", "WRITER"), token_registry)
    scopes = [one["scope"] for one in token_registry.tokens.requests]
    assert scopes == [*["repository:team/company:pull,push"] * 3, "repository:team/company:pull"]
    reader = insecure(token_registry, "reader", "READER")
    with pytest.raises(BundleAccessDenied, match=r"the registry wants other credentials \(401"):
        client.push(reader, 3, address.replace(":stable", ":other"))
    assert client.pull(reader, address).sequence == 3


def test_registry_with_a_private_ca(client: Client, tls_registry: Registry) -> None:
    address = client.check({"ca": str(tls_registry.ca)}, tls_registry)
    with pytest.raises(BundleUnreachable) as caught:
        client.push({}, 3, address)
    assert "policy.images.ca" in caught.value.advice


def test_registry_that_wants_a_certificate(client: Client, mutual_tls_registry: Registry) -> None:
    where = mutual_tls_registry
    assert where.client is not None
    certificate, key = map(str, where.client)
    both = {"client_certificates": {where.host: {"certificate": certificate, "key": key}}}
    client.check({"ca": str(where.ca), **both}, where)


@pytest.mark.parametrize("status", [302, 307])
def test_store_that_a_registry_redirects_to_gets_no_login(
    client: Client, plain_registry: Registry, redirecting_registry: Redirecting, tmp_path: Path, status: int
) -> None:
    """Neither of the OPA that judges here, whose own client adds it again at 302, nor of `bundle pull`."""
    address = f"oci://{plain_registry.host}/team/far:stable"
    client.push(insecure(plain_registry), 3, address)
    there, address = redirecting_registry, address.replace(plain_registry.host, redirecting_registry.host)
    there.login, there.status = (USER, PASSWORD), status
    bearer = {"bearer": {"scheme": "Basic", "token": f"{USER}:{PASSWORD}"}}
    config = opa_config(there, address, client.company.public, tmp_path, credentials=bearer)
    config["bundles"] |= {"flowyml": {"resource": "shipped"}}
    with EmbeddedEvaluator(config=config) as evaluator:
        assert evaluator.query("org/levels", {}) == LEVELS
    asked_by_opa, there.asked_there = there.asked_there, []
    login = {"credentials": {there.host: {"username": USER, "password_env": "PASSWORD"}}}
    assert client.pull({"insecure": [there.host], **login}, address).sequence == 3
    for asked in (asked_by_opa, there.asked_there):
        assert asked
        assert not any("authorization" in headers for headers in asked)


def test_environment_changes_neither_whom_push_and_pull_ask_nor_the_login(
    client: Client, password_registry: Registry, tls_registry: Registry, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies, a .netrc and certificates that lie. To this machine there is no proxy, and to nobody over plain http."""
    (client.folder / ".netrc").write_text("default login eve password lies\n")
    (client.folder / ".netrc").chmod(0o600)
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    for name in (*names, *map(str.lower, names)):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NETRC", str(client.folder / ".netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(client.folder / "none.pem"))
    for where, images in (
        (password_registry, insecure(password_registry, USER)),
        (tls_registry, {"ca": str(tls_registry.ca)}),
    ):
        address = f"oci://{where.host}/team/lies:stable"
        for arguments in (("push", client.company.bundles[3], address), ("pull", address)):
            done = client.run(images, *arguments)
            assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(BundleAccessDenied):  # what .netrc holds is no login
        client.push(insecure(password_registry), 3, f"oci://{password_registry.host}/team/lies:stable")
    assert proxy.heads == []


def test_store_that_somebody_changed_is_refused(client: Client, plain_registry: Registry, tmp_path: Path) -> None:
    """Who can write to a registry's store changes no bundle that is pulled."""
    images, address = insecure(plain_registry), f"oci://{plain_registry.host}/team/tampered:stable"
    published = client.push(images, 2, address)
    (blob,) = (plain_registry.log.parent / "data").rglob(f"{published.digest.partition(':')[2]}/data")
    kept = blob.read_bytes()
    try:
        blob.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(BundleTampered, match="has another digest than"):
            client.pull(images, address)
    finally:
        blob.write_bytes(kept)
    assert not (tmp_path / "p.tar.gz").exists()


def test_registry_that_is_gone_is_unreachable(client: Client) -> None:
    images, address = {"insecure": ["127.0.0.1:1"]}, "oci://127.0.0.1:1/a:1"
    for act in (lambda: client.push(images, 3, address), lambda: client.pull(images, address)):
        with pytest.raises(BundleUnreachable, match="cannot be reached"):
            act()
