"""What `bundle push` and `bundle pull` do between their options and what they print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.bundles.keys import Key
from flowyml_policy.bundles.oci import Force, Pulled, pull_bundle, push_bundle
from flowyml_policy.bundles.publication import Published
from flowyml_policy.cli.options import tell_of_settings
from flowyml_policy.cli.stderr import tell
from flowyml_policy.errors.root import UsageError
from flowyml_policy.images.opening import open_registry
from flowyml_policy.network.oci_push import WritableRegistry
from flowyml_policy.network.oci_registry import OciRegistry
from flowyml_policy.network.offline import is_offline
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.system.actor import current_actor

if TYPE_CHECKING:
    from flowyml_policy.settings.settings import Settings


def to_registry(
    file: str, address: str, project: str | None, *, force: bool, only_https: Sequence[str | None]
) -> Published:
    """Push to a registry by the settings; say on stderr what was forced."""
    if any(one is not None for one in only_https):
        raise UsageError(
            "--token-env and --ca are for https://SERVER/bundles/NAME",
            advice="name a registry's login and certificates under policy.images in the settings",
        )
    settings = _settings(project)
    with (
        AuditRecorder(settings.audit_path) as audit,
        closing(open_registry(settings, os.environ, WritableRegistry)) as registry,
    ):
        granted = Force(current_actor().name, audit) if force else None
        published = push_bundle(Path(file), address, registry, force=granted)
    if published.forced_from is not None:
        before = f"sequence {published.forced_from}" if published.forced_from else "what is no bundle"
        tell(
            "warning", f"the tag was moved by --force from {before} to sequence {published.sequence}; the audit has it"
        )
    return published


def to_server(file: str, address: str, *, token_env: str | None, ca: str | None, force: bool) -> Published:
    """Publish on a server, which decides by itself."""
    from flowyml_policy.bundles.server import put_bundle

    if force:
        raise UsageError(
            "--force is for oci:// addresses", advice="a server goes back by `flowyml-policy bundle rollback`"
        )
    authority = None if ca is None else Path(ca)
    offline = is_offline(os.environ)
    return put_bundle(Path(file), address, token_env=token_env, ca=authority, offline=offline, environ=os.environ)


def anew_on_server(
    place: str,
    revision: str,
    key: Key,
    *,
    signed_by: Sequence[str],
    expires: str | None,
    token_env: str | None,
    ca: str | None,
) -> Published:
    """Publish an old revision anew on a server."""
    from flowyml_policy.bundles.keys import public_key_of, read_public_key
    from flowyml_policy.bundles.recipe import expiry
    from flowyml_policy.bundles.rollback import roll_back
    from flowyml_policy.bundles.server import BundleOnServer
    from flowyml_policy.references.url import BadValue

    try:
        until = None if expires is None else expiry(expires)
    except BadValue as error:
        raise UsageError(f"--expires {error.what}", advice=error.fix) from error
    trusted = [read_public_key(Path(file)) for file in signed_by] or [public_key_of(key)]
    authority = None if ca is None else Path(ca)
    offline = is_offline(os.environ)
    with BundleOnServer(place, token_env=token_env, ca=authority, offline=offline, environ=os.environ) as bundle:
        return roll_back(bundle, revision, key, trusted=trusted, expires=until)


def from_registry(
    address: str, project: str | None, *, output: Path | None, keys: Sequence[Key], keyid: str | None
) -> Pulled:
    """Pull from a registry by the settings."""
    with closing(open_registry(_settings(project), os.environ, OciRegistry)) as registry:
        return pull_bundle(address, registry, output=output, keys=keys, keyid=keyid if len(keys) == 1 else None)


def _settings(project: str | None) -> Settings:
    settings = load_settings(project=None if project is None else Path(project))
    tell_of_settings(settings)
    return settings
