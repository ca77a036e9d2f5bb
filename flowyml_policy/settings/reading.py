"""Finds the settings files and reads each into its model, with every value's place kept.

Rules:
- Only "there is no such file" means that there is none. A file that exists and cannot be read is an error.
- A file that says nothing is an error too: a truncated flowyml.yaml must not pass for one without policies.
- A project that is named and has no flowyml.yaml is an error: a wrong name must not pass for no policies.
- A file that is found above the git work tree, or without one above the working directory, must be this user's or
  root's.
- Reading never blocks: what is no regular file is refused unread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem
from flowyml_policy.settings.places import PLATFORM_VARIABLE, PROJECT_FILE
from flowyml_policy.settings.problems import kind_of, problems_of
from flowyml_policy.settings.types import Section
from flowyml_policy.system.files import read_regular

MISNAMED_FILE: Final = "flowyml.yml"

_Model = TypeVar("_Model", bound=Section)


class ProjectPlace(NamedTuple):
    """The project's folder, its flowyml.yaml if there is one, and how messages call that.

    `is_above`: the file was found above the git work tree that the search began in, or, without one, above where it
    began.
    """

    root: Path
    file: Path | None
    shown: str
    is_above: bool = False


class ReadFile(Generic[_Model]):
    """A settings file that was read: where it is, what it says, and where in it each value stands."""

    __slots__ = ("document", "path", "values")

    def __init__(self, path: Path, document: Document, values: _Model) -> None:
        self.path = path
        self.document = document
        self.values = values


def find_project(start: Path | None, project: Path | None) -> ProjectPlace:
    """The project in folder `project`, or the one around `start` (the working directory where that is null).

    A `project` of `.` is the working directory too: the project around it. Raises UsageError for a folder that does
    not exist and for a `project` that has no flowyml.yaml, SettingsInvalid where it cannot be told.
    """
    if project is None or project == Path():
        place = _around(Path() if start is None else start)
        if project is not None and place.file is None:
            raise UsageError(
                f"there is no {PROJECT_FILE} in this folder, or in one above it: {project}",
                advice="write one, or name no project, and the defaults hold",
            )
        return place
    place = _place(_folder(project), project)
    if place.file is None:
        above = next((folder for folder in place.root.parents if _exists(folder / PROJECT_FILE)), None)
        raise UsageError(
            f"there is no {PROJECT_FILE} in this folder: {project}",
            advice="name the one that holds it" + (f": {above}" if above else ""),
        )
    return place


def find_platform_file(environ: Mapping[str, str], system_file: Path) -> Path | None:
    """The platform's settings: `system_file`, or, where that does not exist, the file that a variable names.

    Elsewhere an empty variable is one that is not set. Here it is an error: whoever means to name a file by a variable
    that turns out empty would lose the company's rules without a word.
    """
    if _exists(system_file):
        return system_file
    named = environ.get(PLATFORM_VARIABLE)
    if named is None:
        return None
    if not named:
        raise SettingsInvalid(
            f"{PLATFORM_VARIABLE} is empty, and so names no platform settings",
            advice="set it to the path of their file, or unset it where there are none",
        )
    if "\0" in named or not _exists(Path(named)):
        raise SettingsInvalid(
            f"there are no platform settings: {named!r}", advice=f"correct {PLATFORM_VARIABLE}, or take it away"
        )
    return Path(named)


def read_settings_file(path: Path, shown: str, model: type[_Model]) -> ReadFile[_Model]:
    """The file at `path`, called `shown` in messages, as a `model`. Raises SettingsInvalid with all that is wrong."""
    try:
        documents = load_documents(_read(path, shown), shown)
    except YamlInvalid as error:
        raise SettingsInvalid.found([SettingsProblem(error.problem, location=error.location, fix=error.fix)]) from error
    if not documents or documents[0].value is None:
        raise SettingsInvalid(f"the file says nothing: {shown}", advice="write settings into it, or remove it")
    document = documents[0]
    if len(documents) > 1:
        second = SettingsProblem(
            "a second document starts", location=documents[1].location(), fix="keep one: take out the `---` line"
        )
        raise SettingsInvalid.found([second])
    if not isinstance(document.value, dict):
        scalar = SettingsProblem(
            f"the file must hold keys and values, not {kind_of(document.value)}",
            location=document.location(),
            fix=f"write {', '.join(list(model.model_fields)[:3])} as `key: value`",
        )
        raise SettingsInvalid.found([scalar])
    try:
        return ReadFile(path, document, model.model_validate(document.value))
    except ValidationError as error:
        raise SettingsInvalid.found(problems_of(error, document, model)) from error


def _around(start: Path) -> ProjectPlace:
    """The project that `start` is in; the folder itself where it is in none."""
    first = _folder(start)
    for folder in (first, *first.parents):
        if _holds_project(folder):
            place = _place(folder, start if folder == first else folder)
            if folder not in _work_tree(first).parents:
                return place
            _require_trusted(folder / PROJECT_FILE)
            return place._replace(is_above=True)
    return ProjectPlace(first, None, "")


def _work_tree(folder: Path) -> Path:
    """The git work tree that `folder` is in; `folder` itself where it is in none. Another user's `.git` makes none."""
    return next((one for one in (folder, *folder.parents) if _is_trusted_git(one / ".git")), folder)


