"""`stack show` and `stack diff`: which definition a name means and how it was found, and how two differ."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from flowyml_policy.cli.options import (
    STDIN,
    begin_answer,
    format_option,
    project_option,
    standard_input,
    tell_of_settings,
)
from flowyml_policy.cli.root import Command
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from flowyml_policy.definitions.stack import StackDefinition
    from flowyml_policy.settings.settings import Settings


@click.command(
    cls=Command,
    short_help="Show what a path, name or address means, and where it came from.",
    examples=[
        "{prog} stack show prod-gpu-large",
        "{prog} stack show --environment production --explain",
        "{prog} stack show github://my-org/ml-stacks@v2.1.0#prod-gpu --format yaml",
        "{prog} stack show prod-gpu-large --format yaml --schema flowyml.io/v1",
        "{prog} stack show prod-gpu-large --format yaml --pin-images",
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
@click.option("--pin-images", is_flag=True, help="Name each image by the digest that its tag names now.")
@click.option("--explain", is_flag=True, help="Print each step: what was looked at, what was found, why it won.")
@click.option("--environment", metavar="NAME", help="Resolve as for this environment of flowyml.yaml.")
@project_option
@click.pass_context
def show(
    ctx: click.Context,
    named: str | None,
    output_format: str,
    schema: str | None,
    pin_images: bool,
    explain: bool,
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
    from flowyml_policy.decision.candidates import read_argument
    from flowyml_policy.outputs.screens.explanation import SHOW, Shown
    from flowyml_policy.resolution.resolver import StackResolver

    begin_answer(ctx)  # its document is a definition or an explanation, and an error has no place in either
    words = () if named is None else (named,)
    with StackResolver(project) as resolver:
        tell_of_settings(resolver.settings)
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
    document = None
    if told.resolved is not None:
        definition = told.resolved.definition
        document = Shown.written(_pinned(definition, resolver.settings) if pin_images else definition, schema)
    SHOW[output_format](screen, Shown(told, document, explain=explain))
    ctx.exit(0)


def _pinned(definition: StackDefinition, settings: Settings) -> StackDefinition:
    """`definition` with its images named by their digests. Raises ImageError."""
    from contextlib import closing

    from flowyml_policy.images.inspection import Inspection
    from flowyml_policy.images.named import named_images, with_digests

    with closing(Inspection.of(settings, refresh=True)) as inspection:
        return with_digests(definition, inspection.examine(named_images(definition)))


@click.command(
    cls=Command,
    examples=[
        "{prog} stack diff prod-gpu-large@2.0.0 prod-gpu-large",
        "{prog} stack diff prod-gpu-large stacks/prod-gpu-large.yaml",
        "{prog} stack diff - stacks/prod-gpu-large.yaml < old.yaml",
    ],
)
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@format_option("table", "json")
@project_option
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, output_format: str, project: str | None) -> None:
    """Show what differs between two stacks.

    A and B are each a path, - for standard input, a name or an address, as `stack show` takes them.

    Exit: 0 they are the same, 1 they differ, 2 a path does not exist, 3 one could not be resolved.
    """
    from flowyml_policy.decision.comparison import compared
    from flowyml_policy.outputs.screens import registry as lifecycle_screens
    from flowyml_policy.resolution.resolver import StackResolver

    with StackResolver(project) as resolver:
        tell_of_settings(resolver.settings)
        comparison = compared(resolver, old, new, stdin=standard_input((old, new)))
    lifecycle_screens.DIFF[output_format](Screen.of(sys.stdout), comparison)
    ctx.exit(comparison.exit_code)
