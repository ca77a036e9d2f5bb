"""StackDefinition: a definition that was read, in either schema, and where it came from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic import PrivateAttr, ValidationError
from typing_extensions import Self

from flowyml_policy.definitions.files import local_source
from flowyml_policy.definitions.model import API_VERSION, KIND, Definition
from flowyml_policy.definitions.problems import (
    explain_validation,
    explain_yaml,
    in_file_order,
    name_and_version,
    no_stack,
    not_one_document,
    unencodable,
)
from flowyml_policy.definitions.schema_b import API_VERSION_B, Conversion, is_schema_b, to_schema_b, written_path
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.errors.definitions import DefinitionInvalid, DefinitionProblem, SchemaTooNarrow
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Json, Key, KeyPath, Location, computed_once
from flowyml_policy.system.files import display_path, read_file

if TYPE_CHECKING:
    from flowyml_policy.records.provenance import Provenance

STACKS_GROUP: Final = "flowyml_policy.stacks"
"""The group of entry points that make another program's stack of a definition."""
_INSTALL: Final = "pip install 'flowyml-policy[flowyml]'"
_AN_OBJECT: Final = Source(kind="object", uri="object")


class _Origin(NamedTuple):
    """What a definition was read from; `document` is None for one that no file holds.

    `written` is what its author wrote where that is not the file's document, `converted` the same in schema A's terms
    where that was another schema. `provenance` is where it was resolved to.
    """

    source: Source = _AN_OBJECT
    document: Document | None = None
    written: dict[str, Json] | None = None
    converted: dict[str, Json] | None = None
    provenance: Provenance | None = None


