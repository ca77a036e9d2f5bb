"""The command tree: what commands are called, and which module holds each; nothing else is imported for --help."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from flowyml_policy.version import VERSION

HELP_WIDTH: Final = 80


class Session:
    """What one run of the program knows beside its arguments.

    `answers_in_json`: the command was asked for JSON, and has written none of it yet.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self.debug = debug
        self.answers_in_json = False


class HelpWanted(click.UsageError):
    """A group was named without a command: its help is the answer, the exit that of a wrong call."""


def _switch_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).debug = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, is_eager=True, callback=_switch_debug, help="Show tracebacks."
    )


class ExampleCommand(click.Command):
    """A command whose help ends with examples; `{prog}` in one stands for the program as it was called."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        prog = ctx.find_root().command_path
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example.format(prog=prog)}\n")


class Command(ExampleCommand):
    """A command that takes --debug too, wherever on the line it is written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_debug_option())


class RawCommand(ExampleCommand):
    """A command that gets every argument as it was typed, options, `--` and `--help` included, in `ctx.args`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


class Group(click.Group):
    """Commands in the order of declaration; a wrong name is answered with the nearest right ones."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_debug_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and not [arg for arg in args if arg != "--debug"]:
            raise HelpWanted("no command was named", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(f"there is no command {name!r}{self._nearest(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def _nearest(self, ctx: click.Context, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self.list_commands(ctx), n=3)
        return f" (did you mean {' or '.join(near)}?)" if near else ""


class Root(Group):
    """The top of the tree. `table` maps a command to its module and to the line that --help prints of it."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self.table:
            return None
        from importlib import import_module

        command = getattr(import_module(self.table[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])

    def run(self, args: Sequence[str] | None, *, prog_name: str, session: Session) -> int:
        """Parse and run one command line. Raises whatever the command raises; answers its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            self._complete(prog_name)
            with self.make_context(prog_name, arguments, obj=session, max_content_width=HELP_WIDTH) as ctx:
                self.invoke(ctx)
        except click.exceptions.Exit as end:
            return end.exit_code
        return 0

    def _complete(self, prog_name: str) -> None:
        variable = f"_{prog_name.replace('-', '_')}_COMPLETE".upper()
        instruction = os.environ.get(variable)
        if instruction:
            from click.shell_completion import shell_complete

            failed = shell_complete(self, {}, prog_name, variable, instruction)
            raise click.exceptions.Exit(click.UsageError.exit_code if failed else 0)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(f"flowyml-policy {VERSION}")
    ctx.exit()


root = Root(
    "flowyml-policy",
    table={
        "stack": ("flowyml_policy.cli.stack", "Judge stacks, register them, and pin what their names mean."),
        "policy": ("flowyml_policy.cli.policy", "See what the loaded policy checks."),
        "bundle": ("flowyml_policy.cli.bundle", "Build policy into bundles, sign, check, compare and publish them."),
        "server": ("flowyml_policy.cli.server", "Run the company's server, and see how its clients are."),
        "audit": ("flowyml_policy.cli.audit", "See what was decided, and check that the record is whole."),
        "image": ("flowyml_policy.cli.image", "See what container images are, and what is remembered of them."),
        "schema": ("flowyml_policy.cli.schema", "Print a JSON Schema: of stacks, settings or decisions."),
        "opa": ("flowyml_policy.cli.opa", "Run OPA itself, the one that judges here."),
        "doctor": ("flowyml_policy.cli.doctor", "Check the installation and the settings, line by line."),
    },
    help=(
        "Decide, before anything runs, whether an ML execution stack may: by policy written in Rego,"
        " judged by the Open Policy Agent that comes with this program, and recorded.\n\n"
        "Exit codes: 0 allowed or fine, 1 denied, 2 wrong usage, 3 could not decide."
    ),
    epilog="Start with: flowyml-policy stack validate stacks/",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Print the version.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
