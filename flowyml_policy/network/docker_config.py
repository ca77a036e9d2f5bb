"""Docker's configuration, and podman's, as far as they say how to log in to a registry.

Rules:
- The files, in their order: `REGISTRY_AUTH_FILE`, `config.json` of `DOCKER_CONFIG` or `~/.docker`, and
  `containers/auth.json` of `XDG_RUNTIME_DIR`. One that is absent is passed over.
- In each, for a host: the helper that `credHelpers` names for it, the one of `credsStore`, then the entry of `auths`.
  Docker Hub's is `https://index.docker.io/v1/` there; podman's entries may name a part of a host, of which the longest
  counts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from flowyml_policy.network.credential_helpers import CredentialHelper
from flowyml_policy.network.logins import AnyLogin, BearerToken, CredentialsUnusable, IdentityToken, Login
from flowyml_policy.system.files import display_path, read_regular

Way: TypeAlias = AnyLogin | CredentialHelper
"""A login, or who is asked for it."""

DOCKER_HUB: Final = "docker.io"
_HUB_SERVER: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_LARGEST_FILE: Final = 1 << 20
_ADVICE: Final = "mend the file, or log in again with `docker login`"


def login_host(host: str) -> str:
    """The host that a login for `host` is kept by: Docker Hub has several names."""
    return DOCKER_HUB if host in _HUB_NAMES else host


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """The files that may say how to log in, the first to count first."""
    found: list[Path] = []
    if file := environ.get("REGISTRY_AUTH_FILE"):
        found.append(Path(file))
    if folder := environ.get("DOCKER_CONFIG"):
        found.append(Path(folder) / "config.json")
    elif home := environ.get("HOME"):
        found.append(Path(home) / ".docker" / "config.json")
    if folder := environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(folder) / "containers" / "auth.json")
    return found


def read_config(file: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is none. Raises CredentialsUnusable."""
    try:
        data = read_regular(file, most=_LARGEST_FILE)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "its name is none"
        raise _unusable(file, f"cannot be read: {why}") from error
    if data is None or len(data) > _LARGEST_FILE:
        raise _unusable(file, "is no file of ordinary size")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        # The cause would show the text, and in it the passwords.
        raise _unusable(file, "is not JSON") from None
    if not isinstance(found, dict):
        raise _unusable(file, "is no JSON object")
    return found


def ways_in(config: Mapping[str, Any], file: Path, host: str, repository: str) -> Iterator[Way]:
    """The ways to a login for `host` that a file names, the first to count first. Raises CredentialsUnusable."""
    servers = [_HUB_SERVER, DOCKER_HUB, "index.docker.io"] if host == DOCKER_HUB else [host]
    helpers, store = _section(config, "credHelpers", file), config.get("credsStore") or ""
    names = [helpers[server] for server in servers if helpers.get(server)][:1] + [store] * bool(store)
    if not all(isinstance(name, str) for name in names):
        raise _unusable(file, "names a credential helper that is no text")
    yield from dict.fromkeys(CredentialHelper(name, servers[0]) for name in names)
    entries = _section(config, "auths", file)
    for key in _keys(host, repository, servers):
        if (login := _login(entries.get(key), file)) is not None:
            yield login
            return


def _keys(host: str, repository: str, servers: list[str]) -> Iterator[str]:
    """The keys of `auths` that may hold the login, the first to count first."""
    parts = repository.split("/") if repository else []
    for end in range(len(parts), 0, -1):
        yield "/".join([host, *parts[:end]])
    yield from servers
    if host != DOCKER_HUB:  # there, other addresses of the host hold other things than the login
        yield from (f"{scheme}://{host}{path}" for scheme in ("https", "http") for path in ("", "/", "/v1/", "/v2/"))


def _section(config: Mapping[str, Any], key: str, file: Path) -> dict[str, Any]:
    found = config.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _unusable(file, f"holds `{key}`, which is no JSON object")
    return found


def _login(entry: object, file: Path) -> AnyLogin | None:
    """The login in an entry of `auths`; an empty one says that a helper has it."""
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise _unusable(file, "holds a login that is no JSON object")
    given = {key: entry.get(key) or "" for key in ("registrytoken", "identitytoken", "auth", "username", "password")}
    if not all(isinstance(value, str) for value in given.values()):
        raise _unusable(file, "holds a login that is no text")
    if given["registrytoken"]:
        return BearerToken(given["registrytoken"])
    if given["identitytoken"]:
        return IdentityToken(given["identitytoken"])
    username, password = given["username"], given["password"]
    if given["auth"]:
        try:
            username, _, password = base64.b64decode(given["auth"], validate=True).decode().partition(":")
        except ValueError:
            raise _unusable(file, "holds a login that is not in base64") from None
    password = password.rstrip("\0")
    return Login(username, password) if username and password else None


def _unusable(file: Path, why: str) -> CredentialsUnusable:
    return CredentialsUnusable(f"the file of logins {why}: {display_path(file)}", _ADVICE)
