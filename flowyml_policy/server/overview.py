"""What a server publishes and how its clients are: for operators, over HTTP or from the server's file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from flowyml_policy.records.clients import PublishedBundle, ServerStatus
from flowyml_policy.records.instant import utc_now
from flowyml_policy.server.exchange import Answer, Call, Operation
from flowyml_policy.server.metrics import Metrics
from flowyml_policy.server.scopes import OPERATOR
from flowyml_policy.server.status import Statuses
from flowyml_policy.server.store import open_database

SECONDS: Final = 15.0
"""How often clients are counted for the metrics."""
PATH: Final = "/clients"

_LAST: Final = (  # the bare columns are those of the row with the maximum: https://sqlite.org/lang_select.html#bareagg
    "SELECT name, revision, sequence, expires, published_at, published_by, max(number) FROM publications"
    " GROUP BY name ORDER BY name"
)


def read_status(database: Path) -> ServerStatus:
    """The status of the server whose file this is, which need not run. Raises ServerError."""
    with closing(open_database(database)) as opened, opened.reading() as connection:
        rows = [] if connection is None else connection.execute(_LAST).fetchall()
    bundles = tuple(PublishedBundle.model_validate(dict(zip(PublishedBundle.model_fields, row))) for row in rows)  # noqa: B905  the row ends with its number
    at = utc_now()
    with closing(Statuses(database)) as statuses:
        clients = statuses.clients(at, {bundle.name: bundle.revision for bundle in bundles})
    return ServerStatus(at=at, bundles=bundles, clients=clients)


class Overview:
    """The part of the server that tells operators how its clients are. Safe from many threads."""

    def __init__(self, database: Path, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    def operations(self) -> Sequence[Operation]:
        """What can be asked of it."""
        return [Operation("GET", PATH, OPERATOR, self._status)]

    def count(self) -> None:
        """Count clients for the metrics, by how they are. Raises ServerError."""
        clients = read_status(self._database).clients
        self._metrics.set_clients(Counter(client.health for client in clients), sum(one.is_behind for one in clients))

    def _status(self, _call: Call) -> Answer:
        return Answer.of_json(read_status(self._database).model_dump(mode="json"))
