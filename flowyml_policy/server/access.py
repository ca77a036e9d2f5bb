"""Who may call what: the one check before every operation.

Rules:
- Authorisation goes by operation, never by how a path was spelled: it is checked after the path was understood.
- A token is sent as `Authorization: Bearer TOKEN`, once. What is malformed is no token.
- A right token is let in whatever else came from its address; wrong ones are slowed down by address.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final

from flowyml_policy.records.server import Token
from flowyml_policy.server.exchange import Operation, Poll, Refused
from flowyml_policy.server.scopes import allow
from flowyml_policy.server.tokens import Tokens, TokensStale

_MINUTE: Final = 60.0
_MOST_ADDRESSES: Final = 10_000
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="flowyml-policy"'}


class Access:
    """Lets requests in. Not safe from several threads: the event loop alone calls it."""

    def __init__(self, tokens: Tokens, *, anonymous: Collection[str], failures_per_minute: int) -> None:
        self._tokens = tokens
        self._anonymous = frozenset(anonymous)
        self._most = failures_per_minute
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def admit(
        self, operation: Operation | Poll, authorization: Sequence[str], client: str, name: str | None
    ) -> Token | None:
        """The token of a request that may call `operation` about `name`, None where it needs none. Raises Refused.

        `authorization` are the values of its headers of that name.
        """
        about = name if operation.is_named else None
        is_open = not operation.scope or allow(self._anonymous, operation.scope, about)
        if not authorization:
            if is_open:
                return None
            raise Refused(HTTPStatus.UNAUTHORIZED, "no_token", "a token is needed", headers=_CHALLENGE)
        token = self._token(authorization, client)
        if not is_open and not token.allows(operation.scope, about):
            raise Refused(HTTPStatus.FORBIDDEN, "no_scope", f"the token lacks the scope {operation.scope}")
        return token

    def require_current(self, token: Token | None) -> None:
        """Raise Refused where a token that was let in may not be used any more."""
        try:
            if token is None or self._tokens.is_current(token):
                return
        except TokensStale as error:
            raise _not_now() from error
        raise _wrong()

    def _token(self, authorization: Sequence[str], client: str) -> Token:
        scheme, _, secret = authorization[0].partition(" ")
        found = None
        if len(authorization) == 1 and scheme.lower() == "bearer":
            try:
                found = self._tokens.find(secret.strip())
            except TokensStale as error:
                raise _not_now() from error
        if found is None:
            self._count_failure(client)
            raise _wrong()
        return found

    def _count_failure(self, client: str) -> None:
        """Count a wrong token of `client`. Raises Refused where there were too many within a minute."""
        now = time.monotonic()
        since, count = self._failures.pop(client, (now, 0))
        if now - since >= _MINUTE:
            since, count = now, 0
        self._failures[client] = (since, count + 1)
        while len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
        if count >= self._most:
            wait = max(1, round(_MINUTE - (now - since)))
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_failures",
                "too many wrong tokens came from this address",
                headers={"retry-after": str(wait)},
            )


def _wrong() -> Refused:
    return Refused(
        HTTPStatus.UNAUTHORIZED, "wrong_token", "the token is not known, expired or revoked", headers=_CHALLENGE
    )


def _not_now() -> Refused:
    return Refused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "tokens_unreadable",
        "the server cannot read its tokens",
        headers={"retry-after": "5"},
    )
