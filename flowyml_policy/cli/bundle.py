"""`flowyml-policy bundle`: policy as an artefact that is built, signed, checked, compared and published."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

import click
from typing_extensions import Unpack

from flowyml_policy.cli.options import format_option, project_option
from flowyml_policy.cli.root import Group
from flowyml_policy.outputs.screens import bundle as screens
from flowyml_policy.outputs.terminal import Screen

if TYPE_CHECKING:
    from flowyml_policy.bundles.keys import Key

F = TypeVar("F", bound=Callable[..., Any])

_ALGORITHMS: Final = ("ES256", "RS256", "EdDSA")
_MOST_SEQUENCE: Final = 2**53 - 1


@click.group(cls=Group, help="Build policy into bundles, sign, check, compare and publish them.")
def bundle() -> None:
    """The group; its commands do the work."""


def _keyid_option(command: F) -> F:
    return click.option("--keyid", metavar="NAME", help="What signatures call the key.  [default: its file's name]")(
        command
    )


def _key_env_option(command: F) -> F:
    return click.option("--key-env", metavar="VARIABLE", help="The environment variable that holds the key.")(command)


@bundle.command(
    "build",
    examples=[
        "{prog} bundle build bundles/company.yaml",
        "{prog} bundle build bundles/company.yaml --sequence 42 --expires 2027-01-31",
    ],
)
@click.argument("recipe", metavar="RECIPE")
@click.option("--sequence", type=click.IntRange(1, _MOST_SEQUENCE), metavar="N", help="Grows with every release.")
@click.option("--expires", metavar="INSTANT", help="From when it is not to be used: 2027-01-31T00:00:00Z, or a day.")
@click.option("--output", metavar="FILE", help="Where to write it.  [default: dist/NAME.tar.gz beside RECIPE]")
@format_option("table", "json")
@click.pass_context
def build(
    ctx: click.Context,
    recipe: str,
    sequence: int | None,
    expires: str | None,
    output: str | None,
    output_format: str,
) -> None:
    """Build the bundle that RECIPE describes.

    Tests and conventions run first, OPA compiles it, and it decides on an ordinary stack before it is written. The
    same recipe and files give the same bytes. --sequence and --expires stand in place of the recipe's own.

    Exit: 0 it was built, 1 a test, a convention or the data is wrong, 2 there is no RECIPE, 3 it cannot be read.
    """
    from flowyml_policy.bundles.build import build_bundle
    from flowyml_policy.bundles.recipe import expiry, read_recipe
    from flowyml_policy.errors.root import UsageError
    from flowyml_policy.references.url import BadValue

    try:
        until = None if expires is None else expiry(expires)
    except BadValue as error:
        raise UsageError(f"--expires {error.what}", advice=error.fix) from error
    target = None if output is None else Path(output)
    built = build_bundle(read_recipe(Path(recipe)), sequence=sequence, expires=until, output=target)
    screens.BUILT[output_format](Screen.of(sys.stdout), built)
    ctx.exit(0)


@bundle.command(
    "inspect", examples=["{prog} bundle inspect dist/company.tar.gz", "{prog} bundle inspect b.tar.gz --format json"]
)
@click.argument("file", metavar="BUNDLE")
@format_option("table", "json")
@click.pass_context
def inspect_(ctx: click.Context, file: str, output_format: str) -> None:
    """Show what BUNDLE says of itself.

    That is revision, roots, sequence, expiry, signature, rules, levels and data. Nothing is loaded, and the signature
    is not checked.

    Exit: 0 it was read, 2 there is no BUNDLE, 3 it cannot be read.
    """
    from flowyml_policy.bundles.inspection import inspect_bundle

    screens.INSPECTED[output_format](Screen.of(sys.stdout), inspect_bundle(Path(file)))
    ctx.exit(0)


@bundle.command("diff", examples=["{prog} bundle diff old.tar.gz bundles/dist/company.tar.gz"])
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@format_option("table", "json")
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, output_format: str) -> None:
    """Show what differs between the bundles A and B.

    Rules, levels, data, and what the manifests say beside the revision.

    Exit: 0 they hold the same, 1 they differ, 2 one is not there, 3 one cannot be read.
    """
    from flowyml_policy.bundles.difference import compare_bundles

    found = compare_bundles(Path(old), Path(new))
    screens.DIFFERENCE[output_format](Screen.of(sys.stdout), found)
    ctx.exit(found.exit_code)


@bundle.command("keygen", examples=["{prog} bundle keygen company-2027", "{prog} bundle keygen k --algorithm RS256"])
@click.argument("name", metavar="NAME")
@click.option(
    "--algorithm", type=click.Choice(_ALGORITHMS), default="ES256", show_default=True, help="What it signs by."
)
@format_option("table", "json")
@click.pass_context
def keygen(ctx: click.Context, name: str, algorithm: str, output_format: str) -> None:
    """Make a pair of keys to sign bundles by.

    NAME.key is the private one, which you alone may read, NAME.pub the public one. No file is overwritten. The OPA
    inside signs with EdDSA, but its configuration takes no such key to verify by; so that is refused.
    Needs the extra `signatures`.

    Exit: 0 they were made, 2 a file exists, 3 they cannot be made.
    """
    from flowyml_policy.bundles.keys import make_keys

    screens.KEYS[output_format](Screen.of(sys.stdout), make_keys(Path(name), algorithm))
    ctx.exit(0)


@bundle.command(
    "sign",
    examples=[
        "{prog} bundle sign dist/company.tar.gz --key company-2027.key",
        "{prog} bundle sign dist/company.tar.gz --key-env SIGNING_KEY --keyid company-2027",
    ],
)
@click.argument("file", metavar="BUNDLE")
@click.option("--key", metavar="FILE", help="The private key, a PEM file that you alone may read.")
@_key_env_option
@_keyid_option
@click.option("--output", metavar="FILE", help="Where to write it.  [default: BUNDLE itself]")
@format_option("table", "json")
@click.pass_context
def sign(
    ctx: click.Context,
    file: str,
    key: str | None,
    key_env: str | None,
    keyid: str | None,
    output: str | None,
    output_format: str,
) -> None:
    """Sign BUNDLE with a private key, as OPA does.

    A signature that it has is replaced.

    Exit: 0 it was signed, 2 there is no such file, 3 it cannot be signed.
    """
    from flowyml_policy.bundles.signing import sign_bundle

    (private,) = _keys(() if key is None else (key,), key_env, keyid, private=True)
    target = None if output is None else Path(output)
    screens.SIGNED[output_format](Screen.of(sys.stdout), sign_bundle(Path(file), private, output=target))
    ctx.exit(0)


@bundle.command(
    "verify",
    examples=[
        "{prog} bundle verify dist/company.tar.gz --key company-2027.pub",
        "{prog} bundle verify dist/company.tar.gz --key company-2026.pub --key company-2027.pub",
    ],
)
@click.argument("file", metavar="BUNDLE")
@click.option("--key", "keys", metavar="FILE", multiple=True, help="A public key, a PEM file; repeatable.")
@_key_env_option
@_keyid_option
@format_option("table", "json")
@click.pass_context
def verify(
    ctx: click.Context,
    file: str,
    keys: tuple[str, ...],
    key_env: str | None,
    keyid: str | None,
    output_format: str,
) -> None:
    """Check that BUNDLE is as one of the keys signed it.

    The signature names its key, and --key gives each the name of its file without the ending; during a rotation give
    both. With --keyid one key is given, and it must be that one whatever the signature says. OPA's own loader
    checks; `flowyml-policy opa eval`, `test` and `inspect` check no signature.

    Exit: 0 it is, 1 it is not, 2 there is no such file, 3 it could not be checked.
    """
    from flowyml_policy.bundles.signing import verify_bundle

    public = _keys(keys, key_env, keyid, private=False)
    verified = verify_bundle(Path(file), public, keyid=keyid if len(public) == 1 else None)
    screens.VERIFIED[output_format](Screen.of(sys.stdout), verified)
    ctx.exit(0)


@bundle.command(
    "push",
    examples=[
        "{prog} bundle push dist/company.tar.gz oci://registry.example.com/policy/company:stable",
        "{prog} bundle push dist/company.tar.gz https://policy.example.com/bundles/company --token-env TOKEN",
    ],
)
@click.argument("file", metavar="BUNDLE")
@click.argument("address", metavar="ADDRESS")
@click.option("--force", is_flag=True, help="Let the tag go back in sequence; the audit records it.")
@click.option("--token-env", metavar="VARIABLE", help="The environment variable with the server's token (https).")
@click.option("--ca", metavar="FILE", help="A PEM file of the certificates to trust (https).")
@format_option("table", "json")
@project_option
@click.pass_context
def push(
    ctx: click.Context,
    file: str,
    address: str,
    force: bool,
    token_env: str | None,
    ca: str | None,
    output_format: str,
    project: str | None,
) -> None:
    """Publish BUNDLE in a registry or on a server.

    ADDRESS is oci://HOST/REPOSITORY:TAG, where OPA's own downloader reads it, with the logins and certificates of
    `policy.images` in the settings; or https://SERVER/bundles/NAME. The bundle must have a sequence. A tag never moves
    to a lower one, nor to another bundle of the same, unless --force says so.

    Exit: 0 it is there, 1 it is refused, 2 there is no BUNDLE, 3 the registry or server cannot be asked.
    """
    from flowyml_policy.cli.bundle_push import to_registry, to_server

    if address.startswith("oci://"):
        published = to_registry(file, address, project, force=force, only_https=(token_env, ca))
    else:
        published = to_server(file, address, token_env=token_env, ca=ca, force=force)
    screens.PUBLISHED[output_format](Screen.of(sys.stdout), published)
    ctx.exit(0)


@bundle.command(
    "pull",
    examples=[
        "{prog} bundle pull oci://registry.example.com/policy/company:stable --key company-2027.pub",
        "{prog} bundle pull oci://registry.example.com/policy/company:stable --output company.tar.gz",
    ],
)
@click.argument("address", metavar="ADDRESS")
@click.option("--output", metavar="FILE", help="Where to write it.  [default: the repository's last part, .tar.gz]")
@click.option("--key", "keys", metavar="FILE", multiple=True, help="A public key that may have signed; repeatable.")
@_key_env_option
@_keyid_option
@format_option("table", "json")
@project_option
@click.pass_context
def pull(
    ctx: click.Context,
    address: str,
    output: str | None,
    keys: tuple[str, ...],
    key_env: str | None,
    keyid: str | None,
    output_format: str,
    project: str | None,
) -> None:
    """Fetch a bundle from a registry into a file.

    ADDRESS is oci://HOST/REPOSITORY:TAG, or @DIGEST. Digests are checked, and with --key or --key-env the signature, as
    `bundle verify` does, before the file is written. Logins and certificates are those of `policy.images` in the
    settings.

    Exit: 0 it was written, 1 the signature is not right, 2 ADDRESS is none, 3 it cannot be fetched.
    """
    from flowyml_policy.cli.bundle_push import from_registry

    public = _keys(keys, key_env, keyid, private=False) if keys or key_env or keyid else []
    target = None if output is None else Path(output)
    pulled = from_registry(address, project, output=target, keys=public, keyid=keyid)
    screens.PULLED[output_format](Screen.of(sys.stdout), pulled)
    ctx.exit(0)


class ServerOptions(TypedDict):
    """Which server is asked, by which token and certificates."""

    server: str
    token_env: str | None
    ca: str | None


def _server_options(command: F) -> F:
    """The options that a command takes as ServerOptions, in its `**server`."""
    for option in (
        click.option("--ca", metavar="FILE", help="A PEM file of the certificates to trust."),
        click.option("--token-env", metavar="VARIABLE", help="The environment variable with the server's token."),
        click.option("--server", metavar="URL", required=True, help="The company's server, https://SERVER."),
    ):
        command = option(command)
    return command


@bundle.command(
    "rollback",
    short_help="Publish an old revision anew on a server.",
    examples=[
        "{prog} bundle rollback company --to 1.4.0+99e2ca2e76bf --key release.key --server https://policy.example.com",
    ],
)
@click.argument("name", metavar="NAME")
@click.option("--to", "revision", metavar="REVISION", required=True, help="The revision to go back to.")
@click.option("--key", metavar="FILE", required=True, help="The private key, a PEM file that you alone may read.")
@click.option("--signed-by", metavar="FILE", multiple=True, help="A public key that may have signed the old one.")
@click.option("--expires", metavar="INSTANT", help="From when it is not to be used.  [default: as it was]")
@_server_options
@format_option("table", "json")
@click.pass_context
def rollback(
    ctx: click.Context,
    name: str,
    revision: str,
    key: str,
    signed_by: tuple[str, ...],
    expires: str | None,
    output_format: str,
    **server: Unpack[ServerOptions],
) -> None:
    """Publish an old revision of the bundle NAME anew.

    Servers and clients never go back: the old archive is fetched, gets the next sequence and the revision
    REVISION.SEQUENCE, is signed here and published as the newest. It must be signed by the same key, or by one of those
    that --signed-by names (repeatable). Without --expires it expires when it did before, if that lies ahead.

    Exit: 0 it is there, 1 it is refused, 2 an option is wrong, 3 the server cannot be asked or keeps no such revision.
    """
    from flowyml_policy.cli.bundle_push import anew_on_server

    (private,) = _keys((key,), None, None, private=True)
    place = f"{server['server'].rstrip('/')}/bundles/{name}"
    published = anew_on_server(
        place,
        revision,
        private,
        signed_by=signed_by,
        expires=expires,
        token_env=server["token_env"],
        ca=server["ca"],
    )
    screens.PUBLISHED[output_format](Screen.of(sys.stdout), published)
    ctx.exit(0)


def _keys(files: tuple[str, ...], variable: str | None, keyid: str | None, *, private: bool) -> list[Key]:
    """The keys that are named by files and by a variable, of which there is at least one."""
    from flowyml_policy.bundles.keys import key_from_environment, read_private_key, read_public_key
    from flowyml_policy.errors.root import UsageError

    count = len(files) + (variable is not None)
    if count == 0:
        raise UsageError("no key is named", advice="name one with --key FILE or --key-env VARIABLE")
    if count > 1 and (private or (keyid is not None and len(files) > 1)):
        raise UsageError("more than one key is named", advice="name one; --keyid belongs to a single key")
    read = read_private_key if private else read_public_key
    named = keyid if variable is None else None
    found = [read(Path(file), keyid=named) for file in files]
    if variable is not None:
        found.append(key_from_environment(variable, os.environ, keyid=keyid, private=private))
    return found
