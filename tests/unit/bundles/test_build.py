"""Building: the same bytes anywhere and any day, and nothing that would not load, or would deny every stack."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.bundles import trial
from flowyml_policy.bundles.archive import read_archive
from flowyml_policy.bundles.build import Built, build_bundle
from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.errors.bundles import BundleRefused, BundleUnreadable, RecipeInvalid
from flowyml_policy.opa import shipped
from flowyml_policy.opa.bundle_files import stage
from flowyml_policy.opa.shipped import CHECKOUT_POLICY
from flowyml_policy.version import VERSION
from tests.unit.bundles.conftest import RECIPE, RECIPES, RULE, TEST

Write = Callable[..., Path]


def refused(recipe: Path) -> list[str]:
    with pytest.raises(BundleRefused) as raised:
        build_bundle(read_recipe(recipe))
    assert not (recipe.parent / "dist").exists()
    return raised.value.message.replace(f"{recipe.parent}/", "").splitlines()


def test_bundle_of_what_ships_holds_the_files_of_a_wheel(what_ships: Built, tmp_path: Path) -> None:
    stage(CHECKOUT_POLICY, tmp_path / "wheel.tar.gz", roots=["flowyml"], version=VERSION, only=["flowyml"])
    ours, wheels = read_archive(what_ships.file), read_archive(tmp_path / "wheel.tar.gz")
    assert set(ours.files) == set(wheels.files)
    assert {**ours.files, ".manifest": b""} == {**wheels.files, ".manifest": b""}
    assert ours.manifest["roots"] == wheels.manifest["roots"] == ["flowyml"]
    assert what_ships.tests > 100
    assert what_ships.rules == tuple(f"flowyml.rules.{rule}" for rule in ours.data["flowyml"]["catalogue"]["rules"])


def test_bundle_is_the_same_bytes_from_another_folder_on_another_day(company: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else" / "where"
    shutil.copytree(company.parent / "company", elsewhere / "company")
    other = Path(shutil.copy(company, elsewhere))
    for file in elsewhere.rglob("*"):
        os.utime(file, (1e9, 1e9))
        file.chmod(0o700)
    first, second = (
        build_bundle(read_recipe(one), sequence=7, expires="2027-01-31T00:00:00Z") for one in (company, other)
    )
    assert first.file == company.parent / "dist" / "company.tar.gz"
    assert second.file == elsewhere / "dist" / "company.tar.gz"
    assert first.file.read_bytes() == second.file.read_bytes()
    assert first._replace(file=second.file) == second


def test_revision_is_that_of_the_content_alone(built: Built, tmp_path: Path, company: Path) -> None:
    output = tmp_path / "later.tar.gz"
    later = build_bundle(read_recipe(company), sequence=8, expires="2028-01-01T00:00:00Z", output=output)
    assert later.revision == built.revision
    assert later.digest != built.digest
    assert read_archive(output).manifest == {
        "metadata": {
            "expires": "2028-01-01T00:00:00Z",
            "input_schema": 1,
            "owner": "ml-platform@example.com",
            "sequence": 8,
            "title": "Policy of the example company",
        },
        "rego_version": 1,
        "revision": built.revision,
        "roots": ["org"],
    }
    (company.parent / "company" / "levels.yaml").write_text("version.missing: advisory\n")
    assert build_bundle(read_recipe(company), output=output).revision != built.revision


def test_recipe_says_sequence_and_expiry_unless_the_call_does(write: Write) -> None:
    recipe = write(f"{RECIPE}sequence: 3\nexpires: 2027-01-31\n")
    built = build_bundle(read_recipe(recipe))
    assert (built.sequence, built.expires) == (3, "2027-01-31T00:00:00Z")
    assert build_bundle(read_recipe(recipe), sequence=4).sequence == 4


def test_bundle_of_the_company_is_data_rules_and_catalogue(built: Built) -> None:
    archive = read_archive(built.file)
    assert sorted(archive.files) == [".manifest", "company/rules/cost_centre/cost_centre.rego", "data.json"]
    org = archive.data["org"]
    assert org["levels"] == {"version.missing": "soft", "cost_centre.format": "soft"}
    assert org["environments"] == {"production": {"builtin": "deny"}, "staging": {"builtin": "allow"}}
    assert org["rule_data"]["labels"] == {"required": ["team", "approved"]}
    assert org["catalogue"]["rules"] == ["cost_centre"]
    assert org["catalogue"]["codes"]["cost_centre.format"]["title"] == "The stack names a cost centre"


def test_what_ships_and_a_company_make_one_bundle(company: Path) -> None:
    text = company.read_text().replace("roots: [org]", "roots: [flowyml, org]\nshipped: true")
    company.write_text(text)
    built = build_bundle(read_recipe(company))
    assert built.roots == ("flowyml", "org")
    assert "org.rules.cost_centre" in built.rules
    assert "flowyml.rules.naming" in built.rules
    assert built.tests > 100


def test_data_of_a_company_replaces_nothing_that_ships(company: Path) -> None:
    company.write_text(company.read_text().replace("roots: [org]", "roots: [flowyml, org]\nshipped: true"))
    (company.parent / "company" / "rules" / "data.json").write_text('{"flowyml": {"rule_data": {}}}')
    assert refused(company) == ["data.flowyml, which stands in a data.json, is outside org"]


def test_installed_program_builds_what_ships_from_its_own_bundle(
    what_ships: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "flowyml.tar.gz"
    stage(CHECKOUT_POLICY, packaged, roots=["flowyml"], version=VERSION, only=["flowyml"])
    monkeypatch.setattr(shipped, "PACKAGED_BUNDLE", packaged)
    monkeypatch.setattr(shipped, "CHECKOUT_POLICY", tmp_path / "none")
    there = build_bundle(read_recipe(RECIPES / "flowyml.yaml"), output=tmp_path / "installed.tar.gz")
    assert there.digest == what_ships.digest
    assert there.tests == 0  # the rules carry none; they ran where the package was made


def test_rules_may_rest_on_functions_that_ship(write: Write) -> None:
    rule = RULE.replace('"message": "too large"', '"message": text.listing(["a"])')
    rule = rule.replace("package org.rules.size\n", "package org.rules.size\n\nimport data.flowyml.lib.text\n")
    assert build_bundle(read_recipe(write(**{"rules/size/size.rego": rule}))).rules == ("org.rules.size",)


def test_log_rules_of_the_company_go_in(write: Write) -> None:
    mask = 'package system.log\n\nmask contains "/input/actor" if input.input.actor\n'
    recipe = write(RECIPE.replace("[org]", "[org, system/log]"), **{"rules/log/mask.rego": mask})
    assert build_bundle(read_recipe(recipe)).roots == ("org", "system/log")


FINDING = '{"code": "size.large", "subject": "x", "path": [], "message": "m", "fix": "f"}'


def body(*lines: str, message: str = '"m"') -> str:
    """The rule with a body of these lines."""
    made = "\n\t".join([*lines, f"finding := {FINDING.replace(chr(34) + 'm' + chr(34), message)}"])
    return f"package org.rules.size\n\nfindings contains finding if {{\n\t{made}\n}}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (body("bits.lsh(1, input.n) > 0"), "bits.lsh can make more than memory holds: rules/size/size.rego:3"),
        (body("count(numbers.range(1, input.n)) > 3"), "numbers.range can make more than memory holds: "),
        (body("count(numbers.range_step(1, input.n, 2)) > 3"), "numbers.range_step can make more than memory holds: "),
        (body("count(net.cidr_expand(input.n)) > 3"), "net.cidr_expand can make more than memory holds: "),
        (body('strings.render_template("x", {}) != ""'), "strings.render_template can make more than memory holds: "),
        (body(message='sprintf("%*d", [input.n, 1])'), "sprintf has a format that is no literal, or one with `*`"),
        (body(message="sprintf(input.f, [1])"), "sprintf has a format that is no literal, or one with `*`"),
        (body('f := "%d"', message="sprintf(f, [1])"), "sprintf has a format that is no literal, or one with `*`"),
        (
            body('concat(input.f, ["a"]) != "" with concat as sprintf'),
            "`with ... as sprintf` hides what is called: rules/size/size.rego:3",
        ),
        (
            body("count({x | some x in [y | y := time.now_ns()]}) > 0"),
            "time.now_ns is not for policy: it does I/O, reads a clock or rolls dice: rules/size/size.rego:3",
        ),
        (body('http.send({"method": "get", "url": "http://a"}).status_code == 200'), "http.send is not for policy"),
        (body('glob.match("a", ["."], "a")'), "glob.match has delimiters other than null: rules/size/size.rego:3"),
    ],
)
def test_call_that_no_deadline_or_record_covers_is_refused(write: Write, text: str, problem: str) -> None:
    said = refused(write(**{"rules/size/size.rego": text}))
    assert len(said) == 1
    assert said[0].startswith(problem)


def test_refused_calls_are_told_for_every_rule_and_branch(write: Write) -> None:
    text = RULE + '\n_a := bits.lsh(1, 2) if input.a else := rand.intn("x", 3)\n\n_f(x) := sprintf(x, [])\n'
    assert refused(write(**{"rules/size/size.rego": text})) == [
        "bits.lsh can make more than memory holds: rules/size/size.rego:13",
        "rand.intn is not for policy: it does I/O, reads a clock or rolls dice: rules/size/size.rego:13",
        (
            "sprintf has a format that is no literal, or one with `*`: its input could ask for any width: "
            "rules/size/size.rego:15"
        ),
    ]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"rules/size/size_test.rego": ""},
            "the rule has no test beside it, size_test.rego: rules/size/size.rego",
        ),
        (
            {"rules/size/size_test.rego": TEST.replace("== set()", "!= set()")},
            "the test org.rules.size.test_allow_small fails: rules/size/size_test.rego:3",
        ),
        (
            {"rules/size/size_test.rego": "package org.rules.size\n\ntest_x if absent(1)\n"},
            "OPA does not run the tests:",
        ),
        (
            {"rules/size/size.rego": RULE.replace("rules.size", "rule.size", 1)},
            "`findings` outside org.rules.<rule> would never be judged: rules/size/size.rego:8",
        ),
        (
            {"rules/size/size.rego": RULE.replace("org.rules", "flowyml.rules", 1)},
            "the package flowyml.rules.size is outside org: rules/size/size.rego:1",
        ),
        (
            {"rules/size/size.rego": RULE.replace("code: size.large", "code: large")},
            "the METADATA block needs `custom.code`, a text that starts with `size.`: rules/size/size.rego:8",
        ),
        ({"rules/size/size.rego": "package org.rules.size\n\nx := :=\n"}, "rego_parse_error: "),
        (
            {"rules/size/size.rego": RULE + "\n_x := absent(1)\n"},
            "OPA does not build it:",
        ),
        ({"rules/data.yml": "a: 1\n"}, "data of policy is JSON only: rules/data.yml; write it as data.json"),
        (
            {"rules/data.json": '{"flowyml": {"rule_data": {}}}'},
            "data.flowyml, which stands in a data.json, is outside org",
        ),
        (
            {"rules/data.json": '{"org": {"catalogue": {}}}'},
            "data.org.catalogue is made of the rules' METADATA, and cannot be given",
        ),
        (
            {"rules/data.json": '{"org": {"levles": {}}}'},
            "data.org.levles of the company's policy is no key that this version reads: data.org.levles; correct",
        ),
    ],
)
def test_rules_that_break_a_convention_are_refused(write: Write, files: dict[str, str], problem: str) -> None:
    assert refused(write(**files))[0].startswith(problem)


def test_compile_error_names_the_file_as_its_author_does(write: Write) -> None:
    said = "\n".join(refused(write(**{"rules/size/size.rego": RULE + "\n_x := absent(1)\n"})))
    assert "rules/size/size.rego:13: rego_type_error: undefined function absent" in said


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        (
            "levels",
            "size.large: soft\nversion.mising: hard\n",
            'data.org.levels["version.mising"] gives a level to a code that is not in the catalogue: d.yaml:2:17; ',
        ),
        (
            "levels",
            "size.large: strict\n",
            'data.org.levels["size.large"] of the company\'s policy is "strict", which is no level: d.yaml:1:13; let ',
        ),
        ("rule_data", "labls: {required: [a]}\n", "data.org.rule_data.labls gives data to a rule that is not loaded: "),
        ("rule_data", "labels: {required: team}\n", "data.org.rule_data.labels.required must be "),
        ("environments", "production: {builtin: maybe}\n", "data.org.environments"),
    ],
)
def test_data_that_would_deny_every_stack_is_refused(write: Write, key: str, text: str, problem: str) -> None:
    said = refused(write(f"{RECIPE}data: {{{key}: d.yaml}}\n", **{"d.yaml": text}))
    assert said[0].startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "naming: {allowed_stacks: ['prod-*', '!dev']}\n",
            (
                "`org.rule_data.naming.allowed_stacks[1]` begins with `!`, which keeps nothing out here: '!dev': "
                "d.yaml:1:37; list what is allowed, and leave this entry out"
            ),
        ),
        ("labels:\n  required: [a=1, a=2]\n", "`org.rule_data.labels.required[1]` asks for 'a=2', and 'a=1' is "),
        ("labels:\n  required: ['!a']\n", "`org.rule_data.labels.required[0]` "),
        ("images_registry: {allowed_registries: ['https://a.io']}\n", "`org.rule_data.images_registry.allowed_"),
        ("size: {some_stacks: ['[a-z0-9]']}\n", "`org.rule_data.size.some_stacks[0]` "),
        ("labels: {required: [a]\n", "d.yaml"),
    ],
)
def test_rule_data_is_checked_as_settings_are(write: Write, text: str, problem: str) -> None:
    recipe = write(f"{RECIPE}data: {{rule_data: d.yaml}}\n", **{"d.yaml": text})
    with pytest.raises(RecipeInvalid) as raised:
        build_bundle(read_recipe(recipe))
    assert problem in str(raised.value.problems[0]).replace(f"{recipe.parent}/", "")


def test_rule_data_beside_rules_is_checked_too(write: Write) -> None:
    data = json.dumps({"org": {"rule_data": {"naming": {"allowed_stacks": ["**"]}}}})
    with pytest.raises(RecipeInvalid, match=r"allowed_stacks\[0\]` holds `\*\*`"):
        build_bundle(read_recipe(write(**{"rules/data.json": data})))


def test_folder_of_data_is_read_by_the_names_of_its_files(write: Write) -> None:
    files = {"d/labels.yaml": "required: [team, '!x']\n"}
    recipe = write(f"{RECIPE}data: {{rule_data: d}}\n", **files)
    with pytest.raises(RecipeInvalid) as raised:
        build_bundle(read_recipe(recipe))
    assert f"{recipe.parent}/d/labels.yaml:1:18" in raised.value.message
    (recipe.parent / "d" / "notes.txt").touch()
    assert refused(recipe) == ["neither YAML nor JSON, and all else would be passed over: d/notes.txt"]


def test_two_values_for_one_key_of_data_are_refused(write: Write) -> None:
    recipe = write(
        f"{RECIPE}data: {{levels: d.yaml}}\n",
        **{"d.yaml": "size.large: soft\n", "rules/data.json": '{"org": {"levels": {"size.large": "hard"}}}'},
    )
    assert refused(recipe) == ["data.org.levels.size.large has a second value: d.yaml"]


def test_pack_that_is_not_there_is_an_error(write: Write) -> None:
    with pytest.raises(RecipeInvalid) as raised:
        build_bundle(read_recipe(write(f"{RECIPE}packs: [production]\n")))
    assert "`packs[0]` names a pack that is not there: production" in raised.value.message


def test_rule_that_fails_on_an_ordinary_stack_is_refused(write: Write) -> None:
    text = RULE.replace("object.get(", "to_number(input.stack.name) + object.get(", 1)
    test = TEST.replace('{"spec": {}}', '{"name": "1", "spec": {}}')
    said = refused(write(**{"rules/size/size.rego": text, "rules/size/size_test.rego": test}))
    assert said[0].startswith("the bundle cannot decide: ")
    assert "to_number" in said[0]


def test_builtin_that_fails_in_a_test_is_refused(write: Write) -> None:
    """`opa test` takes it for undefined, so that the test passes; a decision would be none."""
    text = body("to_number(input.n) > 8")
    test = 'package org.rules.size\n\ntest_allow_no_number if findings == set() with input as {"n": "many"}\n'
    said = refused(write(**{"rules/size/size.rego": text, "rules/size/size_test.rego": test}))
    assert len(said) == 1
    assert said[0].startswith("to_number: ")
    assert said[0].endswith(": rules/size/size.rego:4")


def test_rule_that_does_not_end_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "DECISION_SECONDS", 1.0)
    many = "\n\t".join(f"some _{one} in many" for one in "abcdefgh")
    text = body('input.source.kind == "local"', f'many := split({json.dumps("x," * 99)}, ",")', many, '_a == "y"')
    said = refused(write(**{"rules/size/size.rego": text}))
    assert said[0].startswith("the bundle cannot decide: ")


def test_discovery_bundle_is_configuration_and_nothing_else(write: Write) -> None:
    recipe = "name: d\nversion: 1.0.0\nkind: discovery\nroots: [discovery]\ndata: {discovery: d.yaml}\n"
    good = "bundles: {company: {service: s, resource: company.tar.gz}}\n"
    built = build_bundle(read_recipe(write(recipe, **{"d.yaml": good})), sequence=1)
    archive = read_archive(built.file)
    assert archive.data == {
        "discovery": {"bundles": {"company": {"service": "s", "resource": "company.tar.gz"}}},
    }
    assert archive.manifest["roots"] == ["discovery"]
    with pytest.raises(RecipeInvalid) as raised:
        build_bundle(read_recipe(write(recipe, **{"d.yaml": f"{good}services: {{s: {{url: 'http://evil'}}}}\n"})))
    assert "`services` cannot be brought by a discovery bundle" in raised.value.message
    unsafe = "bundles: {company: {service: s, signing: {allow_unsigned_delta_bundles: true}}}\n"
    with pytest.raises(RecipeInvalid, match="a delta could change all data, signed by nobody") as raised:
        build_bundle(read_recipe(write(recipe, **{"d.yaml": unsafe})))
    assert "d.yaml:1:43" in raised.value.message


def test_bundle_that_cannot_be_written_is_an_error(write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleUnreadable, match="cannot be written"):
        build_bundle(read_recipe(write()), output=tmp_path / "file" / "x.tar.gz")


def test_a_bundle_that_has_expired_is_built_as_any_other(company: Path) -> None:
    built = build_bundle(read_recipe(company), sequence=1, expires="2001-01-01T00:00:00Z")
    assert built.expires == "2001-01-01T00:00:00Z"
