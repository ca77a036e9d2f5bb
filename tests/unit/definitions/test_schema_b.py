"""Schema B, FlowyML's own: read strictly, in schema A's terms, with its positions; and written back."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowyml_policy.definitions.json_schema import schema_b_json_schema
from flowyml_policy.definitions.model import SAFE_NAME
from flowyml_policy.definitions.schema_b import LEVELS, PLACES, snake
from flowyml_policy.definitions.stack import StackDefinition, read_definitions
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.errors.definitions import DefinitionInvalid, SchemaTooNarrow
from flowyml_policy.images.named import DEPLOYER_PATH, IMAGE_PATH
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Location

TEXT = """\
apiVersion: flowyml.io/v1
kind: Stack
metadata:
  name: prod-gpu
  version: "2.1.0"
  description: ""
  owner: ml-platform
  tags: [gpu, prod]
spec:
  backend: gcp
  runtime:
    pythonVersion: "3.11"
    base_image: gcr.io/my-project/x:1
    aptPackages: [git]
    labels: {maintainer: me}
  compute:
    type: gpu
    minInstances: 0
    max_instances: 4
  storage: {artifactStore: gcs, uri: "gs://bucket"}
  deployment: {modelDeployer: kubernetes, config: {image: gcr.io/my-project/serve, replicas: [{on: 1}]}}
  security: {signature: {enabled: true}}