def _is_trusted_git(entry: Path) -> bool:
    return _exists(entry) and not _other_owners(entry)


def _other_owners(file: Path) -> set[int]:
    """Who owns `file`, or the link that it is, besides this user and root."""
    try:
        return {file.lstat().st_uid, file.stat().st_uid} - {os.geteuid(), 0}
    except OSError as error:
        raise _unreadable(str(file), error) from error


def _require_trusted(file: Path) -> None:
    """Raise SettingsInvalid where another user than this one and root owns `file`, or the link that it is.

    In a folder that many may write to, such as /tmp, anybody could otherwise decide for whoever works below it; git
    takes no repository of another user for the same reason (CVE-2022-24765).
    """
    others = _other_owners(file)
    if others:
        raise SettingsInvalid(
            f"the settings found above this folder belong to another user (uid {min(others)}): {file}",
            advice="name their folder by --project where they are meant, or write a flowyml.yaml here",
        )


def _place(root: Path, shown: Path) -> ProjectPlace:
    file = root / PROJECT_FILE
    return ProjectPlace(root, file if _holds_project(root) else None, (shown / PROJECT_FILE).as_posix())


def _folder(folder: Path) -> Path:
    """`folder`, absolute; it must be one."""
    try:
        absolute = Path(os.path.abspath(folder))  # resolve() would follow links out of the project
    except OSError as error:
        raise UsageError(
            f"the folder {str(folder)!r} cannot be found: the working directory is gone",
            advice="go to an existing folder, or name this one by its whole path",
        ) from error
    try:
        mode = absolute.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"there is no such folder: {folder}", advice="name an existing folder") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise UsageError(
            f"the folder cannot be looked at: {str(folder)!r} ({reason})", advice="name an existing folder"
        ) from error
    if not stat.S_ISDIR(mode):
        raise UsageError(f"this is a file: {folder}", advice=f"name the folder that holds {PROJECT_FILE}")
    return absolute


def _holds_project(folder: Path) -> bool:
    if _exists(folder / PROJECT_FILE):
        return True
    if _exists(folder / MISNAMED_FILE):
        raise SettingsInvalid(
            f"settings stand in a file that is not read: {folder / MISNAMED_FILE}",
            advice=f"rename it to {PROJECT_FILE}",
        )
    return False


def _exists(path: Path) -> bool:
    """Whether anything stands at `path`, a dangling link included. What cannot be told is an error."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return True


def _read(path: Path, shown: str) -> bytes:
    """The bytes of a regular file, one more at most than YAML may have."""
    try:
        data = read_regular(path, most=Limits().size)
    except OSError as error:
        raise _unreadable(shown, error) from error
    if data is None:
        raise SettingsInvalid(f"this is no regular file: {shown}", advice="write the settings into a file")
    return data


def _unreadable(shown: str, error: OSError) -> SettingsInvalid:
    reason = error.strerror or type(error).__name__
    return SettingsInvalid(
        f"the settings cannot be read: {shown} ({reason})", advice="check that the file exists and that you may read it"
    )
