"""Canonical JSON: RFC 8785's own rules, and that the fast path writes the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from datetime import date
from random import Random
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.documents.canonical import canonical_digest, canonical_json, digest
from flowyml_policy.errors.documents import NotCanonical

LARGEST = 2**53 - 1
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=15
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({}, "{}"),
        ([], "[]"),
        (None, "null"),
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        ({"\u20ac": 1, "\r": 2, "1": 3, "\u0080": 4, "\u00f6": 5}, '{"\\r":2,"1":3,"\u0080":4,"\u00f6":5,"\u20ac":1}'),
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'),
        ({"\ue000": 1, "\U0001f600": {"\ufb33": 2}}, '{"\U0001f600":{"\ufb33":2},"\ue000":1}'),
        ('\u20ac$\x0f\nA\'B"\\\\"/\x7f\u2028', '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f\u2028"'),
        ("\b\t\n\f\r", '"\\b\\t\\n\\f\\r"'),
        ([1.0, 0.002, 1e30, 1e-27, -0.0, 333333333.33333329], "[1,0.002,1e+30,1e-27,0,333333333.3333333]"),
        ([LARGEST, -LARGEST], f"[{LARGEST},-{LARGEST}]"),
    ],
)
def test_canonical_json_writes_as_rfc_8785_says(value: object, written: str) -> None:
    assert canonical_json(value) == written.encode()


@given(values)
def test_canonical_json_is_what_the_reference_implementation_writes(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(values)
def test_canonical_json_reads_back_as_the_value(value: object) -> None:
    assert json.loads(canonical_json(value), parse_int=float) == value  # as JavaScript reads numbers


@given(st.dictionaries(texts, scalars, min_size=2), st.randoms(use_true_random=False))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, object], random: Random) -> None:
    shuffled = list(value)
    random.shuffle(shuffled)

    assert canonical_json({key: value[key] for key in shuffled}) == canonical_json(value)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def containing_itself() -> object:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        LARGEST + 1,
        -LARGEST - 1,
        float("nan"),
        float("inf"),
        {"a": [float("-inf")]},
        {1: "a"},
        {"a": {None: 1}},
        {("a",): 1.5},
        b"a",
        {"a": date(2026, 1, 2)},
        {1, 2},
        object(),
        "\ud800",
        {"\udfff": 1},
        {"\udfff": 1.5},
        nested(1000),
        [nested(1000), 1.5],
        containing_itself(),
    ],
)
def test_canonical_json_of_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_canonical_json_of_an_integer_too_long_to_print_is_refused() -> None:
    with pytest.raises(NotCanonical, match="an integer beyond"):
        canonical_json({"a": 10**5000})


def test_canonical_json_of_subclasses_is_that_of_their_values() -> None:
    class Name(str):
        __slots__ = ()

    assert canonical_json(OrderedDict(b=Name("x"), a=(1, 2))) == b'{"a":[1,2],"b":"x"}'


def test_digest_is_sha256_of_the_bytes() -> None:
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    written = b'{"a":2,"b":1}'
    assert canonical_digest({"b": 1, "a": 2}) == f"sha256:{hashlib.sha256(written).hexdigest()}"
