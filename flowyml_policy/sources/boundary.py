"""How far links of this machine may lead.

A link inside the project that leads out of it is refused; so is one below a folder that was named outside the project
and leads out of that. What is named outside may be a link itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from flowyml_policy.errors.sources import SourceRefused, SourceUnreadable
from flowyml_policy.system.files import display_path, is_folder


class Boundary:
    """The folder that no link at or below `named` may lead out of, wherever the working directory is.

    That is `project`, where `named` or a link on its way lies in it, by whatever name of either. Outside it, whoever
    named a link meant what it leads to: that folder, or the folder of that file. Raises SourceUnreadable.
    """

    def __init__(self, named: Path, project: Path) -> None:
        try:
            self._folder = os.path.realpath(project) if _lies_in(named, project) else _folder_of(named)
        except OSError as error:
            raise _unfollowed(named, error) from error

    def inside(self, path: Path) -> Path:
        """Where `path` leads, every link followed. Raises SourceRefused if that is outside, SourceUnreadable."""
        try:
            real = Path(os.path.realpath(path))
        except OSError as error:
            raise _unfollowed(path, error) from error
        if not real.is_relative_to(self._folder):
            raise SourceRefused(
                f"a link leads out of {display_path(Path(self._folder))}: {display_path(path)}",
                advice="put the definition itself there, or name the place that the link leads to",
            )
        return real


def _folder_of(named: Path) -> str:
    real = os.path.realpath(named)
    return real if is_folder(real) else os.path.dirname(real)


def _lies_in(named: Path, project: Path) -> bool:
    written, real = os.path.abspath(project), os.path.realpath(project)  # Path.absolute would keep `..`
    for step in _steps(named):
        place = Path(os.path.abspath(step))
        if place.is_relative_to(written):
            return True
        if any(Path(os.path.realpath(folder)).is_relative_to(real) for folder in place.parents):
            return True
    return False


def _steps(named: Path) -> Iterator[str]:
    """`named`, and while that is a link, what it leads to."""
    passed: set[str] = set()
    step = os.fspath(named)
    while step not in passed:
        yield step
        passed.add(step)
        if os.path.islink(step):  # Path.is_symlink raises for some
            step = os.path.join(os.path.dirname(step), os.readlink(step))  # `..` stays


def _unfollowed(path: Path, error: OSError) -> SourceUnreadable:
    reason = error.strerror or type(error).__name__
    return SourceUnreadable(f"cannot follow the link {display_path(path)}: {reason}")
