"""What every record is made of: its one configuration, keys and paths, places in files."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Key: TypeAlias = str | int
"""One step into a document: a mapping key or a sequence index."""

KeyPath: TypeAlias = tuple[Key, ...]
"""Keys from the root of a document to a value, `("spec", "runtime", "docker_image")`."""

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list of Json, dict of str to Json."""

Operation: TypeAlias = Literal["validate", "apply", "run"]
"""What is asked for a stack: whether it may be used, registered, or run."""

Authority: TypeAlias = Literal["project", "platform"]
"""Who owns the settings."""

SourceKind: TypeAlias = Literal["builtin", "object", "local", "stdin", "git", "github", "gitlab", "http", "registry"]
"""What a definition was read from."""

Sha256: TypeAlias = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A digest as `sha256:` and 64 lower-case hex digits."""


if TYPE_CHECKING:
    computed_once = cached_property
else:

    class _ComputedOnce(cached_property):
        """What is computed when it is first asked for, and kept: `cached_property` without a lock.

        Before Python 3.12 its lock is one for all objects of a class, and a child that is forked while another thread
        holds it waits for ever. Two threads may compute the same value twice.
        """

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.attrname] = self.func(instance)
            return value

    computed_once = _ComputedOnce


class Record(BaseModel):
    """A frozen value. Unknown keys and values of another type are refused, never coerced.

    Its validator is built when it is first needed: a start needs those of few records.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, defer_build=True, ignored_types=(computed_once,)
    )


class Location(Record):
    """A place in a file as its author sees it: `line` and `column` count from 1.

    `file` is the path as it was given (`-` for standard input), with forward slashes.
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