class StackDefinition(Definition):
    """A stack definition, in schema A's terms. Make one with `from_yaml`, `from_file` or `from_dict`.

    They take schema A and FlowyML's own (`flowyml.io/v1`), and tell them apart by the document's first keys.

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
        data = read_file(path, most=Limits().size)
        return cls.from_yaml(data, display_path(path), source=local_source(path, data))

    @classmethod
    def from_dict(cls, value: Mapping[str, Json], *, source: Source | None = None) -> Self:
        """The definition that a mapping holds, in either schema. Later changes to `value` do not reach it."""
        given = dict(value) if isinstance(value, Mapping) else value
        if is_schema_b(given):
            given = copy.deepcopy(given)
        definition = cls._validated(given, None, source or _AN_OBJECT)
        problems = unencodable(definition.document)
        if problems:
            raise _invalid(problems, given)
        return definition

    @classmethod
    def from_instance(cls, value: Mapping[str, Json], facts: Mapping[str, Json], *, source: Source) -> Self:
        """The definition that stands for a live object: schema A's keys, and `facts` in the section `spec.instance`.

        No file can have that section. The digest and the policy input cover it.
        """
        definition = cls.from_dict(value, source=source)
        document = copy.deepcopy(definition.document)
        document["spec"]["instance"] = copy.deepcopy(dict(facts))
        problems = unencodable(document)
        if problems:
            raise _invalid(problems, document)
        definition._origin = definition._origin._replace(written=document)
        definition.__dict__.pop("document")  # what was kept of it before it had those facts
        return definition

    @classmethod
    def _from_document(cls, document: Document, source: Source) -> Self:
        return cls._validated(document.value, document, source)

    @classmethod
    def _validated(cls, value: Json, document: Document | None, source: Source) -> Self:
        if is_schema_b(value):
            return cls._from_schema_b(value, document, source)
        problem = no_stack(value, document)
        if problem is not None:
            raise _invalid([problem], value)
        try:
            definition = cls.model_validate(value)
        except ValidationError as error:
            raise _invalid(explain_validation(error, value, document), value) from error
        definition._origin = _Origin(source, document)
        return definition

    @classmethod
    def _from_schema_b(cls, value: dict[str, Json], document: Document | None, source: Source) -> Self:
        from flowyml_policy.definitions.schema_b_model import WideParts

        conversion = Conversion(value, document).run()
        parts, problems = None, conversion.problems
        try:
            known = {part: conversion.value[part] for part in ("metadata", "spec") if part in conversion.value}
            parts = WideParts.model_validate(known)
        except ValidationError as error:
            written = partial(written_path, value)
            problems = in_file_order([*problems, *explain_validation(error, conversion.value, document, written)])
        if parts is None or problems:
            raise _invalid(problems, value)
        definition = cls.model_construct(api_version=API_VERSION, kind=KIND, metadata=parts.metadata, spec=parts.spec)
        definition._origin = _Origin(source, document, value, conversion.value)
        return cast("Self", definition)

    @computed_once
    def document(self) -> dict[str, Json]:
        """The document as its author wrote it. Treat it as read-only."""
        origin = self._origin
        if origin.written is not None:
            return origin.written
        value: dict[str, Json] = (
            self.model_dump(by_alias=True, exclude_unset=True) if origin.document is None else origin.document.value
        )
        return value

    def set_values(self) -> dict[str, Json]:
        """The keys that the author set, in schema A's terms, without defaults. Treat it as read-only.

        For a document in schema B it has keys that schema A does not know: `definitions.wide_model` lists them.
        """
        converted = self._origin.converted
        return self.document if converted is None else converted

    @property
    def written_schema(self) -> str:
        """The apiVersion of the schema that the author wrote it in."""
        return API_VERSION if self._origin.converted is None else API_VERSION_B

    def to_schema_b(self) -> dict[str, Json]:
        """This definition as FlowyML's own schema writes it, with the keys that the author set and no others.

        Raises SchemaTooNarrow where that schema has no place for all of it.
        """
        result, homeless = to_schema_b(self.set_values())
        reasons = [f"it has no place for {dotted(path)}" for path in homeless]
        if self._origin.converted is None and self.spec.storage.artifact_store is not None:
            reasons.append("it needs the kind of spec.storage.artifact_store, which is not said")
        try:
            StackDefinition.from_dict(result)
        except DefinitionInvalid as error:
            reasons += [problem.message for problem in error.problems]
        if reasons:
            raise SchemaTooNarrow(self.metadata.name, API_VERSION_B, reasons)
        return result

    def to_stack(self) -> Any:
        """FlowyML's stack of this definition, with everything that such a stack has a place for.

        What has none is named in a UserWarning. Raises UsageError where FlowyML is not installed, StackUnbuildable
        where it would run the stack elsewhere than the definition says (`policy.run_locally` allows it for a backend),
        SettingsInvalid.
        """
        from importlib.metadata import entry_points

        found = next(iter(entry_points(group=STACKS_GROUP, name="flowyml")), None)
        if found is None:
            raise UsageError("flowyml-policy is not installed as a package", advice=f"run {_INSTALL}")
        return found.load()(self)

    @computed_once
    def digest(self) -> str:
        """The SHA-256 of the canonical JSON of `set_values()`: what identifies this definition, wherever it stands."""
        return canonical_digest(self.set_values())

    @property
    def source(self) -> Source:
        return self._origin.source

    @property
    def provenance(self) -> Provenance | None:
        """Where it was resolved to, to the commit; None for a definition that was read without resolving."""
        return self._origin.provenance

    def located(self, provenance: Provenance) -> Self:
        """The same definition, which says that it came from there."""
        found = self.model_copy()
        origin = self._origin._replace(source=provenance.as_source(), provenance=provenance)
        found._origin = origin
        return found

    @property
    def file(self) -> str | None:
        """The file it stands in, as locations call it; None for a definition that no file holds."""
        document = self._origin.document
        return document.file if document else None

    def location(self, path: Sequence[Key] = ()) -> Location | None:
        """Where the value at `path`, in schema A's terms, stands, or its nearest existing parent.

        None for a definition that no file holds.
        """
        document = self._origin.document
        return None if document is None else document.location(self.written_path(path))

    def written_path(self, path: Sequence[Key]) -> KeyPath:
        """`path`, in schema A's terms, as it leads into `document`."""
        return tuple(path) if self._origin.converted is None else written_path(self.document, tuple(path))

    def __eq__(self, other: object) -> bool:
        return self.set_values() == other.set_values() if isinstance(other, StackDefinition) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)


def read_definitions(
    data: bytes, file: str, source: Source, *, passed_over: list[str] | None = None
) -> Iterator[StackDefinition | DefinitionInvalid]:
    """One item for each document of a file, in order: the definition, or why it is none.

    Never raises for what the bytes hold. A file that is no YAML, or has no document, gives one DefinitionInvalid.
    Where `passed_over` is given, FlowyML's own index of stacks gives no item, and is put there in words.
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
        if passed_over is not None and _is_index(document.value):
            passed_over.append(f"{document.location()} is FlowyML's own index of stacks, and was not judged")
        else:
            yield _read(document, source)


def _is_index(value: Json) -> bool:
    """Whether a document is a `kind: StackRegistry` of FlowyML, which lists files of stacks and holds none."""
    return isinstance(value, dict) and value.get("kind") == "StackRegistry" and "spec" not in value


def _read(document: Document, source: Source) -> StackDefinition | DefinitionInvalid:
    try:
        return StackDefinition._from_document(document, source)
    except DefinitionInvalid as invalid:
        return invalid


def _invalid(problems: Sequence[DefinitionProblem], value: Any) -> DefinitionInvalid:
    name, version = name_and_version(value)
    return DefinitionInvalid(problems, stack_name=name, stack_version=version)
