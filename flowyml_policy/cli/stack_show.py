"""`flowyml-policy stack show`: which definition a name means, and by which way."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from flowyml_policy.cli.options import STDIN, format_option, project_option, standard_input, tell_hidden
from flowyml_policy.cli.tree import Command
from flowyml_policy.outputs.screen import Screen


@click.command(
    cls=Command,
    short_help="Show what a path, name or address means, and where it came from.",
    examples=[
        "{prog} stack show prod-gpu-large",
        "{prog} stack show --environment production --explain",
        "{prog} stack show github://my-org/ml-stacks@v2.1.0#prod-gpu --format yaml",
        "{prog} stack show prod-gpu-large --format yaml --schema flowyml.io/v1",
    ],
)
@click.argument("named", metavar="[PATH|STACK]", required=False)
@format_option("table", "yaml", "json")
@click.option(
    "--schema",
    metavar="NAME",
    type=click.Choice(["flowyml/v1", "flowyml.io/v1"]),
    help="Print the definition in flowyml/v1 or in FlowyML's own flowyml.io/v1.  [default: as it was written]",
)
@click.option("--explain", is_flag=True, help="Print each step: what was looked at, what was found, why it won.")
@click.option("--environment", metavar="NAME", help="Resolve as for this environment of flowyml.yaml.")
@project_option
@click.pass_context
def show(
    ctx: click.Context,
    named: str | None,
    output_format: str,
    schema: str | None,
    explain: bool,  # noqa: FBT001  click calls it so
    environment: str | None,
    project: str | None,
) -> None:
    """Show the definition that PATH or STACK means, and where it came from.

    PATH is what exists here, has a / without ://, or ends in .yaml or .yml; - is standard input. STACK is a name
    (prod-gpu, prod-gpu@^2.1) or an address (github://, gitlab://, git+https://, https://, file://,
    registry://). Without one it is the stack of the environment, then FLOWYML_STACK, then `active_stack` of
    flowyml.yaml, then the built-in stack. Nothing is judged or recorded.

    Exit: 0 it was resolved, 1 it is no valid definition, 2 the path does not exist, 3 it could not be resolved.
    """
    from flowyml_policy.cli.stack_show_screens import SHOW, Shown  # noqa: PLC0415  --help needs none of these
    from flowyml_policy.named_stacks import read_argument  # noqa: PLC0415
    from flowyml_policy.stack_resolver import StackResolver  # noqa: PLC0415

    words = () if named is None else (named,)
    with StackResolver(project) as resolver:
        tell_hidden(words, resolver.settings)
        stack = None if named is None else read_argument(named, stdin=standard_input(words))
        told = resolver.explain(stack, environment, asked_by="--environment")
    if named == STDIN:
        told = replace(told, steps=(replace(told.steps[0], found=STDIN), *told.steps[1:]))
    screen = Screen.of(sys.stdout)
    if told.resolved is None:
        if explain:
            SHOW[output_format](screen, Shown(told, None, explain=True))
        if told.error is not None:
            raise told.error
    document = None if told.resolved is None else Shown.written(told.resolved.definition, schema)
    SHOW[output_format](screen, Shown(told, document, explain=explain))
    ctx.exit(0)
