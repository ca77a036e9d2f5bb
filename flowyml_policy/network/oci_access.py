"""How one repository of a registry is got into: its challenge, the login, and the token that is made of it.

Rules:
- Nothing is sent before the registry asks for it. Its first answer says what it wants, and that is remembered.
- Of the challenges the first counts whose scheme is known, Bearer and Basic; without a login it is Bearer.
- A token is for `repository:<name>:pull`, or `pull,push` where it is pushed, whatever scope the challenge names, and is
  kept in memory until it expires.
- A token server is asked over https; over http where it and the registry are this machine. It gets the registry's
  login, as from Docker, unless the registry was asked over plain http by the network: then anybody may have answered.
- It is never followed elsewhere.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from flowyml_policy.mask.quoted import shown
from flowyml_policy.network.address import AddressRefused, parse_address
from flowyml_policy.network.logins import AnyLogin, BearerToken, CredentialsUnusable, IdentityToken, Login
from flowyml_policy.network.messages import Request, Response
from flowyml_policy.network.oci_challenge import Challenge, ChallengeMalformed, parse_challenges
from flowyml_policy.network.oci_failures import RegistryFailure, failure_of_status

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_REFUSED: Final = frozenset({401, 403})
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = range(500, 600)
_LARGEST_ANSWER: Final = 1 << 18
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}", re.ASCII)
_DEFAULT_LIFE: Final = 60.0  # seconds, of the specification, where the token server says nothing
_LONGEST_LIFE: Final = 86_400.0
_MARGIN: Final = 0.9
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_CLIENT: Final = "flowyml-policy"
_TOKEN_SERVER: Final = "the registry's token server"  # noqa: S105  no secret

Ask = Callable[[Request], Response]


@dataclass(frozen=True)
class Authorization:
    """The value of the header, when it was made, and until when it holds by the clock; None is until it is refused."""

    header: str = field(repr=False)
    made: float
    expires: float | None = None


class Access:
    """What is known of the way into one repository. Safe from many threads.

    `is_safe` says that nobody but the registry can have sent its answers, and `is_plain_loopback` that it is asked over
    plain http on this machine. `login` finds the login for the registry, and may raise CredentialsUnusable.
    """

    def __init__(
        self,
        repository: str,
        *,
        is_safe: bool,
        is_plain_loopback: bool,
        login: Callable[[], AnyLogin | None],
        clock: Callable[[], float],
        actions: str = "pull",
    ) -> None:
        self._scope = f"repository:{repository}:{actions}"
        self._is_safe = is_safe
        self._is_plain_loopback = is_plain_loopback
        self._find_login = login
        self._clock = clock
        self._lock = threading.Lock()
        self._challenges: tuple[Challenge, ...] = ()
        self._current: Authorization | None = None
        self._problem: tuple[str, str] | None = None

    def current(self, ask: Ask) -> Authorization | None:
        """What to send; None before the registry has asked for anything. Raises RegistryFailure."""
        with self._lock:
            found = self._current
            if found is not None and found.expires is not None and found.expires <= self._clock():
                found = self._current = self._made(ask)
            return found

    def renewed(self, used: Authorization | None, response: Response, ask: Ask) -> Authorization:
        """What to send after the registry refused `used`. Raises RegistryFailure where there is nothing else.

        Of the threads that were refused together, the first one asks for all.
        """
        with self._lock:
            if self._current is not None and self._current is not used:
                return self._current
            self._current = None
            if "www-authenticate" in response.headers:
                self._challenges = _challenges_of(response)
            if not self._challenges:
                raise failure_of_status(response)
            made = self._made(ask)
            if used is not None and made.header == used.header:  # again it would only count as a wrong password
                raise failure_of_status(response)
            self._current = made
            return made

    @property
    def problem(self) -> RegistryFailure | None:
        """Why the login that there is was not used, where it was not."""
        return None if self._problem is None else RegistryFailure("credentials", *self._problem)

    def _made(self, ask: Ask) -> Authorization:
        login = self._login()
        schemes = {"bearer", "basic"} if isinstance(login, Login) else {"bearer"}
        known = [one for one in self._challenges if one.scheme in schemes]
        if not known:
            raise self.problem or _no_way_in(self._challenges)
        if isinstance(login, BearerToken):
            return Authorization(f"Bearer {login.token}", self._clock())
        if isinstance(login, Login) and known[0].scheme == "basic":
            return Authorization(_basic(login), self._clock())
        return self._token(known[0].parameters, login, ask)

    def _login(self) -> AnyLogin | None:
        """The login, None where there is none that may be used; then `problem` says why."""
        self._problem = None
        try:
            login = self._find_login()
        except CredentialsUnusable as error:
            self._problem = error.what, error.advice
            if error.is_explicit:
                raise RegistryFailure("credentials", *self._problem) from error
            return None
        if login is not None and not self._is_safe:
            advice = "have the registry speak TLS, and take it out of policy.images.insecure"
            self._problem = "a login is not sent over plain http", advice
            return None
        return login

    def _token(self, parameters: Mapping[str, str], login: AnyLogin | None, ask: Ask) -> Authorization:
        """Have the token server make a token of the login, or of none."""
        realm = self._checked(parameters.get("realm", ""))
        asked = {"service": parameters["service"]} if parameters.get("service") else {}
        asked["scope"] = self._scope
        if isinstance(login, IdentityToken):
            asked = {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": login.token, **asked}
            request = Request("POST", realm, _LARGEST_ANSWER, _FORM, urlencode(asked).encode(), repeatable=True)
        else:
            parts = urlsplit(realm)
            url = urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(asked))))))
            authorization = _basic(login) if isinstance(login, Login) else None
            request = Request("GET", url, _LARGEST_ANSWER, authorization=authorization)
        now = self._clock()
        try:
            response = ask(request)
        except RegistryFailure as failure:
            what = f"asking the registry's token server, {urlsplit(realm).netloc}: {failure.what}"
            raise RegistryFailure(failure.reason, what, failure.advice) from failure
        if response.status in _REFUSED and (problem := self.problem) is not None:
            raise problem
        token, life = _answer_of(response)
        return Authorization(f"Bearer {token}", now, now + life * _MARGIN)

    def _checked(self, realm: str) -> str:
        """The realm, if a token may be asked for there."""
        try:
            address = parse_address(realm)
        except AddressRefused:
            is_fit = False
        else:
            is_fit = address.scheme == "https" or self._is_plain_loopback
        if not is_fit:
            what = "the registry names no token server that is asked over https"
            raise RegistryFailure("denied", what, "have it name an https address as its realm", _UNAUTHORIZED)
        return realm


def _challenges_of(response: Response) -> tuple[Challenge, ...]:
    try:
        return parse_challenges(response.headers["www-authenticate"])
    except ChallengeMalformed:
        what = "the registry asks for a login in a way that cannot be read"
        raise RegistryFailure("denied", what, "have its WWW-Authenticate header mended", response.status) from None


def _no_way_in(challenges: tuple[Challenge, ...]) -> RegistryFailure:
    """The failure where the registry wants a login of a kind that there is none of."""
    if any(one.scheme == "basic" for one in challenges):
        return RegistryFailure("denied", "the registry wants a user name and password", status=_UNAUTHORIZED)
    wanted = shown(", ".join(one.scheme for one in challenges), 60)
    return RegistryFailure(
        "denied", f"the registry wants a login of a kind that is not known: {wanted}", status=_UNAUTHORIZED
    )


def _answer_of(response: Response) -> tuple[str, float]:
    """The token in a token server's answer, and how many seconds it holds."""
    if response.status in _REFUSED or response.status == _TOO_MANY or response.status in _SERVER_ERRORS:
        raise failure_of_status(response, _TOKEN_SERVER)
    try:
        found: Any = json.loads(response.body) if response.status == _OK else None
        token, life = found.get("token") or found.get("access_token"), found.get("expires_in")
    except (ValueError, RecursionError, AttributeError):
        token = life = None
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        what = f"{_TOKEN_SERVER} gave no token ({response.status})"
        raise RegistryFailure("server", what, "report it to the registry's owner", response.status)
    is_number = isinstance(life, int | float) and not isinstance(life, bool) and life > 0
    return token, float(min(life, _LONGEST_LIFE)) if is_number else _DEFAULT_LIFE


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
