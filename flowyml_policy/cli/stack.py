"""`flowyml-policy stack`: what a stack is, and whether it may run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from flowyml_policy.cli.options import (
    begin_answer,
    closing_notes,
    format_option,
    image_options,
    open_progress,
    policy_option,
    project_option,
    settings_to_judge,
    standard_input,
    tell_of_settings,
    tell_passed_over,
    tell_unused,
)
from flowyml_policy.cli.root import Group
from flowyml_policy.cli.stack_lifecycle import apply, list_stacks, retire
from flowyml_policy.cli.stack_lock import lock, verify
from flowyml_policy.cli.stack_show import diff
from flowyml_policy.cli.stack_show import show as show_command

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from flowyml_policy.cli.options import ImageOptions


@click.group(cls=Group, help="Judge stacks, register them, and pin what their names mean.")
def stack() -> None:
    """The group; its commands do the work."""


for _command in (list_stacks, show_command):
    stack.add_command(_command)


@stack.command(
    short_help="Judge stacks, and record the decisions.",
    examples=[
        "{prog} stack validate stacks/",
        "{prog} stack validate stacks/prod-gpu-large.yaml --format json",
        "{prog} stack validate - --environment production < stack.yaml",
        "{prog} stack validate prod-gpu github://my-org/ml-stacks@v2.1.0#prod-gpu",
    ],
)
@click.argument("paths", metavar="PATH|STACK...", nargs=-1, required=True)
@format_option("table", "json")
@click.option("--environment", metavar="NAME", help="Judge as for this environment of flowyml.yaml.")
@project_option
@policy_option
@image_options
@click.option("--fail-on", type=click.Choice(["deny", "warn"]), default="deny", show_default=True, help="What exits 1.")
@click.pass_context
def validate(
    ctx: click.Context,
    paths: tuple[str, ...],
    output_format: str,
    environment: str | None,
    project: str | None,
    rules: tuple[str, ...],
    fail_on: str,
    **images: Unpack[ImageOptions],
) -> None:
    """Judge every stack in PATH, or that STACK names, and record the decisions.

    PATH is a file, a folder (all *.yaml and *.yml in it and below) or - for standard input. STACK is a name
    or an address, as `stack show` takes them: what exists here, has a / without ://, or ends in .yaml or .yml
    is a path. Nothing runs and nothing is registered. flowyml.yaml, flowyml.lock and FlowyML's own index of
    stacks (kind: StackRegistry) are passed over with a note, as pre-commit hands over every changed file.
    The images of the stacks are examined where they are kept, as `policy.images` of the settings says.

    Exit: 0 all are allowed or passed over, 1 one is denied or invalid, 2 a path does not exist, 3 one could not
    be decided.
    """
    settings = settings_to_judge(project, rules)
    from flowyml_policy.decision.engine import PolicyEngine
    from flowyml_policy.outputs.results import open_output, show
    from flowyml_policy.outputs.terminal import Screen

    fail_on_warn = fail_on == "warn"
    with PolicyEngine.from_settings(settings, rules=rules, refresh=images["refresh"]) as engine:
        tell_of_settings(settings)
        notes = closing_notes(ctx, project, settings)
        output = open_output(output_format, Screen.of(sys.stdout), notes=notes, fail_on_warn=fail_on_warn)
        passed_over: list[str] = []
        stdin = standard_input(paths)
        reports = engine.read_reports(images["scan_reports"])
        with open_progress(output_format) as progress:
            results = engine.validate(
                paths,
                environment=environment,
                stdin=stdin,
                passed_over=passed_over,
                scan_reports=reports,
                told=progress.images,
            )
            begin_answer(ctx)
            summary = show(progress.watched(results), output)
    tell_passed_over(passed_over)
    tell_unused(reports)
    nothing_to_judge = passed_over and not summary.stacks
    ctx.exit(0 if nothing_to_judge else summary.exit_code(fail_on_warn=fail_on_warn))


for _command in (apply, retire, lock, verify, diff):
    stack.add_command(_command)
