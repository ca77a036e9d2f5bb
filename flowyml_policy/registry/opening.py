"""The registry that the settings name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.network.offline import is_offline
from flowyml_policy.records.protocols import LastDecisions
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.remote import RemoteRegistry
from flowyml_policy.settings.settings import Settings
from flowyml_policy.storage.cache import ContentCache


def open_registry(
    settings: Settings, *, decisions: LastDecisions | None = None, environ: Mapping[str, str] | None = None
) -> LocalRegistry | RemoteRegistry:
    """The registry that `settings` name: the company's, or the project's own file. Raises RegistryError, UsageError.

    `decisions` tells listings of the latter what was last decided. What the former answers is kept with its ETag, under
    the user's cache directory, so that other processes ask for what changed; FLOWYML_POLICY_OFFLINE=1 asks it nothing.
    """
    remote = settings.policy.registry
    if remote.url is None:
        return LocalRegistry(settings.audit_path, decisions=decisions)
    cache = None
    with suppress(SourceUnreadable):
        found = ContentCache(environ=environ)
        cache = found if found.directory else None
    offline = is_offline(os.environ if environ is None else environ)
    return RemoteRegistry(
        remote.url, token_env=remote.token_env, ca=settings.registry_ca, cache=cache, offline=offline, environ=environ
    )
