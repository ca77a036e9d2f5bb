"""WWW-Authenticate, read by its grammar or not at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.network.oci_challenge import Challenge, ChallengeMalformed, parse_challenges

REALM = "https://auth.example.com/token"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param(" , ,", [], id="empty elements"),
        pytest.param("Basic", [("basic", {})], id="a scheme alone"),
        pytest.param(f'Bearer realm="{REALM}"', [("bearer", {"realm": REALM})], id="one parameter"),
        pytest.param(
            f'Bearer service="registry.docker.io",scope="repository:a/b:pull,push", realm="{REALM}"',
            [("bearer", {"service": "registry.docker.io", "scope": "repository:a/b:pull,push", "realm": REALM})],
            id="any order, commas in quotes",
        ),
        pytest.param(
            f'Basic realm="a, b", Bearer realm="{REALM}"',
            [("basic", {"realm": "a, b"}), ("bearer", {"realm": REALM})],
            id="two challenges",
        ),
        pytest.param(
            'bEARER REALM="x" ,SERVICE = y,Negotiate',
            [("bearer", {"realm": "x", "service": "y"}), ("negotiate", {})],
            id="letters of either case, blanks",
        ),
        pytest.param(
            'Negotiate YWJj==, Basic realm="x"',
            [("negotiate", {}), ("basic", {"realm": "x"})],
            id="a token in place of parameters",
        ),
        pytest.param(r'Basic realm="a \"b\" \\ c"', [("basic", {"realm": r'a "b" \ c'})], id="escaped"),
        pytest.param('Basic realm=""', [("basic", {"realm": ""})], id="empty"),
        pytest.param('Basic , Bearer  realm="x"', [("basic", {}), ("bearer", {"realm": "x"})], id="more blanks"),
    ],
)
def test_challenges_are_read(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(text) == tuple(Challenge(scheme, parameters) for scheme, parameters in expected)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('realm="x"', id="no scheme"),
        pytest.param('Bearer realm="x', id="quote that does not end"),
        pytest.param('Bearer realm="x" service="y"', id="no comma"),
        pytest.param('Bearer realm="x",realm="y"', id="twice"),
        pytest.param('Bearer realm="x",REALM="y"', id="twice in other letters"),
        pytest.param("Bearer realm=https://auth.example.com/token", id="not quoted"),
        pytest.param('Bearer realm="x"y', id="text after a quote"),
        pytest.param('Bearer realm="a\nb"', id="control character"),
        pytest.param('Bearer, realm="x"', id="comma after the scheme"),
        pytest.param('Bearer abc, realm="x"', id="parameter after a token"),
        pytest.param('Be@rer realm="x"', id="no scheme's name"),
        pytest.param('Bearer ="x"', id="no name"),
        pytest.param("Bearer a b", id="two tokens"),
        pytest.param("Basic " * 4000, id="too long"),
    ],
)
def test_malformed_challenge_is_refused(text: str) -> None:
    with pytest.raises(ChallengeMalformed):
        parse_challenges(text)


NAMES = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
PARAMETERS = st.dictionaries(NAMES.map(str.lower), VALUES, min_size=1, max_size=4)
CHALLENGES = st.lists(st.tuples(NAMES.map(str.lower), PARAMETERS), max_size=4)


def quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


@given(CHALLENGES, st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_challenges_come_back(challenges: list[tuple[str, dict[str, str]]], comma: str) -> None:
    written = comma.join(
        f"{scheme} " + comma.join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges(written) == tuple(Challenge(scheme, parameters) for scheme, parameters in challenges)


@given(st.text(st.sampled_from(list('aB1=",\\ \t/~é\n')), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """What is read has a scheme for each challenge, and no parameter that is not in the text."""
    try:
        found = parse_challenges(text)
    except ChallengeMalformed:
        return
    for challenge in found:
        assert challenge.scheme in text.lower()
        assert all(name in text.lower() for name in challenge.parameters)
