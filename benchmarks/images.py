"""Images examined at a registry on this machine: what a remembered one costs, and what asking side by side saves.

Rules:
- The registry is the tests' own. It waits 50 ms before each answer where asking is measured.
- A remembered image is judged in a whole process, beside the same stack in a project that examines none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.clock import CannotMeasure, Process, in_turns, processes_in_turns
from benchmarks.report import Row, Target
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.images.inspection import Inspection
from flowyml_policy.images.named import named_images
from flowyml_policy.settings.loading import load_settings
from tests.oci_registry import OciServer, start

STACKS: Final = 100
IMAGES: Final = 20
DELAY: Final = 0.05
CONFIG: Final = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2026-11-01T00:00:00Z",
    "config": {"User": "1000", "Labels": {"maintainer": "ml", "version": "1.0.0"}},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]},
}
STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {{name: prod, version: "1.0.0"}}
spec:
  compute: {{backend: azureml}}
  runtime: {{docker_image: "{image}"}}
"""
SETTINGS: Final = """\
project: {{name: fraud-detection}}
policy:
  images: {{inspect: "{mode}", insecure: ["{host}"], tag_ttl: {ttl}, concurrency: {concurrency}}}
"""


def measure_images(own: Path, work: Path, rounds: int) -> Iterator[Row]:
    """A remembered image, then a hundred stacks over twenty images that are new each time."""
    with start() as server:
        yield _remembered(server, own, work / "images", rounds)
        server.delay = DELAY
        yield _side_by_side(server, work / "images", max(rounds // 5, 1))


def _remembered(server: OciServer, own: Path, work: Path, rounds: int) -> Row:
    image = f"{server.host}/ml/train:1.0.0"
    server.repository("ml/train").add_image(CONFIG, "1.0.0")
    environ = {"XDG_CACHE_HOME": str(work / "cache"), "HOME": str(work)}
    processes = []
    for mode in ("auto", "off"):
        folder = work / mode
        (folder / "stacks").mkdir(parents=True, exist_ok=True)
        (folder / "stacks" / "prod.yaml").write_text(STACK.format(image=image), "utf-8")
        settings = SETTINGS.format(mode=mode, host=server.host, ttl="1h", concurrency=8)
        (folder / "flowyml.yaml").write_text(settings, "utf-8")
        processes.append(Process([own, "stack", "validate", "stacks/prod.yaml"], folder, environment=environ))
    processes[0].measure()
    server.requests.clear()
    examined, off = processes_in_turns(rounds, *processes)
    if server.requests:
        raise CannotMeasure(f"a remembered image was asked for: {server.log}")
    return Row(
        "one manifest, its image remembered",
        examined.wall.median,
        "ms",
        "the same with inspect: off",
        off.wall.median,
        examined.wall.ratio_to(off.wall),
        examined.cpu.ratio_to(off.cpu),
        Target("at most", 1.2),
        examined.wall.samples,
        off.wall.samples,
    )


def _side_by_side(server: OciServer, work: Path, rounds: int) -> Row:
    for number in range(IMAGES):
        server.repository(f"ml/train-{number}").add_image(CONFIG, "1.0.0")
    many, one = in_turns(rounds, *(partial(_examined, server, work, concurrency) for concurrency in (8, 1)))
    return Row(
        f"{STACKS} stacks over {IMAGES} new images, 50 ms an answer",
        many.median,
        "s",
        "concurrency: 1",
        one.median,
        many.ratio_to(one),
        None,
        Target("at most", 0.25),
        many.samples,
        one.samples,
    )


def _examined(server: OciServer, work: Path, concurrency: int) -> float:
    """Seconds for all images of all stacks, of which nothing is remembered."""
    folder = work / str(concurrency)
    folder.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS.format(mode="registry", host=server.host, ttl="5m", concurrency=concurrency)
    (folder / "flowyml.yaml").write_text(settings, "utf-8")
    definition = [_definition(f"{server.host}/ml/train-{number % IMAGES}:1.0.0") for number in range(STACKS)]
    environ = {"XDG_CACHE_HOME": str(folder / f"cache-{time.monotonic_ns()}"), "HOME": str(folder)}
    inspection = Inspection.of(load_settings(project=folder), environ=environ)
    begun = time.perf_counter()
    found = inspection.examine([image for one in definition for image in named_images(one)])
    taken = time.perf_counter() - begun
    inspection.close()
    if not all(image.inspected for image in found):
        raise CannotMeasure("an image could not be examined")
    return taken


def _definition(image: str) -> StackDefinition:
    return StackDefinition.from_yaml(STACK.format(image=image))
