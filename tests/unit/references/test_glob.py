"""Which globs are taken, and what is said of the others."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.opa.library import load
from flowyml_policy.references.glob import IMAGE_NAMES, STACK_NAMES, GlobGrammar, glob_regex
from flowyml_policy.references.url import BadValue

KEPT = [
    "*",
    "prod-*",
    "prod-??",
    "dev-[ab]*",
    "v[0-9].[0-9]",
    "{prod,staging}-gpu",
    "{[a-z],[A-Z]}*",
    "[-_]x",
    "train-1.*",
    "prod.*",
    "-x",
    "a" * 128,
]
REFUSED = {
    "!prod-*": "`!`, which keeps",
    "[!a]*": "negated class",
    "[^a]*": "negated class",
    "{!a,b}": "'!', which no",
    "{a,}": "an empty alternative",
    "{,a}": "an empty alternative",
    "{a,,b}": "an empty alternative",
    "{}": "an empty alternative",
    "{a,{b,c}}": "alternatives within",
    "{a}": "a single alternative",
    "{1..3}": "a single alternative",
    "prod-**": r"`\*\*`",
    "**": r"`\*\*`",
    r"prod-\*": "a backslash",
    r"prod-\d": "a backslash",
    "^prod-.*$": "a regular expression",
    "prod-.*": "a regular expression",
    ".*": "a regular expression",
    "prod$": "a regular expression",
    "(prod|dev)-x": "a regular expression",
    "prod-[a-z]+": "a regular expression",
    "@(a|b)": "a regular expression",
    "prod|dev": "a list in one",
    "prod-*,dev-*": "a list in one",
    "prod-*, dev-*": "a list in one",
    "prod-*;dev-*": "a list in one",
    "prod-* dev-*": "a blank",
    "prod dev": "a blank",
    "registry/prod-*": "'/', which no",
    "re:prod": "':', which no",
    "~prod": "'~', which no",
    "prodü": "'ü', which no",
    "${TEAM}-*": "a template",
    "{{ team }}-*": "a template",
    "%{team}": "a single alternative",
    "[abc-z]": "a class that tools",
    "[a-zA-Z]": "a class that tools",
    "[a-]": "a class that tools",
    "[A-z]": "a class that tools",
    "[z-a]": "runs backwards",
    "[]": "an empty class",
    "[[:alpha:]]": "without its other half",
    "[a[b]": "read in one way|without its other half",
    "prod-[a-z": "without its other half",
    "prod-a]": "without its other half",
    "{a,b": "without its other half",
    "a" * 129: "matches no",
    f"{{{129 * 'a'},{130 * 'b'}}}": "matches no",
    " a": "blanks around",
    "": "is blank",
}


@pytest.mark.parametrize("pattern", KEPT)
def test_glob_of_plain_parts_is_taken(pattern: str) -> None:
    assert STACK_NAMES.checked(pattern) == pattern
    assert load().check_globs([pattern], 1_000_000_000) == []


@pytest.mark.parametrize(("pattern", "words"), REFUSED.items())
def test_glob_that_says_another_thing_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(BadValue) as caught:
        STACK_NAMES.checked(pattern)
    assert re.search(words, caught.value.what)
    assert caught.value.fix


def test_regular_expression_is_refused_with_its_glob() -> None:
    with pytest.raises(BadValue) as caught:
        STACK_NAMES.checked("^prod-.*$")
    assert caught.value.fix == "write prod-*"


def test_glob_of_images_holds_what_their_names_hold() -> None:
    assert IMAGE_NAMES.checked("localhost:5000/team/*:dev") == "localhost:5000/team/*:dev"
    with pytest.raises(BadValue):
        IMAGE_NAMES.checked("team/**")


@given(st.text(alphabet="aZ09._-*?[]{},!^", min_size=1, max_size=12))
def test_glob_that_is_taken_is_one_to_opa_and_means_what_fnmatch_reads(pattern: str) -> None:
    """What passes compiles, and the schema's expression says the same; nothing is a negation to anybody."""
    try:
        STACK_NAMES.checked(pattern)
    except BadValue:
        return
    assert load().check_globs([pattern], 1_000_000_000) == []
    assert re.search(STACK_NAMES.pattern, pattern)
    if "{" not in pattern:
        sample = re.sub(r"\[-?(.)[^\]]*\]", r"\1", pattern).replace("?", "a").replace("*", "")
        assert fnmatch.fnmatchcase(sample, pattern)


def test_grammar_without_a_longest_name_takes_any_length() -> None:
    assert GlobGrammar("tag").checked("a" * 500)


def expanded(pattern: str) -> list[str]:
    """`pattern` with each of its alternatives written out."""
    found = re.search(r"\{([^}]*)\}", pattern)
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [one for choice in found[1].split(",") for one in expanded(before + choice + after)]


PART = st.sampled_from(["*", "?", "[ab]", "[a-b]", "[-_]", "{a,b1}", "{a*,?}", "{[ab],@}"]) | st.sampled_from(
    "ab-_.:/@1"
)


@given(parts=st.lists(PART, min_size=1, max_size=5), name=st.text("ab-_.:/@1", max_size=6))
def test_glob_as_a_regular_expression_matches_what_fnmatch_does(parts: list[str], name: str) -> None:
    pattern = "".join(parts).replace("**", "*")
    expected = any(fnmatch.fnmatchcase(name, one) for one in expanded(pattern))
    assert (glob_regex(pattern).fullmatch(name) is not None) == expected
