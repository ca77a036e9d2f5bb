"""Every gate that the shipped policy must pass, in one run; exit 1 when one does not.

- the files are formatted, and compile strictly against the schema of the input;
- every test passes, also where errors of builtins are errors, and covers every line;
- the conventions hold;
- the catalogue, its page and the schema of the input are up to date;
- every condition in a rule is needed by a test (`rego_mutants.py`, the slow one: `--fast` leaves it out).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Final

import rego_catalogue
import rego_conventions
import rego_mutants
from rego_conventions import CONVENTIONS
from rego_opa import REGO, ROOT, fail_strictly, failed, run_opa, run_tests

from flowyml_policy.records.policy_input import policy_input_schema

INPUT_SCHEMA: Final = REGO / "schemas" / "input.json"


def formatted() -> list[str]:
    """Files that `opa fmt` would change."""
    done = run_opa("fmt", "--fail", "--list", str(REGO))
    return [] if done.returncode == 0 else [f"opa fmt --write {done.stdout or done.stderr}".strip()]


def compiles() -> list[str]:
    """What the compiler says, strictly, with the types of the input."""
    check = ("check", "--strict", "--bundle")
    runs = (
        run_opa(*check, str(REGO), "--ignore", CONVENTIONS.name, "--schema", str(INPUT_SCHEMA)),
        run_opa(*check, str(CONVENTIONS)),
    )
    return [done.stderr or done.stdout for done in runs if done.returncode != 0]


def tested() -> list[str]:
    """Tests that fail."""
    results = run_tests(REGO)
    if results is None:
        return ["the policy does not compile"]
    if failed(results):
        return [f"{result['package']}.{result['name']}" for result in results if failed([result])]
    problem = fail_strictly(REGO, results)
    return [problem] if problem else []


def covered() -> list[str]:
    """Lines that no test reaches."""
    done = run_opa("test", "--bundle", str(REGO), "--coverage", "--format", "json")
    if done.returncode != 0:
        return [done.stderr or done.stdout]
    files = json.loads(done.stdout)["files"]
    return [
        f"{file}:{part['start']['row']}: no test reaches it"
        for file, report in files.items()
        for part in report.get("not_covered", [])
    ]


def schema_text() -> str:
    """The schema of the input, as the file has it."""
    return json.dumps(policy_input_schema(), indent=2) + "\n"


def schema_current() -> list[str]:
    """Whether the schema that the compiler is given is that of the records."""
    if INPUT_SCHEMA.exists() and INPUT_SCHEMA.read_text(encoding="utf-8") == schema_text():
        return []
    return [f"{INPUT_SCHEMA.relative_to(ROOT)} is out of date; run scripts/rego_gates.py --write"]


def conventional() -> list[str]:
    """Conventions that are broken."""
    return rego_conventions.problems(rego_conventions.modules())


def catalogued() -> list[str]:
    """Files made from METADATA that are out of date."""
    return [
        f"{path.relative_to(ROOT)} is out of date; run scripts/rego_gates.py --write" for path in rego_catalogue.stale()
    ]


def needed() -> list[str]:
    """Conditions that no test needs."""
    return rego_mutants.unnoticed()


GATES: Final[dict[str, Callable[[], list[str]]]] = {
    "formatted": formatted,
    "schema of the input": schema_current,
    "compiles strictly": compiles,
    "tests": tested,
    "coverage": covered,
    "conventions": conventional,
    "catalogue": catalogued,
    "every condition is needed": needed,
}


def write() -> None:
    """Bring everything that is generated up to date."""
    INPUT_SCHEMA.write_text(schema_text(), encoding="utf-8")
    rego_catalogue.write()


def main() -> int:
    """Run the gates and say which one does not let through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="GATE", choices=GATES, help="run this gate and no other")
    parser.add_argument("--fast", action="store_true", help="leave out the gate that takes conditions out")
    parser.add_argument("--write", action="store_true", help="bring what is generated up to date first")
    options = parser.parse_args()
    if options.write:
        write()
    shut = 0
    for name, gate in GATES.items():
        if options.only not in {None, name} or (options.fast and gate is needed):
            continue
        problems = gate()
        shut += bool(problems)
        print(f"{'fail' if problems else 'ok':4}  {name}", *(f"      {problem}" for problem in problems), sep="\n")
    return 1 if shut else 0


if __name__ == "__main__":
    sys.exit(main())
