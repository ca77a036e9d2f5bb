"""What is wrong with a document, in words its author can act on: where, what, and how to write it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from flowyml_policy.definitions.model import API_VERSION, KIND, KNOWN_KEYS, LONGEST_NAME
from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import SHORT, dotted
from flowyml_policy.errors.definitions import DefinitionInvalid, DefinitionProblem
from flowyml_policy.errors.documents import YamlInvalid, YamlTooLarge
from flowyml_policy.mask.names import names_a_secret
from flowyml_policy.records.record import Json, KeyPath, Location

_KEY_ERROR: Final = "[key]"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}")
_BOUNDS: Final = ("nodes_order", "instances_order")
_WANTED: Final = {  # pydantic's error type: what should stand there
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "bool_type": "true or false",
    "float_type": "a number",
    "list_type": "a list",
}


def no_stack(value: Json, document: Document | None) -> DefinitionProblem | None:
    """The problem of a document that is no schema A stack, nor means to be one: looking further would mislead."""
    where = document.location() if document else None
    if not isinstance(value, dict):
        message = f"the document is {_described(value)}, no stack definition"
        fix = f"begin it with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
        if value is None:
            fix = "take it out"
        elif isinstance(value, str) and ":" in value:
            fix = "put a blank after each colon"
        return DefinitionProblem("definition.kind", message, fix=fix, location=where)
    version, kind = value.get("apiVersion"), value.get("kind")
    if version == API_VERSION or kind == KIND:
        return None
    fix = f"write `apiVersion: {API_VERSION}` and `kind: {KIND}`, or keep the file elsewhere"
    if "kind" not in value:
        return DefinitionProblem("definition.kind", "the document is no stack definition", fix=fix, location=where)
    shown = repr(kind[:SHORT]) if isinstance(kind, str) else _described(kind)
    location = document.location(("kind",)) if document else None
    message = f"the document is no stack definition: its kind is {shown}"
    return DefinitionProblem("definition.kind", message, fix=fix, location=location, path=("kind",))


def not_one_document(file: str, documents: Sequence[Document]) -> DefinitionInvalid:
    """For a file that must hold a definition and holds no document, or must hold one and holds several."""
    if documents:
        location = documents[1].location()
        message = f"the file holds {len(documents)} documents where one definition is expected"
        problem = DefinitionProblem("definition.kind", message, fix="keep one", location=location)
    else:
        fix = f"write a definition, which begins with `apiVersion: {API_VERSION}`, or take the file away"
        where = Location(file=file, line=1, column=1)
        problem = DefinitionProblem("definition.kind", "the file holds no document", fix=fix, location=where)
    return DefinitionInvalid([problem])


def explain_yaml(error: YamlInvalid) -> DefinitionInvalid:
    """A file that could not be read as YAML, as a definition that is invalid."""
    code = "definition.size" if isinstance(error, YamlTooLarge) else "definition.yaml"
    return DefinitionInvalid([DefinitionProblem(code, error.problem, fix=error.fix, location=error.location)])


def name_and_version(value: Json) -> tuple[str | None, str | None]:
    """The document's own name and version, as far as they are text."""
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict):
        return None, None
    name, version = metadata.get("name"), metadata.get("version")
    return (
        name[:LONGEST_NAME] if isinstance(name, str) else None,
        version[:LONGEST_NAME] if isinstance(version, str) else None,
    )


def explain_validation(
    error: ValidationError, value: Json, document: Document | None, written: Callable[[KeyPath], KeyPath] | None = None
) -> list[DefinitionProblem]:
    """Every problem that pydantic found in the mapping `value`, in the order in which they stand in the file.

    `written` says where the file has what the model has at a path, for a file in another schema's spelling.
    """
    problems = []
    for detail in error.errors(include_url=False):
        path = (*detail["loc"], "min_nodes") if detail["type"] in _BOUNDS else tuple(detail["loc"])
        problem = _problem({**detail, "loc": written(path) if written else path}, value, document)
        if written is not None:
            problem.path = path
            if path == ("spec",) and detail["type"] == "missing":
                problem.fix = "add `spec:`"
        problems.append(problem)
    return in_file_order(problems)


def in_file_order(problems: Sequence[DefinitionProblem]) -> list[DefinitionProblem]:
    """`problems` as they stand in the file; those of a definition that no file holds stay as they are."""
    return sorted(problems, key=lambda one: (one.location.line, one.location.column) if one.location else (0, 0))


