"""StackDefinition: a definition that was read, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import PrivateAttr, ValidationError
from typing_extensions import Self

from flowyml_policy.canonical import canonical_digest
from flowyml_policy.definitions.files import display_path, local_source, read_file
from flowyml_policy.definitions.model import Definition
from flowyml_policy.definitions.problems import (
    explain_validation,
    explain_yaml,
    name_and_version,
    no_stack,
    not_one_document,
    unencodable,
)
from flowyml_policy.errors import DefinitionInvalid, DefinitionProblem, YamlInvalid
from flowyml_policy.records.location import Location
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Json, Key
from flowyml_policy.strict_yaml import Document, load_documents

_AN_OBJECT: Final = Source(kind="object", uri="object")


class _Origin(NamedTuple):
    """What a definition was read from; `document` is None for one that no file holds."""

    source: Source = _AN_OBJECT
    document: Document | None = None


class StackDefinition(Definition):
    """A stack definition in schema A. Make one with `from_yaml`, `from_file` or `from_dict`.

    Those raise DefinitionInvalid with every problem of the document (`from_file` also SourceUnreadable).
    Two are equal when their authors set the same keys to the same values, whatever file they stand in.
    """

    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @classmethod
    def from_yaml(cls, text: str | bytes, file: str = "<text>", *, source: Source | None = None) -> Self:
        """The one definition that `text` holds; `file` is what its locations are called by."""
        data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        try:
            documents = load_documents(data, file)
        except YamlInvalid as error:
            raise explain_yaml(error) from error
        if len(documents) != 1:
            raise not_one_document(file, documents)
        return cls._from_document(documents[0], source or _AN_OBJECT)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The one definition that a file holds. Raises SourceUnreadable if it cannot be read."""
        path = Path(path)
        data = read_file(path)
        return cls.from_yaml(data, display_path(path), source=local_source(path, data))

    @classmethod
    def from_dict(cls, value: Mapping[str, Json], *, source: Source | None = None) -> Self:
        """The definition that a mapping in schema A's spelling holds. Later changes to `value` do not reach it."""
        given = dict(value) if isinstance(value, Mapping) else value
        definition = cls._validated(given, None, source or _AN_OBJECT)
        problems = unencodable(definition.document)
        if problems:
            raise _invalid(problems, given)
        return definition

    @classmethod
    def _from_document(cls, document: Document, source: Source) -> Self:
        return cls._validated(document.value, document, source)

    @classmethod
    def _validated(cls, value: Json, document: Document | None, source: Source) -> Self:
        problem = no_stack(value, document)
        if problem is not None:
            raise _invalid([problem], value)
        try:
            definition = cls.model_validate(value)
        except ValidationError as error:
            raise _invalid(explain_validation(error, value, document), value) from error
        definition._origin = _Origin(source, document)  # noqa: SLF001  this class's own
        return definition

    @cached_property
    def document(self) -> dict[str, Json]:
        """The document as its author wrote it. Treat it as read-only."""
        written = self._origin.document
        value: dict[str, Json] = (
            self.model_dump(by_alias=True, exclude_unset=True) if written is None else written.value
        )
        return value

    def set_values(self) -> dict[str, Json]:
        """The keys that the author set, in schema A's spelling, without defaults. Treat it as read-only."""
        return self.document

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the canonical JSON of `set_values()`: what identifies this definition, wherever it stands."""
        return canonical_digest(self.set_values())

    @property
    def source(self) -> Source:
        return self._origin.source

    @property
    def file(self) -> str | None:
        """The file it stands in, as locations call it; None for a definition that no file holds."""
        document = self._origin.document
        return document.file if document else None

    def location(self, path: Sequence[Key] = ()) -> Location | None:
        """Where the value at `path` stands, or its nearest existing parent; None if no file holds it."""
        document = self._origin.document
        return document.location(path) if document else None

    def __eq__(self, other: object) -> bool:
        return self.set_values() == other.set_values() if isinstance(other, StackDefinition) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)


def read_definitions(data: bytes, file: str, source: Source) -> Iterator[StackDefinition | DefinitionInvalid]:
    """One item for each document of a file, in order: the definition, or why it is none.

    Never raises for what the bytes hold. A file that is no YAML, or has no document, gives one DefinitionInvalid.
    """
    try:
        documents = load_documents(data, file)
    except YamlInvalid as error:
        invalid = explain_yaml(error)
        invalid.__cause__ = error
        yield invalid
        return
    if not documents:
        yield not_one_document(file, documents)
    for document in documents:
        yield _read(document, source)


def _read(document: Document, source: Source) -> StackDefinition | DefinitionInvalid:
    try:
        return StackDefinition._from_document(document, source)  # noqa: SLF001  this module's own class
    except DefinitionInvalid as invalid:
        return invalid


def _invalid(problems: Sequence[DefinitionProblem], value: Any) -> DefinitionInvalid:
    name, version = name_and_version(value)
    return DefinitionInvalid(problems, stack_name=name, stack_version=version)
