"""`flowyml-policy schema`: the JSON Schema of what this program reads and writes."""

from __future__ import annotations

import json
from typing import Any

import click

from flowyml_policy.cli.root import Command


def _stack() -> dict[str, Any]:
    from flowyml_policy.definitions.json_schema import stack_json_schema

    return stack_json_schema()


def _flowyml_stack() -> dict[str, Any]:
    from flowyml_policy.definitions.json_schema import schema_b_json_schema

    return schema_b_json_schema()


def _input() -> dict[str, Any]:
    from flowyml_policy.records.policy_input import policy_input_schema

    return policy_input_schema()


def _decision() -> dict[str, Any]:
    from flowyml_policy.records.decision import Decision

    return Decision.model_json_schema()


def _settings() -> dict[str, Any]:
    from flowyml_policy.settings.json_schema import settings_json_schema

    return settings_json_schema()


def _server() -> dict[str, Any]:
    from flowyml_policy.server.configuration import server_json_schema

    return server_json_schema()


_SCHEMAS = {
    "stack": _stack,
    "flowyml": _flowyml_stack,
    "input": _input,
    "decision": _decision,
    "settings": _settings,
    "server": _server,
}


@click.command(
    cls=Command,
    examples=["{prog} schema stack > stack.schema.json", "{prog} schema settings", "{prog} schema input"],
)
@click.argument("name", metavar="stack|flowyml|input|decision|settings|server", type=click.Choice(list(_SCHEMAS)))
def schema(name: str) -> None:
    """Print a JSON Schema: of stacks, settings or decisions.

    stack is a definition, flowyml one in FlowyML's own schema (flowyml.io/v1), input the document
    that policy judges, decision the answer that it gives, settings flowyml.yaml, and server the
    settings of the company's server.
    """
    click.echo(json.dumps(_SCHEMAS[name](), indent=2, ensure_ascii=False))
