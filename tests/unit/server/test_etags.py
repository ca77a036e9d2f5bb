"""Conditions and preferences, in the forms that clients write them."""

from __future__ import annotations

import pytest

from flowyml_policy.server.etags import is_match, is_of_opa, wait_of

TAG = '"abc"'


@pytest.mark.parametrize(
    "condition", ['"abc"', 'W/"abc"', '"x", "abc"', '"x","abc" ,"y"', '"a,b", "abc"', "*", " * ", '"x" "abc"']
)
def test_condition_that_names_the_tag(condition: str) -> None:
    assert is_match(condition, TAG)
    assert not is_match(condition, None)


@pytest.mark.parametrize("condition", ["", "abc", '"ab"', '"abcd"', '"ABC"', '"x, abc"', 'abc"', '"*"', '"x", *'])
def test_condition_that_does_not(condition: str) -> None:
    assert not is_match(condition, TAG)


@pytest.mark.parametrize(("condition", "holds"), [('"abc"', True), ('W/"abc"', False), ("*", True)])
def test_if_match_takes_no_weak_tag(condition: str, *, holds: bool) -> None:
    assert is_match(condition, TAG, weak=False) is holds


@pytest.mark.parametrize(
    ("prefer", "seconds", "of_opa"),
    [
        ("modes=snapshot,delta;wait=30", 30, True),
        ("modes=snapshot,delta", 0, True),
        ("modes=snapshot,delta; wait = 30", 30, True),
        ('wait="7"', 7, False),
        ("respond-async, WAIT=10", 10, False),
        ("wait=5, wait=9", 5, False),
        ("wait=-1", 0, False),
        ("wait=1.5", 0, False),
        ("wait=", 0, False),
        ("wait=9999999999", 0, False),
        ("await=5", 0, False),
        ("", 0, False),
        (";;,=", 0, False),
    ],
)
def test_preferences(prefer: str, seconds: int, *, of_opa: bool) -> None:
    assert (wait_of(prefer), is_of_opa(prefer)) == (seconds, of_opa)
