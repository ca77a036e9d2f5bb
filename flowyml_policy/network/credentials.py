"""Logins for registry hosts: those of the settings first, then Docker's and podman's.

Rules:
- A login belongs to one host, as references write it, with its port; Docker Hub's is that of docker.io.
- What the settings name counts alone: where it cannot be used, no other login takes its place.
- What is wrong in one file or helper is told only if no other has a login for the host.
- No secret is in any message, nor in what is printed of a login.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from flowyml_policy.network.credential_helpers import CredentialHelper
from flowyml_policy.network.docker_config import Way, config_files, login_host, read_config, ways_in
from flowyml_policy.network.logins import AnyLogin, BearerToken, CredentialsUnusable, IdentityToken, Login

__all__ = [
    "AnyLogin",
    "BearerToken",
    "Credentials",
    "CredentialsUnusable",
    "IdentityToken",
    "Login",
    "RegistryLogin",
    "login_host",
]

_KEPT: Final = 300.0
"""Seconds for which a file and a helper's answer are remembered."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}", re.ASCII)
_PASSWORD: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,65536}")

_OWN_KEY: Final = secrets.token_bytes(32)
"""Of this process and its children, where no key is given."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class RegistryLogin:
    """How the settings say to log in: a user name and the variable of its password, or the variable of a token."""

    username: str | None = None
    password_env: str | None = None
    token_env: str | None = None


class Credentials:
    """The logins for registries: `configured` by the settings, by host, and those of Docker's configuration.

    Docker's is read when it is first needed, and kept for a few minutes, as are the answers of credential helpers.
    `key` finds the secret that `identity` is made with; without one it is another in each process.
    Safe from many threads, and after a fork.
    """

    def __init__(
        self,
        configured: Mapping[str, RegistryLogin],
        *,
        environ: Mapping[str, str],
        key: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._configured = {login_host(host): login for host, login in configured.items()}
        self._environ = environ
        self._key = key
        self._files: _Memory[Path, dict[str, Any]] = _Memory(read_config)
        self._helpers: _Memory[CredentialHelper, AnyLogin | None] = _Memory(lambda helper: helper.login(environ))

    def of(self, host: str, repository: str = "") -> AnyLogin | None:
        """The login for `host`, None where there is none. Raises CredentialsUnusable.

        `repository` finds the logins for a part of a host, which podman keeps.
        """
        host = login_host(host)
        if host in self._configured:
            return _checked(self._of_settings(host), host, is_explicit=True)
        failures: list[CredentialsUnusable] = []
        for way in self._ways(host, repository, failures):
            with _collected(failures):
                login = self._helpers.of(way) if isinstance(way, CredentialHelper) else way
                if login is not None:
                    return _checked(login, host)
        if failures:
            raise failures[0]
        return None

    def identity(self, host: str, repository: str = "") -> str:
        """What stands for the login, the same wherever the key is; without it no password can be tried.

        Where there is no login it is `none`, and needs no key. No helper is run for it. Raises what `key` raises.
        """
        host = login_host(host)
        failures: list[CredentialsUnusable] = []
        ways: list[Way] = []
        with _collected(failures):
            found = [self._of_settings(host)] if host in self._configured else self._ways(host, repository, failures)
            ways.extend(found)
        if not ways and not failures:
            return "none"
        # For a helper it is the name, since what it answers changes from hour to hour.
        told = [[type(way).__name__, *vars(way).values()] for way in ways], [failure.what for failure in failures]
        return hmac.digest(self._key() or _OWN_KEY, json.dumps(told).encode(), "sha256").hex()

    def _ways(self, host: str, repository: str, failures: list[CredentialsUnusable]) -> Iterator[Way]:
        """The ways to a login, the first to count first; what keeps a file from being read joins the failures."""
        for file in config_files(self._environ):
            with _collected(failures):
                yield from ways_in(self._files.of(file), file, host, repository)

    def _of_settings(self, host: str) -> AnyLogin:
        given = self._configured[host]
        variable = given.token_env or given.password_env or ""
        secret = self._environ.get(variable, "")
        if not secret:
            raise CredentialsUnusable(
                f"the environment variable {variable}, which holds the login for {host}, is not set",
                f"set {variable}",
                is_explicit=True,
            )
        return BearerToken(secret) if given.token_env else Login(given.username or "", secret)


@dataclass
class _Slot(Generic[_Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float | None = None
    value: _Value | CredentialsUnusable | None = None


_Key = TypeVar("_Key")


class _Memory(Generic[_Key, _Value]):
    """What was found by key, also that it could not be found: a helper that hangs does so once, not for each image."""

    def __init__(self, find: Callable[[_Key], _Value]) -> None:
        self._find = find
        self._slots: dict[tuple[int, _Key], _Slot[_Value]] = {}

    def of(self, key: _Key) -> _Value:
        # No child of a fork waits for a thread of its parent, which will never come.
        slot = self._slots.setdefault((os.getpid(), key), _Slot())
        with slot.lock:
            if slot.until is None or slot.until <= time.monotonic():
                try:
                    slot.value = self._find(key)
                except CredentialsUnusable as error:
                    slot.value = error
                slot.until = time.monotonic() + _KEPT
            found = slot.value
        if isinstance(found, CredentialsUnusable):
            raise CredentialsUnusable(found.what, found.advice) from found
        return found  # type: ignore[return-value]  # it was set above


@contextmanager
def _collected(failures: list[CredentialsUnusable]) -> Iterator[None]:
    try:
        yield
    except CredentialsUnusable as error:
        failures.append(error)


def _checked(login: AnyLogin, host: str, *, is_explicit: bool = False) -> AnyLogin:
    """The login, if it can be sent in a header as it is."""
    if isinstance(login, Login):
        is_usable = _PASSWORD.fullmatch(login.username + login.password) is not None and ":" not in login.username
    else:
        is_usable = _TOKEN.fullmatch(login.token) is not None
    if not is_usable:
        what = f"the login for {host} holds characters that no login can have"
        raise CredentialsUnusable(what, "take blanks and line ends out of it", is_explicit=is_explicit)
    return login
