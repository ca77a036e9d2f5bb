"""The clients of a server, as they last reported of themselves: OPA servers, and engines in other programs."""

from typing import Literal, TypeAlias

from pydantic import Field

from flowyml_policy.records.record import Record

Health: TypeAlias = Literal["well", "error", "silent", "idle"]
"""`silent`: it should have reported by now. `idle`: an engine that reports when it decides, and has not for a while."""


class BundleReport(Record):
    """What a client says of one bundle. Instants are texts as it wrote them, null for what never happened.

    `since` is when this server first heard of the revision from it.
    """

    name: str
    active_revision: str | None = None
    since: str | None = None
    last_successful_activation: str | None = None
    last_successful_download: str | None = None
    last_successful_request: str | None = None
    last_request: str | None = None
    type: str | None = None
    size: int | None = None
    code: str | None = None
    message: str | None = None
    http_code: str | None = None
    errors: tuple[str, ...] = ()

    @property
    def trouble(self) -> str | None:
        """What is wrong, in one line; null where all is well."""
        return _trouble(self.code, self.message, self.http_code)


class LogsReport(Record):
    """What a client says of its decision logs."""

    code: str | None = None
    message: str | None = None
    http_code: str | None = None

    @property
    def trouble(self) -> str | None:
        """What is wrong, in one line; null where all is well."""
        return _trouble(self.code, self.message, self.http_code)


class ClientReport(Record):
    """One report of a client. `dropped` is null where it says nothing of events that it lost."""

    labels: dict[str, str] = Field(default_factory=dict)
    bundles: tuple[BundleReport, ...] = ()
    discovery: BundleReport | None = None
    decision_logs: LogsReport | None = None
    plugins: dict[str, str] = Field(default_factory=dict)
    dropped: int | None = None

    @property
    def troubles(self) -> tuple[str, ...]:
        """All that is wrong, a line for each."""
        bundles = [*self.bundles, *([self.discovery] if self.discovery else ())]
        found = [f"bundle {bundle.name}: {bundle.trouble}" for bundle in bundles if bundle.trouble]
        if self.decision_logs is not None and self.decision_logs.trouble:
            found.append(f"decision logs: {self.decision_logs.trouble}")
        found += [f"plugin {name}: {state}" for name, state in self.plugins.items() if state in {"ERROR", "WARN"}]
        return tuple(found)


class BundleStatus(BundleReport):
    """The same beside what it should be: `expected` is what the server publishes, null where it does not."""

    expected: str | None = None

    @property
    def is_behind(self) -> bool:
        return self.expected is not None and self.expected != self.active_revision


class ClientStatus(Record):
    """A client as a server knows it. Seconds are counted from the instant that was asked for.

    `dropped` sums all causes for which it lost decision-log events; 0 claims nothing, since not every loss is counted.
    `interval` is how often it reports, null after one report.
    """

    token: str
    id: str | None
    name: str
    health: Health
    heard_at: str
    age: float
    interval: float | None
    labels: dict[str, str]
    bundles: tuple[BundleStatus, ...]
    discovery: BundleReport | None
    decision_logs: LogsReport | None
    plugins: dict[str, str]
    dropped: int
    troubles: tuple[str, ...]

    @property
    def is_behind(self) -> bool:
        return any(bundle.is_behind for bundle in self.bundles)


class RevisionChange(Record):
    """A revision that a client reported for the first time after another one."""

    bundle: str
    revision: str
    at: str


class PublishedBundle(Record):
    """The bundle that a server gives out under a name."""

    name: str
    revision: str
    sequence: int | None
    expires: str | None
    published_at: str
    published_by: str


class ServerStatus(Record):
    """What a server publishes, and how its clients are, at the instant `at`."""

    at: str
    bundles: tuple[PublishedBundle, ...]
    clients: tuple[ClientStatus, ...]


def _trouble(code: str | None, message: str | None, http_code: str | None) -> str | None:
    said = [text for text in (code, message) if text]
    if not said:
        return None
    return ": ".join(said) + (f" (HTTP {http_code})" if http_code else "")
