from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy.errors.opa import PolicyInvalid
from flowyml_policy.opa.catalogue import check_loaded, make_catalogue
from flowyml_policy.opa.library import load
from flowyml_policy.records.record import Json
from tests.unit.opa.conftest import RULE, WriteFiles


def catalogue(folder: Path) -> dict[str, Json]:
    """The catalogue that the real library's inspection of `folder` gives."""
    found = sorted(folder.rglob("*.rego"))
    inspection = load().inspect(found, 10_000_000_000)
    return make_catalogue(inspection, "project", names={str(file): file.name for file in found})


def test_make_catalogue_takes_every_block_of_findings(files: WriteFiles) -> None:
    plain = "package project.rules.plain\n\nfindings contains 1\n"
    lib = "package project.lib\n\n# METADATA\n# title: A helper\nhelp := 1\n"
    assert catalogue(files({"size.rego": RULE, "plain.rego": plain, "lib.rego": lib})) == {
        "codes": {
            "size.nodes": {
                "rule": "size",
                "title": "Too many nodes",
                "description": "More nodes than the team pays for.",
                "why": "Nodes cost money.",
                "links": [{"ref": "https://example.com/size", "description": "The budget"}],
                "enforcement": "soft",
            }
        },
        "rules": ["plain", "size"],
    }


def test_make_catalogue_of_a_block_that_says_little_is_hard(files: WriteFiles) -> None:
    rule = "package project.rules.a\n\n# METADATA\n# custom:\n#   code: a.b\nfindings contains 1\n"
    assert catalogue(files({"a.rego": rule}))["codes"] == {
        "a.b": {"rule": "a", "title": "a.b", "description": "", "why": "", "links": [], "enforcement": "hard"}
    }


def test_make_catalogue_says_which_code_reads_what_is_in_an_image(files: WriteFiles) -> None:
    codes = catalogue(files({"a.rego": block("# custom:\n#   code: a.b\n#   needs: facts\n")}))["codes"]

    assert codes["a.b"]["needs"] == "facts"


def block(custom: str, body: str = "findings contains 1") -> str:
    return f"package project.rules.a\n\n# METADATA\n# title: t\n{custom}{body}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "package other.rules.a\n\nfindings contains 1\n",
            "the package other.rules.a is outside the root project: a.rego:1",
        ),
        (
            "package project.rules.a.b\n\nfindings contains 1\n",
            "the package project.rules.a.b is nested one level too deep, it must be project.rules.<rule>: a.rego:1",
        ),
        (
            "package project.rules\n\nfindings contains 1\n",
            "the package project.rules names no rule, it must be project.rules.<rule>: a.rego:1",
        ),
        ("package project.rules.a\n\ndeny contains 1\n", "the rule a has no set named `findings`: a.rego:1"),
        (
            "package project.gpu\n\nfindings contains 1\n",
            "`findings` outside project.rules.<rule> would never be judged: a.rego:3",
        ),
        (
            "package project\n\ngpu.findings contains 1\n",
            "`findings` outside project.rules.<rule> would never be judged: a.rego:3",
        ),
        (block(""), "the METADATA block needs `custom.code`, a text that starts with `a.`: a.rego:5"),
        (
            block("# custom:\n#   code: b.c\n"),
            "the METADATA block needs `custom.code`, a text that starts with `a.`: a.rego:7",
        ),
        (
            block("# custom:\n#   code: a.b\n#   enforcement: disabled\n"),
            "`custom.enforcement` of a.b is 'disabled', not one of advisory, soft, hard: a.rego:8",
        ),
        (
            block("# custom:\n#   code: a.b\n") + "\n# METADATA\n# custom:\n#   code: a.b\nfindings contains 2\n",
            "the code a.b has a second METADATA block: a.rego:12",
        ),
        ("package project.rules.a\n\nx := \n", "rego_parse_error: unexpected eof token: a.rego:4"),
        ("", "rego_parse_error: empty module: a.rego"),
        ("# only a remark", "rego_parse_error: empty module: a.rego"),
    ],
)
def test_make_catalogue_of_what_breaks_a_convention_names_file_and_line(
    files: WriteFiles, text: str, message: str
) -> None:
    with pytest.raises(PolicyInvalid) as raised:
        catalogue(files({"a.rego": text}))
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (block(""), "write `# custom:` and below it `#   code: a.<check>`, which names what is checked"),
        (
            block("# custom:\n#   code: a.b\n#   enforcement: Hart\n"),
            "write `enforcement: hard`, or take it out, and the code is hard",
        ),
        (
            block("# custom:\n#   code: a.b\n#   enforcement: disabled\n"),
            "write `enforcement: advisory or soft or hard`, or take it out, and the code is hard",
        ),
        (
            block("# custom:\n#   code: a.b\n#   needs: [facts]\n"),
            "write `needs: facts` where the rule reads what is in an image, or take it out",
        ),
        (
            block("# custom:\n#   code: a.b\n") + "\n# METADATA\n# custom:\n#   code: a.b\nfindings contains 2\n",
            "write another code, a.<check>, into one of the two, or take its block out",
        ),
    ],
)
def test_mistake_in_metadata_is_told_with_its_own_fix(files: WriteFiles, text: str, advice: str) -> None:
    with pytest.raises(PolicyInvalid) as raised:
        catalogue(files({"a.rego": text}))
    assert raised.value.advice == advice


