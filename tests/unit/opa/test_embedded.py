from __future__ import annotations

import re
import shutil
import tarfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from flowyml_policy.errors.opa import OpaEvaluationFailed, OpaStartFailed, PolicyInvalid
from flowyml_policy.opa.command import run_child
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.library import Library, load
from tests.contract.conftest import MAIN, document, manifest, policy, write
from tests.unit.opa.conftest import RULE, WriteFiles


class Restless(Library):
    """A library whose bundles are others whenever it is asked."""

    def __init__(self) -> None:
        super().__init__(load().file)
        self._states = count(1_000_000)

    def decide(self, handle: int, path: bytes | None, document: bytes, deadline_ns: int) -> bytes:
        answer = super().decide(handle, path, document, deadline_ns)
        return re.sub(rb'"state":\d+}$', b'"state":%d}' % next(self._states), answer)


def test_nothing_is_decided_by_bundles_that_could_not_be_checked() -> None:
    with pytest.raises(OpaEvaluationFailed, match="faster than they can be checked"):
        EmbeddedEvaluator(library=Restless())


def test_project_rules_are_added_to_the_shipped_policy(files: WriteFiles) -> None:
    folder = files({"size/size.rego": RULE, "size/size_test.rego": "package project.rules.size\n\ntest_no if false\n"})
    with EmbeddedEvaluator(rule_folders=[folder]) as evaluator:
        decision, evaluation = evaluator.judge(document("large"))
        codes = evaluator.query("flowyml/main/catalogue", {"project": {"policies": {"levels": {}}}})
    assert evaluation.bundles.keys() == {"flowyml", "project"}
    assert {finding.code: finding.enforcement for finding in decision.findings if finding.code[:4] == "size"} == {
        "size.nodes": "soft"
    }
    assert codes["size.nodes"]["root"] == "project"


def test_project_code_without_a_block_is_hard(files: WriteFiles) -> None:
    with EmbeddedEvaluator(rule_folders=[files({"size.rego": RULE})]) as evaluator:
        decision = evaluator.evaluate(document("other"))
    (finding,) = [finding for finding in decision.findings if finding.code == "size.other"]
    assert (finding.enforcement, finding.severity) == ("hard", "deny")


def test_project_rules_in_several_folders_are_one_bundle(tmp_path: Path) -> None:
    other = RULE.replace("rules.size", "rules.other").replace("size.", "other.")
    first, second = write(tmp_path / "a", {"x.rego": RULE}), write(tmp_path / "b", {"x.rego": other})
    with EmbeddedEvaluator(rule_folders=[first, second]) as evaluator:
        assert evaluator.query("project/catalogue/rules", {}) == ["other", "size"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "naming.rego",
            RULE.replace("rules.size", "rules.naming").replace("size.", "naming."),
            "the rule naming exists",
        ),
        ("x.rego", "package flowyml.rules.mine\n\nfindings contains 1\n", "outside the root project: .*x.rego:1"),
        ("x.rego", "package project.rules.a.b\n\nfindings contains 1\n", "nested one level too deep.*x.rego:1"),
        ("x.rego", "package project.rules.a\n\ndeny contains 1\n", "has no set named `findings`.*x.rego:1"),
        ("x.rego", "package project\n\nrules.a.b := 1\n", "has no set named `findings`.*x.rego:3"),
        ("x.rego", "package project.rules.a\n\nfindings := [1]\n", "`findings` is no set.*x.rego:3"),
        ("data.json", '{"project": {"rules": {"a": {"findings": []}}}}', "data stands where only rules may"),
        ("data.json", '{"project": {"catalogue": {}}}', "data.project.catalogue is made of"),
        ("data.json", '{"project": 1}', "data.project"),
        ("data.json", "{", "is no JSON: .*data.json"),
        ("project/rules/a/data.yaml", "findings: []", "JSON only: .*data.yaml"),
        ("project/rules/a/data.json", '{"findings": []}', "data stands where only rules may"),
    ],
)
def test_project_rules_that_break_a_convention_are_refused(
    files: WriteFiles, name: str, text: str, message: str
) -> None:
    with pytest.raises(PolicyInvalid, match=message):
        EmbeddedEvaluator(rule_folders=[files({"size.rego": RULE, name: text})])


def test_project_rule_that_does_not_compile_is_named_with_its_folder_and_line(files: WriteFiles) -> None:
    folder = files({"size.rego": RULE, "more/bad.rego": "package project.lib\n\nx := unknown(1)\n"})
    message = r"policy/more/bad\.rego:3: rego_type_error: undefined function unknown"
    with pytest.raises(PolicyInvalid, match=message) as raised:
        EmbeddedEvaluator(rule_folders=[folder])
    assert raised.value.advice == "correct the file that OPA names"


