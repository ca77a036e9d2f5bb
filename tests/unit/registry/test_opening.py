"""The registry that settings name, opened as they say."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.errors.registry import RegistryUnreachable
from flowyml_policy.registry.opening import open_registry
from flowyml_policy.registry.remote import RemoteRegistry
from flowyml_policy.settings.loading import load_settings
from tests.unit.registry.conftest import make_stack

PutAll = Callable[..., None]


@pytest.mark.parametrize("owner", ["platform", "project"])
def test_open_registry_trusts_the_ca_beside_the_file_that_names_it(
    server: Any, put_all: PutAll, tmp_path: Path, owner: str
) -> None:
    put_all("1.0.0")
    ours, others = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    files = {"platform": tmp_path / "etc" / "settings.yaml", "project": tmp_path / "project" / "flowyml.yaml"}
    named = f"policy: {{registry: {{url: '{url}', ca: ca.pem}}}}\n"
    for name, file in files.items():
        file.parent.mkdir()
        if name == owner:
            file.write_text(named)
        elif name == "project":
            file.write_text("{}\n")
        (ours if name == owner else others).cert_pem.write_to_path(str(file.parent / "ca.pem"))

    def opened() -> Any:
        settings = load_settings(
            project=files["project"].parent, environ={"HOME": str(tmp_path)}, system_file=files["platform"]
        )
        return open_registry(settings, environ={})

    assert opened().get("prod-gpu").version == "1.0.0"
    files[owner].write_text(named.replace(", ca: ca.pem", ""))
    with pytest.raises(RegistryUnreachable, match="certificate is not trusted"):
        opened().get("prod-gpu")


def test_open_registry_keeps_answers_for_other_processes(server: Any, put_all: PutAll, tmp_path: Path) -> None:
    put_all("1.0.0")
    (tmp_path / "flowyml.yaml").write_text(f"policy: {{registry: {{url: '{server.url}'}}}}\n")
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)}, system_file=tmp_path / "none")
    asked: list[bool] = []
    server.misbehave = lambda handler: asked.append("If-None-Match" in handler.headers)

    def get(**environ: str) -> str:
        registry = open_registry(settings, environ=environ)
        assert isinstance(registry, RemoteRegistry)
        return registry.get("prod-gpu").version

    kept = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert [get(**kept), get(**kept)] == ["1.0.0", "1.0.0"]
    assert asked == [False, False, True, True]
    put_all("1.1.0")
    assert get(**kept) == "1.1.0"


def test_open_registry_for_a_user_without_a_home_keeps_nothing_and_answers(
    server: Any, put_all: PutAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all("1.0.0")
    (tmp_path / "flowyml.yaml").write_text(f"policy: {{registry: {{url: '{server.url}'}}}}\n")
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)}, system_file=tmp_path / "none")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("no such user")))

    assert open_registry(settings, environ={}).get("prod-gpu").version == "1.0.0"


def test_open_registry_offline_asks_the_company_nothing_and_reads_the_projects_own(
    server: Any, put_all: PutAll, tmp_path: Path
) -> None:
    put_all("1.0.0")
    (tmp_path / "flowyml.yaml").write_text(f"policy: {{registry: {{url: '{server.url}'}}}}\n")
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)}, system_file=tmp_path / "none")
    asked: list[str] = []
    server.misbehave = lambda handler: asked.append(handler.path)
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FLOWYML_POLICY_OFFLINE": "1"}

    registry = open_registry(settings, environ=environ)
    for call in (lambda: registry.get("prod-gpu"), lambda: registry.put(make_stack("1.1.0"))):
        with pytest.raises(RegistryUnreachable) as caught:
            call()
        assert str(caught.value) == (
            f"the registry is a server, and none is asked offline: {registry.uri}; go online to ask it"
        )
    assert asked == []

    (tmp_path / "flowyml.yaml").write_text("policy: {}\n")
    own = open_registry(load_settings(project=tmp_path, environ={"HOME": str(tmp_path)}), environ=environ)
    assert own.get("prod-gpu").version == "1.0.0"
