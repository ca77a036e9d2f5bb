"""Logins for registry hosts: those of the settings first, then Docker's and podman's.

Rules:
- A login belongs to one host, as references write it, with its port; Docker Hub's is that of docker.io.
- What the settings name counts alone: where it cannot be used, no other login takes its place.
- No secret is in any message, nor in what is printed of a login.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Login:
    """A user name and password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class IdentityToken:
    """What a token server gave at login in place of the password; it is changed for a token by OAuth2's POST."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class BearerToken:
    """A token that the registry itself takes as it is."""

    token: str = field(repr=False)


AnyLogin: TypeAlias = Login | IdentityToken | BearerToken


@dataclass(frozen=True)
class RegistryLogin:
    """How the settings say to log in: a user name and the variable of its password, or the variable of a token."""

    username: str | None = None
    password_env: str | None = None
    token_env: str | None = None


class CredentialsUnusable(Exception):
    """There is a login for a host, or a way to get one, and it cannot be used.

    `what` and `advice` hold no secret. `is_explicit` where the settings name the login for this very host: going on
    without it is then no choice.
    """

    def __init__(self, what: str, advice: str, *, is_explicit: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.is_explicit = is_explicit


class Credentials:
    """The logins for registries: `configured` by the settings, by host, and those of Docker's configuration.

    Docker's is read when it is first needed, and kept for a few minutes, as are the answers of credential helpers.
    Safe from many threads.
    """

    def __init__(self, configured: Mapping[str, RegistryLogin], *, environ: Mapping[str, str]) -> None:
        self._configured = configured
        self._environ = environ

    def of(self, host: str, repository: str = "") -> AnyLogin | None:
        """The login for `host`, None where there is none. Raises CredentialsUnusable.

        `repository` finds the logins for a part of a host, which podman keeps.
        """
        raise NotImplementedError

    def identity(self, host: str, repository: str = "") -> str:
        """What stands for the login without telling it, the same in every process. No helper is run for it."""
        raise NotImplementedError
