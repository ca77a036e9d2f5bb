"""What the Rego of a bundle keeps to, judged on its syntax trees before anything of it is evaluated.

Rules:
- Rules are packages `org.rules.<rule>`, each with a set `findings` and a test beside it; nothing stands outside the
  bundle's roots.
- Policy does no I/O, reads no clock and rolls no dice: the same input gives the same decision on any day.
- Policy that the platform names is judged in the process that asks. Calls that no deadline and no limit of memory
  reaches into are refused, whatever they are given.
- `glob.match` has delimiters null: others give one pattern two meanings, and OPA's cache can mix them up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Final

from flowyml_policy.bundles.content import TEST, Content
from flowyml_policy.bundles.recipe import ORG
from flowyml_policy.errors.bundles import BundleRefused
from flowyml_policy.errors.opa import PolicyInvalid
from flowyml_policy.opa import bundle_files, shipped
from flowyml_policy.opa.catalogue import RULES, make_catalogue
from flowyml_policy.opa.library import Library
from flowyml_policy.records.record import Json

ENDLESS: Final = frozenset(
    {"bits.lsh", "net.cidr_expand", "numbers.range", "numbers.range_step", "strings.render_template"}
)
"""Builtins that can make more than memory holds."""

IMPURE: Final = frozenset(
    {"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns", "trace", "uuid.rfc4122"}
)
"""Builtins that do I/O, read a clock or roll dice."""

REFUSED: Final = ENDLESS | IMPURE
INSPECTION_NS: Final = 20_000_000_000

_PARSER: Final = b"package modules\n\ntrees[name] := rego.parse_module(name, text) if some name, text in input\n"
_TREES: Final = "modules/trees"


def inspect_policy(library: Library, folder: Path, content: Content) -> Mapping[str, Json]:
    """Packages, rules and annotations of the bundle's Rego files, which stand in `folder`; their names in it."""
    inspection = library.inspect([folder / name for name in sorted(content.files)], INSPECTION_NS)
    for found in (*inspection["modules"], *inspection["problems"]):
        found["file"] = Path(found["file"]).relative_to(folder).as_posix()
    return inspection


def check_conventions(
    inspection: Mapping[str, Json], content: Content, roots: Sequence[str], names: dict[str, str]
) -> None:
    """Check the rules of a bundle, and put the catalogue of the company's rules in. Raises BundleRefused.

    `names` are the files as messages should show them.
    """
    try:
        modules = [module for module in inspection["modules"] if module["file"] in content.own.files]
        problems = [
            *_outside(modules, roots, names),
            *_foreign_data(content, roots),
            *_untested(modules, content, names),
        ]
        of_org = [module for module in modules if module["package"][:1] == [ORG]]
        found = {"problems": inspection["problems"], "modules": of_org}
        catalogue = make_catalogue(found, ORG, names=names)
        if content.shipped is not None:
            problems += _stale_catalogue(inspection, content.shipped.data, names)
    except PolicyInvalid as error:
        raise BundleRefused(error.message, advice=error.advice) from error
    if problems:
        raise BundleRefused("\n".join(problems))
    company = content.own.data.get(ORG, {})
    if not isinstance(company, dict) or "catalogue" in company:
        raise BundleRefused("data.org.catalogue is made of the rules' METADATA, and cannot be given")
    if catalogue["rules"]:
        content.own.data.setdefault(ORG, {})["catalogue"] = catalogue


def check_calls(library: Library, inspection: Mapping[str, Json], content: Content, names: dict[str, str]) -> None:
    """Check every call of a builtin in a bundle. Raises BundleRefused."""
    trees = _trees(library, content.files)
    problems = []
    for module in inspection["modules"]:
        bodies = trees[module["file"]].get("rules", [])
        for body, rule in zip(bodies, module["rules"], strict=True):
            place = f"{names[module['file']]}:{rule['line']}"
            problems += [f"{what}: {place}" for what in sorted(set(_refused(body)))]
    if problems:
        raise BundleRefused("\n".join(problems), advice="write the rule without it; docs/bundles.md says why")


