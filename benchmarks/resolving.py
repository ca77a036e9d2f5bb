"""Resolving a stack of a git repository that was read before, in process, while the repository is away.

Rules:
- A sample is all that a program pays for one stack: settings, lockfile, cache and registry are opened anew, nothing is
  remembered from the sample before.
- The repository is moved away first, and FLOWYML_POLICY_OFFLINE is set. A resolution that connects to anything, looks a
  host up, or starts a process ends the part.
- Every answer must be what was resolved while the repository was there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.clock import CannotMeasure, Process, in_turns
from benchmarks.report import Row, Target
from benchmarks.stacks import manifest, refuse_memory
from flowyml_policy import StackResolver

STACKS = 200
WARM = 3
LONGEST = Target("at most", 30)

SETTINGS = """\
project: {{name: fraud-detection, org: fintech-corp}}
environments:
  production: {{stack: prod-gpu-00000, require_pinned: true}}
  locked: {{stack: prod-gpu-00002, require_lock: true}}
stacks:
  prod-gpu-00000: {{source: git, repo: '{repository}', ref: {commit}}}
  prod-gpu-00002: {{source: git, repo: '{repository}', ref: main}}
policy:
  images: {{inspect: "off"}}
"""
"""One stack at a commit, and one on a branch that flowyml.lock pins."""

OUTWARD = frozenset(
    {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.posix_spawn", "os.fork"}
)


class Watch:
    """The outward calls of this process while it is on, as Python's audit events name them."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, _: tuple[object, ...]) -> None:
        if self.on and event in OUTWARD:
            self.seen.append(event)


@dataclass(frozen=True)
class GitProject:
    """A project whose stacks are in a repository, with the cache that holds what was read of it."""

    folder: Path
    environ: dict[str, str]

    def digest(self, environment: str, *, offline: bool) -> str:
        """The digest of the stack of `environment`, by a resolver of its own."""
        environ = {**self.environ, "FLOWYML_POLICY_OFFLINE": str(int(offline))}
        with StackResolver(self.folder, environ=environ) as resolver:
            return resolver.resolve(env=environment).digest


def measure_offline(own: Path, work: Path, rounds: int) -> Iterator[Row]:
    """A stack at a commit, and one that flowyml.lock pins, each from the cache alone."""
    project, away = _project(own, work / "resolving")
    named = {"production": "a git stack at a commit, offline", "locked": "a git stack by flowyml.lock, offline"}
    expected = {environment: project.digest(environment, offline=False) for environment in named}
    away.parent.rename(away.parent.with_name("away"))
    watch = Watch()
    watch.on = True
    for environment in named:
        for _ in range(WARM):
            _timed(project, environment, expected[environment])
    watch.on = False
    if watch.seen:
        raise CannotMeasure(f"what is pinned and cached was resolved by {', '.join(sorted(set(watch.seen)))}")
    figures = (partial(_timed, project, environment, expected[environment]) for environment in named)
    for name, series in zip(named.values(), in_turns(rounds, *figures), strict=True):
        yield Row(name, series.median, "ms", target=LONGEST, samples=series.samples)


def _timed(project: GitProject, environment: str, expected: str) -> float:
    start = time.perf_counter()
    found = project.digest(environment, offline=True)
    seconds = time.perf_counter() - start
    if found != expected:
        raise CannotMeasure(f"environment {environment} is {found} offline, and was {expected}")
    return seconds


def _project(own: Path, folder: Path) -> tuple[GitProject, Path]:
    """The project, everything of it cached and pinned, and its repository's folder."""
    shutil.rmtree(folder, ignore_errors=True)
    repository = folder / "served" / "stacks"
    (repository / "stacks").mkdir(parents=True)
    refuse_memory(folder)
    for number in range(STACKS):
        (repository / "stacks" / f"stack-{number:05}.yaml").write_text(manifest(2 * number), "utf-8")
    _git(repository, "init", "--quiet", "--initial-branch=main")
    _git(repository, "add", "--all")
    _git(repository, "-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "--quiet", "-m", "Stacks")
    commit = _git(repository, "rev-parse", "HEAD")
    project = folder / "project"
    project.mkdir()
    (project / "flowyml.yaml").write_text(SETTINGS.format(repository=repository.as_uri(), commit=commit), "utf-8")
    environ = {**_without_choices(), "XDG_CACHE_HOME": str(folder / "cache")}
    Process([own, "stack", "lock"], project, environment=environ).read()
    return GitProject(project, environ), repository


def _without_choices() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("FLOWYML_", "GIT_"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    except OSError as error:
        raise CannotMeasure(f"git cannot be started: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise CannotMeasure(f"git {arguments[0]} failed: {error.stderr.strip()[-2000:]}") from error
    return done.stdout.strip()
