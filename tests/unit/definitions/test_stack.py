"""StackDefinition: what a definition says, where, and what identifies it."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowyml_policy.definitions.builtin import LOCAL_STACK
from flowyml_policy.definitions.stack import StackDefinition, read_definitions
from flowyml_policy.documents.canonical import canonical_digest, digest
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Location

HEAD: dict[str, Any] = {"apiVersion": "flowyml/v1", "kind": "StackDefinition"}
MINIMAL = "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: a}\nspec: {}\n"


def test_from_yaml_of_a_definition_gives_its_typed_parts(text: str, value: dict[str, Any]) -> None:
    definition = StackDefinition.from_yaml(text, file="stacks/prod.yaml")

    assert definition.model_dump(by_alias=True) == value
    assert definition.metadata.name == "prod-gpu-large"
    assert definition.spec.compute.max_nodes == 4
    assert definition.document == value
    assert definition.set_values() == value
    assert definition.digest == canonical_digest(value)
    assert definition.file == "stacks/prod.yaml"
    assert definition.source == Source(kind="object", uri="object")


def test_from_yaml_of_the_same_keys_gives_equal_definitions_with_equal_digests(
    text: str, value: dict[str, Any]
) -> None:
    first = StackDefinition.from_yaml(text)
    second = StackDefinition.from_yaml(json.dumps(value, sort_keys=True).encode(), file="other.yaml")
    third = StackDefinition.from_dict(value)

    assert first == second == third
    assert first.digest == second.digest == third.digest
    assert len({first, second, third}) == 1


def test_digest_of_a_key_set_to_what_is_its_default_differs_from_an_absent_key() -> None:
    absent = StackDefinition.from_dict({**HEAD, "metadata": {"name": "a"}, "spec": {}})
    empty = StackDefinition.from_dict({**HEAD, "metadata": {"name": "a", "labels": {}}, "spec": {}})

    assert absent.metadata.labels == empty.metadata.labels == {}
    assert absent.set_values() == {**HEAD, "metadata": {"name": "a"}, "spec": {}}
    assert absent != empty
    assert absent.digest != empty.digest


def test_location_of_a_value_is_its_place_and_of_a_missing_one_its_parent_s(text: str) -> None:
    definition = StackDefinition.from_yaml(text, file="a.yaml")

    assert definition.location(("spec", "runtime", "docker_image")) == Location(file="a.yaml", line=12, column=19)
    assert definition.location(("metadata", "labels", "owner")) == Location(file="a.yaml", line=7, column=3)
    assert definition.location() == Location(file="a.yaml", line=2, column=1)


def test_from_dict_of_a_mapping_has_no_locations(value: dict[str, Any]) -> None:
    definition = StackDefinition.from_dict(value)

    assert definition.location(("metadata", "name")) is None
    assert definition.file is None


def test_from_dict_keeps_nothing_of_the_mapping_that_was_given(value: dict[str, Any]) -> None:
    given_value = copy.deepcopy(value)
    definition = StackDefinition.from_dict(given_value)
    given_value["metadata"]["labels"]["approved"] = "false"
    given_value["spec"]["compute"]["max_nodes"] = 400

    assert definition.document == value
    assert definition.digest == canonical_digest(value)


def test_definition_is_frozen(text: str) -> None:
    definition = StackDefinition.from_yaml(text)

    with pytest.raises(ValidationError):
        definition.metadata.name = "other"  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copy_of_a_definition_says_the_same_of_the_same_places(text: str, copied: Any) -> None:
    definition = StackDefinition.from_yaml(text, file="a.yaml")
    other = copied(definition)

    assert other == definition
    assert other.digest == definition.digest
    assert other.source == definition.source
    assert other.location(("spec", "runtime")) == Location(file="a.yaml", line=10, column=3)


def test_from_file_of_a_definition_keeps_where_it_came_from(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prod.yaml"
    path.write_text(text, encoding="utf-8")
    definition = StackDefinition.from_file(path)

    assert definition.source == Source(kind="local", uri=path.as_posix(), digest=digest(text.encode()))
    assert definition.location(("kind",)) == Location(file=path.as_posix(), line=3, column=7)
    assert definition == StackDefinition.from_file(str(path))


def test_from_file_of_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"cannot read .*absent\.yaml: No such file or directory"):
        StackDefinition.from_file(tmp_path / "absent.yaml")


def test_from_file_of_a_name_that_is_no_utf8_reads(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml"))
    try:
        path.write_text(MINIMAL, encoding="utf-8")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")

    assert StackDefinition.from_file(path).source.uri == f"{tmp_path.as_posix()}/\\xff.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.yaml:1:1: the file holds no document; "),
        (
            f"{MINIMAL}---\n{MINIMAL}",
            "a.yaml:6:1: the file holds 2 documents where one definition is expected; keep one",
        ),
    ],
)
def test_from_yaml_of_other_than_one_document_is_invalid(text: str, message: str) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        StackDefinition.from_yaml(text, file="a.yaml")

    assert str(caught.value).startswith(message)
    assert [problem.code for problem in caught.value.problems] == ["definition.kind"]


def test_from_yaml_of_what_is_no_yaml_chains_the_cause() -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        StackDefinition.from_yaml("a: [", file="a.yaml")

    assert isinstance(caught.value.__cause__, YamlInvalid)


def test_from_yaml_of_a_lone_surrogate_is_invalid() -> None:
    with pytest.raises(DefinitionInvalid, match="the byte 0xed is not UTF-8"):
        StackDefinition.from_yaml("a: \ud800")


def test_read_definitions_of_several_documents_gives_one_item_each(source: Source) -> None:
    data = f"{MINIMAL}---\nkind: Deployment\napiVersion: apps/v1\n---\n{MINIMAL}".encode()
    first, second, third = read_definitions(data, "f.yaml", source)

    assert isinstance(first, StackDefinition)
    assert isinstance(second, DefinitionInvalid)
    assert first == third
    assert first.source == source
    assert str(first.location()) == "f.yaml:1:1"
    assert str(second.problems[0].location) == "f.yaml:6:7"


def test_read_definitions_of_no_yaml_gives_one_problem_for_the_file(source: Source) -> None:
    [invalid] = read_definitions(f"{MINIMAL}---\na: b: c\n".encode(), "f.yaml", source)

    assert isinstance(invalid, DefinitionInvalid)
    assert [(problem.code, str(problem.location)) for problem in invalid.problems] == [
        ("definition.yaml", "f.yaml:6:5")
    ]


def test_local_stack_is_built_in_and_named_local() -> None:
    assert LOCAL_STACK.metadata.name == "local"
    assert LOCAL_STACK.source == Source(kind="builtin", uri="builtin:local", pinned=True)
    assert LOCAL_STACK.location(("metadata", "name")) is None


@given(st.binary(max_size=50))
def test_read_definitions_of_any_bytes_gives_items_only(data: bytes) -> None:
    items = list(read_definitions(data, "f.yaml", Source(kind="local", uri="f.yaml")))

    assert items
    assert all(isinstance(item, StackDefinition | DefinitionInvalid) for item in items)


PIECES = st.sampled_from(
    [*MINIMAL.splitlines(keepends=True), "  name: b\n", "spec:\n", "  compute: {size: 1}\n", "---\n", "{", "x: ", "- "]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_read_definitions_of_text_like_definitions_gives_located_problems(text: str) -> None:
    items = list(read_definitions(text.encode(), "f.yaml", Source(kind="local", uri="f.yaml")))

    problems = [problem for item in items if isinstance(item, DefinitionInvalid) for problem in item.problems]
    assert items
    assert all(problem.location and problem.message and problem.fix for problem in problems)
    assert {problem.code.split(".")[0] for problem in problems} <= {"definition"}
