"""Which demands for labels are taken, and what is said of the others."""

from __future__ import annotations

import re

import pytest

from flowyml_policy.references.label_demand import contradicts, label_demand
from flowyml_policy.references.url import BadValue


@pytest.mark.parametrize(
    "demand",
    [
        "team",
        "approved=true",
        "acme.example/team=risk",
        "owner=Jane Doe",
        "url=https://x.io/a?b=c",
        "key=YWJj==",
        "Straße=ä",
        "size=a+b",
        "org.opencontainers.image.vendor=Acme, Inc.",
        "maintainer=ACME (ML)",
        "title=Foo [bar]",
        "url=https://x.io/a?b=1&c=2",
    ],
)
def test_demand_for_a_label_or_its_value_is_taken(demand: str) -> None:
    assert label_demand(demand) == demand


@pytest.mark.parametrize(
    ("demand", "what", "fix"),
    [
        ("approved: true", "written with `:`", "write approved=true"),
        ("approved:true", "written with `:`", "write approved=true"),
        ("approved=true,team", "a list in one string", "entry of its own, with one value$"),
        ("url=https://x.io,approved=true", "a list in one string", r"\[url=https://x.io, approved=true\]"),
        ("tier=gold,silver", "a list in one string", "entry of its own, with one value$"),
        ("team=risk, approved", "a list in one string", "entry of its own, with one value$"),
        ("team=risk and approved=true", "a list in one string", "entry of its own, with one value$"),
        ("team=risk&approved=true", "a list in one string", r"\[team=risk, approved=true\]"),
        ("a=x,b=y", "a list in one string", r"\[a=x, b=y\]"),
        ("a, b", "a list in one string", r"\[a, b\]"),
        ("a=x b=y", "a list in one string", r"\[a=x, b=y\]"),
        ("a=x && b=y", "a list in one string", r"\[a=x, b=y\]"),
        ("a=x;b=y", "a list in one string", r"\[a=x, b=y\]"),
        ("approved in (true)", "a selector with `in`", "write approved=true"),
        ("team in (risk, fraud)", "a selector with `in`", "a rule of your own"),
        ("team notin (risk)", "a selector with `in`", "a rule of your own"),
        ("team not in (risk)", "a selector with `in`", "a rule of your own"),
        ("!deprecated", "asks with `!`", "name alone"),
        ("team!=risk", "asks with `!`", "name alone"),
        ("team=*", "any value with", "write team alone"),
        ("team=risk-*", "with an operator", "name alone"),
        ("team==risk", "one `=` too many", "write team=risk"),
        ("team=~risk", "with an operator", "name alone"),
        ("team=^risk$", "with an operator", "name alone"),
        ("team=(a|b)", "with an operator", "name alone"),
        ("team=a|b", "with an operator", "name alone"),
        ("team=!risk", "with an operator", "name alone"),
        ("size>=3", "`>` in it", "name alone"),
        ("size=>3", "with an operator", "name alone"),
        ("team~risk", "`~` in it", "name alone"),
        ("team*", r"`\*` in it", "name alone"),
        ("*", r"`\*` in it", "name alone"),
        ('team="risk"', "with an operator", "name alone"),
        ("team=${TEAM}", "a template's", "stands for"),
        ("team exists", "with a blank in it", "entry"),
        ("team and approved", "with a blank in it", "entry"),
        ("team = risk", "blanks around '='", "write team=risk"),
    ],
)
def test_demand_in_another_language_is_refused(demand: str, what: str, fix: str) -> None:
    with pytest.raises(BadValue) as caught:
        label_demand(demand)
    assert re.search(what, caught.value.what), caught.value.what
    assert re.search(fix, caught.value.fix), caught.value.fix


def test_demands_for_two_values_contradict() -> None:
    assert contradicts("a=x", "a=y")
    assert not contradicts("a=x", "a=x")
    assert not contradicts("a", "a=x")
    assert not contradicts("a=x", "b=y")
