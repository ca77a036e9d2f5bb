"""What the `server` commands print, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural, printable
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.server import Token

_DAY: Final = 10
"""Characters of an instant that are its day."""


def _tokens_table(screen: Screen, tokens: Iterable[Token]) -> None:
    tokens = list(tokens)
    at = utc_now()
    rows = [
        (str(one.number), printable(one.name), _state(one, at), f"made {one.created_at[:_DAY]}", " ".join(one.scopes))
        for one in tokens
    ]
    for line in screen.table(rows) if rows else ():
        screen.line(line)
    screen.line(plural(len(rows), "token") if rows else "there is no token")


def _state(token: Token, at: str) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at[:_DAY]}"
    if token.expires_at is None:
        return "valid"
    return f"{'valid to' if token.is_valid(at) else 'expired'} {token.expires_at[:_DAY]}"


def _tokens_json(screen: Screen, tokens: Iterable[Token]) -> None:
    at = utc_now()
    shown = []
    for token in tokens:
        fields = token._asdict()
        del fields["sha256"]
        shown.append({**fields, "valid": token.is_valid(at)})
    print_json(screen, {"tokens": shown})


TOKENS: Final[dict[str, Callable[[Screen, Iterable[Token]], None]]] = {"table": _tokens_table, "json": _tokens_json}
