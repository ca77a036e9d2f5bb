"""What the project's demands must be besides well-formed: rule data as strict as the keys, and no contradiction.

Rules:
- Rule data of a shipped rule that says the same as a key of `policies` is checked as that key is.
- Globs stand in lists of rule data whose key is `stacks` or ends in `_stacks`, and in `denied` of `images_tag`
  (rego/flowyml/lib/rule_data).
- Two values for one label are a demand that nothing can meet, wherever the two stand.
- Values of another type are left to the rule, which says what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.records.record import Json, KeyPath, Location
from flowyml_policy.references.glob import STACK_NAMES, TAG_NAMES
from flowyml_policy.references.label_demand import contradicts, label_demand
from flowyml_policy.references.url import BadValue, shown
from flowyml_policy.settings.project_file import PoliciesSection
from flowyml_policy.settings.types import image_reference, registry_entry

_CHECKS: Final[Mapping[tuple[str, str], Callable[[str], str]]] = {
    ("labels", "required"): label_demand,
    ("images_base", "allowed"): image_reference,
    ("images_inspected", "required_labels"): label_demand,
    ("images_labels", "required_labels"): label_demand,
    ("images_registry", "allowed_registries"): registry_entry,
    ("images_tag", "denied"): TAG_NAMES.checked,
}

_LABEL_DEMANDS: Final[tuple[tuple[KeyPath, ...], ...]] = (
    (("required_labels",), ("rule_data", "labels", "required")),
    (
        ("image_policy", "required_labels"),
        ("rule_data", "images_labels", "required_labels"),
        ("rule_data", "images_inspected", "required_labels"),
    ),
)
"""Keys of `policies` whose demands are for the same labels: those of stacks, those of images."""


Locate: TypeAlias = Callable[[KeyPath], Location]
"""Where the value at a path stands in its file."""


def refused_demands(policies: PoliciesSection, under: KeyPath, document: Document) -> Iterator[SettingsProblem]:
    """What is wrong with the demands of `policies`, which stand at `under` in `document`."""
    yield from _refused_entries(policies.rule_data, (*under, "rule_data"), document.location)
    written: dict[KeyPath, object] = {
        ("required_labels",): policies.required_labels,
        ("image_policy", "required_labels"): policies.image_policy.required_labels,
        **{("rule_data", *path): value for path, value in _values(policies.rule_data)},
    }
    for places in _LABEL_DEMANDS:
        demands = [entry for place in places for entry in _listed((*under, *place), written.get(place))]
        yield from _contradictions(demands, document.location)


def refused_rule_data(rule_data: Json, under: KeyPath, locate: Locate) -> Iterator[SettingsProblem]:
    """What is wrong with rule data of the company, whose places below `under` are found by `locate`."""
    if not isinstance(rule_data, dict):
        return
    yield from _refused_entries(rule_data, under, locate)
    written = dict(_values(rule_data))
    for places in _LABEL_DEMANDS:
        rules = [place[1:] for place in places if place[0] == "rule_data"]
        demands = [entry for place in rules for entry in _listed((*under, *place), written.get(place))]
        yield from _contradictions(demands, locate)


def _refused_entries(rule_data: Mapping[str, Json], under: KeyPath, locate: Locate) -> Iterator[SettingsProblem]:
    """What is wrong with each string in a list of rule data by itself."""
    entries = (entry for named, values in _values(rule_data) for entry in _listed((*under, *named), values))
    for path, value in entries:
        check = _check_of(path[-3:-1])
        try:
            if check is not None:
                check(value)
        except BadValue as error:
            yield SettingsProblem(f"`{dotted(path)}` {error.what}", location=locate(path), fix=error.fix)


def _values(rule_data: Mapping[str, Json]) -> Iterator[tuple[KeyPath, Json]]:
    """Every value of rule data, by its rule and key."""
    for rule, data in rule_data.items():
        if isinstance(data, dict):
            yield from (((rule, key), value) for key, value in data.items())


def _listed(path: KeyPath, values: object) -> Iterator[tuple[KeyPath, str]]:
    for index, value in enumerate(values if isinstance(values, (list, tuple)) else ()):
        if isinstance(value, str):
            yield (*path, index), value


def _check_of(named: KeyPath) -> Callable[[str], str] | None:
    """The check of entries under the rule and key `named`."""
    rule, key = str(named[0]), str(named[1])
    return STACK_NAMES.checked if key == "stacks" or key.endswith("_stacks") else _CHECKS.get((rule, key))


def _contradictions(demands: list[tuple[KeyPath, str]], locate: Locate) -> Iterator[SettingsProblem]:
    """Demands for another value of a label than one before them asks for."""
    for number, (path, demand) in enumerate(demands):
        for other_path, other in demands[:number]:
            if contradicts(other, demand):
                yield SettingsProblem(
                    f"`{dotted(path)}` asks for {shown(demand)}, and {shown(other)} is asked for at "
                    f"{locate(other_path)}",
                    location=locate(path),
                    fix="keep one: a label has one value",
                )
                break
