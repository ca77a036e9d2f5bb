"""How far the links of a file or folder of this machine may lead."""

from __future__ import annotations

import os
from pathlib import Path

from flowyml_policy.definitions.files import display_path
from flowyml_policy.errors import SourceRefused, SourceUnreadable


class Boundary:
    """The folder that no link at or below `named` may lead out of, wherever the working directory is.

    That is `project`, where `named` lies in it, by whatever name of either. Outside it is the folder that was named, or
    the folder of the file that was.
    """

    def __init__(self, named: Path, project: Path) -> None:
        outside = named if named.is_dir() else named.parent
        self._folder = os.path.realpath(project if _lies_in(named, project) else outside)

    def inside(self, path: Path) -> Path:
        """Where `path` leads, every link followed. Raises SourceRefused if that is outside, SourceUnreadable."""
        try:
            real = Path(os.path.realpath(path))
        except OSError as error:
            raise SourceUnreadable(
                f"cannot follow the link {display_path(path)}: {error.strerror or type(error).__name__}"
            ) from error
        if not real.is_relative_to(self._folder):
            raise SourceRefused(
                f"a link leads out of {display_path(Path(self._folder))}: {display_path(path)}",
                advice="put the definition itself there, or name the place that the link leads to",
            )
        return real


def _lies_in(named: Path, project: Path) -> bool:
    place = Path(os.path.abspath(named))  # noqa: PTH100  Path.absolute keeps `..`
    if place.is_relative_to(os.path.abspath(project)):  # noqa: PTH100  as above
        return True
    real = os.path.realpath(project)
    return any(Path(os.path.realpath(folder)).is_relative_to(real) for folder in place.parents)
