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
from typing import Final

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.records.record import KeyPath
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


def refused_demands(policies: PoliciesSection, under: KeyPath, document: Document) -> Iterator[SettingsProblem]:
    """What is wrong with the demands of `policies`, which stand at `under` in `document`."""
    for path, value in _entries(policies, under):
        check = _check_of(path[-3:-1])
        try:
            if check is not None:
                check(value)
        except BadValue as error:
            yield SettingsProblem(f"`{dotted(path)}` {error.what}", location=document.location(path), fix=error.fix)
    written: dict[KeyPath, object] = {
        ("required_labels",): policies.required_labels,
        ("image_policy", "required_labels"): policies.image_policy.required_labels,
        **{("rule_data", rule, key): value for rule, data in policies.rule_data.items() for key, value in data.items()},
    }
    for places in _LABEL_DEMANDS:
        demands = [entry for place in places for entry in _listed((*under, *place), written.get(place))]
        yield from _contradictions(demands, document)


def _entries(policies: PoliciesSection, under: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every string in a list of rule data, with its place."""
    for rule, data in policies.rule_data.items():
        for key, values in data.items():
            yield from _listed((*under, "rule_data", rule, key), values)


def _listed(path: KeyPath, values: object) -> Iterator[tuple[KeyPath, str]]:
    for index, value in enumerate(values if isinstance(values, (list, tuple)) else ()):
        if isinstance(value, str):
            yield (*path, index), value


def _check_of(named: KeyPath) -> Callable[[str], str] | None:
    """The check of entries under the rule and key `named`."""
    rule, key = str(named[0]), str(named[1])
    return STACK_NAMES.checked if key == "stacks" or key.endswith("_stacks") else _CHECKS.get((rule, key))


def _contradictions(demands: list[tuple[KeyPath, str]], document: Document) -> Iterator[SettingsProblem]:
    """Demands for another value of a label than one before them asks for."""
    for number, (path, demand) in enumerate(demands):
        for other_path, other in demands[:number]:
            if contradicts(other, demand):
                yield SettingsProblem(
                    f"`{dotted(path)}` asks for {shown(demand)}, and {shown(other)} is asked for at "
                    f"{document.location(other_path)}",
                    location=document.location(path),
                    fix="keep one: a label has one value",
                )
                break
