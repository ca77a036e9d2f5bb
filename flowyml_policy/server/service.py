"""The server without HTTP: its parts, what can be asked of them, and what is done beside requests.

Rules:
- Nothing is answered before it is on disk.
- Work beside requests never ends the server: what goes wrong is told, and makes it not ready. It has threads of its
  own: however much is asked at once, a token that is revoked ends.
- One server has a folder: two would each serve what they read when they started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, NamedTuple

from filelock import FileLock, Timeout

from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.server import ServerNotStarted, ServerUnwritable
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

_TASKS: Final = 8
"""Threads for what is done beside requests: one for each task, and some more."""
_LOCK: Final = "server.lock"

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
        self._threads = ThreadPoolExecutor(_TASKS, thread_name_prefix="flowyml-policy-tasks")
        self._lock = FileLock(
            configuration.data / _LOCK, mode=0o600, thread_local=False, fallback_to_soft=False, timeout=0
        )
        self._overview = Overview(configuration.database, self.metrics)
        self.add_task("clients", SECONDS, self._overview.count, is_vital=False)
        self.add_task("tokens", RELOAD_SECONDS, self._reload_tokens)
        for name, seconds, work in self.publishing.tasks():
            self.add_task(name, seconds, work)

    def start(self) -> None:
        """Read what is kept, and load policy. Raises ServerError, and what is wrong with the settings."""
        self._take_folder()
        self.tokens.reload()
        self.reports.open()
        self._stacks.start()
        self.publishing.start()

    def close(self) -> None:
        """Release everything, once what is done beside requests has ended."""
        self._threads.shutdown(cancel_futures=True)
        self.publishing.close()
        self._stacks.close()
        self.reports.close()
        self.tokens.close()
        self._lock.release()

    def _take_folder(self) -> None:
        """Raises ServerNotStarted where another server has it, ServerUnwritable."""
        folder = self.configuration.data
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire()
        except Timeout as error:
            raise ServerNotStarted(
                f"another server runs on this folder: {folder}",
                advice="stop it first, or name another folder in `data` of the server's settings",
            ) from error
        except (OSError, RuntimeError, NotImplementedError) as error:
            raise ServerUnwritable(f"the server's folder cannot be locked: {folder}: {error}") from error

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
        self.publishing.open()
        await asyncio.gather(*(self._repeat(task) for task in self._tasks))

    def _reload_tokens(self) -> None:
        self.tokens.reload()
        self.publishing.end_polls(self.tokens.is_current)

    async def _repeat(self, task: Task) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, task.work)
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
