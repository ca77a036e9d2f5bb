"""Container daemons of Debian's packages, each with all that it keeps in a folder of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.containers.programs import answers, need, running, short_folder
from tests.image_builder import Image, docker_archive


@dataclass(frozen=True)
class Daemon:
    """A running daemon. `socket` is where it answers."""

    socket: Path
    log: Path

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def environ(self) -> dict[str, str]:
        """Variables by which a client finds it, and no configuration of the user's."""
        return {"DOCKER_HOST": self.url, "HOME": str(self.socket.parent)}

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
        socket, log = folder / "s", folder / "log"
        (folder / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(folder / "key.json")}), "utf-8")
        places: list[str | Path] = [
            "--data-root",
            folder / "data",
            "--exec-root",
            folder / "exec",
            "--pidfile",
            folder / "pid",
        ]
        network = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]
        arguments: list[str | Path] = [
            "dockerd",
            "--host",
            f"unix://{socket}",
            *places,
            "--config-file",
            folder / "daemon.json",
        ]
        with running([*arguments, *network, "--storage-driver=vfs"], log, is_ready=lambda: answers(str(socket))):
            yield Daemon(socket, log)


@contextmanager
def podman(*insecure: str) -> Iterator[Daemon]:
    """Podman's service; the registries `insecure`, as `host:port`, are spoken to without TLS."""
    need("podman", root=True)
    with short_folder() as folder:
        socket, log = folder / "s", folder / "log"
        environ = _podman_files(folder, insecure)
        places: list[str | Path] = [
            "--root",
            folder / "root",
            "--runroot",
            folder / "runroot",
            "--tmpdir",
            folder / "tmp",
        ]
        service = ["system", "service", "--time=0", f"unix://{socket}"]
        with running(
            ["podman", "--storage-driver=vfs", *places, *service],
            log,
            is_ready=lambda: answers(str(socket)),
            environ=environ,
        ):
            yield Daemon(socket, log)


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
