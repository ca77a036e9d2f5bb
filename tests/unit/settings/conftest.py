"""What is said of settings that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.settings.settings import Settings


@pytest.fixture
def refused(load: Callable[..., Settings], folder: Path) -> Callable[..., str]:
    """What is said of a flowyml.yaml that must be refused, with the test's own folder taken out."""

    def words(text: str | bytes | None, *, platform: str | None = None, **environ: str) -> str:
        with pytest.raises(SettingsInvalid) as caught:
            load(text, platform=platform, **environ)
        return str(caught.value).replace(str(folder.parent), "")

    return words
