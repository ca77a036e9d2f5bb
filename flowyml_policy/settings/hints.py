"""What an unknown key or word in a settings file was probably meant to be. Only errors pay for this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from flowyml_policy.records.record import Json, Key
from flowyml_policy.settings.section import Section

CLOSE: Final = 0.8
SIMILAR: Final = 0.6
MANY_PLACES: Final = 2
MANY_KEYS: Final = 12


def refused_key(model: type[Section], parent: Sequence[Key], key: str, value: Json) -> tuple[str, str]:
    """What `key` under `parent` is, in a file of kind `model` that reads `value`, and what to write instead."""
    section = _section_at(model, parent, value)
    known = _fields(section) if section else {}
    if key in known:
        return "the key stands twice, also as", "keep one of the two"
    return "unknown key", _hint(model, key, sorted(known))


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
