"""The resolver with all that one project has: its registry, and what its lockfile pins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from flowyml_policy.errors import FlowymlPolicyError, SourceUnreadable
from flowyml_policy.project_pins import ProjectPins
from flowyml_policy.records import LastDecisions, StackRegistry
from flowyml_policy.registry import LocalRegistry, RemoteRegistry
from flowyml_policy.resolution import resolver
from flowyml_policy.resolution.cache import ContentCache
from flowyml_policy.resolution.names import BUILTIN
from flowyml_policy.resolution.source import FetchRules, is_offline
from flowyml_policy.settings import Settings, load_settings

if TYPE_CHECKING:  # loaded where there is a lockfile
    from flowyml_policy.records import StackPins


class StackResolver(resolver.StackResolver):
    """Resolves stacks for the project in folder `project`, or for the one around the working directory.

    What is not given is the project's own: `registry` the one that its settings name, or else its own file; `pins`
    what its flowyml.lock pins. FLOWYML_POLICY_OFFLINE=1 in `environ` asks no server, whatever `rules` say. A context
    manager; closing it releases the registry that it opened itself, and a closed resolver can be used again. Raises
    SettingsInvalid, UsageError, and RegistryError for an address that cannot be one.
    """

    def __init__(
        self,
        project: str | Path | None = None,
        *,
        settings: Settings | None = None,
        registry: StackRegistry | None = None,
        pins: StackPins | None = None,
        rules: FetchRules | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if settings is None:
            settings = load_settings(project=None if project is None else Path(project), environ=environ)
        self._opened = open_registry(settings, environ=environ) if registry is None else None
        super().__init__(
            settings=settings,
            registry=registry or self._opened,
            pins=ProjectPins.of(settings) if pins is None else pins,
            rules=(rules or FetchRules()).as_asked(os.environ if environ is None else environ),
            environ=environ,
        )

    def close(self) -> None:
        """Release the registry's file; closing twice is fine."""
        if isinstance(self._opened, LocalRegistry):
            self._opened.close()

    def otherwise(self, name: str) -> str | None:
        """How to write the stack called `name` where a path of that name hides it, in words; None where there is none.

        No server is asked, and what cannot be read counts as no stack.
        """
        if isinstance(self._opened, LocalRegistry):
            with suppress(FlowymlPolicyError):
                self._opened.get(name)
                return f"registry://{name}"
        if name == BUILTIN or name in self.settings.stacks:
            return "its name from another folder, with --project"
        with suppress(FlowymlPolicyError):
            return " or ".join(definition.source.uri for definition in self._fetcher.in_folder(name)) or None
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        cache = ContentCache(environ=environ)
    offline = is_offline(os.environ if environ is None else environ)
    return RemoteRegistry(
        remote.url, token_env=remote.token_env, ca=settings.registry_ca, cache=cache, offline=offline, environ=environ
    )
