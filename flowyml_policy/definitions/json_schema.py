"""The JSON Schemas of a stack definition, one for each schema, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any, Final

from flowyml_policy.definitions.model import SAFE_NAME, Definition
from flowyml_policy.definitions.schema_b import API_VERSION_B, KIND_B, LEVELS, PLACES
from flowyml_policy.definitions.schema_b_model import WideParts
from flowyml_policy.records.record import Json

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ID: Final = "urn:flowyml-policy:schema:stack-definition:v1"
_ID_B: Final = "urn:flowyml-policy:schema:flowyml-stack:v1"


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


def schema_b_json_schema() -> dict[str, Json]:
    """The schema of FlowyML's own `flowyml.io/v1`, in camelCase; reading takes snake_case too."""
    derived = _without_defaults(WideParts.model_json_schema(by_alias=True))
    derived["$defs"]["WideMetadata"]["properties"]["name"]["pattern"] = SAFE_NAME
    described = {
        "title": "FlowyML stack",
        "description": f"An ML execution stack in FlowyML's own schema, {API_VERSION_B}, as flowyml-policy judges it.",
    }
    return {"$schema": _DIALECT, "$id": _ID_B, **_level_of_b((), derived), **described}


_REQUIRED_IN_B: Final = {(): ["metadata", "spec"], ("metadata",): ["name", "version"], ("spec",): ["backend"]}
_HEADER_OF_B: Final = {"apiVersion": API_VERSION_B, "kind": KIND_B}


def _level_of_b(level: tuple[str, ...], derived: dict[str, Any]) -> dict[str, Any]:
    """What may stand at one level of schema B."""
    properties: dict[str, Any] = {}
    for key in LEVELS[level]:
        path = (*level, key)
        if path in LEVELS:
            found = _property(PLACES[path], derived)
            properties[key] = {**_level_of_b(path, derived), "description": found["description"]}
        elif not level:
            properties[key] = {"const": _HEADER_OF_B[key], "type": "string"}
        else:
            properties[key] = {one: value for one, value in _property(PLACES[path], derived).items() if one != "title"}
    node = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**node, "required": _REQUIRED_IN_B[level]} if level in _REQUIRED_IN_B else node


def _property(place: tuple[str, ...], derived: dict[str, Any]) -> dict[str, Any]:
    """What the models say of the value at `place`."""
    node: dict[str, Any] = derived
    for step in place:
        target = derived["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        node = target["properties"][step]
    if "$ref" in node:
        target = derived["$defs"][node["$ref"].rpartition("/")[2]]
        return {"description": node.get("description", target.get("description", ""))}
    return node


def _without_defaults(node: Any) -> Any:
    """`node` without the keyword `default`: an absent key is absent, not null. No property has that name."""
    if isinstance(node, dict):
        return {key: _without_defaults(value) for key, value in node.items() if key != "default"}
    return [_without_defaults(value) for value in node] if isinstance(node, list) else node
