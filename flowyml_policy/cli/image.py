"""`flowyml-policy image`: what a container image is, and what is remembered of images."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flowyml_policy.cli.options import format_option, project_option, refresh_option
from flowyml_policy.cli.root import Command, Group
from flowyml_policy.outputs.terminal import Screen


@click.group(cls=Group, help="See what container images are, and what is remembered of them.")
def image() -> None:
    """The group; its commands do the work."""


@image.command(
    cls=Command,
    short_help="Show what an image is, by digest.",
    examples=[
        "{prog} image inspect myregistry.azurecr.io/flowyml:3.0.0",
        "{prog} image inspect python:3.11-slim --platform linux/arm64 --format json",
    ],
)
@click.argument("reference", metavar="REF")
@format_option("table", "json")
@click.option("--platform", metavar="OS/ARCH", help="This platform of the image alone.  [default: all]")
@refresh_option
@project_option
@click.pass_context
def inspect(
    ctx: click.Context,
    reference: str,
    output_format: str,
    platform: str | None,
    refresh: bool,
    project: str | None,
) -> None:
    """Show what policy would be told of the image REF: digest, labels, user, age, size, signatures.

    No layer is downloaded. It is asked for where the images of stacks are, as `policy.images` of the settings says,
    though policy.images.inspect were off. Nothing is judged or recorded.

    Exit: 0 it was examined, 3 it could not be, or REF is no image reference.
    """
    from contextlib import closing

    from flowyml_policy.images.inspection import Inspection
    from flowyml_policy.outputs.screens.images import INSPECTED
    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    with closing(Inspection.of(settings, refresh=refresh)) as inspection:
        facts = inspection.inspect(reference, platform)
    INSPECTED[output_format](Screen.of(sys.stdout), facts)
    ctx.exit(0)


@image.group(cls=Group, help="See or forget what is remembered of images.")
def cache() -> None:
    """The group; its commands do the work."""


@cache.command("list", cls=Command, short_help="List what is remembered.", examples=["{prog} image cache list"])
@format_option("table", "json")
@project_option
@click.pass_context
def list_cache(ctx: click.Context, output_format: str, project: str | None) -> None:
    """List what is remembered of images: what tags named, and documents by their digests.

    A digest's documents are kept until there is no room (policy.images.max_cache), what a tag named for
    policy.images.tag_ttl. Exit: 0.
    """
    from flowyml_policy.images.cache import open_cache
    from flowyml_policy.outputs.screens.images import CACHE
    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    CACHE[output_format](Screen.of(sys.stdout), open_cache(settings).entries())
    ctx.exit(0)


@cache.command("clear", cls=Command, short_help="Forget all of it.", examples=["{prog} image cache clear"])
@project_option
@click.pass_context
def clear_cache(ctx: click.Context, project: str | None) -> None:
    """Forget what is remembered of images. Exit: 0."""
    from flowyml_policy.images.cache import open_cache
    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    Screen.of(sys.stdout).line(f"{open_cache(settings).clear():,} forgotten")
    ctx.exit(0)
