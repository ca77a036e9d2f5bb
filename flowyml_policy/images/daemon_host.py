"""Which container daemon this user means, as the `docker` command finds it.

Rules:
- DOCKER_HOST, else the context that DOCKER_CONTEXT or Docker's configuration names, else the usual socket of Docker,
  else those of podman.
- Docker's SDK takes the usual socket where the configuration cannot be read; here that is an error, since another
  daemon has other images.
- TLS that checks no certificate is refused: anybody on the way could say what an image is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from flowyml_policy.errors.images import DaemonUnavailable
from flowyml_policy.mask.quoted import shown
from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Json
from flowyml_policy.system.files import display_path, read_regular

_USUAL: Final = "/var/run/docker.sock", "/run/podman/podman.sock"
_DEFAULT_CONTEXT: Final = "default"
_LARGEST: Final = 4 << 20
_SCHEMES: Final = frozenset({"unix", "tcp", "http", "https"})


class DaemonTls(NamedTuple):
    """The PEM files by which a daemon is believed, and believes us."""

    ca: Path | None
    certificate: Path | None
    key: Path | None


class DaemonHost(NamedTuple):
    """A daemon's address, `unix:///var/run/docker.sock`, and what named it."""

    url: str
    named_by: str
    tls: DaemonTls | None = None

    @property
    def endpoint(self) -> str:
        """The address as records and people see it."""
        return mask(self.url)


def find_daemon(environ: Mapping[str, str], usual: tuple[str, str] = _USUAL) -> DaemonHost:
    """The daemon that `environ` and Docker's configuration name. Raises DaemonUnavailable.

    `usual` are the sockets of Docker and of root's podman.
    """
    named = environ.get("DOCKER_HOST", "").strip()
    if named:
        return _checked(DaemonHost(named, "DOCKER_HOST", _tls_of(environ)))
    folder = _configuration_folder(environ)
    variable = environ.get("DOCKER_CONTEXT", "")
    context = variable or _current_context(folder)
    if context != _DEFAULT_CONTEXT:
        named_by = "DOCKER_CONTEXT" if variable else display_path(folder / "config.json")
        return _checked(_of_context(folder, context, named_by))
    sockets = [usual[0], *_own_podman_socket(environ), usual[1]]
    found = next((path for path in sockets if os.path.exists(path)), None)  # noqa: PTH110  Path.exists may raise
    if found is None:
        raise DaemonUnavailable(
            f"no container daemon: there is no {', no '.join(sockets)}",
            advice="start Docker or podman's service, or set DOCKER_HOST; or set policy.images.inspect to registry",
        )
    return DaemonHost(f"unix://{found}", "the usual socket")


def _own_podman_socket(environ: Mapping[str, str]) -> Iterator[str]:
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute():
        yield str(runtime / "podman" / "podman.sock")


def _tls_of(environ: Mapping[str, str]) -> DaemonTls | None:
    """What DOCKER_TLS_VERIFY and DOCKER_CERT_PATH ask for, beside DOCKER_HOST."""
    folder = environ.get("DOCKER_CERT_PATH", "")
    if not environ.get("DOCKER_TLS_VERIFY"):
        if folder:
            raise DaemonUnavailable(
                "DOCKER_CERT_PATH is set without DOCKER_TLS_VERIFY, so that the daemon's certificate is not checked",
                advice="set DOCKER_TLS_VERIFY to 1",
            )
        return None
    files = Path(folder) if folder else _configuration_folder(environ)
    return DaemonTls(files / "ca.pem", files / "cert.pem", files / "key.pem")


def _configuration_folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("DOCKER_CONFIG")
    try:
        return Path(named) if named else Path(environ.get("HOME") or "~", ".docker").expanduser()
    except RuntimeError:  # a user without a home has no configuration
        return Path(os.devnull)


def _current_context(folder: Path) -> str:
    file = folder / "config.json"
    try:
        configuration = _read_json(file)
    except FileNotFoundError:
        return _DEFAULT_CONTEXT
    context = configuration.get("currentContext") or _DEFAULT_CONTEXT
    if not isinstance(context, str):
        raise _unreadable(file, "`currentContext` is no text")
    return context


def _of_context(folder: Path, name: str, named_by: str) -> DaemonHost:
    """The daemon of a context, which `docker context create` has written below `folder`."""
    identity = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    file = folder / "contexts" / "meta" / identity / "meta.json"
    try:
        found = _read_json(file)
    except FileNotFoundError as error:
        raise DaemonUnavailable(
            f"there is no docker context {shown(mask(name))}, which {named_by} names",
            advice="name one that `docker context ls` lists, or set DOCKER_HOST",
        ) from error
    endpoints = found.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(docker, dict) or not isinstance(host, str) or not host:
        raise _unreadable(file, "it names no daemon")
    files = folder / "contexts" / "tls" / identity / "docker"
    tls = DaemonTls(*(files / one if (files / one).is_file() else None for one in ("ca.pem", "cert.pem", "key.pem")))
    if docker.get("SkipTLSVerify") and any(tls):
        raise DaemonUnavailable(
            f"the docker context {shown(mask(name))} does not check the daemon's certificate",
            advice="make it without skip-tls-verify, or set DOCKER_HOST",
        )
    return DaemonHost(host, f"the docker context {shown(mask(name))}", tls if any(tls) else None)


def _checked(host: DaemonHost) -> DaemonHost:
    """Refuse an address that this program does not speak to."""
    try:
        parts = urlsplit(host.url if "://" in host.url else f"tcp://{host.url}")
        scheme, login = parts.scheme, parts.password
    except ValueError:
        scheme, login = "", None
    if scheme == "ssh":
        raise DaemonUnavailable(
            f"{host.named_by} names a daemon behind ssh: {host.endpoint}",
            advice="forward its socket, as with `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set "
            "DOCKER_HOST to unix:///tmp/docker.sock",
        )
    is_relative = scheme == "unix" and not host.url.startswith("unix:///")
    if scheme not in _SCHEMES or login is not None or is_relative:
        raise DaemonUnavailable(
            f"{host.named_by} names no daemon that can be asked: {shown(host.endpoint)}",
            advice="write unix:///PATH, or tcp://HOST:PORT",
        )
    return host


def _read_json(file: Path) -> dict[str, Json]:
    """A JSON object. Raises FileNotFoundError, DaemonUnavailable."""
    try:
        data = read_regular(file, most=_LARGEST)
        found = None if data is None or len(data) > _LARGEST else json.loads(data)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(file)) from error
    except OSError as error:
        raise _unreadable(file, error.strerror or type(error).__name__) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, "it is no JSON") from error
    if not isinstance(found, dict):
        raise _unreadable(file, "it holds no JSON object")
    return found


def _unreadable(file: Path, why: str) -> DaemonUnavailable:
    return DaemonUnavailable(
        f"which daemon is meant cannot be read: {mask(display_path(file))}: {why}",
        advice="correct the file, or set DOCKER_HOST",
    )