def _trees(library: Library, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The syntax tree of each file, as OPA itself parses it."""
    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:
        target = Path(scratch) / "modules.tar.gz"
        found = bundle_files.BundleFiles({"modules.rego": _PARSER})
        bundle_files.write(found, target, roots=["modules"], version="1", manifest={})
        config = {"bundles": {"modules": {"resource": target.as_uri()}}}
        settings = shipped.start_settings(config, {"modules": {"roots": ["modules"]}}, (), INSPECTION_NS, vouched=False)
        started = library.start({**settings, "decision": _TREES})
    document = json.dumps({name: text.decode(errors="replace") for name, text in files.items()}).encode()
    try:
        answer = json.loads(library.decide(started["handle"], _TREES.encode(), document, INSPECTION_NS))
    finally:
        library.stop(started["handle"], INSPECTION_NS)
    trees: dict[str, Any] = answer["result"]
    return trees


def _outside(modules: Sequence[Mapping[str, Json]], roots: Sequence[str], names: dict[str, str]) -> Iterator[str]:
    """Files of the company outside what it may own. What ships is no root of theirs, although it is in the bundle."""
    own = [root for root in roots if root != shipped.SHIPPED_BUNDLE]
    for module in modules:
        path = "/".join(module["package"])
        if not any(path == root or path.startswith(f"{root}/") for root in own):
            place = f"{names[module['file']]}:{module['line']}"
            yield f"the package {'.'.join(module['package'])} is outside {' and '.join(own) or 'every root'}: {place}"


def _foreign_data(content: Content, roots: Sequence[str]) -> Iterator[str]:
    """Data of the company outside what it may own; the data of what ships would be replaced without a word."""
    own = {root.partition("/")[0] for root in roots if root != shipped.SHIPPED_BUNDLE}
    for key in sorted(content.own.data.keys() - own):
        yield f"data.{key}, which stands in a data.json, is outside {' and '.join(sorted(own)) or 'every root'}"


def _untested(modules: Sequence[Mapping[str, Json]], content: Content, names: dict[str, str]) -> Iterator[str]:
    tested = {PurePosixPath(name).parent for name in content.tests}
    for module in modules:
        file = PurePosixPath(module["file"])
        if module["package"][1:2] == [RULES] and file.parent not in tested:
            yield f"the rule has no test beside it, {file.stem}{TEST}: {names[module['file']]}"


def _stale_catalogue(inspection: Mapping[str, Json], data: Mapping[str, Json], names: dict[str, str]) -> list[str]:
    """Whether the catalogue of what ships is that of its METADATA; `main` lists its own codes there."""
    root = shipped.SHIPPED_BUNDLE
    modules = [module for module in inspection["modules"] if module["package"][:1] == [root]]
    made = make_catalogue({"problems": [], "modules": modules}, root, names=names)
    kept = data[root].get("catalogue", {})
    codes = {code: entry for code, entry in kept.get("codes", {}).items() if entry["rule"] in made["rules"]}
    if codes == made["codes"] and kept.get("rules") == made["rules"]:
        return []
    return ["the catalogue of the shipped rules is not that of their METADATA: run scripts/rego_catalogue.py"]


def _refused(body: Json) -> Iterator[str]:
    """What is wrong with the calls in one body of a rule, at any depth."""
    bounded = 0
    for node in _nodes(body):
        if isinstance(node, dict):
            name = _name(node)
            if name in ENDLESS:
                yield f"{name} can make more than memory holds"
            elif name in IMPURE:
                yield f"{name} is not for policy: it does I/O, reads a clock or rolls dice"
            bounded -= name == "sprintf"
            for replaced in node.get("with", []) if isinstance(node.get("with"), list) else ():
                value = _name(replaced["value"]) or str(replaced["value"].get("value"))
                if value in REFUSED or value in {"sprintf", "glob.match"}:
                    yield f"`with ... as {value}` hides what is called"
        elif isinstance(node, list) and node and isinstance(node[0], dict):
            name = _name(node[0])
            bounded += name == "sprintf" and len(node) > 1 and _is_bounded(node[1])
            if name == "glob.match" and len(node) > 2 and node[2].get("type") != "null":  # noqa: PLR2004
                yield "glob.match has delimiters other than null"
    if bounded < 0:
        yield "sprintf has a format that is no literal, or one with `*`: its input could ask for any width"


def _nodes(node: Json) -> Iterator[Json]:
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        if isinstance(current, dict):
            waiting += current.values()
        elif isinstance(current, list):
            waiting += current


def _is_bounded(literal: Mapping[str, Json]) -> bool:
    return literal.get("type") == "string" and "*" not in literal["value"]


def _name(term: Mapping[str, Json]) -> str:
    """The dotted name that a reference is, empty for what is none."""
    if term.get("type") != "ref" or not isinstance(term.get("value"), list):
        return ""
    return ".".join(str(key["value"]) for key in term["value"] if isinstance(key.get("value"), str))
