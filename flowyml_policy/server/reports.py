"""What clients post of themselves and of their decisions: `POST /logs` and `POST /status`, as OPA's plugins do.

Rules:
- Nothing is acknowledged before it is on disk.
- OPA puts a partition behind the path, and posts to `/status/` where it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Reports:
    """The part of the server that takes decision logs and statuses. Safe from many threads."""

    def __init__(self, configuration: Configuration, metrics: Metrics) -> None:
        self._metrics = metrics
        self._largest = configuration.values.limits.body
        self.intake = Intake(configuration.database)
        self.statuses = Statuses(configuration.database)

    def open(self) -> None:
        """Open the file. Raises ServerError."""
        self.intake.open()
        self.statuses.open()

    def operations(self) -> Sequence[Operation]:
        """What can be asked of it."""
        return [
            *(Operation("POST", path, LOGS_WRITE, self._logs, body=True) for path in _LOGS),
            *(Operation("POST", path, STATUS_WRITE, self._status, body=True) for path in _STATUS),
        ]

    def close(self) -> None:
        """Release the file."""
        self.intake.close()
        self.statuses.close()

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