"""

IN_TERMS_OF_A = {
    "apiVersion": "flowyml/v1",
    "kind": "StackDefinition",
    "metadata": {
        "name": "prod-gpu",
        "version": "2.1.0",
        "description": "",
        "owner": "ml-platform",
        "tags": ["gpu", "prod"],
    },
    "spec": {
        "compute": {"backend": "gcp", "type": "gpu", "min_nodes": 0, "max_nodes": 4},
        "runtime": {
            "python_version": "3.11",
            "docker_image": "gcr.io/my-project/x:1",
            "apt_packages": ["git"],
            "labels": {"maintainer": "me"},
        },
        "storage": {"artifact_store_type": "gcs", "artifact_store": "gs://bucket"},
        "deployment": {
            "model_deployer": "kubernetes",
            "config": {"image": "gcr.io/my-project/serve", "replicas": [{"on": 1}]},
        },
        "security": {"signature": {"enabled": True}},
    },
}

MINIMAL: dict[str, Any] = {
    "apiVersion": "flowyml.io/v1",
    "kind": "Stack",
    "metadata": {"name": "a", "version": "1.0.0"},
    "spec": {"backend": "local"},
}


def test_from_yaml_of_schema_b_gives_the_same_model_in_terms_of_schema_a() -> None:
    definition = StackDefinition.from_yaml(TEXT, file="f")

    assert definition.set_values() == IN_TERMS_OF_A
    assert definition.document == yaml.safe_load(TEXT.replace("{on: 1}", "{'on': 1}"))
    assert definition.digest == canonical_digest(IN_TERMS_OF_A)
    assert definition.written_schema == "flowyml.io/v1"
    assert (definition.api_version, definition.kind) == ("flowyml/v1", "StackDefinition")
    assert definition.metadata.name == "prod-gpu"
    assert definition.spec.compute.max_nodes == 4
    assert definition.spec.runtime.docker_image == "gcr.io/my-project/x:1"
    assert definition.metadata.labels == {}
    assert definition.model_dump(by_alias=True, exclude_unset=True) == IN_TERMS_OF_A


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("apiVersion",), 1, 13),
        (("metadata", "name"), 4, 9),
        (("metadata", "labels", "team"), 3, 1),
        (("metadata", "tags", 1), 8, 15),
        (("spec", "compute", "backend"), 10, 12),
        (("spec", "compute"), 16, 3),
        (("spec", "compute", "min_nodes"), 18, 19),
        (("spec", "compute", "max_nodes"), 19, 20),
        (("spec", "compute", "size"), 16, 3),
        (("spec", "runtime", "docker_image"), 13, 17),
        (("spec", "runtime", "labels", "maintainer"), 15, 26),
        (("spec", "storage", "artifact_store"), 20, 38),
        (("spec", "storage", "metadata_store"), 20, 3),
        (("spec", "deployment", "config", "replicas", 0, "on"), 21, 100),
        (("spec", "security", "signature", "enabled"), 22, 35),
        (("spec", "tracking", "mlflow_uri"), 9, 1),
        ((), 1, 1),
    ],
    ids=str,
)
def test_location_takes_schema_a_and_gives_the_line_as_written(
    path: tuple[str | int, ...], line: int, column: int
) -> None:
    definition = StackDefinition.from_yaml(TEXT, file="f")

    assert definition.location(path) == Location(file="f", line=line, column=column)


def test_location_of_compute_that_is_a_backend_only_is_the_backend() -> None:
    definition = StackDefinition.from_yaml(
        "kind: Stack\nmetadata: {name: a, version: '1'}\nspec: {backend: gcp}\n", "f"
    )

    assert definition.location(("spec", "compute", "size")) == Location(file="f", line=3, column=17)


@pytest.mark.parametrize(
    "header", [{"apiVersion": "flowyml.io/v1"}, {"kind": "Stack"}, {"api_version": "flowyml.io/v1"}]
)
def test_from_dict_with_half_a_header_is_schema_b(header: dict[str, str]) -> None:
    parts = {part: MINIMAL[part] for part in ("metadata", "spec")}

    assert StackDefinition.from_dict({**header, **parts}) == StackDefinition.from_dict(MINIMAL)


def test_schema_b_and_schema_a_of_the_same_content_are_one_definition() -> None:
    a = StackDefinition.from_dict(
        {
            "apiVersion": "flowyml/v1",
            "kind": "StackDefinition",
            "metadata": {"name": "a", "version": "1.0.0"},
            "spec": {"compute": {"backend": "local"}},
        }
    )

    assert StackDefinition.from_dict(MINIMAL) == a
    assert StackDefinition.from_dict(MINIMAL).digest == a.digest
    assert a.to_schema_b() == MINIMAL


def test_from_dict_of_schema_b_is_not_reached_by_later_changes() -> None:
    given_value = copy.deepcopy(MINIMAL)
    definition = StackDefinition.from_dict(given_value, source=Source(kind="object", uri="object"))
    given_value["metadata"]["name"] = "b"
    given_value["spec"].clear()

    assert definition.document == MINIMAL
    assert definition == StackDefinition.from_dict(MINIMAL)


def test_schema_b_definition_that_is_copied_or_pickled_keeps_everything() -> None:
    definition = StackDefinition.from_yaml(TEXT, file="f")
    for other in (copy.deepcopy(definition), pickle.loads(pickle.dumps(definition)), definition.model_copy()):
        assert other == definition
        assert other.document == definition.document
        assert other.location(("spec", "compute", "backend")) == definition.location(("spec", "compute", "backend"))


def test_schema_a_document_with_a_section_of_schema_b_has_an_unknown_key() -> None:
    value = {
        "apiVersion": "flowyml/v1",
        "kind": "StackDefinition",
        "metadata": {"name": "a", "owner": "me"},
        "spec": {"deployment": {}, "compute": {"region": "eu"}, "storage": {"artifact_store_type": "s3"}},
    }
    with pytest.raises(DefinitionInvalid) as caught:
        StackDefinition.from_dict(value)

    assert [(problem.code, problem.path) for problem in caught.value.problems] == [
        ("definition.unknown_key", ("metadata", "owner")),
        ("definition.unknown_key", ("spec", "compute", "region")),
        ("definition.unknown_key", ("spec", "storage", "artifact_store_type")),
        ("definition.unknown_key", ("spec", "deployment")),
    ]


HEAD = "kind: Stack\nmetadata: {name: a, version: '1'}\n"
FLAWED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "another version": (
        "apiVersion: flowyml.io/v2\nkind: StackDefinition\nmetadata: {name: a, version: '1'}\nspec: {backend: gcp}\n",
        [
            (
                "apiVersion",
                "f:1:13: apiVersion is 'flowyml.io/v2', not flowyml.io/v1; write `apiVersion: flowyml.io/v1`",
            ),
            ("kind", "f:2:7: kind is 'StackDefinition', not Stack; write `kind: Stack`"),
        ],
    ),
    "nothing else": (
        "kind: Stack\n",
        [
            ("metadata", "f:1:1: metadata is missing; add `metadata:`"),
            ("spec", "f:1:1: spec is missing; add `spec:`"),
        ],
    ),
    "what FlowyML requires": (
        "kind: Stack\nmetadata: {}\nspec: {}\n",
        [
            ("metadata.name", "f:2:1: metadata.name is missing; add `name:`"),
            ("metadata.version", "f:2:1: metadata.version is missing; add `version:`"),
            ("spec.compute", "f:3:1: spec.backend is missing; add `backend:`"),
        ],
    ),
    "no backend beside compute": (
        HEAD + "spec: {compute: {size: x}}\n",
        [("spec.compute.backend", "f:3:1: spec.backend is missing; add `backend:`")],
    ),
    "the words of schema A": (
        HEAD + "spec: {backend: gcp, runtime: {docker_image: x}, compute: {min_nodes: 1}, tracking: {}}\n",
        [
            (
                "spec.runtime.docker_image",
                "f:3:32: spec.runtime.docker_image is no key of a flowyml.io/v1 stack; write `baseImage`",
            ),
            (
                "spec.compute.min_nodes",
                "f:3:60: spec.compute.min_nodes is no key of a flowyml.io/v1 stack; write `minInstances`",
            ),
            (
                "spec.tracking",
                (
                    "f:3:75: spec.tracking is no key of a flowyml.io/v1 stack; take it out; known here: backend, "
                    "runtime, compute, storage, deployment, secrets, observability, policies, permissions, security"
                ),
            ),
        ],
    ),
    "misspelt and misplaced": (
        HEAD + "spec: {backend: gcp, runtime: {baseImag: x}, minInstances: 1}\n",
        [
            (
                "spec.runtime.baseImag",
                "f:3:32: spec.runtime.baseImag is no key of a flowyml.io/v1 stack; did you mean `baseImage`?",
            ),
            (
                "spec.minInstances",
                "f:3:46: spec.minInstances is no key of a flowyml.io/v1 stack; move it to spec.compute",
            ),
        ],
    ),
    "both spellings": (
        HEAD + "spec: {backend: gcp, runtime: {baseImage: x, base_image: y}}\n",
        [
            (
                "spec.runtime.base_image",
                "f:3:46: spec.runtime.base_image is spec.runtime.baseImage in another spelling; take one of them out",
            )
        ],
    ),
    "values": (
        HEAD
        + "spec:\n  backend: moon\n  runtime:\n    python_version: 3.10\n    gpuEnabled: 'yes'\n    aptPackages: [1]\n"
        "    entrypoint:\n  compute: {min_instances: 5, maxInstances: 2, type: }\n  secrets: []\n"
        "  policies: {maxRuntimeMinutes: 0, maxEstimatedCostUsd: -1}\n",
        [
            (
                "spec.compute.backend",
                (
                    "f:4:12: spec.backend is 'moon', which is no choice; write one of local, azureml, kubernetes, ray, "
                    "databricks, gcp, aws or custom"
                ),
            ),
            (
                "spec.runtime.python_version",
                'f:6:21: spec.runtime.python_version is the number 3.10, not text; put it in quotes: "3.10"',
            ),
            (
                "spec.runtime.gpu_enabled",
                "f:7:17: spec.runtime.gpuEnabled is text, not true or false; write true or false",
            ),
            (
                "spec.runtime.apt_packages[0]",
                'f:8:19: spec.runtime.aptPackages[0] is the number 1, not text; put it in quotes: "1"',
            ),
            (
                "spec.runtime.entrypoint",
                "f:9:16: spec.runtime.entrypoint is empty; write text after it, or take the key out",
            ),
            ("spec.compute.type", "f:10:54: spec.compute.type is empty; write one of cpu, gpu or tpu"),
            ("spec.secrets", "f:11:3: spec.secrets is a list, not a mapping; write a mapping"),
            (
                "spec.policies.max_runtime_minutes",
                "f:12:33: spec.policies.maxRuntimeMinutes is less than 1; write 1 or more",
            ),
            (
                "spec.policies.max_estimated_cost_usd",
                "f:12:57: spec.policies.maxEstimatedCostUsd is less than 0; write 0 or more",
            ),
        ],
    ),
    "bounds": (
        HEAD + "spec:\n  backend: gcp\n  compute: {min_instances: 5, maxInstances: 2}\n"
        "  policies: {allowedPythonPackages: [a, b], denied_python_packages: [b]}\n",
        [
            (
                "spec.compute.min_nodes",
                (
                    "f:5:28: spec.compute: minInstances 5 is more than maxInstances 2; "
                    "raise maxInstances, or lower minInstances"
                ),
            ),
            (
                "spec.policies",
                "f:6:3: spec.policies allows and denies the package 'b'; take it out of one of the lists",
            ),
        ],
    ),
    "no sections": (
        "apiVersion: flowyml.io/v1\nmetadata: []\nspec: 1\n",
        [
            ("metadata", "f:2:1: metadata is a list, not a mapping; write a mapping"),
            ("spec", "f:3:7: spec is the number 1, not a mapping; write a mapping"),
        ],
    ),
    "compute is no section": (
        HEAD + "spec: {compute: [], backend: gcp}\n",
        [("spec.compute", "f:3:8: spec.compute is a list, not a mapping; write a mapping")],
    ),
}


def dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


@pytest.mark.parametrize("case", FLAWED)
def test_read_definitions_of_flawed_schema_b_says_in_its_words_what_to_write(case: str) -> None:
    text, expected = FLAWED[case]

    (read,) = read_definitions(text.encode(), "f", Source(kind="local", uri="f"))

    assert isinstance(read, DefinitionInvalid)
    assert [(dotted(problem.path), str(problem)) for problem in read.problems] == expected


def test_from_dict_of_schema_b_with_keys_that_are_no_text_fails_closed() -> None:
    value = {**MINIMAL, "spec": {"backend": "gcp", 1: 2}}
    with pytest.raises(DefinitionInvalid, match="spec has a key that is a number, not text"):
        StackDefinition.from_dict(value)


@pytest.mark.parametrize("value", [float("nan"), 2**53, {"a": [{1: 2}]}, {"a": "\ud800"}, {"a": {1, 2}}], ids=repr)
def test_from_dict_of_schema_b_with_a_value_without_exact_json_fails_closed(value: Any) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        StackDefinition.from_dict({**MINIMAL, "spec": {"backend": "gcp", "deployment": {"config": {"a": value}}}})

    (problem,) = caught.value.problems
    assert problem.path == ("spec", "deployment", "config")
    assert problem.message == "spec.deployment.config holds a value that has no exact JSON form"


@pytest.mark.parametrize("value", ["\ud800", ["\ud800"]])
def test_from_dict_of_schema_b_with_lone_surrogates_fails_closed(value: Any) -> None:
    key = "owner" if isinstance(value, str) else "tags"
    with pytest.raises(DefinitionInvalid, match=f"metadata.{key}.* is text that UTF-8 cannot hold"):
        StackDefinition.from_dict({**MINIMAL, "metadata": {**MINIMAL["metadata"], key: value}})


def test_to_schema_b_of_what_it_has_no_place_for_fails_closed(value: dict[str, Any]) -> None:
    with pytest.raises(SchemaTooNarrow) as caught:
        StackDefinition.from_dict(value).to_schema_b()

    assert caught.value.reasons == (
        "it has no place for metadata.labels",
        "it has no place for spec.storage.metadata_store",
        "it has no place for spec.tracking",
        "it has no place for spec.secrets.vault_url",
        "it needs the kind of spec.storage.artifact_store, which is not said",
        "spec.secrets.provider is 'azure_keyvault', which is no choice",
    )
    assert caught.value.exit_code == 3


def test_places_of_schema_b_are_distinct_and_end_in_the_model() -> None:
    assert len(set(PLACES.values())) == len(PLACES)
    assert all(place == tuple(map(snake, place)) for place in PLACES.values() if place[0] != "apiVersion")
    assert {IMAGE_PATH, DEPLOYER_PATH} <= set(PLACES.values())


# Any schema B document

texts = st.text("ab.:/-", min_size=1, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
VALIDATOR = Draft202012Validator(schema_b_json_schema())
names = st.from_regex(SAFE_NAME, fullmatch=True)
FREE = {
    "name": names,
    "tags": st.lists(texts, max_size=2),
    "labels": st.dictionaries(texts, texts, max_size=2),
    "config": st.dictionaries(texts, json_values, max_size=2),
    "aptPackages": st.lists(texts, max_size=2),
    "minInstances": st.integers(0, 3),
    "maxInstances": st.integers(3, 5),
    "maxRuntimeMinutes": st.integers(1, 3),
    "maxEstimatedCostUsd": st.integers(0, 3) | st.floats(0, 10),
    "allowedPythonPackages": st.lists(st.sampled_from("ab"), max_size=2),
    "deniedPythonPackages": st.lists(st.sampled_from("cd"), max_size=2),
}
BOOLEANS = re.compile(r"Enabled|enabled|^auto|multiStage|logs|metrics|traces|^allow[A-Z]|require")


def leaf(path: tuple[str, ...]) -> st.SearchStrategy[Any]:
    key = path[-1]
    node: Any = schema_b_json_schema()
    for step in path:
        node = node["properties"][step]
    if key in FREE:
        return FREE[key]
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "const" in node:
        return st.just(node["const"])
    if node["type"] == "array":
        return st.lists(texts, max_size=2)
    return st.booleans() if BOOLEANS.search(key) else texts


def level(path: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    node: Any = schema_b_json_schema()
    for step in path:
        node = node["properties"][step]
    keys = {key: level((*path, key)) if (*path, key) in LEVELS else leaf((*path, key)) for key in LEVELS[path]}
    required = {key: keys.pop(key) for key in [*node.get("required", ()), *(() if path else ("apiVersion", "kind"))]}
    return st.fixed_dictionaries(required, optional=keys)


documents = level(())


def without_empty_compute(document: dict[str, Any]) -> dict[str, Any]:
    """`compute: {}` says nothing, and is the one thing that the model does not keep: the backend stands there."""
    spec = {key: value for key, value in document["spec"].items() if (key, value) != ("compute", {})}
    return {**document, "spec": spec}


def respelled(value: Any, path: tuple[str, ...], flip: st.DataObject) -> Any:
    """`value` with some of the keys that schema B fixes in snake_case."""
    if path not in LEVELS or not isinstance(value, dict):
        return value
    return {
        (snake(key) if flip.draw(st.booleans()) else key): respelled(item, (*path, key), flip)
        for key, item in value.items()
    }


@given(documents)
def test_schema_b_goes_through_the_model_and_back_unchanged(document: dict[str, Any]) -> None:
    definition = StackDefinition.from_dict(document)

    assert definition.to_schema_b() == without_empty_compute(document)
    assert StackDefinition.from_dict(definition.to_schema_b()) == definition
    assert definition.document == document
    assert VALIDATOR.is_valid(document)


@given(documents, st.data())
def test_schema_b_in_either_spelling_is_one_definition(document: dict[str, Any], data: st.DataObject) -> None:
    other = respelled(document, (), data)
    definition = StackDefinition.from_dict(other)

    assert definition.set_values() == StackDefinition.from_dict(document).set_values()
    assert definition.document == other
    assert definition.to_schema_b() == without_empty_compute(document)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every value that is no container, with its path."""
    if isinstance(value, dict):
        return [one for key, item in value.items() for one in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [one for index, item in enumerate(value) for one in leaves(item, (*path, index))]
    return [(path, value)]


@given(documents)
def test_schema_b_loses_no_value_and_every_value_keeps_its_place(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1)
    definition = StackDefinition.from_yaml(text, file="f")
    lines = text.splitlines()
    found = [(path, value) for path, value in leaves(definition.set_values()) if path[0] in {"metadata", "spec"}]

    assert len(found) == len([path for path, _ in leaves(document) if path[0] in {"metadata", "spec"}])
    for path, value in found:
        where = definition.location(path)
        assert where is not None
        written = json.dumps(value)
        assert lines[where.line - 1][where.column - 1 :].startswith(written)


anything = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats(0.1, 0.9)
    | texts
    | st.just("")
    | st.lists(texts, max_size=1)
    | st.dictionaries(texts, texts, max_size=1)
)


