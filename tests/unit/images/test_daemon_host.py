"""Which daemon is meant, by the environment and by Docker's configuration as its own command writes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.errors.images import DaemonUnavailable
from flowyml_policy.images.daemon import DaemonInspector
from flowyml_policy.images.daemon_host import DaemonTls, find_daemon
from tests.recorded_daemon import NAME, image, recorded, short_folder


@pytest.fixture
def usual(tmp_path: Path) -> tuple[str, str]:
    """The sockets of Docker and of root's podman; neither is there."""
    return str(tmp_path / "docker.sock"), str(tmp_path / "podman.sock")


def write_context(folder: Path, name: str, endpoint: object, *, tls: tuple[str, ...] = ()) -> None:
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoint}), "utf-8")
    for file in tls:
        place = folder / "contexts" / "tls" / identity / "docker" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("PEM", "utf-8")


def write_current(folder: Path, configuration: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(configuration), "utf-8")


def docker(host: str, **more: object) -> dict[str, Any]:
    return {"docker": {"Host": host, "SkipTLSVerify": False, **more}}


def test_docker_host_comes_first(tmp_path: Path, usual: tuple[str, str]) -> None:
    write_context(tmp_path, "far", docker("tcp://10.0.0.1:2376"))
    environ = {"DOCKER_HOST": " tcp://10.0.0.2:2375 ", "DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(tmp_path)}
    found = find_daemon(environ, usual)
    assert (found.url, found.named_by, found.tls) == ("tcp://10.0.0.2:2375", "DOCKER_HOST", None)


def test_context_of_the_environment_comes_before_the_current_one(tmp_path: Path, usual: tuple[str, str]) -> None:
    write_context(tmp_path, "far", docker("tcp://10.0.0.1:2376"), tls=("ca.pem", "cert.pem", "key.pem"))
    write_context(tmp_path, "near", docker("unix:///run/near.sock"))
    write_current(tmp_path, {"currentContext": "near"})
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert find_daemon(environ, usual).url == "unix:///run/near.sock"
    found = find_daemon(environ | {"DOCKER_CONTEXT": "far"}, usual)
    files = tmp_path / "contexts" / "tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    assert found.url == "tcp://10.0.0.1:2376"
    assert found.tls == DaemonTls(files / "ca.pem", files / "cert.pem", files / "key.pem")


def test_configuration_is_read_below_home(tmp_path: Path, usual: tuple[str, str]) -> None:
    write_context(tmp_path / ".docker", "near", docker("unix:///run/near.sock"))
    write_current(tmp_path / ".docker", {"currentContext": "near"})
    assert find_daemon({"HOME": str(tmp_path)}, usual).url == "unix:///run/near.sock"


@pytest.mark.parametrize("configuration", [None, {}, {"currentContext": ""}, {"currentContext": "default"}])
def test_usual_sockets_come_last(tmp_path: Path, usual: tuple[str, str], configuration: object) -> None:
    if configuration is not None:
        write_current(tmp_path, configuration)
    own = tmp_path / "run" / "podman" / "podman.sock"
    own.parent.mkdir(parents=True)
    environ = {"DOCKER_CONFIG": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "DOCKER_HOST": ""}
    with pytest.raises(DaemonUnavailable, match="no container daemon") as caught:
        find_daemon(environ, usual)
    assert str(own) in caught.value.message
    for place in (usual[1], own, usual[0]):
        Path(place).touch()
        assert find_daemon(environ, usual).url == f"unix://{place}"


def test_tls_of_the_environment(tmp_path: Path, usual: tuple[str, str]) -> None:
    environ = {"DOCKER_HOST": "tcp://10.0.0.2:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CONFIG": str(tmp_path)}
    files = DaemonTls(*(tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")))
    assert find_daemon(environ, usual).tls == files
    other = tmp_path / "other"
    assert find_daemon(environ | {"DOCKER_CERT_PATH": str(other)}, usual).tls == DaemonTls(
        *(other / name for name in ("ca.pem", "cert.pem", "key.pem"))
    )


def test_tls_that_checks_nothing_fails_closed(tmp_path: Path, usual: tuple[str, str]) -> None:
    write_context(tmp_path, "blind", docker("tcp://10.0.0.1:2376", SkipTLSVerify=True), tls=("cert.pem", "key.pem"))
    for environ in (
        {"DOCKER_HOST": "tcp://10.0.0.2:2376", "DOCKER_CERT_PATH": str(tmp_path)},
        {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "blind"},
    ):
        with pytest.raises(DaemonUnavailable, match="certificate"):
            find_daemon(environ, usual)


@pytest.mark.parametrize(
    "text",
    ["no JSON", "[]", '{"currentContext": 7}', '{"currentContext": "gone"}', "[" * 100_000, '"' + "x" * (5 << 20)],
)
def test_configuration_that_names_no_context_fails_closed(tmp_path: Path, usual: tuple[str, str], text: str) -> None:
    """The SDK would ask the usual daemon."""
    (tmp_path / "config.json").write_text(text, "utf-8")
    Path(usual[0]).touch()
    with pytest.raises(DaemonUnavailable) as caught:
        find_daemon({"DOCKER_CONFIG": str(tmp_path)}, usual)
    assert str(tmp_path) in caught.value.message
    assert "DOCKER_HOST" in caught.value.advice


@pytest.mark.parametrize("endpoint", [None, [], {}, {"docker": []}, docker(""), {"docker": {"Host": 7}}])
def test_context_without_a_daemon_fails_closed(tmp_path: Path, usual: tuple[str, str], endpoint: object) -> None:
    write_context(tmp_path, "odd", endpoint)
    with pytest.raises(DaemonUnavailable, match="names no daemon"):
        find_daemon({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "odd"}, usual)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("ssh://me@far.example.com", "behind ssh"),
        ("npipe:////./pipe/docker_engine", "names no daemon"),
        ("fd://", "names no daemon"),
        ("tcp://me:hunter22hunter22@far.example.com:2376", "names no daemon"),
        ("tcp://[", "names no daemon"),
    ],
)
def test_address_that_is_not_spoken_to_fails_closed(usual: tuple[str, str], host: str, words: str) -> None:
    with pytest.raises(DaemonUnavailable, match=words) as caught:
        find_daemon({"DOCKER_HOST": host}, usual)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["tcp://", "tcp://far.example.com", "unix://relative/path", "tcp://a:b", "10.0.0.1", "http://"]
)
def test_odd_address_fails_closed(host: str) -> None:
    inspector = DaemonInspector(environ={"DOCKER_HOST": host}, timeout=1)
    with pytest.raises(DaemonUnavailable):
        inspector.inspect(NAME)
    inspector.close()


def test_inspector_asks_the_daemon_of_a_context(tmp_path: Path) -> None:
    with short_folder() as folder, recorded(folder / "s") as daemon:
        daemon.images[NAME] = image()
        write_context(tmp_path, "near", docker(daemon.url))
        inspector = DaemonInspector(environ={"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "near"})
        assert inspector.inspect(NAME).endpoint == daemon.url
        inspector.close()


def test_inspector_without_a_daemon_has_no_endpoint() -> None:
    assert DaemonInspector(environ={"DOCKER_HOST": "ssh://far.example.com"}).endpoint is None
