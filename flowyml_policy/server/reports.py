"""What clients post of themselves and of their decisions: `POST /logs` and `POST /status`, as OPA's plugins do.

Rules:
- Nothing is acknowledged before it is on disk.
- OPA puts a partition behind the path, and posts to `/status/` where it has none.
- Posts have threads of their own: however slowly they are kept, other questions are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from flowyml_policy.records.instant import utc_now
from flowyml_policy.server.configuration import Configuration
from flowyml_policy.server.exchange import Answer, Call, Operation
from flowyml_policy.server.intake import Intake
from flowyml_policy.server.metrics import Metrics
from flowyml_policy.server.scopes import LOGS_WRITE, STATUS_WRITE
from flowyml_policy.server.status import Statuses

_LOGS: Final = ("/logs", "/logs/{partition:path}")
_STATUS: Final = ("/status", "/status/{partition:path}")
_AT_ONCE: Final = 8


class Reports:
    """The part of the server that takes decision logs and statuses. Safe from many threads."""

    def __init__(self, configuration: Configuration, metrics: Metrics) -> None:
        self._metrics = metrics
        self._largest = configuration.values.limits.body
        self.intake = Intake(configuration.database)
        self.statuses = Statuses(configuration.database)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="flowyml-policy-reports")

    def open(self) -> None:
        """Open the file. Raises ServerError."""
        self.intake.open()
        self.statuses.open()

    def operations(self) -> Sequence[Operation]:
        """What can be asked of it."""
        return [
            *(self._operation(path, LOGS_WRITE, self._logs) for path in _LOGS),
            *(self._operation(path, STATUS_WRITE, self._status) for path in _STATUS),
        ]

    def close(self) -> None:
        """Keep what has come, and release the file."""
        self._threads.shutdown()
        self.intake.close()
        self.statuses.close()

    def _operation(self, path: str, scope: str, handle: Callable[[Call], Answer]) -> Operation:
        return Operation("POST", path, scope, handle, body=True, executor=self._threads)

    def _logs(self, call: Call) -> Answer:
        taken = self.intake.take(
            call.body,
            content_encoding=call.headers.get("content-encoding"),
            partition=call.names.get("partition") or None,
            token=call.actor,
            at=utc_now(),
            largest=self._largest,
        )
        self._metrics.count_events(taken._asdict())
        return Answer.of_json(taken._asdict())

    def _status(self, call: Call) -> Answer:
        self.statuses.take(
            call.body,
            content_encoding=call.headers.get("content-encoding"),
            partition=call.names.get("partition") or None,
            token=call.actor,
            at=utc_now(),
        )
        return Answer.of_json({})
