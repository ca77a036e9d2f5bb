"""What a login is: a password, an identity token, or a token that the registry takes as it is."""

from __future__ import annotations

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
