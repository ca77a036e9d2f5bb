"""What operators' monitoring reads of the server, in Prometheus' own text form.

Each server has a registry of its own, and nothing of the process is in it but what this file names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flowyml_policy.records.clients import Health

HEALTH: Final[tuple[str, ...]] = get_args(Health)
_SECONDS: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The server's counters and gauges. Safe from many threads."""

    TYPE: ClassVar[str] = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._counted: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.requests = Counter(
            "flowyml_policy_requests",
            "Requests that were answered, by operation and status.",
            ("method", "path", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "flowyml_policy_request_seconds",
            "How long requests took.",
            ("method", "path"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.log_events = Counter(
            "flowyml_policy_log_events",
            "Decision-log events that were taken: new, repeated, or in conflict with one of the same id.",
            ("what",),
            registry=self._registry,
        )
        self.clients = Gauge("flowyml_policy_clients", "Clients by how they are.", ("health",), registry=self._registry)
        self.behind = Gauge(
            "flowyml_policy_clients_behind",
            "Clients that run another revision than is published.",
            registry=self._registry,
        )
        self.polls = Gauge("flowyml_policy_polls", "Long polls that wait.", registry=self._registry)

    @property
    def registry(self) -> CollectorRegistry:
        """Where a part of the server puts metrics of its own."""
        return self._registry

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = method, path, status
        if key not in self._counted:  # to look them up costs more than to count
            self._counted[key] = self.requests.labels(method, path, status), self.seconds.labels(method, path)
        requests, duration = self._counted[key]
        requests.inc()
        duration.observe(seconds)

    def count_events(self, counts: Mapping[str, int]) -> None:
        """Count decision-log events by what became of them."""
        for what, count in counts.items():
            self.log_events.labels(what).inc(count)

    def set_clients(self, counts: Mapping[str, int], behind: int) -> None:
        """Set how many clients there are, by how they are, and how many are behind."""
        for health in HEALTH:
            self.clients.labels(health).set(counts.get(health, 0))
        self.behind.set(behind)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
