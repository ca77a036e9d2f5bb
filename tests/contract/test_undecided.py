"""Every way to be undecided, for every evaluator: an error of the right kind, and never an allow."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaDeadlineExceeded,
    OpaError,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    OpaUndefined,
    PolicyInvalid,
)
from flowyml_policy.opa.bundle_files import stage
from tests.contract.conftest import MAIN, NAMING, Files, MakeEvaluator, decision, document, manifest, policy, write

SOUND: dict[str, Any] = {
    "schema_version": 1,
    "allow": True,
    "findings": [],
    "waivers": {"applied": [], "expired": []},
    "rules": ["naming"],
}
FINDING: dict[str, Any] = {
    "code": "naming.long",
    "severity": "deny",
    "enforcement": "hard",
    "subject": "small",
    "path": [],
    "message": "m",
    "fix": "f",
    "waiver": None,
    "override": None,
    "effective_on": None,
}


def test_bundle_missing_fails_closed(loading: MakeEvaluator, tmp_path: Path) -> None:
    with pytest.raises(OpaStartFailed, match=r"none\.tar\.gz.*no such file"):
        loading({"flowyml": tmp_path / "none.tar.gz"})


def test_bundle_corrupt_fails_closed(loading: MakeEvaluator, tmp_path: Path) -> None:
    (tmp_path / "corrupt.tar.gz").write_bytes(b"no archive")
    with pytest.raises(OpaStartFailed, match=r"flowyml.*gzip"):
        loading({"flowyml": tmp_path / "corrupt.tar.gz"})


def test_bundle_truncated_fails_closed(loading: MakeEvaluator, tmp_path: Path) -> None:
    archive = tmp_path / "whole.tar.gz"
    stage(write(tmp_path / "policy", policy()), archive, roots=["flowyml"], version="1")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(OpaStartFailed, match="unexpected EOF"):
        loading({"flowyml": archive})


def test_bundle_unsigned_that_must_be_signed_fails_closed(loading: MakeEvaluator, tmp_path: Path) -> None:
    archive = tmp_path / "unsigned.tar.gz"
    stage(write(tmp_path / "policy", policy()), archive, roots=["flowyml"], version="1")
    keys = {"company": {"algorithm": "HS256", "key": "secret"}}
    with pytest.raises(OpaStartFailed, match=r"missing \.signatures\.json"):
        loading({"flowyml": archive}, options={"flowyml": {"signing": {"keyid": "company"}}, "keys": keys})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("package flowyml.bad\n\nx :=", r"rego_parse_error: .*bad\.rego:3"),
        ("package flowyml.bad\n\nx := unknown(1)", r"bad\.rego:3: rego_type_error: undefined function unknown"),
        ("package flowyml.bad\n\nx := y", r"bad\.rego:3: rego_unsafe_var_error"),
        ("package flowyml.bad\n\nx := y\n\ny := x", "rego_recursion_error"),
        ("package other\n\nx := 1", "root"),
    ],
)
def test_policy_that_does_not_compile_fails_closed(loading: MakeEvaluator, text: str, reason: str) -> None:
    with pytest.raises(PolicyInvalid, match=reason):
        loading({"flowyml": policy(bad=text)})


def test_policy_without_rules_fails_closed(loading: MakeEvaluator) -> None:
    content = policy()
    del content["naming.rego"]
    with pytest.raises(PolicyInvalid, match="holds no rules"):
        loading({"flowyml": content})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('time.parse_rfc3339_ns("never") > 0', "time.parse_rfc3339_ns"),
        ('semver.compare("latest", "1.0.0") > 0', "semver.compare"),
        ("1 / (count(input.stack.labels) * 0) == 1", "divide by zero"),
        ("twice == 1", "eval_conflict_error"),
    ],
)
def test_rule_that_breaks_fails_closed(make: MakeEvaluator, body: str, reason: str) -> None:
    broken = (
        "package flowyml.rules.broken\n\nfindings contains 1 if {\n\t" + body + "\n}\n\n"
        'twice := 1 if input.stack.name == "small"\n\ntwice := 2 if input.stack.name == "small"\n'
    )
    evaluator = make({"flowyml": policy(broken=broken)})
    with pytest.raises(OpaEvaluationFailed, match=reason):
        evaluator.evaluate(document())


@pytest.mark.parametrize(
    "files",
    [
        {**policy(), "main.rego": "package flowyml.main\n\nother := 1\n"},
        decision("decision := 1 if input.never"),
        {".manifest": manifest("1", "flowyml"), "naming.rego": NAMING},
    ],
    ids=["no such rule", "condition", "no such package"],
)
def test_decision_undefined_fails_closed(make: MakeEvaluator, files: Files) -> None:
    evaluator = make({"flowyml": files})
    with pytest.raises(OpaUndefined, match=r"data\.flowyml\.main\.decision is undefined"):
        evaluator.evaluate(document())


ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "a text": "allow",
    "an empty object": {},
    "an array": [SOUND],
    "an extra key": {**SOUND, "reason": "none"},
    "a missing key": {key: value for key, value in SOUND.items() if key != "waivers"},
    "another schema": {**SOUND, "schema_version": 2},
    "a schema that is a text": {**SOUND, "schema_version": "1"},
    "allow as text": {**SOUND, "allow": "true"},
    "allow as number": {**SOUND, "allow": 1},
    "allow null": {**SOUND, "allow": None},
    "no rules": {**SOUND, "rules": []},
    "rules that are no names": {**SOUND, "rules": [1]},
    "findings null": {**SOUND, "findings": None},
    "findings as object": {**SOUND, "findings": {"naming.long": FINDING}},
    "allow with a denial": {**SOUND, "findings": [FINDING]},
    "a denial without a reason": {**SOUND, "allow": False},
    "a denial by a warning": {**SOUND, "allow": False, "findings": [{**FINDING, "severity": "warn"}]},
    "an unknown severity": {**SOUND, "findings": [{**FINDING, "severity": "info"}]},
    "an unknown level": {**SOUND, "allow": False, "findings": [{**FINDING, "enforcement": "strict"}]},
    "a finding with an extra key": {**SOUND, "allow": False, "findings": [{**FINDING, "extra": 1}]},
    "a finding without a fix": {
        **SOUND,
        "allow": False,
        "findings": [{key: value for key, value in FINDING.items() if key != "fix"}],
    },
    "a path that is a text": {**SOUND, "allow": False, "findings": [{**FINDING, "path": "metadata.name"}]},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_decision_of_another_shape_fails_closed(make: MakeEvaluator, odd: Any) -> None:
    evaluator = make({"flowyml": decision(f"decision := {json.dumps(odd)}")})
    with pytest.raises(OpaAnswerInvalid):
        evaluator.evaluate(document())


def test_decision_of_the_agreed_shape_is_taken(make: MakeEvaluator) -> None:
    """The same way with nothing odd: what the cases above refuse is their oddity."""
    assert make({"flowyml": decision(f"decision := {json.dumps(SOUND)}")}).evaluate(document()).allowed
    denial = {**SOUND, "allow": False, "findings": [FINDING]}
    assert not make({"flowyml": decision(f"decision := {json.dumps(denial)}")}).evaluate(document()).allowed


SLOW = """\
package flowyml.rules.slow

