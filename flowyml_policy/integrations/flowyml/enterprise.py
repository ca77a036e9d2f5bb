"""The command `enterprise` on FlowyML's command line: everything after it is `flowyml-policy`'s.

Nothing is parsed twice and nothing is rendered twice: the arguments go on as they were typed, and the exit
code, stdout and stderr are those of `flowyml-policy`. Only the program's name in a usage line differs.
"""

from __future__ import annotations

from typing import Any, NoReturn

import click

NAME = "enterprise"


class EnterpriseCommand(click.Command):
    """Hands its arguments on, options, `--` and `--help` included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> NoReturn:
        from flowyml_policy.cli import main

        raise SystemExit(main(ctx.args, prog_name=ctx.command_path))


def add_to(cli_group: Any) -> None:
    """Add `enterprise` to FlowyML's group; a command of that name that is not ours is an error."""
    existing = cli_group.commands.get(NAME)
    if existing is not None and not isinstance(existing, EnterpriseCommand):
        raise ValueError(f"FlowyML already has a command {NAME!r}")
    cli_group.add_command(EnterpriseCommand(NAME, help="Judge stacks by policy, and see what was decided."), NAME)