@given(documents, st.data())
def test_flawed_schema_b_is_refused_where_its_json_schema_refuses_it(
    document: dict[str, Any], data: st.DataObject
) -> None:
    flawed = copy.deepcopy(document)
    here = flawed
    while True:
        deeper = [key for key, value in here.items() if isinstance(value, dict)]
        if not deeper or data.draw(st.booleans()):
            break
        here = here[data.draw(st.sampled_from(sorted(deeper)))]
    key = data.draw(st.sampled_from([*sorted(here), "name", "spec", "min_nodes", "baseImage", "quux"]))
    if key in here and data.draw(st.booleans()):
        del here[key]
    else:
        here[key] = data.draw(anything)
    metadata = flawed.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    assume(not isinstance(name, str) or not name or re.fullmatch(SAFE_NAME, name))  # the rule `naming` judges others

    problems: list[str] = []
    try:
        StackDefinition.from_dict(flawed)
    except DefinitionInvalid as error:
        problems = [problem.message for problem in error.problems]

    said_by_reading_only = ("is more than maxInstances", "allows and denies the package")
    assert VALIDATOR.is_valid(flawed) == all(any(one in text for one in said_by_reading_only) for text in problems)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[3].glob("stacks/*.yaml")), ids=lambda path: path.stem)
def test_schema_a_definitions_are_unchanged_by_schema_b(path: Path) -> None:
    for read in read_definitions(path.read_bytes(), "f", Source(kind="local", uri="f")):
        if isinstance(read, StackDefinition):
            assert read.set_values() == read.document == read.model_dump(by_alias=True, exclude_unset=True)
            assert read.written_schema == "flowyml/v1"


def test_schema_b_json_schema_is_a_schema_that_explains_itself() -> None:
    schema = schema_b_json_schema()
    Draft202012Validator.check_schema(schema)

    assert VALIDATOR.is_valid(MINIMAL)
    assert not VALIDATOR.is_valid({**MINIMAL, "spec": {}})
    assert not VALIDATOR.is_valid({**MINIMAL, "kind": "StackDefinition"})
    assert not VALIDATOR.is_valid({**MINIMAL, "spec": {"backend": "gcp", "runtime": {"docker_image": "x"}}})
    for path in PLACES:
        node: Any = schema
        for step in path:
            node = node["properties"][step]
        assert len(path) == 1 or node["description"]


@pytest.mark.parametrize(("asked", "other"), [("flowyml/v1", "flowyml.io/v1"), ("flowyml.io/v1", "flowyml/v1")])
def test_schema_too_narrow_advises_the_other_schema(asked: str, other: str) -> None:
    error = SchemaTooNarrow("prod", asked, ["it has no place for x"])
    assert f"write it as {other}," in error.advice
    assert f"write it as {asked}," not in error.advice
