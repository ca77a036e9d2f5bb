"""Container daemons of Debian's packages, each with all that it keeps in a folder of its own."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.containers.programs import need, running, short_folder
from tests.image_builder import Image, docker_archive


@dataclass(frozen=True)
class Daemon:
    """A running daemon. `place` is its socket."""

    place: Path
    log: Path

    @property
    def url(self) -> str:
        return f"unix://{self.place}"

    @property
    def environ(self) -> dict[str, str]:
        """Variables by which a client finds it, and no configuration of the user's."""
        return {"DOCKER_HOST": self.url, "HOME": str(self.place.parent)}

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="auto", timeout=60)

    def load(self, image: Image, name: str) -> None:
        with closing(self.client()) as client:
            said = list(client.load_image(docker_archive(image, name)))  # type: ignore[no-untyped-call]
        assert not any("error" in str(line).lower() for line in said), said

    def pull(self, reference: str) -> None:
        """Pull by tag or digest; what a pull says of errors comes in its stream."""
        repository, at, digest = reference.partition("@")
        tag = digest if at else None
        if not at:
            repository, _, tag = reference.rpartition(":")
        with closing(self.client()) as client:
            said = list(client.pull(repository, tag=tag, stream=True, decode=True))
        assert not any("error" in line for line in said), said

    def tag(self, name: str, repository: str, tag: str) -> None:
        with closing(self.client()) as client:
            assert client.tag(name, repository, tag)


@contextmanager
def dockerd() -> Iterator[Daemon]:
    """A Docker daemon without a network of its own."""
    need("dockerd", "containerd", root=True)
    with short_folder() as folder:
        place, log = folder / "s", folder / "log"
        (folder / "daemon.json").write_text(json.dumps({"deprecated-key-path": f"{folder}/key.json"}), "utf-8")
        arguments = [
            f"--host=unix://{place}",
            f"--config-file={folder}/daemon.json",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            "--storage-driver=vfs",
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"),
        ]
        with running(["dockerd", *arguments], log, is_ready=lambda: _is_ready(place)):
            yield Daemon(place, log)


@contextmanager
def podman(*insecure: str) -> Iterator[Daemon]:
    """Podman's service; the registries `insecure`, as `host:port`, are spoken to without TLS."""
    need("podman", root=True)
    with short_folder() as folder:
        place, log = folder / "s", folder / "log"
        environ = _podman_files(folder, insecure)
        places = [f"--root={folder}/root", f"--runroot={folder}/runroot", f"--tmpdir={folder}/temporary"]
        service = ["system", "service", "--time=0", f"unix://{place}"]
        arguments = ["podman", "--storage-driver=vfs", *places, *service]
        with running(arguments, log, is_ready=lambda: _is_ready(place), environ=environ):
            yield Daemon(place, log)


def _is_ready(path: Path) -> bool:
    """Whether the daemon at a socket answers; Docker's listens before it can."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b" 200 " in connection.recv(64)


def _podman_files(folder: Path, insecure: tuple[str, ...]) -> dict[str, str]:
    """Configuration in place of this machine's, and the variables that lead to it."""
    registries = "".join(f'[[registry]]\nlocation = "{place}"\ninsecure = true\n' for place in insecure)
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/runroot"\n'
    files = {
        "containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n',
        "registries.conf": registries,
        "storage.conf": storage,
        ".config/containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