def unencodable(value: Json, path: KeyPath = ()) -> list[DefinitionProblem]:
    """A problem for each text of a validated mapping that UTF-8 cannot hold; pydantic lets some of them pass."""
    found: list[DefinitionProblem] = []
    for key, item in value.items():
        if not _is_encodable(key):
            message = f"{dotted(path)} has a key that UTF-8 cannot hold"
            found.append(_no_utf8(message, path))
        elif isinstance(item, dict):
            found += unencodable(item, (*path, key))
        elif any(
            isinstance(one, str) and not _is_encodable(one) for one in (item if isinstance(item, list) else [item])
        ):
            found.append(_no_utf8(f"{dotted((*path, key))} is text that UTF-8 cannot hold", (*path, key)))
    return found


def _no_utf8(message: str, path: KeyPath) -> DefinitionProblem:
    fix = _BAD_VALUES["string_unicode"][1]
    return DefinitionProblem("definition.value", message, fix=fix, location=None, path=path)


def _is_encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _problem(detail: Any, value: Json, document: Document | None) -> DefinitionProblem:
    kind, path, given = detail["type"], tuple(detail["loc"]), detail["input"]
    if kind == "missing":
        return _missing(path, document)
    if kind == "extra_forbidden":
        return _unknown(path, value, document)
    if kind == "invalid_key" or (len(path) > 1 and path[-1] == _KEY_ERROR):
        return bad_key(path, given, document)
    location = document.location(path) if document else None
    if kind == "literal_error":
        wanted = {"apiVersion": API_VERSION, "kind": KIND}.get(str(path[0]))
        return (
            _not_one_of(path, given, detail["ctx"], location)
            if wanted is None
            else other_header(path, given, location, wanted)
        )
    if kind in _WANTED:
        return _wrong_type(path, given, _WANTED[kind], document)
    name = dotted(path[:-1] if kind in _BOUNDS else path)
    message, fix = _bad_value(kind, name, given, detail.get("ctx") or {})
    return DefinitionProblem("definition.value", message, fix=fix, location=location, path=path)


def _missing(path: KeyPath, document: Document | None) -> DefinitionProblem:
    location = document.location(path) if document else None
    fix = {"apiVersion": f"write `apiVersion: {API_VERSION}`", "kind": f"write `kind: {KIND}`"}.get(
        str(path[-1]), "write `spec: {}` if it has none" if path[-1] == "spec" else f"add `{path[-1]}:`"
    )
    return DefinitionProblem(
        "definition.missing_key", f"{dotted(path)} is missing", fix=fix, location=location, path=path
    )


def _unknown(path: KeyPath, value: Json, document: Document | None) -> DefinitionProblem:
    location = document.key_location(path) if document else None
    parent = tuple(str(step) for step in path[:-1])
    level: Any = value
    for step in parent:
        level = level[step]
    taken = frozenset(level) if isinstance(level, Mapping) else frozenset()
    message = f"{dotted(path)} is no key of a stack definition"
    fix = unknown_key_fix(str(path[-1]), parent, KNOWN_KEYS, taken)
    return DefinitionProblem("definition.unknown_key", message, fix=fix, location=location, path=path)


def bad_key(path: KeyPath, given: Any, document: Document | None) -> DefinitionProblem:
    """The problem of a mapping whose key, the last of `path`, is not text."""
    place = path[:-2] if path[-1] == _KEY_ERROR else path[:-1]
    location = document.location(place) if document else None
    where = dotted(place) if place else "the definition"
    message = f"{where} has a key that is {_described(given)}, not text"
    return DefinitionProblem("definition.type", message, fix="use text as the key", location=location, path=place)


def other_header(path: KeyPath, given: Any, location: Location | None, wanted: str) -> DefinitionProblem:
    """The problem of an apiVersion or kind that is not the one `wanted`."""
    code = "definition.api_version" if path == ("apiVersion",) else "definition.kind"
    if not isinstance(given, str):
        code = "definition.type"
    shown = repr(given[:SHORT]) if isinstance(given, str) else _described(given)
    message = f"{dotted(path)} is {shown}, not {wanted}"
    return DefinitionProblem(code, message, fix=f"write `{path[-1]}: {wanted}`", location=location, path=path)


def _not_one_of(path: KeyPath, given: Any, context: Mapping[str, Any], location: Location | None) -> DefinitionProblem:
    shown = repr(given[:SHORT]) if isinstance(given, str) else _described(given)
    code = "definition.value" if isinstance(given, str) else "definition.type"
    message = f"{dotted(path)} is {shown}" + ("" if given is None else ", which is no choice")
    fix = f"write one of {str(context['expected']).replace(chr(39), '')}"
    return DefinitionProblem(code, message, fix=fix, location=location, path=path)


