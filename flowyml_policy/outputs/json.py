"""Documents of JSON, as commands print them for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flowyml_policy.outputs.terminal import Screen


def print_json(screen: Screen, value: Mapping[str, object]) -> None:
    """Write `value` as the body of a document, version 1; ASCII, so that no locale can spoil it."""
    screen.line(json.dumps({"version": 1, **value}, indent=2))
