"""Events as OPA's decision-log plugin writes them."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

AT = "2026-11-20T10:00:00.000000Z"

EVENT: dict[str, Any] = {
    "labels": {"id": "6d2f0c6b-1d0e-4b62-8d1c-0a9d1a3f2b11", "version": "1.22.4", "app": "fraud", "host": "node-1"},
    "decision_id": "4ca636c1-55e4-417a-b1d8-4aceb67960d1",
    "bundles": {"org": {"revision": "1.4.0+0a1b2c3d4e5f"}, "flowyml": {"revision": "r1"}},
    "path": "flowyml/main/decision",
    "input": {"stack": {"name": "prod-gpu-large", "version": "2.1.0"}},
    "result": {"allow": False, "findings": []},
    "requested_by": "10.0.0.7:51234",
    "timestamp": "2026-11-20T09:59:58.123456789Z",
    "metrics": {"timer_rego_query_eval_ns": 210_000},
    "req_id": 7,
}


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """EVENT with an id of its own and `changes`; a change to `...` takes the key out."""
    made = copy.deepcopy(EVENT) | {"decision_id": f"00000000-0000-4000-8000-{number:012x}"} | changes
    return {key: value for key, value in made.items() if value is not ...}


def packed(*events: Any) -> bytes:
    """A chunk, as it is posted."""
    return gzip.compress(json.dumps(list(events)).encode(), 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.db"
