"""Write the catalogue of the shipped rules, as data for the policy and as a page for people.

Both come from the METADATA of the rules, through `opa inspect`:
- rego/flowyml/catalogue/data.json, what `main` reads levels from and `policy list` prints;
- docs/rules.md, the rule catalogue.

`--check` writes nothing and exits 1 when one of them is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rego_opa import POLICY, ROOT, opa_json

CATALOGUE: Final = POLICY / "catalogue" / "data.json"
PAGE: Final = ROOT / "docs" / "rules.md"

HEAD: Final = """\
# Rules

Every code that the shipped policy can report, with what it asks for, why, and the level it has unless the
company's policy gives it another. `flowyml-policy policy list` prints the same for the policy that is loaded,
with the levels in force.

| Level | What a finding does |
| --- | --- |
| advisory | warns |
| soft | denies, unless somebody who may overrides it |
| hard | denies, unless a waiver excuses it |
| disabled | nothing; only the company's policy can say so |

This page is written by `scripts/rego_catalogue.py` from the rules themselves.
"""


def annotated(folder: Path) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Every METADATA block below `folder`, with the path of what it stands on."""
    for entry in opa_json("inspect", "--annotations", "--format", "json", str(folder)).get("annotations", []):
        if not entry["location"]["file"].endswith("_test.rego"):
            yield [str(key["value"]) for key in entry.get("path", [])], entry["annotations"]


def text(value: str) -> str:
    """A block of METADATA text as one line."""
    return " ".join(value.split())


def catalogue(folder: Path = POLICY) -> dict[str, Any]:
    """The catalogue of the rules below `folder`: its codes, and the names of its rules (main is none)."""
    codes: dict[str, Any] = {}
    rules: set[str] = set()
    for path, block in annotated(folder):
        if path[1:3] == ["flowyml", "rules"]:
            rules.add(path[3])
        custom = block.get("custom", {})
        if "code" not in custom:
            continue
        code = custom["code"]
        if code in codes:
            sys.exit(f"two METADATA blocks have the code {code}")
        codes[code] = {
            "rule": code.split(".")[0],
            "title": text(block["title"]),
            "description": text(block["description"]),
            "why": text(custom["why"]),
            "links": [
                {"ref": link["ref"], "description": text(link["description"])}
                for link in block.get("related_resources", [])
            ],
            "enforcement": custom["enforcement"],
            **({"needs": custom["needs"]} if "needs" in custom else {}),
        }
    return {"codes": {code: codes[code] for code in sorted(codes)}, "rules": sorted(rules)}


def page(content: dict[str, Any]) -> str:
    """The catalogue as a page: the rules by name, then `main`, whose codes no level changes."""
    parts = [HEAD]
    for rule in [*content["rules"], "main"]:
        parts.append(f"\n## {rule}\n")
        if rule == "main":
            parts.append("\nWhat is wrong with the policy or its input, rather than with a stack. Always hard.\n")
        for code, entry in content["codes"].items():
            if entry["rule"] == rule:
                parts.append(section(code, entry))
    return "".join(parts)


def section(code: str, entry: dict[str, Any]) -> str:
    """One code of the page."""
    links = "".join(f"- [{link['description']}]({link['ref']})\n" for link in entry["links"])
    needs = " It needs what an inspection of the image finds." if "needs" in entry else ""
    return (
        f"\n### {code}\n\n**{entry['title']}.** Level: {entry['enforcement']}.{needs}\n\n"
        f"{entry['description']}\n\nWhy: {entry['why']}\n" + (f"\n{links}" if links else "")
    )


def wanted() -> dict[Path, str]:
    """What both files should hold."""
    content = catalogue()
    return {CATALOGUE: json.dumps(content, indent=2, ensure_ascii=False) + "\n", PAGE: page(content)}


def stale() -> list[Path]:
    """Those of both files that are out of date."""
    return [path for path, body in wanted().items() if not path.exists() or path.read_text(encoding="utf-8") != body]


def write() -> None:
    """Bring both files up to date."""
    for path, body in wanted().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")


def main() -> int:
    """Write both files, or say which one is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    if not parser.parse_args().check:
        write()
        return 0
    old = stale()
    for path in old:
        print(f"{path.relative_to(ROOT)} is out of date; run scripts/rego_catalogue.py", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
