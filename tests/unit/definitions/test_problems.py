"""Every problem of a document: what is said, where, and how to write it instead."""

from __future__ import annotations

from typing import Any

import pytest

from flowyml_policy.definitions.stack import StackDefinition, read_definitions
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.records.policy_input import Source

HEAD = "apiVersion: flowyml/v1\nkind: StackDefinition\n"
NAMED = f"{HEAD}metadata: {{name: a}}\n"


def problems(text: str | bytes) -> list[str]:
    """The problems of the one invalid item that `text` gives, as `code place: message; fix`."""
    data = text if isinstance(text, bytes) else text.encode()
    [invalid] = read_definitions(data, "f", Source(kind="local", uri="f"))
    assert isinstance(invalid, DefinitionInvalid)
    return [f"{problem.code} {problem}" for problem in invalid.problems]


CASES: dict[str, tuple[str, list[str]]] = {
    "not a mapping": (
        "- a\n",
        [
            (
                "definition.kind f:1:1: the document is a list, no stack definition; "
                "begin it with `apiVersion: flowyml/v1` and `kind: StackDefinition`"
            )
        ],
    ),
    "a number": (
        "3",
        [
            (
                "definition.kind f:1:1: the document is a number, no stack definition; "
                "begin it with `apiVersion: flowyml/v1` and `kind: StackDefinition`"
            )
        ],
    ),
    "no blanks at all": (
        "apiVersion:flowyml/v1\nkind:StackDefinition\n",
        ["definition.kind f:1:1: the document is text, no stack definition; put a blank after each colon"],
    ),
    "an empty document": (
        "---\n",
        ["definition.kind f:2:1: the document is empty, no stack definition; take it out"],
    ),
    "nothing": (
        "# comment\n",
        [
            (
                "definition.kind f:1:1: the file holds no document; "
                "write a definition, which begins with `apiVersion: flowyml/v1`, or take the file away"
            )
        ],
    ),
    "something else": (
        "a: b\n",
        [
            (
                "definition.kind f:1:1: the document is no stack definition; "
                "write `apiVersion: flowyml/v1` and `kind: StackDefinition`, or keep the file elsewhere"
            )
        ],
    ),
    "another kind": (
        "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 3}\n",
        [
            (
                "definition.kind f:2:7: the document is no stack definition: its kind is 'Deployment'; "
                "write `apiVersion: flowyml/v1` and `kind: StackDefinition`, or keep the file elsewhere"
            )
        ],
    ),
    "a kind that is no text": (
        "kind: [a]\n",
        [
            (
                "definition.kind f:1:1: the document is no stack definition: its kind is a list; "
                "write `apiVersion: flowyml/v1` and `kind: StackDefinition`, or keep the file elsewhere"
            )
        ],
    ),
    "schema B": (
        "kind: Stack\napiVersion: flowyml.io/v1\nspec: {backend: gcp, min_nodes: 1}\n",
        [
            "definition.missing_key f:1:1: metadata is missing; add `metadata:`",
            (
                "definition.unknown_key f:3:22: spec.min_nodes is no key of a flowyml.io/v1 stack; "
                "take it out; known here: backend, runtime, compute, storage, deployment, secrets, observability, "
                "policies, permissions, security"
            ),
        ],
    ),
    "another version": (
        "apiVersion: flowyml/v2\nkind: StackDefinition\nmetadata: {name: a}\nspec: {}\n",
        ["definition.api_version f:1:13: apiVersion is 'flowyml/v2', not flowyml/v1; write `apiVersion: flowyml/v1`"],
    ),
    "a version that is no text": (
        "apiVersion: 1\nkind: StackDefinition\nmetadata: {name: a}\nspec: {}\n",
        ["definition.type f:1:13: apiVersion is a number, not flowyml/v1; write `apiVersion: flowyml/v1`"],
    ),
    "a mistyped kind": (
        "apiVersion: flowyml/v1\nkind: stackdefinition\nmetadata: {name: a}\nspec: {}\n",
        ["definition.kind f:2:7: kind is 'stackdefinition', not StackDefinition; write `kind: StackDefinition`"],
    ),
    "only a kind": (
        "kind: StackDefinition\n",
        [
            "definition.missing_key f:1:1: apiVersion is missing; write `apiVersion: flowyml/v1`",
            "definition.missing_key f:1:1: metadata is missing; add `metadata:`",
            "definition.missing_key f:1:1: spec is missing; write `spec: {}` if it has none",
        ],
    ),
    "only a version": (
        "apiVersion: flowyml/v1\nmetadata: {name: a}\nspec: {}\n",
        ["definition.missing_key f:1:1: kind is missing; write `kind: StackDefinition`"],
    ),
    "no name": (
        f"{HEAD}metadata:\n  version: '1'\nspec: {{}}\n",
        ["definition.missing_key f:3:1: metadata.name is missing; add `name:`"],
    ),
    "version 2.1 unquoted": (
        f"{HEAD}metadata: {{name: a, version: 2.1}}\nspec: {{}}\n",
        [
            'definition.type f:3:30: metadata.version is the number 2.1, not text; put it in quotes: "2.1"',
        ],
    ),
    "python 3.10 unquoted": (
        f"{NAMED}spec:\n  runtime:\n    python_version: 3.10\n",
        ['definition.type f:6:21: spec.runtime.python_version is the number 3.10, not text; put it in quotes: "3.10"'],
    ),
    "labels that are no text": (
        f"{HEAD}metadata:\n  name: a\n  labels:\n    b: true\n    c: 1\n    d:\n    e: [x]\n    f: {{}}\nspec: {{}}\n",
        [
            'definition.type f:6:8: metadata.labels.b is the boolean true, not text; put it in quotes: "true"',
            'definition.type f:7:8: metadata.labels.c is the number 1, not text; put it in quotes: "1"',
            "definition.type f:8:7: metadata.labels.d is empty; write text after it, or take the key out",
            "definition.type f:9:5: metadata.labels.e is a list, not text; write text",
            "definition.type f:10:5: metadata.labels.f is a mapping, not text; write text",
        ],
    ),
    "secrets that are no text": (
        f"{HEAD}metadata:\n  name: a\n  labels:\n    db_password: 4829\n    token: true\n    pwd: [7]\nspec: {{}}\n",
        [
            "definition.type f:6:18: metadata.labels.db_password is a number, not text; put it in quotes",
            "definition.type f:7:12: metadata.labels.token is a boolean, not text; put it in quotes",
            "definition.type f:8:5: metadata.labels.pwd is a list, not text; write text",
        ],
    ),
    "sections that are no mappings": (
        f"{HEAD}metadata:\nspec:\n  compute:\n  runtime: [a]\n  storage: s3\n",
        [
            "definition.type f:3:10: metadata is empty; write its keys below it",
            "definition.type f:5:11: spec.compute is empty; write its keys below it, or `{}`",
            "definition.type f:6:3: spec.runtime is a list, not a mapping; write a mapping",
            "definition.type f:7:12: spec.storage is text, not a mapping; write a mapping",
        ],
    ),
    "numbers that are none": (
        f"{NAMED}spec:\n  compute:\n    min_nodes: '2'\n    max_nodes: many\n",
        [
            "definition.type f:6:16: spec.compute.min_nodes is text, not a whole number; write 2 without quotes",
            "definition.type f:7:16: spec.compute.max_nodes is text, not a whole number; write a whole number",
        ],
    ),
    "numbers that are not whole": (
        f"{NAMED}spec:\n  compute: {{min_nodes: 1.0, max_nodes: true}}\n",
        [
            (
                "definition.type f:5:24: spec.compute.min_nodes is the number 1.0, not a whole number; "
                "write a whole number"
            ),
            (
                "definition.type f:5:40: spec.compute.max_nodes is the boolean true, not a whole number; "
                "write a whole number"
            ),
        ],
    ),
    "a negative number": (
        f"{NAMED}spec:\n  compute: {{min_nodes: -1}}\n",
        ["definition.value f:5:24: spec.compute.min_nodes is less than 0; write 0 or more"],
    ),
    "bounds out of order": (
        f"{NAMED}spec:\n  compute:\n    max_nodes: 1\n    min_nodes: 2\n",
        [
            (
                "definition.value f:7:16: spec.compute: min_nodes 2 is more than max_nodes 1; "
                "raise max_nodes, or lower min_nodes"
            )
        ],
    ),
    "empty texts": (
        f"{HEAD}metadata: {{name: ''}}\nspec: {{runtime: {{docker_image: ''}}}}\n",
        [
            "definition.value f:3:18: metadata.name is an empty text; write a value, or take the key out",
            "definition.value f:4:32: spec.runtime.docker_image is an empty text; write a value, or take the key out",
        ],
    ),
    "a long name": (
        f"{HEAD}metadata: {{name: {'x' * 129}}}\nspec: {{}}\n",
        ["definition.value f:3:18: metadata.name has 129 characters, more than 128; shorten it"],
    ),
    "a mistyped key": (
        f"{NAMED}spec:\n  trakcing: {{}}\n",
        ["definition.unknown_key f:5:3: spec.trakcing is no key of a stack definition; did you mean `tracking`?"],
    ),
    "a camel-case key": (
        f"{NAMED}spec:\n  compute:\n    minNodes: 1\n",
        [
            "definition.unknown_key f:6:5: spec.compute.minNodes is no key of a stack definition; write `min_nodes`",
        ],
    ),
    "a key that stands there already": (
        f"{NAMED}spec:\n  compute:\n    min_nodes: 1\n    min-nodes: 1\n",
        [
            (
                "definition.unknown_key f:7:5: spec.compute.min-nodes is no key of a stack definition; "
                "take it out; `min_nodes` is there already"
            ),
        ],
    ),
    "nearly a key that stands there already": (
        f"{HEAD}metadata:\n  name: a\n  labels: {{}}\n  label: {{}}\nspec: {{}}\n",
        [
            (
                "definition.unknown_key f:6:3: metadata.label is no key of a stack definition; "
                "join it with `labels`, or take it out"
            ),
        ],
    ),
    "a key at the wrong level": (
        f"{NAMED}labels: {{}}\nspec:\n  labels: {{}}\n  dockerImage: x\n  kind: x\n",
        [
            "definition.unknown_key f:4:1: labels is no key of a stack definition; move it to metadata",
            "definition.unknown_key f:6:3: spec.labels is no key of a stack definition; move it to metadata",
            (
                "definition.unknown_key f:7:3: spec.dockerImage is no key of a stack definition; "
                "move it to spec.runtime as `docker_image`"
            ),
            "definition.unknown_key f:8:3: spec.kind is no key of a stack definition; move it to the top level",
        ],
    ),
    "a key without the blank": (
        f"{NAMED}spec: {{compute: {{backend:gcp}}}}\n",
        [
            (
                "definition.unknown_key f:4:18: spec.compute['backend:gcp'] is no key of a stack definition; "
                "put a blank after the colon: `backend: gcp`"
            ),
        ],
    ),
    "a key like none": (
        f"{NAMED}spec:\n  compute:\n    quux: 1\n",
        [
            (
                "definition.unknown_key f:6:5: spec.compute.quux is no key of a stack definition; "
                "take it out; known here: backend, size, min_nodes, max_nodes"
            ),
        ],
    ),
    "problems in file order": (
        "spec: {x: 1}\nzzz: 1\nmetadata: {version: 1, name: 2}\nkind: StackDefinition\n",
        [
            "definition.missing_key f:1:1: apiVersion is missing; write `apiVersion: flowyml/v1`",
            (
                "definition.unknown_key f:1:8: spec.x is no key of a stack definition; "
                "take it out; known here: compute, runtime, storage, tracking, secrets"
            ),
            (
                "definition.unknown_key f:2:1: zzz is no key of a stack definition; "
                "take it out; known here: apiVersion, kind, metadata, spec"
            ),
            'definition.type f:3:21: metadata.version is the number 1, not text; put it in quotes: "1"',
            'definition.type f:3:30: metadata.name is the number 2, not text; put it in quotes: "2"',
        ],
    ),
    "not YAML": (
        "a: ${X}\nb: [${Y}]\n",
        [
            (
                "definition.yaml f:2:5: a template's placeholder stands outside quotes; "
                "put the value that holds ${ in quotes, or render the template first"
            )
        ],
    ),
    "deep nesting": (
        "[" * 1000,
        ["definition.size f:1:65: the document is more than 64 levels deep; split it, or make it smaller"],
    ),
    "10 MB": (
        "#" * 10_000_000,
        ["definition.size f:1:1: the file is larger than 1,048,576 bytes; split it into several files"],
    ),
    "a secret as an alias": (
        f"{NAMED}spec: {{secrets: {{provider: &p x, vault_url: *p}}, x: *p}}\n",
        [
            (
                "definition.unknown_key f:4:50: spec.x is no key of a stack definition; "
                "take it out; known here: compute, runtime, storage, tracking, secrets"
            )
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_read_definitions_of_a_flawed_document_names_every_problem_in_file_order(case: str) -> None:
    text, expected = CASES[case]

    assert problems(text) == expected


def test_read_definitions_of_binary_is_a_yaml_problem() -> None:
    assert problems(b"\x7fELF\x02\x01\x01\x00\x00") == [
        "definition.yaml f:1:1: the character U+007F may not stand in a file; take it out"
    ]


@pytest.mark.parametrize("name", ["a b", "../x", "-", "x" * 128, "name\u200b", "ünï", "a/b"])
def test_read_definitions_of_an_unsafe_name_is_no_problem_of_form(name: str) -> None:
    [definition] = read_definitions(
        f'{HEAD}metadata: {{name: "{name}"}}\nspec: {{}}\n'.encode(), "f", Source(kind="local", uri="f")
    )

    assert isinstance(definition, StackDefinition)
    assert definition.metadata.name == name


@pytest.mark.parametrize(
    ("metadata", "name", "version"),
    [
        ({"name": "a", "version": "1"}, "a", "1"),
        ({"name": "a", "version": 1}, "a", None),
        ({"name": None}, None, None),
        ({"name": "x" * 500}, "x" * 128, None),
        (["name"], None, None),
        (None, None, None),
    ],
)
def test_definition_invalid_carries_the_name_and_version_that_could_be_read(
    metadata: Any, name: str | None, version: str | None
) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        StackDefinition.from_dict({"kind": "StackDefinition", "metadata": metadata})

    assert (caught.value.stack_name, caught.value.stack_version) == (name, version)


NUMBERED: dict[Any, str] = {1: "b"}
MAPPING: dict[Any, Any] = {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": {"name": "a"}, "spec": {}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {**MAPPING, "metadata": {"name": "a", "version": 2.1}},
            ['definition.type metadata.version is the number 2.1, not text; put it in quotes: "2.1"'],
        ),
        (
            {**MAPPING, "metadata": {"name": "a", "labels": {1: "b"}}},
            ["definition.type metadata.labels has a key that is a number, not text; use text as the key"],
        ),
        (
            {**MAPPING, **NUMBERED},
            ["definition.type the definition has a key that is a number, not text; use text as the key"],
        ),
        (
            {**MAPPING, "metadata": {"name": "\ud800"}},
            ["definition.value metadata.name is text that UTF-8 cannot hold; take the lone surrogates out"],
        ),
        (
            {**MAPPING, "metadata": {"name": "a", "version": "\ud800", "labels": {"\ud800": "b", "c": "\udfff"}}},
            [
                "definition.value metadata.version is text that UTF-8 cannot hold; take the lone surrogates out",
                "definition.value metadata.labels has a key that UTF-8 cannot hold; take the lone surrogates out",
                "definition.value metadata.labels.c is text that UTF-8 cannot hold; take the lone surrogates out",
            ],
        ),
        ({**MAPPING, "metadata": {"name": b"a"}}, ["definition.type metadata.name is a bytes, not text; write text"]),
        (
            {**MAPPING, "metadata": {"name": 10**5000}},
            ["definition.type metadata.name is a number, not text; write text"],
        ),
        (
            {**MAPPING, "spec": {"compute": {"max_nodes": 10**5000}}},
            ["definition.value spec.compute.max_nodes is more than 9007199254740991; write a smaller number"],
        ),
        (
            {**MAPPING, "spec": {"compute": {"size": None}}},
            ["definition.type spec.compute.size is empty; write text after it, or take the key out"],
        ),
        (
            [],
            [
                (
                    "definition.kind the document is a list, no stack definition; "
                    "begin it with `apiVersion: flowyml/v1` and `kind: StackDefinition`"
                )
            ],
        ),
        (
            "x",
            [
                (
                    "definition.kind the document is text, no stack definition; "
                    "begin it with `apiVersion: flowyml/v1` and `kind: StackDefinition`"
                )
            ],
        ),
    ],
)
def test_from_dict_of_a_flawed_mapping_names_every_problem_without_a_place(value: Any, expected: list[str]) -> None:
    with pytest.raises(DefinitionInvalid) as caught:
        StackDefinition.from_dict(value)

    assert [f"{problem.code} {problem}" for problem in caught.value.problems] == expected
    assert all(problem.location is None for problem in caught.value.problems)
