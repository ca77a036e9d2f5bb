"""`stack apply`, `stack retire` and `stack list`: what may be run by name, what no longer may, what there is."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

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
from flowyml_policy.cli.root import Command
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Unpack

    from flowyml_policy.cli.options import ImageOptions
    from flowyml_policy.decision.lifecycle import Applied
    from flowyml_policy.outputs.screens.applied import AppliedOutput
    from flowyml_policy.records.protocols import StackRegistry


class Seconds(click.FloatRange):
    """A time in seconds: a number that is one, and has an end."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds. Fails for what is no number, and for nan and inf, which the range lets pass."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return seconds


timeout_option = click.option(
    "--timeout",
    metavar="SECONDS",
    type=Seconds(min=0),
    default=30,
    show_default=True,
    help="How long to wait for the lock of a stack.",
)


@click.command(
    cls=Command,
    examples=[
        "{prog} stack apply stacks/prod-gpu-large.yaml",
        "{prog} stack apply stacks/ --dry-run",
        "{prog} stack apply github://my-org/ml-stacks@v2.1.0#prod-gpu-large",
    ],
)
@click.argument("named", metavar="PATH|STACK...", nargs=-1, required=True)
@format_option("table", "json")
@click.option("--environment", metavar="NAME", help="Judge as for this environment of flowyml.yaml.")
@click.option("--dry-run", is_flag=True, help="Judge, show what would change, and register nothing.")
@timeout_option
@project_option
@policy_option
@image_options
@click.pass_context
def apply(
    ctx: click.Context,
    named: tuple[str, ...],
    output_format: str,
    environment: str | None,
    dry_run: bool,
    timeout: float,
    project: str | None,
    rules: tuple[str, ...],
    **images: Unpack[ImageOptions],
) -> None:
    """Judge stacks, and register those that are allowed.

    PATH is a file, a folder or - for standard input; STACK a name or an address, told apart as `stack validate`
    does. What is registered under a name and a version never changes: the same again changes nothing, other
    content is refused.

    Exit: 0 all are registered, 1 one is denied or refused, 2 a path does not exist, 3 one could not be decided
    or registered.
    """
    settings = settings_to_judge(project, rules)
    from flowyml_policy.decision.lifecycle import StackLifecycle
    from flowyml_policy.outputs.screens.applied import open_applied_output

    with StackLifecycle.from_settings(settings, rules=rules, refresh=images["refresh"]) as life:
        tell_of_settings(settings)
        notes = closing_notes(ctx, project, settings)
        output = open_applied_output(output_format, Screen.of(sys.stdout), notes=notes)
        passed_over: list[str] = []
        reports = life.engine.read_reports(images["scan_reports"])
        with open_progress(output_format) as progress:
            applied = life.apply(
                named,
                environment=environment,
                stdin=standard_input(named),
                dry_run=dry_run,
                timeout=timeout,
                passed_over=passed_over,
                scan_reports=reports,
                told=progress.images,
            )
            begin_answer(ctx)
            code = _shown(applied, output)
    tell_passed_over(passed_over)
    tell_unused(reports)
    ctx.exit(0 if passed_over and code is None else 3 if code is None else code)


def _shown(applied: Iterator[Applied], output: AppliedOutput) -> int | None:
    """Show everything as it comes; the worst exit code of all, None where there is nothing."""
    codes = set()
    try:
        for one in applied:
            output.add(one)
            codes.add(one.exit_code)
    except BaseException:
        output.end(complete=False)
        raise
    output.end(complete=True)
    return max(codes, default=None)


@click.command(
    cls=Command,
    examples=["{prog} stack retire prod-gpu-large@2.1.0 --reason 'superseded by 2.2.0'"],
)
@click.argument("reference", metavar="NAME@VERSION")
@format_option("table", "json")
@click.option("--reason", default="", help="Why; it is recorded, and told to whoever asks for the version.")
@timeout_option
@project_option
def retire(reference: str, output_format: str, reason: str, timeout: float, project: str | None) -> None:
    """Take a registered version out of use; its history stays.

    Nothing resolves to it any more, and nothing can be registered in its place. Exit: 0 it is out of use, 2 no exact
    version was named, 3 it is not registered, or could not be retired.
    """
    from flowyml_policy.decision.lifecycle import StackLifecycle
    from flowyml_policy.outputs.screens import registry as lifecycle_screens
    from flowyml_policy.references.stack import exact_version

    name, version = exact_version(reference)
    with StackLifecycle.from_project(project) as life:
        tell_of_settings(life.engine.settings)
        retired = life.retire(name, version, reason=reason, timeout=timeout)
    lifecycle_screens.RETIRED[output_format](Screen.of(sys.stdout), retired)


@click.command(
    "list",
    cls=Command,
    short_help="List registered stacks, and what was last decided on them.",
    examples=[
        "{prog} stack list",
        "{prog} stack list --all-versions --label team=ml-platform",
        "{prog} stack list --format json",
    ],
)
@format_option("table", "json")
@click.option("--all-versions", is_flag=True, help="Every version, retired ones too, instead of the one in use.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="Only stacks with this label; repeatable.")
@project_option
def list_stacks(output_format: str, all_versions: bool, labels: tuple[str, ...], project: str | None) -> None:
    """List registered stacks: labels, source, digest, last decision, who applied it and when."""
    from flowyml_policy.cli.options import opened_registry
    from flowyml_policy.outputs.screens import registry as lifecycle_screens

    wanted = _labels(labels)
    with opened_registry(project) as registry:
        stacks = registry.list(labels=wanted or None, all_versions=all_versions)
        nothing = "" if stacks else _nothing(registry, wanted)
    lifecycle_screens.LIST[output_format](Screen.of(sys.stdout), stacks, nothing)


def _nothing(registry: StackRegistry, labels: Mapping[str, str]) -> str:
    """Why no stack is listed."""
    if registry.list(labels=labels or None, all_versions=True):
        return "no stack is in use; --all-versions shows those that are retired"
    if labels and registry.list(all_versions=True):
        return f"no registered stack matches {', '.join(f'{key}={value}' for key, value in labels.items())}"
    return "no stack is registered"


def _labels(texts: Iterable[str]) -> dict[str, str]:
    """What the labels of a stack must be. Raises UsageError for what is none, and for one that must be two things."""
    from flowyml_policy.errors.root import UsageError

    wanted: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"{text!r} is no label with its value", advice="write --label team=ml-platform")
        if wanted.setdefault(key, value) != value:
            raise UsageError(f"no label {key!r} has two values", advice=f"write --label {key}=... once")
    return wanted
