"""A daemon with one image, and what inspects it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyml_policy.images.daemon import DaemonInspector
from tests.recorded_daemon import NAME, RecordedDaemon, image, recorded, short_folder


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def daemon(socket_folder: Path) -> Iterator[RecordedDaemon]:
    with recorded(socket_folder / "s") as server:
        yield server


@pytest.fixture
def inspector(daemon: RecordedDaemon, tmp_path: Path) -> Iterator[DaemonInspector]:
    daemon.images[NAME] = image()
    made = DaemonInspector(environ={"DOCKER_HOST": daemon.url, "HOME": str(tmp_path)}, timeout=5)
    yield made
    made.close()
