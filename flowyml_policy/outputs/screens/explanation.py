"""What `stack show` prints: a stack, where it came from, and how it was found, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from flowyml_policy.definitions.model import API_VERSION
from flowyml_policy.definitions.schema_b import API_VERSION_B
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.definitions.text import definition_yaml
from flowyml_policy.documents.writer import write_yaml
from flowyml_policy.errors.definitions import DefinitionInvalid, SchemaTooNarrow
from flowyml_policy.mask.reports import error_report
from flowyml_policy.mask.text import mask
from flowyml_policy.mask.value import mask_value
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Look, Screen, printable
from flowyml_policy.records.record import Json

if TYPE_CHECKING:
    from flowyml_policy.resolution.explanation import Explanation

_LOOKS: Final[dict[str, Look]] = {
    "chosen": {"fg": "green", "bold": True},
    "broken": {"fg": "red", "bold": True},
    "not set": {"dim": True},
    "not asked": {"dim": True},
}
_MARGIN: Final = 13
_VERDICT: Final = len("not asked")


@dataclass(frozen=True)
class Shown:
    """What is to be shown: how a stack was resolved, and its document in the schema that was asked for."""

    told: Explanation
    document: dict[str, Json] | None
    explain: bool

    @staticmethod
    def written(definition: StackDefinition, schema: str | None) -> dict[str, Json]:
        """The definition's document in `schema`, or as it was written. Raises SchemaTooNarrow."""
        schema = definition.written_schema if schema is None else schema
        if schema == API_VERSION_B:
            return definition.to_schema_b()
        values = definition.set_values()
        if definition.written_schema != API_VERSION:
            try:
                StackDefinition.from_dict(values)
            except DefinitionInvalid as error:
                reasons = [problem.message for problem in error.problems]
                raise SchemaTooNarrow(definition.metadata.name, API_VERSION, reasons) from error
        return values


def _table(screen: Screen, shown: Shown) -> None:
    if shown.explain:
        for line in _steps(screen, shown.told):
            screen.line(line)
    resolved = shown.told.resolved
    if resolved is None or shown.document is None:
        return
    if shown.explain:
        screen.line()
    screen.line(screen.style(printable(resolved.title), bold=True))
    for name, value in resolved.facts():
        for line in screen.wrap(printable(value), first=f"{name:<{_MARGIN}}"):
            screen.line(line)
    screen.line()
    for line in _yaml_text(shown.document).splitlines():
        screen.line(line)


def _steps(screen: Screen, told: Explanation) -> Iterator[str]:
    """Each step of the chain, then each place in which its reference was looked up."""
    width = max(len(step.name) for step in told.steps)
    for number, step in enumerate(told.steps, 1):
        verdict = screen.style(step.verdict, **_LOOKS[step.verdict])
        blanks = " " * (_VERDICT + 2 - len(step.verdict))
        found = "" if step.found is None else f"{blanks}{printable(step.found) or repr(step.found)}"
        yield f"{number}. {step.name:<{width}}  {verdict}{found}"
        if step.looked_at:
            yield from screen.wrap(printable(f"{step.looked_at}: {step.why}"), indent=3 + width + 2)
    if told.environment is not None:
        yield from screen.wrap(printable(told.environment), first="demanded  ")
    for place in told.places:
        yield from screen.wrap(printable(f"{place.where}: {place.found}"), first="looked in ")
    if told.error is not None:
        yield from screen.wrap(printable(error_report(told.error).message), first="failed    ")


def _yaml(screen: Screen, shown: Shown) -> None:
    """The definition alone; how it was found stands before it, as comments."""
    if shown.explain:
        for line in _steps(Screen(screen.stream, screen.width - 2), shown.told):
            screen.line(f"# {line}")
    if shown.document is not None:
        screen.stream.write(_yaml_text(shown.document))


def _yaml_text(document: Mapping[str, Json]) -> str:
    return definition_yaml(document) if document.get("apiVersion") == API_VERSION else write_yaml(dict(document))


def _json(screen: Screen, shown: Shown) -> None:
    """One document, version 1; ASCII, so that no locale can spoil it."""
    told, resolved = shown.told, shown.told.resolved
    value: dict[str, Any] = {"stack": None}
    if resolved is not None:
        metadata = resolved.definition.metadata
        value |= {
            "stack": {"name": metadata.name, "version": metadata.version},
            "reference": mask(resolved.reference),
            "step": resolved.step,
            "environment": resolved.environment,
            "provenance": mask_value(resolved.provenance.model_dump(mode="json")),
            "definition_digest": resolved.definition.digest,
            "lock": None if resolved.lock is None else resolved.lock.model_dump(mode="json"),
            "definition": shown.document,
        }
    if shown.explain:
        error = told.error
        value["explanation"] = {
            "steps": [asdict(step) for step in told.steps],
            "places": [asdict(place) for place in told.places],
            "demanded": told.environment,
            "error": None if error is None else error_report(error).model_dump(),
        }
    print_json(screen, value)


SHOW: Final[dict[str, Callable[[Screen, Shown], None]]] = {"table": _table, "yaml": _yaml, "json": _json}
