"""Recipes: every mistake is told with its line, and nothing in one is passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.bundles.recipe import Recipe, bundle_version, expiry, read_recipe
from flowyml_policy.errors.bundles import RecipeInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.references.url import BadValue
from flowyml_policy.version import VERSION

RECIPES = Path(__file__).parents[3] / "bundles"

EVERY_MISTAKE = """\
name: My Bundle
version: "1.0"
root: [org]
roots: [org, system, org]
shiped: true
rules: [absent, rules]
data: {levels: data.yml, levls: x.yaml, rule_data: absent.yaml}
metadata: {sequence: 3}
sequence: 0
expires: tomorrow
kind: polcy
"""


def problems(path: Path) -> list[str]:
    with pytest.raises(RecipeInvalid) as raised:
        read_recipe(path)
    folder = f"{path.parent}/"
    return [str(problem).replace(folder, "") for problem in raised.value.problems]


def test_recipes_of_the_repository_are_read() -> None:
    assert read_recipe(RECIPES / "company.yaml").recipe.rules == ("company/rules",)
    shipped = read_recipe(RECIPES / "flowyml.yaml").recipe
    assert shipped == Recipe(
        name="flowyml",
        version=VERSION,
        roots=("flowyml",),
        shipped=True,
        metadata={"title": "The rules that ship with flowyml-policy"},
    )


def test_recipe_with_every_mistake_names_each_by_its_line(write: Callable[..., Path]) -> None:
    assert problems(write(EVERY_MISTAKE)) == [
        (
            "`name` is no name of a bundle: 'My Bundle': size.yaml:1:7; write small letters, digits, `.`, `_` and `-`, "
            "at most 64"
        ),
        "`version` is no semantic version: '1.0': size.yaml:2:10; write three numbers: 1.0.0",
        "unknown key `root`: size.yaml:3:1; did you mean `roots`?",
        "unknown key `shiped`: size.yaml:5:1; did you mean `shipped`?",
        "unknown key `data.levls`: size.yaml:7:26; did you mean `levels`?",
        "`sequence` must be at least 1: size.yaml:9:11; write a number that is at least 1",
        (
            "`expires` is no instant with a zone: 'tomorrow': size.yaml:10:10; write one as 2027-01-31T00:00:00Z, or a "
            "day as 2027-01-31"
        ),
        "`kind` must be policy or discovery, not 'polcy': size.yaml:11:7; did you mean policy?",
    ]


def test_recipe_whose_values_do_not_fit_names_each_by_its_line(write: Callable[..., Path]) -> None:
    text = (
        EVERY_MISTAKE.replace("My Bundle", "size")
        .replace('"1.0"', "1.0.0")
        .replace("root: [org]\n", "")
        .replace("shiped", "shipped")
        .replace("levls: x.yaml, ", "")
        .replace("sequence: 0\nexpires: tomorrow\nkind: polcy\n", "")
    )
    assert problems(write(text, **{"data.yml": "a.b: hard"})) == [
        "`roots` lacks flowyml: size.yaml:3:1; write `shipped: true` and the root flowyml, or neither",
        "`roots[1]` is 'system', which no such bundle may own: size.yaml:3:14; write flowyml or org or system/log",
        "`roots[2]` stands twice: size.yaml:3:22; keep one of the two",
        "`rules[0]` names no folder: 'absent': size.yaml:5:9; correct the path; it starts here",
        (
            "`data.levels` is called data.yml: size.yaml:6:8; call the file levels.yaml: OPA reads data.yml itself, "
            "and its versions differ in how"
        ),
        "`data.rule_data` names nothing that exists: 'absent.yaml': size.yaml:6:26; correct the path",
        "`metadata.sequence` is written by the build: size.yaml:7:12; write `sequence` beside `metadata`, not in it",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\nversion: 1.0.0\n", "`roots` is missing: size.yaml:1:1; add `roots: ...`"),
        (
            "name: a\nversion: 1.0.0\nroots: [org]\n",
            "the recipe names nothing that would go into the bundle: size.yaml:1:1; add `shipped: true`",
        ),
        (
            "name: a\nversion: 1.0.0\nroots: []\nrules: [rules]\n",
            "`roots` names no root, so that the bundle would own every one: size.yaml:3:1; write [system/log]",
        ),
        (
            "name: a\nversion: 1.0.0\nroots: [flowyml]\nrules: [rules]\n",
            (
                "`roots` names flowyml, the root of the rules that ship: size.yaml:3:1; write `shipped: true` and the "
                "root flowyml, or neither"
            ),
        ),
        (
            "name: a\nversion: 1.0.0+b\nroots: [org]\nrules: [rules]\n",
            (
                "`version` has build metadata: '1.0.0+b': size.yaml:2:10; take what begins with + out; the digest "
                "stands there"
            ),
        ),
        (
            "name: a\nversion: 1.0.0\nroots: [org]\nrules: [rules]\nexpires: 2027-02-30\n",
            "`expires` is no instant of the calendar: '2027-02-30': size.yaml:5:10; correct the date or the time",
        ),
        ("name: a\nname: b\n", "the key 'name' stands twice, first in line 1: size.yaml:2:1; keep one of the two"),
        ("- a\n", "the file must hold keys and values, not a list: size.yaml:1:1; write name, version, kind as "),
    ],
)
def test_recipe_that_cannot_be_used_is_refused(write: Callable[..., Path], text: str, problem: str) -> None:
    assert problems(write(text))[0].startswith(problem)


def test_discovery_recipe_holds_nothing_else(write: Callable[..., Path]) -> None:
    text = "name: d\nversion: 1.0.0\nkind: discovery\nroots: [org]\nrules: [rules]\ndata: {levels: l.yaml}\n"
    assert problems(write(text, **{"l.yaml": "a.b: hard"})) == [
        "`roots[0]` is 'org', which no such bundle may own: size.yaml:4:9; write discovery",
        "`rules` does not belong into a bundle of `kind: discovery`: size.yaml:5:1; take it out",
        "`data` lacks `discovery`, the configuration that it brings: size.yaml:6:1; add `discovery: FILE`",
        "`data.levels` does not belong into a bundle of `kind: discovery`: size.yaml:6:8; take it out",
    ]


def test_recipe_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(UsageError):
            read_recipe(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
        ("2027-01-31t12:00:00z", "2027-01-31T12:00:00Z"),
        ("2027-01-31T00:30:00+02:00", "2027-01-30T22:30:00Z"),
    ],
)
def test_expiry_is_an_instant_in_utc(written: str, meant: str) -> None:
    assert expiry(written) == meant


@pytest.mark.parametrize("written", ["2027-01-31T12:00:00", "31.1.2027", "2027-1-31", "", "2027-01-31 ", "never"])
def test_expiry_without_day_or_zone_is_refused(written: str) -> None:
    with pytest.raises(BadValue, match="no instant"):
        expiry(written)


def test_version_with_a_pre_release_is_one() -> None:
    assert bundle_version("2.0.0-rc.1") == "2.0.0-rc.1"
