"""The server without HTTP: its parts, what can be asked of them, and what is done beside requests.

Rules:
- Nothing is answered before it is on disk.
- Work beside requests never ends the server: what goes wrong is told, and makes it not ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Json
from flowyml_policy.server.access import Access
from flowyml_policy.server.configuration import Configuration
from flowyml_policy.server.exchange import Answer, Call, Operation, Poll
from flowyml_policy.server.metrics import Metrics
from flowyml_policy.server.overview import SECONDS, Overview
from flowyml_policy.server.publishing import Publishing
from flowyml_policy.server.reports import Reports
from flowyml_policy.server.scopes import OPERATOR
from flowyml_policy.server.stacks import Stacks
from flowyml_policy.server.tokens import RELOAD_SECONDS, Tokens, TokensStale

Tell = Callable[[str], None]
"""Tells operators one line."""


class Task(NamedTuple):
    """Work that is done again and again beside requests, on a thread.

    `name` is what it keeps up to date. Where that `is_vital`, the server is not ready while it fails.
    """

    name: str
    seconds: float
    work: Callable[[], None]
    is_vital: bool


class Service:
    """The parts of one server. Made before the event loop starts; `run_tasks` goes on until it is cancelled."""

    def __init__(self, configuration: Configuration, tell: Tell) -> None:
        values = configuration.values
        self.configuration = configuration
        self.metrics = Metrics()
        self.tokens = Tokens(configuration.database)
        self.reports = Reports(configuration, self.metrics)
        self.access = Access(
            self.tokens, anonymous=values.anonymous, failures_per_minute=values.limits.failures_per_minute
        )
        self._stacks = Stacks(configuration, tell)
        self.publishing = Publishing(configuration, self.metrics, self.access, tell)
        self._tell = tell
        self._troubles: dict[str, str] = {}
        self._is_stopping = False
        self._tasks: list[Task] = []
        self._overview = Overview(configuration.database, self.metrics)
        self.add_task("clients", SECONDS, self._overview.count, is_vital=False)
        self.add_task("tokens", RELOAD_SECONDS, self._reload_tokens)
        for name, seconds, work in self.publishing.tasks():
            self.add_task(name, seconds, work)

    def start(self) -> None:
        """Read what is kept, and load policy. Raises ServerError, and what is wrong with the settings."""
        self.tokens.reload()
        self.reports.open()
        self._stacks.start()
        self.publishing.start()

    def close(self) -> None:
        """Release everything."""
        self.publishing.close()
        self._stacks.close()
        self.reports.close()
        self.tokens.close()

    def stop(self) -> None:
        """Let go of what waits: the server is about to end."""
        self._is_stopping = True
        self.publishing.stop()

    def operations(self) -> Sequence[Operation | Poll]:
        """Everything that can be asked of this server."""
        return [
            Operation("GET", "/health", "", self._health),
            Operation("GET", "/metrics", OPERATOR, self._metrics),
            *self.publishing.operations(),
            *self.reports.operations(),
            *self._overview.operations(),
            *self._stacks.operations(),
        ]

    def add_task(self, name: str, seconds: float, work: Callable[[], None], *, is_vital: bool = True) -> None:
        """Have `work` done every so many `seconds`, beside requests; see Task."""
        self._tasks.append(Task(name, seconds, work, is_vital))

    async def run_tasks(self) -> None:
        """Do what is done beside requests, each on its own time."""
        await asyncio.gather(*(self._repeat(task) for task in self._tasks))

    def _reload_tokens(self) -> None:
        self.tokens.reload()
        self.publishing.end_polls(self.tokens.is_current)

    async def _repeat(self, task: Task) -> None:
        while True:
            try:
                await asyncio.to_thread(task.work)
            except Exception as error:  # noqa: BLE001  it is told, and the server goes on
                self._set_trouble(task.name, _words(error))
            else:
                self._set_trouble(task.name, None)
            await asyncio.sleep(task.seconds)

    def _set_trouble(self, name: str, trouble: str | None) -> None:
        """Keep what is wrong with `name`, and tell it when it changes."""
        if self._troubles.get(name) == trouble:
            return
        if trouble is None:
            del self._troubles[name]
            self._tell(f"{name}: in order again")
        else:
            self._troubles[name] = trouble
            self._tell(f"{name}: {trouble}")

    def _health(self, _call: Call) -> Answer:
        """Ready, not only alive. Why not is for operators, in the log."""
        reasons = sorted(task.name for task in self._tasks if task.is_vital and task.name in self._troubles)
        if self._is_stopping:
            reasons.append("stopping")
        try:
            self.tokens.require_fresh()
        except TokensStale:
            reasons = sorted({*reasons, "tokens"})
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        ailing = {"bundles": bool(self.publishing.warnings()), "stacks": not self._stacks.can_judge}
        warnings = [name for name, is_ailing in ailing.items() if is_ailing]
        ready: dict[str, Json] = {"ready": not reasons, "reasons": list(reasons)}
        return Answer.of_json({**ready, "warnings": warnings} if warnings else ready, status)

    def _metrics(self, _call: Call) -> Answer:
        return Answer(body=self.metrics.text(), headers={"content-type": self.metrics.TYPE})


def _words(error: Exception) -> str:
    """What is wrong, masked."""
    said = str(error) if isinstance(error, FlowymlPolicyError) else f"unexpected {type(error).__name__}: {error}"
    return mask(said)
