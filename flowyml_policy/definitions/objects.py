"""FlowyML's own objects as definitions: what can be read off them, without importing FlowyML.

A live stack says little (its class, its components, what these say of themselves), so little stands in the
definition: no version, no labels. What schema A has no place for goes into the section `spec.instance`, where policy
can look at it, and with it the images that only attributes name. FlowyML's own StackDefinition is read as the document
that it prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from flowyml_policy.definitions.model import API_VERSION, KIND
from flowyml_policy.definitions.object_images import naming_images, naming_images_in, references_in
from flowyml_policy.definitions.schema_b import API_VERSION_B, KIND_B
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.records.record import Json

COMPONENTS: Final = (
    "executor",
    "orchestrator",
    "artifact_store",
    "metadata_store",
    "container_registry",
    "model_deployer",
    "model_registry",
)
_ALWAYS: Final = ("executor", "orchestrator", "artifact_store", "metadata_store")
_EXTRAS: Final = (
    "_artifact_routing",
    "_artifact_stores",
    "_model_registry_config",
    "_experiment_tracker_config",
)
_ELSEWHERE: Final = frozenset({*COMPONENTS, *_EXTRAS})
_ATTRIBUTES: Final = ("base_path", "db_path", "db_url", "environment")
_BACKENDS: Final = {"vertex_ai": "gcp", "aws_batch": "aws", "sagemaker": "aws", "azure_ml": "azureml", "local": "local"}
_BUCKETS: Final = {"gcs": "gs", "s3": "s3"}
_LARGEST: Final = 2**53 - 1
_DEEPEST: Final = 6


def definition_of(stack: object) -> StackDefinition:
    """The definition that a FlowyML stack, or a FlowyML StackDefinition, stands for.

    Raises UsageError for any other object, DefinitionInvalid for a FlowyML StackDefinition that is not valid here.
    """
    try:
        return _definition(stack)
    except FlowymlPolicyError:
        raise
    except Exception as error:
        what = f"an object of class {_class_name(stack)} cannot be read: {type(error).__name__}"
        raise UsageError(what, advice="name the stack's definition instead") from error


def _definition(stack: object) -> StackDefinition:
    name = getattr(stack, "name", None)
    kind = _class_name(stack)
    provenance = Provenance(kind="object", uri=f"object:{type(stack).__module__}.{kind}")
    if isinstance(stack, type):
        raise _unknown(stack)
    if hasattr(stack, "to_stack") and callable(getattr(stack, "model_dump", None)):
        return _printed(stack, provenance)
    if not isinstance(name, str) or not all(hasattr(stack, part) for part in _ALWAYS):
        raise _unknown(stack)
    facts: dict[str, Json] = {"class": kind}
    facts.update({part: component_facts(getattr(stack, part, None)) for part in COMPONENTS})
    facts.update({extra.lstrip("_"): facts_in(getattr(stack, extra)) for extra in _EXTRAS if hasattr(stack, extra)})
    attributes = naming_images(stack, without=_ELSEWHERE)
    if attributes is not None:
        facts["attributes"] = attributes
    values: dict[str, Json] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": _spec(facts),
    }
    try:
        definition = StackDefinition.from_instance(values, facts, source=provenance.as_source())
    except DefinitionInvalid as error:
        raise UsageError(
            f"the {kind} cannot be judged: {error.problems[0].message}", advice="name its definition instead"
        ) from error
    return definition.located(provenance)


def _printed(stack: Any, provenance: Provenance) -> StackDefinition:
    values = stack.model_dump(mode="json", by_alias=True, exclude_unset=True)
    changed = stack.model_dump(mode="json", by_alias=True, exclude_defaults=True)  # below a section that was not set
    if not isinstance(values, dict) or not isinstance(changed, dict):
        raise _unknown(stack)
    values = _joined(values, changed)
    document = {"apiVersion": API_VERSION_B, "kind": KIND_B, **values}
    return StackDefinition.from_dict(document, source=provenance.as_source()).located(provenance)


def _joined(values: dict[str, Json], others: dict[str, Json]) -> dict[str, Json]:
    """`values` with what only `others` say."""
    joined = dict(values)
    for key, other in others.items():
        mine = joined.setdefault(key, other)
        if isinstance(mine, dict) and isinstance(other, dict):
            joined[key] = _joined(mine, other)
    return joined


def _spec(facts: dict[str, Json]) -> dict[str, Json]:
    """What of `facts` has a place in schema A."""
    orchestrator = facts["orchestrator"] or {"type": "local"}
    compute = {"backend": _BACKENDS.get(str(orchestrator.get("type")), "custom")}
    size = orchestrator.get("compute")
    if isinstance(size, str) and size:
        compute["size"] = size
    storage = {"artifact_store": _artifacts(facts["artifact_store"]), "metadata_store": _metadata(facts)}
    kept = {key: value for key, value in storage.items() if value}
    return {"compute": compute, **({"storage": kept} if kept else {})}


def _artifacts(store: dict[str, Json] | None) -> str | None:
    """Where artifacts are kept, as a definition would write it."""
    if store is None:
        return None
    bucket, prefix = store.get("bucket_name"), store.get("prefix")
    scheme = _BUCKETS.get(str(store.get("type")))
    if scheme and bucket:
        return f"{scheme}://{bucket}" + (f"/{prefix}" if prefix else "")
    if store.get("account_url") and store.get("container_name"):
        return f"{str(store['account_url']).rstrip('/')}/{store['container_name']}"
    base = store.get("base_path")
    return base if isinstance(base, str) else None


def _metadata(facts: dict[str, Json]) -> str | None:
    store = facts["metadata_store"] or {}
    found = store.get("db_url") or store.get("db_path")
    return found if isinstance(found, str) else None


def component_facts(part: object) -> dict[str, Json] | None:
    """What a component says of itself: its class, its `to_dict`, and the few attributes that tell where it is."""
    if part is None:
        return None
    said: dict[str, Json] = {}

    described = getattr(part, "to_dict", None)
    if callable(described) and not isinstance(part, type):
        try:
            answer = facts_in(described())
        except FlowymlPolicyError:
            raise
        except Exception as error:
            raise UsageError(
                f"the component {_class_name(part)} cannot say what it is: {type(error).__name__}",
                advice="name the stack's definition instead",
            ) from error
        said = answer if isinstance(answer, dict) else {}
    for name in _ATTRIBUTES:
        value = getattr(part, name, None)
        if isinstance(value, str | PurePath):
            said.setdefault(name, _plain(value))
    attributes = naming_images(part)
    if not references_in(said) >= references_in(attributes):
        said["attributes"] = attributes
    return {**said, "class": _class_name(part)}


def facts_in(value: object) -> Json:
    """`value` as JSON, with the images that it names in what has no place there."""
    plain, images = _plain(value), naming_images_in(value)
    if references_in(plain) >= references_in(images):
        return plain
    return {**(plain if isinstance(plain, dict) else {"value": plain}), "attributes": images}


def _plain(value: object, depth: int = 0) -> Json:
    """`value` as JSON; what has no place in JSON is called by its class."""
    plain: Json = _class_name(value)
    if value is None or isinstance(value, str | bool):
        plain = value
    elif isinstance(value, int):
        plain = value if abs(value) <= _LARGEST else str(value)
    elif isinstance(value, float):
        plain = value if math.isfinite(value) else str(value)
    elif isinstance(value, PurePath):
        plain = value.as_posix()
    elif depth < _DEEPEST and isinstance(value, Mapping):
        plain = {str(key): _plain(item, depth + 1) for key, item in value.items()}
    elif depth < _DEEPEST and isinstance(value, list | tuple):
        plain = [_plain(item, depth + 1) for item in value]
    elif depth < _DEEPEST and isinstance(value, set | frozenset):
        plain = sorted((_plain(item, depth + 1) for item in value), key=str)
    return plain


def _class_name(value: object) -> str:
    return value.__qualname__ if isinstance(value, type) else type(value).__qualname__


def _unknown(stack: object) -> UsageError:
    what = f"the class {stack.__qualname__}" if isinstance(stack, type) else f"an object of class {_class_name(stack)}"
    return UsageError(
        f"{what} is no stack",
        advice="give a name, a reference, a path, a StackDefinition or a FlowyML Stack",
    )