findings contains 1 if {
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i + j == input.stack.name
}
"""


def test_policy_that_is_too_slow_fails_closed(make: MakeEvaluator) -> None:
    evaluator = make({"flowyml": policy(slow=SLOW)}, deadline=0.2)
    with pytest.raises(OpaDeadlineExceeded, match="no decision within 200ms"):
        evaluator.evaluate(document())
    assert evaluator.query("flowyml/catalogue/rules", {}) == ["naming", "slow"]


@pytest.mark.parametrize(
    ("call", "builtin"),
    [
        ('http.send({"method": "get", "url": "http://127.0.0.1:9"}).status_code == 200', "http.send"),
        ('http.send({"method": "get", "url": "http://127.0.0.1:9", "raise_error": false}).error', "http.send"),
        ('count(net.lookup_ip_addr("localhost")) > 0', "net.lookup_ip_addr"),
        ("opa.runtime().env", "opa.runtime"),
        ('json.match_schema({}, {"$ref": "http://127.0.0.1:9/"})[0]', "json.match_schema"),
    ],
)
def test_builtin_that_reaches_out_fails_closed(loading: MakeEvaluator, call: str, builtin: str) -> None:
    rule = f"package flowyml.rules.reaching\n\nfindings contains 1 if {call}\n"
    evaluator = loading({"flowyml": policy(reaching=rule)})
    with pytest.raises(OpaEvaluationFailed, match=builtin.replace(".", r"\.")):
        evaluator.evaluate(document())


def test_builtin_whose_result_is_large_and_bounded_answers(make: MakeEvaluator) -> None:
    more = """package flowyml.more

