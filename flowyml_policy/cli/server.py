"""`flowyml-policy server`: the company's server, its tokens, and how its clients are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowyml_policy.cli.options import format_option
from flowyml_policy.cli.root import Group
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from flowyml_policy.server.configuration import Configuration
    from flowyml_policy.server.tokens import Tokens

F = TypeVar("F", bound=Callable[..., Any])


def _config_option(command: F) -> F:
    return click.option(
        "--config", "config", metavar="FILE", default="server.yaml", show_default=True, help="The server's settings."
    )(command)


def _read(config: str) -> Configuration:
    from flowyml_policy.server.configuration import read_configuration

    return read_configuration(Path(config), os.environ)


def _tokens(config: str) -> Tokens:
    from flowyml_policy.server.tokens import Tokens

    return Tokens(_read(config).database)


@click.group(cls=Group, help="Run the company's server, and see how its clients are.")
def server() -> None:
    """The group; its commands do the work."""


@server.command("run", short_help="Run the server.", examples=["{prog} server run --config server.yaml"])
@_config_option
def run_(config: str) -> None:
    """Serve bundles and stacks, and take decision logs and statuses.

    It runs until it gets SIGTERM or SIGINT, and then answers what waits and finishes what was begun. Tokens and the
    certificate are read again when they change; every other setting takes a restart. A line of JSON for each request
    goes to stderr.

    Exit: 0 it was told to end, 2 there is no FILE, 3 it cannot be run.
    """
    from flowyml_policy.errors.server import ServerNotStarted

    configuration = _read(config)
    try:
        from flowyml_policy.server.app import run
    except ImportError as error:
        raise ServerNotStarted(
            f"the server needs packages that are not installed ({error.name})",
            advice="pip install 'flowyml-policy[server]'",
        ) from error
    run(configuration, _tell)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@server.command(
    "status",
    short_help="Show what is published, and how clients are.",
    examples=[
        "{prog} server status",
        "{prog} server status --url https://policy.example.com --token-env OPS_TOKEN",
    ],
)
@click.option("--config", metavar="FILE", help="The server's settings: its file is read.  [default: server.yaml]")
@click.option("--url", metavar="URL", help="A server's address, which is asked.")
@click.option("--token-env", metavar="VARIABLE", help="The variable that holds a token of the scope operator.")
@click.option("--ca", metavar="FILE", help="The CA certificates to trust, a PEM file.")
@format_option("table", "json")
def status(config: str | None, url: str | None, token_env: str | None, ca: str | None, output_format: str) -> None:
    """Show what the server publishes, and how its clients are.

    Of each client: which revisions it runs and since when, whether that is what is published, its errors, what it lost
    of its decision log, and when it was heard last. A client is silent when it should have reported by now.

    Exit: 0 it was read, 2 there is no FILE, 3 it cannot be read or asked.
    """
    from flowyml_policy.errors.root import UsageError
    from flowyml_policy.outputs.screens.server import STATUS

    if url is None:
        if token_env is not None or ca is not None:
            raise UsageError("--token-env and --ca are for --url", advice="name the server's address with --url")
        from flowyml_policy.server.overview import read_status

        found = read_status(_read(config or "server.yaml").database)
    else:
        if config is not None:
            raise UsageError("--config and --url name two servers", advice="name one of them")
        from flowyml_policy.network.offline import is_offline
        from flowyml_policy.server.asking import ask_status

        found = ask_status(
            url,
            token_env=token_env,
            ca=None if ca is None else Path(ca),
            offline=is_offline(os.environ),
            environ=os.environ,
        )
    STATUS[output_format](Screen.of(sys.stdout), found)


@server.group(cls=Group, help="Make, list and revoke tokens.")
def token() -> None:
    """The group; its commands do the work."""


@token.command(
    "new",
    short_help="Make a token, and print it once.",
    examples=[
        "{prog} server token new --scope bundles:read --scope logs:write",
        "{prog} server token new --scope stacks:write --name ci --expires 90d",
    ],
)
@_config_option
@click.option("--scope", "scopes", metavar="SCOPE", multiple=True, help="What it may do; repeatable.")
@click.option("--expires", metavar="DURATION", help="For how long, as 90d.  [default: for ever]")
@click.option("--name", metavar="NAME", help="Who it is; records name the actor so.")
def new(config: str, scopes: tuple[str, ...], expires: str | None, name: str | None) -> None:
    """Make a token, and print it: this once, alone on stdout.

    SCOPE is bundles:read, bundles:publish (both also with :NAME, for one bundle), logs:write, status:write,
    stacks:read, stacks:write or operator. None implies another. What is recorded by actor needs --name.

    Exit: 0 it was made, 2 a scope, a duration or a name is wrong, 3 it cannot be kept.
    """
    from contextlib import closing

    from flowyml_policy.errors.root import UsageError
    from flowyml_policy.references.url import BadValue
    from flowyml_policy.settings.types import duration

    try:
        lifetime = None if expires is None else duration(expires)
    except BadValue as error:
        raise UsageError(f"--expires {error.what}", advice=error.fix) from error
    with closing(_tokens(config)) as tokens:
        click.echo(tokens.new(scopes, name=name, lifetime=lifetime))


@token.command(
    "list", short_help="List tokens.", examples=["{prog} server token list", "{prog} server token list --format json"]
)
@_config_option
@format_option("table", "json")
def list_(config: str, output_format: str) -> None:
    """List tokens: who, what they may do, until when. Secrets are not kept.

    Exit: 0 they were read, 2 there is no FILE, 3 they cannot be read.
    """
    from contextlib import closing

    from flowyml_policy.outputs.screens.server import TOKENS

    with closing(_tokens(config)) as tokens:
        TOKENS[output_format](Screen.of(sys.stdout), tokens.list())


@token.command(
    "revoke",
    short_help="End a token for good.",
    examples=["{prog} server token revoke ci", "{prog} server token revoke 3"],
)
@click.argument("which", metavar="NAME|NUMBER")
@_config_option
def revoke(which: str, config: str) -> None:
    """End a token for good; a server that runs refuses it within a second.

    Exit: 0 it is revoked, 2 there is no such token, 3 it cannot be kept.
    """
    from contextlib import closing

    with closing(_tokens(config)) as tokens:
        found = tokens.revoke(which)
    click.echo(f"revoked: {found.name}")
