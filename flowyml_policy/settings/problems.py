"""What pydantic says of a settings file, in the words and places of the one who wrote it.

Rules:
- Every problem names the key as it is written, the line that it stands on, and what to write instead.
- Values of `policy.opa.config`, addresses and what stands under a secret's name never appear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args, get_origin

from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.mask.names import names_a_secret
from flowyml_policy.records.record import Json, Key, KeyPath
from flowyml_policy.references.url import BadValue, shown
from flowyml_policy.settings.types import Section

_DICT_KEY: Final = "[key]"
_STACK_TAG: Final = 2
"""Where pydantic puts the kind of a stack's source into a path: after `stacks` and the stack's name."""

_WANTED: Final = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_SIDES: Final = {"greater_than_equal": "at least", "less_than_equal": "at most"}
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})


def problems_of(error: ValidationError, document: Document, model: type[Section]) -> list[SettingsProblem]:
    """Every problem that `error` found in `document`, which should be a `model`, in the order of the file."""
    found = [_problem(detail, document, model) for detail in error.errors(include_url=False)]
    return in_file_order(found)


def in_file_order(problems: Sequence[SettingsProblem]) -> list[SettingsProblem]:
    """`problems` of one file by line and column."""
    return sorted(problems, key=lambda problem: (problem.location.line, problem.location.column))


def _problem(detail: ErrorDetails, document: Document, model: type[Section]) -> SettingsProblem:
    path, is_key = _written_path(detail["loc"])
    kind = detail["type"]
    if kind == "extra_forbidden":
        what, fix = refused_key(model, path[:-1], str(path[-1]), document.value)
        return SettingsProblem(f"{what} `{dotted(path)}`", location=document.key_location(path), fix=fix)
    if kind == "missing":
        return SettingsProblem(
            f"`{dotted(path)}` is missing",
            location=document.key_location(path[:-1]),
            fix=f"add `{path[-1]}: ...`",
        )
    if kind == "union_tag_invalid":
        path = (*path, "source")
    what, fix = _complaint(detail, document, path)
    if is_key:
        return SettingsProblem(f"the key `{dotted(path)}` {what}", location=document.key_location(path), fix=fix)
    subject = f"`{dotted(path)}`" if path else "the file"
    return SettingsProblem(f"{subject} {what}", location=document.location(path), fix=fix)


def _written_path(loc: tuple[int | str, ...]) -> tuple[KeyPath, bool]:
    """`loc` without pydantic's own steps, and whether it means the key itself rather than its value."""
    path = list(loc)
    is_key = bool(path) and path[-1] == _DICT_KEY
    if is_key:
        path.pop()
    if path[:1] == ["stacks"] and len(path) > _STACK_TAG:
        del path[_STACK_TAG]
    return tuple(path), is_key


def _complaint(detail: ErrorDetails, document: Document, path: KeyPath) -> tuple[str, str]:
    """What is wrong with the value at `path`, and what to write."""
    kind, value = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, BadValue):
        return cause.what, cause.fix
    if value is None:
        return "has no value", "write one, or take the key out"
    if names_a_secret(path) or path[-1:] == ("token_env",):
        return _unshown(kind, value)
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {kind_of(value)}", _retyped(kind, document, path, value)
    return _outside(kind, value, context, detail["msg"])


def _unshown(kind: str, value: Json) -> tuple[str, str]:
    """The same for a value that no message may repeat."""
    if kind not in _WANTED:
        return "is not valid", "`flowyml-policy schema settings` prints what may stand there"
    quoted = kind == "string_type" and isinstance(value, bool | int | float)
    fix = "put it in quotes" if quoted else f"write {_WANTED[kind]}"
    return f"must be {_WANTED[kind]}, not {kind_of(value)}", fix


