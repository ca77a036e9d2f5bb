"""`flowyml-policy opa`: OPA's own command line, from the library that judges here."""

from __future__ import annotations

import click

from flowyml_policy.cli.root import RawCommand


@click.command(
    cls=RawCommand,
    add_help_option=False,
    examples=["{prog} opa version", "{prog} opa eval --data policy/ 'data.project'", "{prog} opa run --server"],
)
@click.pass_context
def opa(ctx: click.Context) -> None:
    """Run OPA itself, the one that judges here.

    Everything after `opa` is OPA's, --help included, and so is the exit code.
    """
    from flowyml_policy.opa.command import run

    ctx.exit(run(ctx.args))