@pytest.mark.parametrize("data", ['{"flowyml": {"x": 1}}', '{"org": {"levels": {}}}', '{"system": {}}'])
def test_project_data_outside_its_root_is_refused(files: WriteFiles, data: str) -> None:
    with pytest.raises(PolicyInvalid, match=r"data\.\w+ is outside the root project"):
        EmbeddedEvaluator(rule_folders=[files({"size.rego": RULE, "data.json": data})])


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"README.md": "nothing yet"},
        {"size_test.rego": RULE},
        {"samples/size.rego": RULE},
        {"lib.rego": "package project.lib\n\nhelp := 1\n"},
        {"data.json": '{"project": {"maximum": 3}}'},
    ],
    ids=["empty", "a note", "a test", "a sample", "a function", "data"],
)
def test_project_folder_that_gives_no_rule_is_refused(
    files: WriteFiles, tmp_path: Path, content: dict[str, str]
) -> None:
    with_a_rule = write(tmp_path / "other", {"size.rego": RULE})
    folder = files(content)
    for folders in ([folder], [with_a_rule, folder]):
        with pytest.raises(PolicyInvalid, match=r"the folder gives no rule: .*policy;") as raised:
            EmbeddedEvaluator(rule_folders=folders)
        assert "package project.rules.<rule>" in raised.value.advice


def test_company_archive_with_findings_outside_its_rules_is_refused(tmp_path: Path) -> None:
    """Nobody inspects what goes to OPA as it is; what OPA compiled of it is checked."""
    stray = "package org.gpu\n\nfindings contains 1\n"
    folder = write(tmp_path / "org", {".manifest": manifest("o1", "org"), "gpu.rego": stray})
    with tarfile.open(tmp_path / "org.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    config = {"bundles": {"flowyml": {"resource": "shipped"}, "company": {"resource": "org.tar.gz"}}}
    with pytest.raises(PolicyInvalid, match=r"outside org\.rules\.<rule> would never be judged: .*gpu\.rego:3"):
        EmbeddedEvaluator(config=config, root=tmp_path)


def test_company_folder_beside_the_shipped_policy_has_its_rules_catalogued(tmp_path: Path) -> None:
    rule = RULE.replace("project.rules.size", "org.rules.size")
    company = write(tmp_path / "org", {".manifest": manifest("", "org", "system/log"), "rules/size.rego": rule})
    config = {"bundles": {"flowyml": {"resource": "shipped"}, "company": {"resource": "org"}}}
    with EmbeddedEvaluator(config=config, root=tmp_path) as evaluator:
        first, at_first = evaluator.judge(document("large"))
    assert "size.nodes" in {finding.code for finding in first.findings}
    assert at_first.bundles["company"].startswith("company+")
    (company / "data.json").write_text('{"org": {"levels": {"size.nodes": "advisory"}}}')
    with EmbeddedEvaluator(config=config, root=tmp_path) as evaluator:
        second, then = evaluator.judge(document("large"))
    assert then.bundles["company"] != at_first.bundles["company"]
    assert [finding.severity for finding in second.findings if finding.code == "size.nodes"] == ["warn"]


def test_company_folder_with_rules_of_the_log_has_its_own_rules_catalogued(tmp_path: Path) -> None:
    files = {
        ".manifest": manifest("c1", "org", "system/log"),
        "size.rego": RULE.replace("project.rules", "org.rules"),
        "mask.rego": 'package system.log\n\nmask contains "/input/actor" if input.input.actor\n',
    }
    write(tmp_path / "company", files)
    config = {"bundles": {"flowyml": {"resource": "shipped"}, "company": {"resource": "company"}}}
    with EmbeddedEvaluator(config=config, root=tmp_path) as evaluator:
        assert evaluator.query("org/catalogue/rules", {}) == ["size"]


def test_company_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "org", {"data.json": "{}"})
    with pytest.raises(PolicyInvalid, match=r"has no \.manifest"):
        EmbeddedEvaluator(config={"bundles": {"company": {"resource": "org"}}}, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.json", '{"org": [1]}', r"data\.org is no mapping.*data\.json"),
        ("data.json", '{"org": null}', r"data\.org is no mapping.*data\.json"),
        ("org/data.json", "5", r"data\.org is no mapping.*org/data\.json"),
        ("org/data.yaml", "rule_data: {labels: {required: [team]}}\nrule_data: {}\n", r"JSON only: .*data\.yaml"),
    ],
)
def test_company_data_that_would_be_passed_over_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path / "org", {".manifest": manifest("o1", "org"), name: text})
    config = {"bundles": {"flowyml": {"resource": "shipped"}, "company": {"resource": "org"}}}
    with pytest.raises(PolicyInvalid, match=message):
        EmbeddedEvaluator(config=config, root=tmp_path)


