"""Where what registries said of images is kept on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from flowyml_policy.settings.settings import Settings
from flowyml_policy.storage.cache import ContentCache
from flowyml_policy.system.directories import cache_directory

_FOLDER: Final = "images"


def open_cache(settings: Settings, environ: Mapping[str, str] | None = None) -> ContentCache:
    """The folder, below the user's cache folder. Raises SourceUnreadable for a user without a home."""
    directory = cache_directory(os.environ if environ is None else environ) / _FOLDER
    return ContentCache(directory, max_bytes=settings.policy.images.max_cache)
