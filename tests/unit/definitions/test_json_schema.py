"""The JSON Schema for editors takes the documents that reading takes, and no others."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowyml_policy.definitions.json_schema import stack_json_schema
from flowyml_policy.definitions.model import KNOWN_KEYS, SAFE_NAME
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.definitions import DefinitionInvalid

VALIDATOR = Draft202012Validator(stack_json_schema())

names = st.from_regex(SAFE_NAME, fullmatch=True) | st.text(max_size=3)
texts = st.text("ab.:/", max_size=4)
anything = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats(0.1, 0.9)
    | texts
    | st.lists(texts, max_size=1)
    | st.dictionaries(texts, texts, max_size=1)
)


def section(name: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = KNOWN_KEYS["spec", name]
    values = {key: st.integers(0, 3) if key.endswith("_nodes") else texts.filter(bool) for key in keys}
    return st.fixed_dictionaries({}, optional=values)


metadata = st.fixed_dictionaries(
    {"name": names}, optional={"version": texts, "labels": st.dictionaries(texts, texts, max_size=2)}
)
spec = st.fixed_dictionaries({}, optional={name: section(name) for name in KNOWN_KEYS["spec",]})
documents = st.fixed_dictionaries(
    {"apiVersion": st.just("flowyml/v1"), "kind": st.just("StackDefinition"), "metadata": metadata, "spec": spec}
)


@st.composite
def flawed(draw: st.DrawFn) -> dict[str, Any]:
    """A document with one key replaced, added or taken away, at any level."""
    document = copy.deepcopy(draw(documents))
    level: Any = document
    while True:
        deeper = [key for key, value in level.items() if isinstance(value, dict)]
        if not deeper or draw(st.booleans()):
            break
        level = level[draw(st.sampled_from(sorted(deeper)))]
    key = draw(st.sampled_from([*sorted(level), "name", "spec", "min_nodes", "quux"]))
    if key in level and draw(st.booleans()):
        del level[key]
    else:
        level[key] = draw(anything)
    return document


def is_read(document: dict[str, Any]) -> bool:
    try:
        StackDefinition.from_dict(document)
    except DefinitionInvalid:
        return False
    return True


def is_told_apart(document: dict[str, Any]) -> bool:
    """What the schema says otherwise than reading, by intent: unsafe names, and nodes out of order."""
    name = document.get("metadata", {}).get("name") if isinstance(document.get("metadata"), dict) else None
    if isinstance(name, str) and 1 <= len(name) <= 128 and not re.fullmatch(SAFE_NAME, name):
        return True
    nodes = document.get("spec", {}).get("compute", {}) if isinstance(document.get("spec"), dict) else {}
    least, most = (nodes.get("min_nodes"), nodes.get("max_nodes")) if isinstance(nodes, dict) else (None, None)
    return type(least) is int and type(most) is int and least > most


@given(documents | flawed())
def test_stack_json_schema_takes_what_reading_takes(document: dict[str, Any]) -> None:
    if not is_told_apart(document):
        assert VALIDATOR.is_valid(document) == is_read(document)


@pytest.mark.parametrize(
    ("change", "schema_takes", "is_taken"),
    [
        ({}, True, True),
        ({"metadata": {"name": "../a"}}, False, True),
        ({"metadata": {"name": "a" * 129}}, False, False),
        ({"spec": {"compute": {"min_nodes": 2, "max_nodes": 1}}}, True, False),
        ({"kind": "Stack"}, False, False),
        ({"quux": 1}, False, False),
        ({"metadata": {"name": "a", "version": 2.1}}, False, False),
        ({"metadata": {"name": "a", "version": None}}, False, False),
        ({"spec": {"compute": {}}}, True, True),
        ({"spec": {"compute": None}}, False, False),
        ({"spec": {"runtime": {"docker_image": ""}}}, False, False),
    ],
)
def test_stack_json_schema_of_known_cases(
    value: dict[str, Any],
    change: dict[str, Any],
    schema_takes: bool,
    is_taken: bool,
) -> None:
    document = {**value, **change}

    assert (VALIDATOR.is_valid(document), is_read(document)) == (schema_takes, is_taken)


def test_stack_json_schema_is_a_schema_that_explains_itself() -> None:
    schema = stack_json_schema()
    Draft202012Validator.check_schema(schema)
    sections = [schema, *schema["$defs"].values()]
    properties = [(name, one) for part in sections for name, one in part["properties"].items()]

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:flowyml-policy:schema:stack-definition:v1"
    assert [name for name, one in properties if "description" not in one and "$ref" not in one] == []
    assert [part["title"] for part in sections if "description" not in part] == []
    assert [part["title"] for part in sections if part["additionalProperties"] is not False] == []
    assert [name for name, one in properties if "default" in one] == []


def test_stack_json_schema_is_a_fresh_value_each_time() -> None:
    stack_json_schema()["$defs"].clear()

    assert stack_json_schema()["$defs"]
