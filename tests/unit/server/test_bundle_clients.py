"""Real clients of the real server over TLS: an OPA server and the embedded engine, which follow what is published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest
import trustme

from flowyml_policy.bundles.server import put_bundle
from flowyml_policy.bundles.trial import ORDINARY
from flowyml_policy.opa import shipped
from flowyml_policy.records.instant import instant
from tests.contract.conftest import document
from tests.contract.remote import Publisher, eventually, start
from tests.opa_server import OpaServer
from tests.server import Server

POLLING: Final = {"min_delay_seconds": 1, "max_delay_seconds": 1, "long_polling_timeout_seconds": 30}


class Company:
    """A company's server, which takes only what its key signed, and those who publish to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder)
        self.key = self.publisher.key("release")
        bundles = {"keys": {"release": {"key_file": str(folder / "release.pub")}}}
        self.server = Server(folder / "server", authority=trustme.CA(), bundles=bundles)
        self.writer = self.server.token("bundles:publish", name="ci")
        self.reader = self.server.token("bundles:read")

    def push(self, name: str, archive: Path) -> None:
        url = f"{self.server.url}/bundles/{name}"
        put_bundle(archive, url, token_env="TOKEN", ca=self.server.ca, environ={"TOKEN": self.writer})

    def roll_back(self, name: str, revision: str) -> dict[str, Any]:
        """What the command of the operator's printed."""
        command = [sys.executable, "-m", "flowyml_policy", "bundle", "rollback", name, "--to", revision]
        command += ["--key", str(self.folder / "release.key"), "--server", self.server.url, "--format", "json"]
        command += ["--token-env", "TOKEN", "--ca", str(self.server.ca)]
        environ = {**os.environ, "TOKEN": self.writer}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)["bundle"]
        return printed

    def config(self, name: str, **more: Any) -> dict[str, Any]:
        """OPA's configuration for a bundle of this server."""
        service = {"url": self.server.url, "tls": {"ca_cert": str(self.server.ca)}}
        credentials = {"bearer": {"token": self.reader}}
        bundle = {"service": "company", "polling": POLLING, "signing": {"keyid": "release"}}
        return {
            "services": {"company": {**service, "credentials": credentials}},
            "keys": {"release": self.key},
            "bundles": {name: bundle},
            **more,
        }


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path)
    with made.server:
        yield made


def decided(opa: OpaServer, at: datetime) -> tuple[str | None, list[str]]:
    """By which revision of `acme` an OPA server decides on an ordinary stack, and the codes of what it finds."""
    asked = ORDINARY.model_copy(update={"evaluated_at": instant(at)})
    body = json.dumps({"input": json.loads(asked.model_dump_json())}).encode()
    request = Request(  # noqa: S310  loopback
        f"{opa.url}/v1/data/flowyml/main/decision?provenance=true", body, {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        told = json.load(answer)
    revision = told["provenance"]["bundles"].get("acme", {}).get("revision")
    return revision, sorted(finding["code"] for finding in told["result"]["findings"])


def test_clients_follow_publication_rollback_and_a_server_that_was_killed(company: Company, tmp_path: Path) -> None:
    """The rule takes names of so many characters as the revision says; `rolled-back` has twelve."""
    publisher, name = company.publisher, "flowyml"
    company.push(name, publisher.bundle("1.0.0+a", longest=20, key="release", sequence=1))
    evaluator = start("embedded", company.config(name), tmp_path / "state")

    def follows(revision: str, *, allowed: bool) -> None:
        eventually(lambda: evaluator.judge(document("rolled-back"))[1].bundles[name] == revision, 30)
        assert evaluator.evaluate(document("rolled-back")).allowed is allowed

    follows("1.0.0+a", allowed=True)
    company.push(name, publisher.bundle("1.1.0+b", longest=3, key="release", sequence=2))
    follows("1.1.0+b", allowed=False)
    published = company.roll_back(name, "1.0.0+a")
    assert (published["revision"], published["sequence"]) == ("1.0.0+a.3", 3)
    follows("1.0.0+a.3", allowed=True)
    company.server.kill()
    company.server.start()
    follows("1.0.0+a.3", allowed=True)  # it goes on with what it has
    company.push(name, publisher.bundle("1.2.0+c", longest=3, key="release", sequence=4))
    follows("1.2.0+c", allowed=False)
    evaluator.close()


def test_sidecar_follows_and_denies_once_it_has_expired(company: Company, tmp_path: Path) -> None:
    """The bundle says nothing of an ordinary stack: only its revision and its expiry show."""
    level = {"org.rego": "package org.levels_of_tests\n\nnone := true\n"}

    def bundle(revision: str, **metadata: Any) -> Path:
        return company.publisher.bundle(revision, key="release", files=level, roots=("org",), **metadata)

    company.push("acme", bundle("1", sequence=1))
    with shipped.bundle() as archive:
        config = company.config("acme")
        config["bundles"]["flowyml"] = {"resource": archive.as_uri()}
        with OpaServer(config, tmp_path) as opa:
            opa.await_ready()
            now = datetime.now(timezone.utc)
            before = decided(opa, now)
            assert before[0] == "1"
            company.push("acme", bundle("2", sequence=2, expires=f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"))
            eventually(lambda: decided(opa, now)[0] == "2", 60)
            assert decided(opa, now) == ("2", before[1])
            assert "main.expired" in decided(opa, now + timedelta(hours=2))[1]
