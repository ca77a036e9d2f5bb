"""A project folder that a test writes into, with nothing of the machine's own settings around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.errors import SettingsInvalid
from flowyml_policy.settings import Settings, load_settings

PAGE = """\
project:
  name: fraud-detection
  org: fintech-corp
policies:
  allowed_stacks: [prod-gpu-*, staging-*]
  required_labels: [approved, team]
  image_policy:
    allowed_registries: [myregistry.azurecr.io, gcr.io/my-project]
    required_labels: [maintainer, version]
"""


@pytest.fixture
def page() -> str:
    """The flowyml.yaml that FlowyML's guide shows."""
    return PAGE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, which is the working directory."""
    place = tmp_path / "project"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def load(folder: Path) -> Callable[..., Settings]:
    """Settings from the text of flowyml.yaml, and of the platform's file where `platform` is given."""

    def loaded(text: str | bytes | None, *, platform: str | None = None, **environ: str) -> Settings:
        if text is not None:
            (folder / "flowyml.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        system_file = folder.parent / "etc" / "settings.yaml"
        if platform is not None:
            system_file.parent.mkdir(exist_ok=True)
            system_file.write_text(platform, encoding="utf-8")
        return load_settings(environ={"HOME": "/home/ada", **environ}, system_file=system_file)

    return loaded


@pytest.fixture
def refused(load: Callable[..., Settings], folder: Path) -> Callable[..., str]:
    """What is said of a flowyml.yaml that must be refused, with the test's own folder taken out."""

    def words(text: str | bytes | None, *, platform: str | None = None, **environ: str) -> str:
        with pytest.raises(SettingsInvalid) as caught:
            load(text, platform=platform, **environ)
        return str(caught.value).replace(str(folder.parent), "")

    return words