def _outside(kind: str, value: Json, context: Mapping[str, Any], message: str) -> tuple[str, str]:
    """The same for a value of the right type that is none of those it may be."""
    if kind == "literal_error":
        return _choice(value, str(context["expected"]))
    if kind == "union_tag_invalid":
        return _choice(value["source"], str(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return "does not say where it is kept", "add `source:` local, github, gitlab, git, http or registry"
    if kind in _SIDES:
        side = f"{_SIDES[kind]} {context.get('ge', context.get('le'))}"
        return f"must be {side}", f"write a number that is {side}"
    return f"is not valid: {message}", "`flowyml-policy schema settings` prints what may stand there"


def _choice(value: Json, expected: str) -> tuple[str, str]:
    choices = [choice.strip("' ") for choice in expected.replace(" or ", ", ").split(",")]
    words = f"{', '.join(choices[:-1])} or {choices[-1]}"
    given = shown(value) if isinstance(value, str) else kind_of(value)
    return f"must be {words}, not {given}", hint_for_choice(value, choices)


def _retyped(kind: str, document: Document, path: KeyPath, value: Json) -> str:
    """How the same value is written in the type that is wanted."""
    if kind == "tuple_type":
        return _as_list(value)
    if kind == "string_type":
        return _as_text(value, document.written(path))
    if kind == "bool_type":
        return _as_boolean(value)
    return f"write {_WANTED[kind]}"


def _as_list(value: Json) -> str:
    whole = isinstance(value, str) and value and shown(value) == repr(value)
    return f"write [{value}]" if whole else "write a list: [...]"


def _as_text(value: Json, written: str) -> str:
    if isinstance(value, bool | int | float):
        return f'put it in quotes: "{written}"'
    if isinstance(value, dict) and len(value) == 1:
        ((name, wanted),) = value.items()
        if names_a_secret([name]):
            return f"write {name}=, and then the value, as one string"
        if isinstance(wanted, str | bool):
            return f"write {name}={str(wanted).lower() if isinstance(wanted, bool) else wanted}"
    return "write a string"


def _as_boolean(value: Json) -> str:
    word = str(value).lower()
    return "write true" if word in _YES else "write false" if word in _NO else "write true or false"


def kind_of(value: Json) -> str:
    """What a value is, in the words of YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "a number"


CLOSE: Final = 0.8
SIMILAR: Final = 0.6
MANY_PLACES: Final = 2
MANY_KEYS: Final = 12
_FOREIGN_KEYS: Final[frozenset[KeyPath]] = frozenset(
    {("project", "version"), ("project", "description"), ("environments", "<name>", "variables")}
)


def refused_key(model: type[Section], parent: Sequence[Key], key: str, value: Json) -> tuple[str, str]:
    """What `key` under `parent` is, in a file of kind `model` that reads `value`, and what to write instead."""
    if _foreign(parent, key):
        return "unknown key", "FlowyML's own example has it, and FlowyML itself refuses it; take it out"
    section = _section_at(model, parent, value)
    known = _fields(section) if section else {}
    if key in known:
        return "the key stands twice, also as", "keep one of the two"
    return "unknown key", _hint(model, key, sorted(known))


def _foreign(parent: Sequence[Key], key: str) -> bool:
    """Whether `key` under `parent` is one that FlowyML's documents have and its reader does not."""
    where = tuple("<name>" if number == 1 else step for number, step in enumerate(parent))
    return (*where, key) in _FOREIGN_KEYS


def _hint(model: type[Section], key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=CLOSE)
    if near:
        return f"did you mean `{near[0]}`?"
    places = [place for name, place in _every_key(model) if name == key]
    if 0 < len(places) <= MANY_PLACES:
        return f"this key belongs under {' or '.join(f'`{place}`' for place in places)}"
    near = get_close_matches(key, known, n=1, cutoff=SIMILAR)
    if near:
        return f"did you mean `{near[0]}`?"
    if 0 < len(known) <= MANY_KEYS:
        return f"take it out; here may stand {', '.join(known)}"
    return "take it out; `flowyml-policy schema settings` prints what may stand there"


def hint_for_choice(value: Json, choices: Sequence[str]) -> str:
    """What to write instead of `value`, which is none of `choices`."""
    if value == "disabled":
        return "a project can only tighten; the company's policy data may switch a code off"
    if value is False and "off" in choices:
        return "write off"
    near = get_close_matches(value.lower(), choices, n=1, cutoff=SIMILAR) if isinstance(value, str) else []
    return f"did you mean {near[0]}?" if near else f"write one of {', '.join(choices)}"


def _section_at(model: type[Section], path: Sequence[Key], value: Json) -> type[Section] | None:
    """The section that stands at `path`; None where there is none, as inside a free mapping."""
    annotation: Any = model
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
        section = _chosen(annotation, None)
        annotation = _fields(section)[str(step)].annotation if section else _entry_type(annotation)
        chosen = _chosen(annotation, value)
        annotation = chosen or annotation
    return _chosen(annotation, value)


def _chosen(annotation: Any, value: Json) -> type[Section] | None:
    """The section that `annotation` is, or that `value` chooses of its alternatives by `source`."""
    sections = list(_sections(annotation))
    if len(sections) == 1:
        return sections[0]
    source = value.get("source") if isinstance(value, dict) else None
    for section in sections:
        if source in get_args(section.model_fields["source"].annotation):
            return section
    return None


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif get_origin(annotation) not in {dict, tuple}:
        for part in get_args(annotation):
            yield from _sections(part)


def _entry_type(annotation: Any) -> Any:
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def _fields(section: type[Section]) -> dict[str, FieldInfo]:
    """The fields of `section` by every spelling of their keys."""
    found: dict[str, FieldInfo] = {}
    for name, field in section.model_fields.items():
        choices = field.validation_alias
        spellings = choices.choices if isinstance(choices, AliasChoices) else [name]
        found.update((str(spelling), field) for spelling in spellings)
    return found


def _every_key(section: type[Section], under: str = "") -> Iterator[tuple[str, str]]:
    """Every key below the top of a file with the place that it belongs under: ("deadline", "policy.opa")."""
    for name, field in section.model_fields.items():
        place = f"{under}.{name}" if under else name
        inner = field.annotation
        if get_origin(inner) is dict:
            inner, place = get_args(inner)[1], f"{place}.<name>"
        for child in _sections(inner):
            if (under, name) == ("project", "policies"):
                continue
            for key in _fields(child):
                yield key, place
            yield from _every_key(child, place)
