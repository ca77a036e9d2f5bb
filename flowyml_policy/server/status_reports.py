"""One status post, as OPA's status plugin or an embedded engine makes it, read into a report of bounded size. No I/O.

Rules:
- OPA leaves out what is empty, writes dates that never were as year 1, and http_code as a number or a text.
- What has another type than OPA's is passed over: a report says what it can.
- Metrics for Prometheus are not kept. Of the counters those are summed that count lost events.
"""

from __future__ import annotations

import json
import re
from typing import Final

from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.clients import BundleReport, ClientReport, LogsReport
from flowyml_policy.records.record import Json

MOST_BUNDLES: Final = 100
MOST_LABELS: Final = 50
MOST_PLUGINS: Final = 50
MOST_ERRORS: Final = 5
LONGEST: Final = 500
"""Characters of a text."""

_NEVER: Final = re.compile(r"0001-01-01T")
_LOSES: Final = re.compile(r"decision_logs_dropped|decision_logs_encoding_failure")
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def report_of(body: dict[str, Json]) -> ClientReport:
    """What a post says, masked."""
    metrics = _metrics(body)
    said: dict[str, Json] = mask_value({key: value for key, value in body.items() if key != "metrics"})
    logs = said.get("decision_logs")
    discovery = said.get("discovery")
    plugins = _some(said.get("plugins"), MOST_PLUGINS)
    return ClientReport(
        labels={key[:LONGEST]: _as_text(value) for key, value in _some(said.get("labels"), MOST_LABELS).items()},
        bundles=tuple(_bundle(name, one) for name, one in sorted(_bundles(said).items()) if isinstance(one, dict)),
        discovery=_bundle("discovery", discovery) if isinstance(discovery, dict) else None,
        decision_logs=_logs(logs) if isinstance(logs, dict) else None,
        plugins={
            name[:LONGEST]: _as_text(one["state"])
            for name, one in plugins.items()
            if isinstance(one, dict) and "state" in one
        },
        dropped=_dropped(metrics),
    )


def _bundles(said: dict[str, Json]) -> dict[str, Json]:
    """Those of `bundles`, and the single one of OPA's older form."""
    found = _some(said.get("bundles"), MOST_BUNDLES)
    single = said.get("bundle")
    if not found and isinstance(single, dict) and isinstance(single.get("name"), str):
        return {single["name"]: single}
    return found


def _bundle(name: str, said: dict[str, Json]) -> BundleReport:
    errors = said.get("errors")
    size = said.get("size")
    return BundleReport(
        name=name[:LONGEST],
        active_revision=_text(said, "active_revision"),
        last_successful_activation=_instant(said, "last_successful_activation"),
        last_successful_download=_instant(said, "last_successful_download"),
        last_successful_request=_instant(said, "last_successful_request"),
        last_request=_instant(said, "last_request"),
        type=_text(said, "type"),
        size=size if type(size) is int else None,
        errors=tuple(_as_text(error) for error in errors[:MOST_ERRORS]) if isinstance(errors, list) else (),
        **_code(said),
    )


def _logs(said: dict[str, Json]) -> LogsReport:
    return LogsReport(**_code(said))


def _code(said: dict[str, Json]) -> dict[str, str | None]:
    http_code = said.get("http_code")
    return {
        "code": _text(said, "code"),
        "message": _text(said, "message"),
        "http_code": str(http_code)[:LONGEST] if isinstance(http_code, int | str) and http_code else None,
    }


def _metrics(body: dict[str, Json]) -> list[dict[str, Json]]:
    """The counters of decision logs: they stand with the logs, and in the metrics of older versions."""
    logs, everything = body.get("decision_logs"), body.get("metrics")
    found = [holder.get("metrics") for holder in (logs,) if isinstance(holder, dict)]
    found += [value for key, value in everything.items() if key != "prometheus"] if isinstance(everything, dict) else []
    return [one for one in found if isinstance(one, dict)]


def _dropped(metrics: list[dict[str, Json]]) -> int | None:
    if not metrics:
        return None
    return sum(
        count for holder in metrics for name, count in holder.items() if type(count) is int and _LOSES.search(name)
    )


def _some(value: Json, most: int) -> dict[str, Json]:
    """The first items of a mapping; none of anything else."""
    return dict(list(value.items())[:most]) if isinstance(value, dict) else {}


def _instant(said: dict[str, Json], key: str) -> str | None:
    found = _text(said, key)
    return None if found is None or _NEVER.match(found) else found


def _text(said: dict[str, Json], key: str) -> str | None:
    found = said.get(key)
    return found[:LONGEST] if isinstance(found, str) and found else None


def _as_text(value: Json) -> str:
    return (value if isinstance(value, str) else _encode(value))[:LONGEST]
