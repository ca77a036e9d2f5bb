"""The JSON Schema of a stack definition, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any, Final

from flowyml_policy.definitions.model import SAFE_NAME, Definition
from flowyml_policy.records.record import Json

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ID: Final = "urn:flowyml-policy:schema:stack-definition:v1"


def stack_json_schema() -> dict[str, Json]:
    """The schema, draft 2020-12.

    It differs from reading in two points: it takes only names that the rule `naming` lets pass, so that an
    author hears of it while typing; and it cannot say that min_nodes is at most max_nodes.
    """
    derived = _without_defaults(Definition.model_json_schema(by_alias=True))
    derived["$defs"]["Metadata"]["properties"]["name"]["pattern"] = SAFE_NAME
    described = {
        "title": "Stack definition",
        "description": "An ML execution stack that flowyml-policy judges: what it is called, and what it is made of.",
    }
    return {"$schema": _DIALECT, "$id": _ID, **derived, **described}


def _without_defaults(node: Any) -> Any:
    """`node` without the keyword `default`: an absent key is absent, not null. No property has that name."""
    if isinstance(node, dict):
        return {key: _without_defaults(value) for key, value in node.items() if key != "default"}
    return [_without_defaults(value) for value in node] if isinstance(node, list) else node
