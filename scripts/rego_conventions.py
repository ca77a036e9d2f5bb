"""Judge the shipped policy by the conventions of rego/conventions; exit 1 when one is broken."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from rego_opa import POLICY, REGO, evaluate, opa_json

CONVENTIONS: Final = REGO / "conventions"


def modules(folder: Path = POLICY) -> dict[str, Any]:
    """What the conventions judge: the syntax tree of every Rego file below `folder`."""
    return {
        "modules": [
            {
                "file": file.relative_to(folder).as_posix(),
                "tree": opa_json("parse", str(file), "--format", "json", "--json-include", "locations,-comments"),
            }
            for file in sorted(folder.rglob("*.rego"))
        ]
    }


def problems(document: dict[str, Any]) -> list[str]:
    """What breaks a convention, as the conventions say it."""
    found = evaluate("data.conventions.problems", bundle=CONVENTIONS, document=document)
    return [str(problem) for problem in found]


def main() -> int:
    """Print every broken convention."""
    found = problems(modules())
    for problem in found:
        print(f"rego/flowyml/{problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
