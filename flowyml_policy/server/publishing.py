"""The part of the server that gives bundles and takes them: what is published, who waits for it, the watched folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flowyml_policy.records.server import Token
from flowyml_policy.server.access import Access
from flowyml_policy.server.bundle_protocol import BundleProtocol
from flowyml_policy.server.bundles import FOLDER, Publications
from flowyml_policy.server.configuration import Configuration
from flowyml_policy.server.exchange import Operation, Poll
from flowyml_policy.server.metrics import Metrics
from flowyml_policy.server.polls import Polls
from flowyml_policy.server.watching import LOOK_SECONDS, WatchedFolder

_WARNING_SECONDS: Final = 5.0


class Publishing:
    """Bundles, by OPA's protocol. `tell` tells operators a line."""

    def __init__(
        self, configuration: Configuration, metrics: Metrics, access: Access, tell: Callable[[str], None]
    ) -> None:
        bundles, limits = configuration.values.bundles, configuration.values.limits
        self._tell = tell
        self._told: set[str] = set()
        self._polls = Polls(limits.polls)
        metrics.polls.set_function(lambda: self._polls.count)
        self.publications = Publications(
            configuration.database,
            configuration.data / FOLDER,
            keys=configuration.bundle_keys(),
            keep=bundles.keep,
            tell=self._polls.tell,
        )
        self._protocol = BundleProtocol(self.publications, self._polls, access, most_seconds=limits.wait)
        folder = None if bundles.watch is None else configuration.place(bundles.watch)
        self._watched = None if folder is None else WatchedFolder(folder, self.publications, tell)

    def start(self) -> None:
        """Read what is active. Raises ServerError."""
        self.publications.start()

    def open(self) -> None:
        """Let clients wait. From the event loop, before any of them asks."""
        self._polls.open()

    def close(self) -> None:
        """Release the file."""
        self._protocol.close()
        self.publications.close()

    def stop(self) -> None:
        """Answer who waits. From the event loop."""
        self._polls.stop()

    def operations(self) -> Sequence[Operation | Poll]:
        """What can be asked of it."""
        return self._protocol.operations()

    def tasks(self) -> Iterator[tuple[str, float, Callable[[], None]]]:
        """What is done beside requests: its name, every so many seconds, and the work."""
        yield "bundles", _WARNING_SECONDS, self._tell_warnings
        if self._watched is not None:
            yield "watched folder", LOOK_SECONDS, self._watched.look

    def end_polls(self, is_current: Callable[[Token], bool]) -> None:
        """Answer who waits with a token that may not be used any more."""
        self._polls.end_unless(is_current)

    def warnings(self) -> list[str]:
        """What is wrong although bundles are served: for operators, a line each."""
        watched = {} if self._watched is None else dict(self._watched.problems)
        return [*self.publications.warnings(), *(f"{file}: {problem}" for file, problem in watched.items())]

    def _tell_warnings(self) -> None:
        """Tell what is wrong with bundles, once. The watched folder tells of its own."""
        found = self.publications.warnings()
        for warning in found:
            if warning not in self._told:
                self._tell(warning)
        self._told = set(found)
