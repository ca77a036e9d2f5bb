"""Versions are ordered as SemVer 2.0.0 orders them; ranges are npm's `^` and `~`."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.references.version import Wanted, highest, parse_version, precedence

IN_ORDER = [
    *("0.0.1", "0.0.2", "0.1.0", "0.9.0", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta"),
    *("1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.9.0", "1.10.0", "2.0.0-1", "2.0.0"),
]

number = st.integers(0, 30)
identifier = st.one_of(st.integers(0, 20).map(str), st.sampled_from(["alpha", "beta", "rc", "x-1", "A", "0a"]))
prerelease = st.lists(identifier, max_size=3).map(".".join)
build = st.sampled_from(["", "build.5", "001"])
versions = st.builds(
    lambda a, b, c, pre, meta: f"{a}.{b}.{c}" + (f"-{pre}" if pre else "") + (f"+{meta}" if meta else ""),
    *(number, number, number, prerelease, build),
)


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(IN_ORDER)))
def test_precedence_of_the_specification(lower: str, higher: str) -> None:
    assert precedence(parse_version(lower)) < precedence(parse_version(higher))


@given(versions, versions)
def test_precedence_is_that_of_semver(one: str, other: str) -> None:
    mine, theirs = precedence(parse_version(one)), precedence(parse_version(other))
    assert (mine > theirs) - (mine < theirs) == Version.parse(one).compare(other)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("2.1", "write 2.1.0, or ^2.1 for a range"),
        ("v2.1.0", "write 2.1.0, or ^2.1.0 for a range"),
        ("2", "write 2.0.0, or ^2 for a range"),
        *(
            (text, VersionMalformed.default_advice)
            for text in ["", "latest", "1.0.0-", "1.0.0-01", "1.2.3.4", "1.0.0 "]
        ),
        *((text, VersionMalformed.default_advice) for text in ["9" * 5000 + ".0.0", "1.0.0\n", "\u0661.0.0"]),
    ],
)
def test_parse_version_what_is_none_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(VersionMalformed) as caught:
        parse_version(text)
    assert caught.value.advice == advice
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["^", "~", "^1.x", "^1.2-rc", "~1-rc", "^01.2", "^1.2.3.4", ">=1.0.0", "*", "^1 "])
def test_wanted_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(VersionMalformed):
        Wanted.parse(text)


@pytest.mark.parametrize(
    ("wanted", "accepted", "refused"),
    [
        ("^2.1", ["2.1.0", "2.99.0"], ["2.0.9", "3.0.0", "3.0.0-rc.1", "2.2.0-rc.1", "2.1.0-rc.1"]),
        ("^2", ["2.0.0", "2.99.9"], ["1.9.9", "3.0.0", "3.0.0-0"]),
        ("^0", ["0.0.0", "0.99.0"], ["1.0.0"]),
        ("^0.2", ["0.2.0", "0.2.9"], ["0.3.0", "0.1.9"]),
        ("^0.2.3", ["0.2.3", "0.2.4"], ["0.2.2", "0.3.0"]),
        ("^0.0", ["0.0.0", "0.0.9"], ["0.1.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.2", "0.0.4"]),
        ("~2.1.0", ["2.1.0", "2.1.7"], ["2.0.9", "2.2.0", "2.2.0-a"]),
        ("~2.1", ["2.1.0", "2.1.7"], ["2.2.0"]),
        ("~2", ["2.0.0", "2.9.0"], ["3.0.0", "1.9.9"]),
        ("~0", ["0.0.0", "0.9.0"], ["1.0.0"]),
        ("^2.1.0-rc.1", ["2.1.0-rc.1", "2.1.0-rc.2", "2.1.0", "2.2.0"], ["2.1.0-beta", "2.2.0-rc.1", "3.0.0-rc.1"]),
        ("2.1.0", ["2.1.0", "2.1.0+build.5"], ["2.1.1", "2.1.0-rc.1"]),
        ("2.1.0-rc.1", ["2.1.0-rc.1"], ["2.1.0", "2.1.0-rc.2"]),
        ("2.1.0+b", ["2.1.0+b"], ["2.1.0", "2.1.0+c"]),
    ],
)
def test_wanted_accepts(wanted: str, accepted: list[str], refused: list[str]) -> None:
    parsed = Wanted.parse(wanted)
    assert [text for text in accepted + refused if parsed.accepts(parse_version(text))] == accepted


@given(st.lists(versions, max_size=8))
def test_highest_without_a_wish_is_the_highest_release(found: list[str]) -> None:
    releases = [Version.parse(text) for text in found if not Version.parse(text).prerelease]
    chosen = highest(found)
    assert (chosen is None) == (not releases)
    if chosen is not None:
        assert chosen in found
        assert not Version.parse(chosen).prerelease
        assert all(Version.parse(chosen).compare(str(one)) >= 0 for one in releases)


@given(st.lists(versions, max_size=8), versions, st.sampled_from("^~"))
def test_highest_of_a_range_lies_within_it(found: list[str], start: str, kind: str) -> None:
    lowest = Version.parse(start).replace(build=None)
    chosen = highest(found, Wanted.parse(f"{kind}{lowest}"))
    within = [
        text
        for text in found
        if lowest.compare(text) <= 0
        and (Version.parse(text).major == lowest.major or (lowest.major == 0 and kind == "^"))
    ]
    assert chosen is None or chosen in within


@given(versions)
def test_highest_of_an_exact_version_is_that_version(text: str) -> None:
    others = ["0.0.0-0", "99.0.0"]
    assert highest([*others, text], Wanted.parse(text)) == text