answer := [
	bits.lsh(1, 64),
	count(numbers.range(1, 200000)),
	count(numbers.range_step(0, 1000000, 1000)),
	sprintf("%05d %-4s|%.2f %*d%% 99999", [7, "a", 1.5, 3, 8]),
	count(net.cidr_expand("10.0.0.0/24")),
	floor(1e20) + 1,
	format_int(255, 16),
]
"""
    assert make({"flowyml": policy(more=more)}).query("flowyml/more/answer", {}) == [
        2**64,
        200_000,
        1001,
        "00007 a   |1.50   8% 99999",
        256,
        10**20 + 1,
        "ff",
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda evaluator: evaluator.judge(document()),
        lambda evaluator: evaluator.evaluate(document()),
        lambda evaluator: evaluator.query("flowyml/main/decision", {}),
        lambda evaluator: evaluator.check_globs(["*"]),
    ],
    ids=["judge", "evaluate", "query", "check_globs"],
)
def test_evaluator_closed_fails_closed(make: MakeEvaluator, call: Callable[[Any], object]) -> None:
    evaluator = make({"flowyml": policy()})
    evaluator.close()
    evaluator.close()
    with pytest.raises(OpaUnavailable, match="is closed"):
        call(evaluator)


@pytest.mark.parametrize("roots", [["flowyml", "other"], ["system"], ["flowyml", "project"], ["org/rules"], [""], []])
def test_bundle_with_a_root_that_it_may_not_own_fails_closed(loading: MakeEvaluator, roots: list[str]) -> None:
    with pytest.raises(PolicyInvalid, match="owns"):
        loading({"flowyml": {**policy(), ".manifest": manifest("1", *roots)}})


def test_archive_with_a_root_that_it_may_not_own_fails_closed(loading: MakeEvaluator, tmp_path: Path) -> None:
    archive = tmp_path / "system.tar.gz"
    stage(write(tmp_path / "policy", policy()), archive, roots=["flowyml", "system"], version="1")
    with pytest.raises(PolicyInvalid, match='owns the root "system", which would erase'):
        loading({"flowyml": archive})


def test_archive_without_a_manifest_fails_closed(loading: MakeEvaluator, tmp_path: Path) -> None:
    folder = write(tmp_path / "policy", {"main.rego": MAIN, "naming.rego": NAMING})
    with tarfile.open(tmp_path / "bare.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    with pytest.raises(PolicyInvalid, match="owns every root"):
        loading({"flowyml": tmp_path / "bare.tar.gz"})


def test_bundles_that_own_one_root_fail_closed(loading: MakeEvaluator) -> None:
    with pytest.raises(OpaError, match="overlapping roots"):
        loading({"flowyml": policy(), "other": policy()})


def test_bundle_for_another_input_schema_fails_closed(make: MakeEvaluator) -> None:
    with pytest.raises(PolicyInvalid, match="written for input schema 2"):
        make({"flowyml": {**policy(), ".manifest": manifest("1", "flowyml", input_schema=2)}})