@pytest.mark.parametrize("company", ["[1]", "null", '"x"', "5"])
def test_company_archive_whose_root_is_no_mapping_is_refused(tmp_path: Path, company: str) -> None:
    """An archive goes to OPA as it is, so what it holds is looked at when it is loaded."""
    folder = write(tmp_path / "org", {".manifest": manifest("o1", "org"), "data.json": f'{{"org": {company}}}'})
    with tarfile.open(tmp_path / "org.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    config = {"bundles": {"flowyml": {"resource": "shipped"}, "company": {"resource": "org.tar.gz"}}}
    with pytest.raises(PolicyInvalid, match=r"data\.org is no mapping"):
        EmbeddedEvaluator(config=config, root=tmp_path)


def test_policy_that_lists_a_rule_it_does_not_hold_is_refused(tmp_path: Path) -> None:
    catalogue = '{"flowyml": {"catalogue": {"codes": {}, "rules": ["naming", "gone"]}}}'
    write(tmp_path / "policy", {**policy(), "data.json": catalogue})
    with pytest.raises(PolicyInvalid, match="lists the rule gone, which is not loaded"):
        EmbeddedEvaluator(config={"bundles": {"flowyml": {"resource": "policy"}}}, root=tmp_path)


def test_policy_whose_catalogue_is_malformed_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "policy", {**policy(), "data.json": '{"flowyml": {"catalogue": {"rules": {"naming": 1}}}}'})
    with pytest.raises(PolicyInvalid, match=r"data\.flowyml\.catalogue\.rules is no list of names"):
        EmbeddedEvaluator(config={"bundles": {"flowyml": {"resource": "policy"}}}, root=tmp_path)


def signed(folder: Path, key: str) -> Path:
    """The folder with a signature made by OPA itself."""
    done = run_child(["sign", "--signing-alg", "HS256", "--signing-key", key, "--bundle", "."], folder=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    return folder


@pytest.fixture
def company(tmp_path: Path) -> Path:
    catalogue = '{"flowyml": {"catalogue": {"codes": {}, "rules": ["naming"]}}}'
    return write(tmp_path / "signed", {**policy(main=MAIN), "data.json": catalogue})


def config(folder: Path, key: str) -> dict[str, Any]:
    return {
        "bundles": {"flowyml": {"resource": str(folder), "signing": {"keyid": "company"}}},
        "keys": {"company": {"algorithm": "HS256", "key": key}},
    }


def test_signed_bundle_is_taken_as_it_is(company: Path) -> None:
    with EmbeddedEvaluator(config=config(signed(company, "secret"), "secret")) as evaluator:
        assert evaluator.judge(document())[1].bundles == {"flowyml": "f1"}


def test_bundle_signed_with_another_key_fails_closed(company: Path) -> None:
    with pytest.raises(OpaStartFailed, match="signature"):
        EmbeddedEvaluator(config=config(signed(company, "other"), "secret"))


def test_bundle_changed_after_it_was_signed_fails_closed(company: Path) -> None:
    signed(company, "secret")
    (company / "naming.rego").write_text("package flowyml.rules.naming\n\nfindings contains 1 if false\n")
    with pytest.raises(OpaStartFailed, match="digest"):
        EmbeddedEvaluator(config=config(company, "secret"))


ASKING = """\
package flowyml.rules.asking

findings contains 1 if http.send({"method": "get", "url": input.stack.name}).status_code == 500
"""


def test_allowed_host_is_reached_and_no_other(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Silent) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        folder = write(tmp_path / "policy", policy(naming=ASKING))
        given = {"bundles": {"flowyml": {"resource": str(folder)}}}
        with EmbeddedEvaluator(config=given, allow_hosts=["127.0.0.1"]) as evaluator:
            assert evaluator.evaluate(document(f"http://127.0.0.1:{server.server_port}/")).allowed
            with pytest.raises(OpaEvaluationFailed, match="disallowed host: localhost"):
                evaluator.evaluate(document(f"http://localhost:{server.server_port}/"))
        server.shutdown()


class Silent(BaseHTTPRequestHandler):
    """Answers 204 to every GET."""

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the test's own output stays clean."""


def test_rules_are_read_once(files: WriteFiles) -> None:
    folder = files({"size.rego": RULE})
    with EmbeddedEvaluator(rule_folders=[folder]) as evaluator:
        shutil.rmtree(folder)
        assert "size" in evaluator.evaluate(document()).rules
