"""Whom the settings let ask for images: registries with their logins and certificates, the cache, the daemon."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, TypeVar

from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.images.cache import open_cache
from flowyml_policy.images.modes import Daemon, ImageInspection
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.network.credentials import Credentials, RegistryLogin
from flowyml_policy.network.oci_registry import OciRegistry
from flowyml_policy.network.offline import is_offline
from flowyml_policy.records.protocols import ContentStore, KeptBytes
from flowyml_policy.settings.policy_section import ImagesSettings
from flowyml_policy.settings.settings import Settings
from flowyml_policy.storage.cache import ContentCache

_AT: Final = ("policy", "images")

_Registry = TypeVar("_Registry", bound=OciRegistry)


def open_memory(settings: Settings, environ: Mapping[str, str]) -> ContentStore:
    """What was remembered of images, and keeps more; for a user without a home, nothing."""
    try:
        return open_cache(settings, environ)
    except SourceUnreadable:
        return _NoCache()


def open_images(
    settings: Settings,
    environ: Mapping[str, str],
    cache: ContentStore,
    *,
    refresh: bool = False,
    hosts: Collection[str] | None = None,
) -> ImageInspection:
    """What asks as `settings` say; where inspection is off, as by default. Nothing is asked, and no file is read.

    `hosts` are the only ones whose images are asked for, None for all.

    Raises UsageError where the environment does not say well whether to be offline.
    """
    images = settings.policy.images
    offline = is_offline(environ)
    secret = cache.secret if isinstance(cache, ContentCache) else _no_secret
    inspector = RegistryInspector(
        open_registry(settings, environ, OciRegistry, key=secret),
        cache,
        mirrors=images.mirrors,
        tag_ttl=images.tag_ttl,
        timeout=images.timeout,
        offline=offline,
        refresh=refresh,
    )

    def daemon(seconds: float) -> Daemon:
        from flowyml_policy.images.daemon import DaemonInspector

        return DaemonInspector(environ=environ, timeout=seconds)

    mode = "auto" if images.inspect == "off" else images.inspect
    return ImageInspection(inspector, daemon, mode=mode, allow_local=images.allow_local, offline=offline, hosts=hosts)


def _no_secret() -> None:
    """Leave it to each process to make its own, so that nothing is remembered by logins."""


def open_registry(
    settings: Settings,
    environ: Mapping[str, str],
    kind: Callable[..., _Registry],
    *,
    key: Callable[[], bytes | None] = _no_secret,
) -> _Registry:
    """What asks registries with the logins and certificates of `settings`. Nothing is asked, and no file is read.

    `key` is that of `Credentials`.

    Raises UsageError where the environment does not say well whether to be offline.
    """
    images = settings.policy.images
    return kind(
        Credentials(_logins(images), environ=environ, key=key),
        ca=_ca(settings),
        certificates=_certificates(settings),
        insecure=images.insecure,
        most_at_once=images.per_registry,
        offline=is_offline(environ),
        environ=environ,
    )


def _logins(images: ImagesSettings) -> dict[str, RegistryLogin]:
    return {
        host: RegistryLogin(username=one.username, password_env=one.password_env, token_env=one.token_env)
        for host, one in images.credentials.items()
    }


def _ca(settings: Settings) -> Path | dict[str, Path] | None:
    ca = settings.policy.images.ca
    if ca is None:
        return None
    if isinstance(ca, str):
        return settings.resolved((*_AT, "ca"), ca)
    return {host: settings.resolved((*_AT, "ca", host), file) for host, file in ca.items()}


def _certificates(settings: Settings) -> dict[str, tuple[Path, Path]]:
    at = (*_AT, "client_certificates")
    return {
        host: (
            settings.resolved((*at, host, "certificate"), one.certificate),
            settings.resolved((*at, host, "key"), one.key),
        )
        for host, one in settings.policy.images.client_certificates.items()
    }


class _NoCache:
    """Keeps nothing, for a user without a home."""

    def get(self, *_key: str) -> KeptBytes | None:
        return None

    def put(self, *_key: str, data: bytes, notes: Mapping[str, str] | None = None) -> None:
        """Keep nothing."""