def _wrong_type(path: KeyPath, given: Any, wanted: str, document: Document | None) -> DefinitionProblem:
    name, location = dotted(path), document.location(path) if document else None
    fix = f"write {wanted}"
    if given is None:
        message = f"{name} is empty"
        below = "write its keys below it" if path == ("metadata",) else "write its keys below it, or `{}`"
        fix = below if wanted == "a mapping" else f"write {wanted} after it, or take the key out"
    else:
        secret = names_a_secret(path)
        written = "" if secret else _spelled(path, given, document)
        described = _described(given)
        shown = f"the {described.removeprefix('a ')} {written}" if written else described
        message = f"{name} is {shown}, not {wanted}"
        if wanted == "text" and written:
            fix = f'put it in quotes: "{written}"'
        elif wanted == "text" and secret and isinstance(given, bool | int | float):
            fix = "put it in quotes"
        elif wanted == "a whole number" and not secret and isinstance(given, str) and _WHOLE_NUMBER.fullmatch(given):
            fix = f"write {int(given)} without quotes"
    return DefinitionProblem("definition.type", message, fix=fix, location=location, path=path)


def _spelled(path: KeyPath, given: Any, document: Document | None) -> str:
    """A number or boolean as its author spelled it; empty for whatever else, and where it would fill the screen."""
    if not isinstance(given, bool | int | float) or (type(given) is int and given.bit_length() > SHORT):
        return ""
    return document.written(path) if document else str(given)


def _bad_value(kind: str, name: str, given: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a value of the right type, and what to write."""
    message, fix = _BAD_VALUES.get(kind, ("{name} cannot be used", "write another value"))
    known = {"name": name, "given": given, "length": len(given) if isinstance(given, str) else 0, **context}
    return message.format_map(known), fix.format_map(known)


_BAD_VALUES: Final = {  # pydantic's error type: what is wrong, what to do
    "string_too_short": ("{name} is an empty text", "write a value, or take the key out"),
    "string_too_long": ("{name} has {length} characters, more than {max_length}", "shorten it"),
    "greater_than_equal": ("{name} is less than {ge:g}", "write {ge:g} or more"),
    "less_than_equal": ("{name} is more than {le}", "write a smaller number"),
    "nodes_order": (
        "{name}: min_nodes {given[min_nodes]} is more than max_nodes {given[max_nodes]}",
        "raise max_nodes, or lower min_nodes",
    ),
    "instances_order": (
        "{name}: minInstances {given[min_nodes]} is more than maxInstances {given[max_nodes]}",
        "raise maxInstances, or lower minInstances",
    ),
    "finite_number": ("{name} is no finite number", "write a number"),
    "packages_overlap": ("{name} allows and denies the package {package!r}", "take it out of one of the lists"),
    "not_canonical": (
        "{name} holds a value that has no exact JSON form",
        "use text as keys; finite numbers, and whole ones up to 2**53 - 1",
    ),
    "string_unicode": ("{name} is text that UTF-8 cannot hold", "take the lone surrogates out"),
}


def _described(value: Any) -> str:
    """What kind of thing `value` is, without saying it."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "empty" if value is None else f"a {type(value).__name__}"


_KINDS: Final[tuple[tuple[Any, str], ...]] = (
    (bool, "a boolean"),
    (int | float, "a number"),
    (str, "text"),
    (dict, "a mapping"),
    (list | tuple, "a list"),
)


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NEAR: Final = 0.7


def unknown_key_fix(
    key: str, parent: tuple[str, ...], known: Mapping[tuple[str, ...], Collection[str]], taken: Collection[str]
) -> str:
    """What to write instead of `key` under `parent`: one sentence without an end.

    `known` holds the keys of every level, `taken` those that stand beside it already and need no proposal.
    """
    if ":" in key and not key.startswith(":"):
        secret = names_a_secret([key.partition(":")[0]])
        return "put a blank after the colon" + ("" if secret else f": `{key.replace(':', ': ', 1)}`")
    here = known.get(parent, ())
    snake = _HUMP.sub("_", key).replace("-", "_").lower()
    folded = {one.replace("_", "").lower(): one for one in here}
    same = folded.get(snake.replace("_", ""))
    if same:
        return f"write `{same}`" if same not in taken else f"take it out; `{same}` is there already"
    level = _level_of(key, parent, known)
    if level is not None:
        return f"move it to {'.'.join(level) or 'the top level'}"
    level = _level_of(snake, parent, known)
    if level is not None:
        return f"move it to {'.'.join(level) or 'the top level'} as `{snake}`"
    near = difflib.get_close_matches(snake, list(here), n=1, cutoff=_NEAR)
    if near:
        return f"did you mean `{near[0]}`?" if near[0] not in taken else f"join it with `{near[0]}`, or take it out"
    return f"take it out; known here: {', '.join(here)}"


def _level_of(
    key: str, parent: tuple[str, ...], known: Mapping[tuple[str, ...], Collection[str]]
) -> tuple[str, ...] | None:
    """The other level that knows `key`, if there is exactly one."""
    levels = [level for level, keys in known.items() if level != parent and key in keys]
    return levels[0] if len(levels) == 1 else None