def rule(path: str, kind: str = "set") -> dict[str, Json]:
    return {"path": path.split("."), "kind": kind, "location": "" if kind == "data" else "x.rego:3"}


def test_check_loaded_of_rules_that_keep_to_the_conventions_passes() -> None:
    check_loaded(
        [
            rule("flowyml.rules.a.findings"),
            rule("flowyml.rules.a.helper.deep", "value"),
            rule("flowyml.rules.a.f", "function"),
            rule("org.rules.b.findings"),
        ],
        {"flowyml": ["a"], "org": ["b"], "project": []},
    )


@pytest.mark.parametrize(
    ("rules", "listed", "message"),
    [
        ([], {}, "the policy holds no rules, so nothing would be checked"),
        ([], {"flowyml": ["a"]}, "the policy holds no rules, so nothing would be checked"),
        ([rule("org.rules.d", "data")], {}, "data stands where only rules may: data.org.rules.d (data)"),
        (
            [rule("org.rules.flat", "value")],
            {},
            "a rule stands outside a package of its own: data.org.rules.flat (x.rego:3)",
        ),
        (
            [rule("org.rules.a.findings"), rule("org.rules.a.b.findings")],
            {"org": ["a"]},
            (
                "the package is nested one level too deep and would never be judged: "
                "data.org.rules.a.b.findings (x.rego:3)"
            ),
        ),
        (
            [rule("org.rules.a.findings"), rule("org.gpu.findings")],
            {"org": ["a"]},
            "`findings` outside org.rules.<rule> would never be judged: data.org.gpu.findings (x.rego:3)",
        ),
        (
            [rule("org.rules.a.findings", "value")],
            {"org": ["a"]},
            "`findings` is no set: data.org.rules.a.findings (x.rego:3)",
        ),
        (
            [rule("org.rules.a.findings.x")],
            {"org": ["a"]},
            "`findings` is no set: data.org.rules.a.findings.x (x.rego:3)",
        ),
        (
            [rule("org.rules.a.deny")],
            {"org": ["a"]},
            "the rule org.rules.a has no set named `findings`: data.org.rules.a.deny (x.rego:3)",
        ),
        (
            [rule("flowyml.rules.a.findings"), rule("project.rules.a.findings")],
            {"flowyml": ["a"], "project": ["a"]},
            "the rule a exists in the roots flowyml and project: data.project.rules.a.findings (x.rego:3)",
        ),
        (
            [rule("org.rules.a.findings")],
            {"org": []},
            "the catalogue of org does not list the rule a: data.org.rules.a.findings (x.rego:3)",
        ),
        (
            [rule("org.rules.a.findings")],
            {"org": ["a", "b"]},
            "the catalogue of org lists the rule b, which is not loaded",
        ),
    ],
)
def test_check_loaded_of_what_would_not_be_judged_is_refused(
    rules: list[dict[str, Json]], listed: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(PolicyInvalid) as raised:
        check_loaded(rules, listed)
    assert raised.value.message == message
