"""Projects on disk, as users have them."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings

_NOBODY = 65_534

STACK = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata:
  name: {name}
  version: "2.1.0"
  labels:
    team: ml-platform
    approved: "true"
spec:
  compute:
    backend: azureml
    max_nodes: 4
  runtime:
    docker_image: {image}
"""

SETTINGS = """\
project: {name: fraud-detection, org: fintech-corp}
policies:
  allowed_stacks: [prod-gpu-*, staging-*]
  required_labels: [approved, team]
  image_policy: {allowed_registries: [myregistry.azurecr.io]}
environments:
  dev: {stack: local}
  production: {stack: prod-gpu-large}
policy:
  images: {inspect: "off"}
"""

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


class WriteStack(Protocol):
    """Writes a stack into the project's `stacks` folder; the path as a command line would have it."""

    def __call__(self, name: str, *, image: str = ..., file: str | None = None, text: str | None = None) -> str: ...


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that allows prod-gpu-* and staging-* from one registry; the working directory."""
    (tmp_path / "flowyml.yaml").write_text(SETTINGS)
    (tmp_path / "stacks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWYML_POLICY_SETTINGS", raising=False)
    monkeypatch.delenv("FLOWYML_ENV", raising=False)
    return tmp_path


@pytest.fixture
def write_stack(project: Path) -> WriteStack:
    def write(
        name: str,
        *,
        image: str = "myregistry.azurecr.io/flowyml:latest",
        file: str | None = None,
        text: str | None = None,
    ) -> str:
        path = project / "stacks" / (file or f"{name}.yaml")
        path.write_text(STACK.format(name=name, image=image) if text is None else text)
        return f"stacks/{path.name}"

    return write


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(name="_as_nobody")
def __as_nobody() -> Iterator[None]:
    """No superuser, whom no permission keeps out; for others nothing changes."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def limited_file_size() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
