"""OPA's own conformance cases, those of the very OPA that the library is built from, run through Opa."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from flowyml_policy.errors.opa import OpaError
from flowyml_policy.opa import Opa

ROOT = Path(__file__).parents[2]

REFUSED: Final = {
    "invalidkeyerror/invalid keys": "http.send is refused before its request is read, where no host is allowed",
    "invalidkeyerror/missing keys": "as above",
    "net.lookup_ip_addr/localhost": "needs the network, and no host is allowed",
    "net.lookup_ip_addr/simple ip4 returns that ip4": "as above",
    "net.lookup_ip_addr/simple ip6 returns that ip6": "as above",
    "time/time caching": "test.sleep is a builtin of OPA's own tests, and no part of OPA",
    "withkeyword/builtin-builtin: arity 0": "opa.runtime is refused: policy sees its input and data, nothing else",
}
"""Cases that do not agree, by their notes, and why: each needs the network, or is refused on purpose."""

AT_LEAST: Final = 1000
"""Cases of a version of Rego; fewer means that they were looked for in the wrong place."""


@pytest.fixture(scope="module")
def cases() -> Path:
    """Where Go keeps the cases of the OPA that is pinned."""
    done = subprocess.run(
        [sys.executable, "libopa/build.py", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-policy-agent/opa"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip()) / "v1" / "test" / "cases" / "testdata"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", [0, 1])
def test_cases_of_opa_agree_but_for_those_that_are_named(cases: Path, version: Literal[0, 1]) -> None:
    found: dict[str, str] = {}
    count = 0
    for case in read(cases / f"v{version}"):
        count += 1
        problem = disagreement(case, version)
        if problem is not None:
            found[case["note"]] = problem
    assert count > AT_LEAST
    unexpected = {note: problem for note, problem in found.items() if note not in REFUSED}
    assert unexpected == {}
    assert set(REFUSED) - set(found) == set()


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Every case below `folder`. YAML is read by OPA, whose YAML it is."""
    with Opa() as opa:
        for file in sorted(folder.rglob("*.yaml")):
            (answer,) = opa.query("x = yaml.unmarshal(input)", file.read_text("utf-8"))
            yield from answer["x"]["cases"]


def disagreement(case: dict[str, Any], version: Literal[0, 1]) -> str | None:
    """How Opa answers otherwise than a case says; None where it agrees."""
    query = case["query"]
    given = () if "input" not in case else (case["input"],)
    if "input_term" in case:  # a Rego term, as a set, and no JSON
        query, given = f"{query} with input as {case['input_term']}", ()
    wanted_error = case.get("want_error") or case.get("want_error_code")
    modules = {f"test-{number}.rego": text for number, text in enumerate(case.get("modules") or [])}
    strict = bool(case.get("strict_error"))
    try:
        with Opa(modules=modules, data=case.get("data"), rego_version=version, strict_builtin_errors=strict) as opa:
            solutions = opa.query(query, *given)
    except OpaError as error:
        wanted = (case.get("want_error") or "", case.get("want_error_code") or "")
        return (
            None if wanted_error and all(one in error.message for one in wanted) else f"{error.code}: {error.message}"
        )
    if wanted_error:
        return f"no error, and {wanted_error!r} is wanted"
    return compared(case, solutions)


def compared(case: dict[str, Any], solutions: list[dict[str, Any]]) -> str | None:
    if case.get("sort_bindings"):
        solutions = [{name: sorted(value, key=encoded) for name, value in one.items()} for one in solutions]
    got = {encoded(one) for one in solutions}
    wanted_results = case["want_result"] or []
    wanted = {encoded(one) for one in wanted_results}
    if case.get("sort_bindings"):
        wanted = {encoded({name: sorted(value, key=encoded) for name, value in one.items()}) for one in wanted_results}
    return None if got == wanted else f"{sorted(got)}, and {sorted(wanted)} is wanted"


def encoded(value: Any) -> str:
    """A value as text, in which 1.0 is 1, as for OPA, and true is not."""
    return json.dumps(_numbers(value), sort_keys=True)


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
