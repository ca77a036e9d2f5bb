"""What the `server` commands print, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Look, Screen, pad, plural, printable
from flowyml_policy.records.clients import ClientStatus, Health, PublishedBundle, ServerStatus
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.server import Token

_DAY: Final = 10
"""Characters of an instant that are its day."""
_SECOND: Final = 19
"""Characters of an instant that tell it to the second."""
_ORDER: Final[tuple[Health, ...]] = ("error", "silent", "idle", "well")
_LOOKS: Final[dict[Health, Look]] = {
    "error": {"fg": "red", "bold": True},
    "silent": {"fg": "yellow", "bold": True},
    "idle": {"dim": True},
    "well": {"fg": "green"},
}
_WIDEST_HEALTH: Final = max(map(len, _ORDER))
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


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


def _status_table(screen: Screen, status: ServerStatus) -> None:
    """What is published; then each client, what is wrong with it first."""
    rows = [
        (
            printable(one.name),
            printable(one.revision),
            f"sequence {one.sequence}",
            f"since {one.published_at[:_SECOND]}Z",
            _validity(one, status.at),
        )
        for one in status.bundles
    ]
    screen.line(screen.style("published", bold=True))
    for line in screen.table(rows) if rows else ["nothing"]:
        screen.line(f"  {line}")
    screen.line()
    screen.line(screen.style("clients", bold=True))
    for client in sorted(status.clients, key=lambda one: (_ORDER.index(one.health), one.name, one.token)):
        _client(screen, client)
    counts = Counter(client.health for client in status.clients)
    told = [f"{counts[health]} {health}" for health in _ORDER if counts[health]]
    behind = sum(client.is_behind for client in status.clients)
    told += [f"{behind} behind"] if behind else []
    screen.line(f"{plural(len(status.clients), 'client')}{': ' if told else ''}{', '.join(told)}")


def _validity(bundle: PublishedBundle, at: str) -> str:
    if bundle.expires is None:
        return ""
    return f"expires {bundle.expires}" if at < bundle.expires else f"EXPIRED {bundle.expires}: its clients deny"


def _client(screen: Screen, client: ClientStatus) -> None:
    """A line for the client, one for each of its bundles, one for each of its troubles."""
    word = screen.style(pad(client.health, _WIDEST_HEALTH), **_LOOKS[client.health])
    token = "" if client.token == client.name else f"  token {printable(client.token)}"
    screen.line(f"  {word}  {printable(client.name)}{token}  heard {_ago(client.age)}")
    for bundle in client.bundles:
        state = f"behind {printable(bundle.expected or '')}" if bundle.is_behind else "as published"
        since = "" if bundle.since is None else f"  since {bundle.since[:_SECOND]}Z"
        state = state if bundle.expected else ""
        revision = printable(bundle.active_revision or "none active")
        screen.line("  ".join(["   ", printable(bundle.name), revision, state]).rstrip() + since)
    for trouble in client.troubles:
        for line in screen.wrap(printable(trouble), indent=4, first="! "):
            screen.line(line)
    if client.dropped:
        screen.line(f"    ! lost {plural(client.dropped, 'event')} of its decision log")


def _ago(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def _status_json(screen: Screen, status: ServerStatus) -> None:
    print_json(screen, {"status": status.model_dump(mode="json")})


STATUS: Final[dict[str, Callable[[Screen, ServerStatus], None]]] = {"table": _status_table, "json": _status_json}
TOKENS: Final[dict[str, Callable[[Screen, Iterable[Token]], None]]] = {"table": _tokens_table, "json": _tokens_json}
