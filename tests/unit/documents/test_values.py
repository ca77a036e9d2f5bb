"""What plain scalars mean, and that JSON reads as itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.documents.reader import load_documents
from flowyml_policy.errors.documents import YamlInvalid

LARGEST = 2**53 - 1


def read(text: str) -> object:
    [document] = load_documents(text.encode(), "f.yaml")
    return document.value


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("Null", None),
        ("12", 12),
        ("+12", 12),
        ("-0", 0),
        ("010", 10),
        ("0o17", 15),
        ("0xFf", 255),
        ("2.1", 2.1),
        ("3.10", 3.1),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        (str(LARGEST), LARGEST),
        (str(-LARGEST), -LARGEST),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("tRUE", "tRUE"),
        ("190:20:30", "190:20:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("0o8", "0o8"),
        ("-0x1", "-0x1"),
        ("1.2.3", "1.2.3"),
        ("2026-01-02", "2026-01-02"),
        (".", "."),
        ("-", [None]),
        ("+", "+"),
        ("e3", "e3"),
        (".e3", ".e3"),
        ("١٢", "١٢"),
        ("=", "="),
        ("${VAR}", "${VAR}"),
    ],
)
def test_plain_scalar_resolves_by_the_core_schema(plain: str, value: object) -> None:
    read_value = read(f"a: {plain}" if plain != "-" else "a:\n  -")

    assert read_value == {"a": value}
    assert type(read_value["a"]) is type(value)


@pytest.mark.parametrize("quoted", ['"true"', "'12'", '"2.1"', "''", '"~"', '"<<"'])
def test_quoted_scalar_is_text(quoted: str) -> None:
    assert read(f"a: {quoted}") == {"a": quoted[1:-1]}


def test_block_scalar_is_text() -> None:
    assert read("a: |\n  12\nb: >-\n  true\n") == {"a": "12\n", "b": "true"}


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (".inf", ".inf is no number that JSON knows"),
        ("-.Inf", "-.Inf is no number that JSON knows"),
        (".NaN", ".NaN is no number that JSON knows"),
        ("1e999", "the number 1e999 is too large for JSON"),
        (
            str(LARGEST + 1),
            f"the integer {LARGEST + 1} is beyond {LARGEST}, the largest that JSON readers agree on",
        ),
        (
            "-" + "9" * 5000,
            f"the integer -99999999999... (5001 digits) is beyond {LARGEST}, the largest that JSON readers agree on",
        ),
    ],
)
def test_number_that_json_cannot_carry_is_refused_at_its_place(plain: str, problem: str) -> None:
    with pytest.raises(YamlInvalid) as caught:
        read(f"a:\n  b: {plain}\n")

    assert caught.value.problem == problem
    assert str(caught.value.location) == "f.yaml:2:6"
    assert caught.value.fix == "put it in quotes if it is meant as text"


texts = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn"]), max_size=12)
keys = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="ᅟᅠㅤﾠ\u2800"), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@given(json_values)
def test_json_reads_as_itself(value: object) -> None:
    assert read(json.dumps(value, ensure_ascii=False)) == value


@given(json_values)
def test_indented_json_reads_as_itself(value: object) -> None:
    assert read(json.dumps(value, ensure_ascii=False, indent=1)) == value
