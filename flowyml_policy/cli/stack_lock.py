"""`stack lock` and `stack verify`: what every name of flowyml.yaml means, pinned and compared."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from flowyml_policy.cli.options import format_option, policy_option, project_option, tell_of_settings
from flowyml_policy.cli.root import Command
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowyml_policy.resolution.pinning import StackPinning


@click.command(
    cls=Command,
    short_help="Pin what flowyml.yaml means, in flowyml.lock.",
    examples=["{prog} stack lock", "{prog} stack lock --project ../fraud"],
)
@format_option("table", "json")
@click.option("--no-images", is_flag=True, help="Do not ask which digests the tags of images name.")
@project_option
@policy_option
@click.pass_context
def lock(ctx: click.Context, output_format: str, no_images: bool, project: str | None, rules: tuple[str, ...]) -> None:
    """Pin what every environment and stack of flowyml.yaml means, in flowyml.lock.

    Pinned are the commit of a source, the digest of the definition, the digests that its images have now (with
    policy.images.inspect off, those that it says), and the revision of the policy. Commit the file: with
    `require_lock` an environment takes nothing else, be it run there, or validated or applied with --environment.

    Exit: 0 all is pinned, 3 something could not be resolved, and nothing was written.
    """
    from flowyml_policy.outputs.screens import lockfile as lock_screens

    with _pinning(project, rules) as pinning:
        locked = pinning.lock(images=not no_images)
    lock_screens.LOCKED[output_format](Screen.of(sys.stdout), locked)
    ctx.exit(locked.exit_code)


@click.command(cls=Command, examples=["{prog} stack verify", "{prog} stack verify --format json"])
@format_option("table", "json")
@project_option
@policy_option
@click.pass_context
def verify(ctx: click.Context, output_format: str, project: str | None, rules: tuple[str, ...]) -> None:
    """Compare what flowyml.lock pins with what is there now.

    Exit: 0 nothing changed, 1 something did, 3 something could not be checked, whatever else changed.
    """
    from flowyml_policy.outputs.screens import lockfile as lock_screens

    with _pinning(project, rules) as pinning:
        verified = pinning.verify()
    lock_screens.VERIFIED[output_format](Screen.of(sys.stdout), verified)
    ctx.exit(verified.exit_code)


@contextmanager
def _pinning(project: str | None, rules: tuple[str, ...]) -> Iterator[StackPinning]:
    from flowyml_policy.cli.options import registry_of
    from flowyml_policy.decision.engine import PolicyEngine
    from flowyml_policy.resolution.pinning import StackPinning

    with PolicyEngine.from_project(project, rules=rules) as engine, registry_of(engine.settings) as registry:
        tell_of_settings(engine.settings)
        with StackPinning(engine.settings, bundles=engine.bundles, registry=registry) as pinning:
            yield pinning
