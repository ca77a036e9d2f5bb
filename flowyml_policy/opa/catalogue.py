"""The conventions that rules keep to, checked when a policy is loaded, and the catalogue made of their METADATA.

A rule that `main` would not see is worse than no rule, so everything at the depth of the rules must be one:
- the package is `<root>.rules.<rule>`, one segment deep, and exports a set named `findings`, which stands nowhere else;
- a folder that a project names as rules gives at least one;
- no two roots have a rule of one name;
- what the catalogue lists and what is loaded are the same rules.
A METADATA block of `findings` names its code, `<rule>.<check>`, and may name a level; a body without a block is
allowed, and its codes are hard. A code that judges what an inspection found in an image says `needs: facts`, so that an
image that was not inspected is denied where the code is in force.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowyml_policy.errors.opa import PolicyInvalid

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

FINDINGS: Final = "findings"
RULES: Final = "rules"
FACTS: Final = "facts"
LEVELS: Final = ("advisory", "soft", "hard")
"""What a rule's author may choose; `disabled` is for company data alone."""

_RULE_DEPTH: Final = 3
_ADVICE: Final = "a rule is a `package {root}.rules.<rule>` with a set named `findings`"
_CORRECT: Final = "correct the file"


def make_catalogue(inspection: Mapping[str, Json], root: str, *, names: Mapping[str, str]) -> dict[str, Json]:
    """The catalogue of the rules of one root, from the library's inspection of its files.

    `names` are the files as messages should show them. Raises PolicyInvalid, naming file and line.
    """
    for problem in inspection["problems"]:
        raise PolicyInvalid(f"{problem['message']}: {_place(names, problem)}", advice=_CORRECT)
    codes: dict[str, Json] = {}
    rules: set[str] = set()
    for module in inspection["modules"]:
        package: list[str] = module["package"]
        _check_package(module, root, names)
        if package[1:2] != [RULES]:
            continue
        name = package[2]
        rules.add(name)
        for rule in module["rules"]:
            if rule["name"] == FINDINGS and rule["annotations"] is not None:
                code, entry = _entry(name, rule, f"{names[module['file']]}:{rule['line']}")
                if code in codes:
                    place = _place(names, module, rule)
                    fix = f"write another code, {name}.<check>, into one of the two, or take its block out"
                    raise PolicyInvalid(f"the code {code} has a second METADATA block: {place}", advice=fix)
                codes[code] = entry
    _check_exports(inspection["modules"], rules, names)
    return {"codes": {code: codes[code] for code in sorted(codes)}, "rules": sorted(rules)}


def check_folders(inspection: Mapping[str, Json], folders: Iterable[Path], near: Path) -> None:
    """Check that each of a project's `folders` of rules, shown as seen from `near`, gives one. Raises PolicyInvalid."""
    files = [Path(module["file"]) for module in inspection["modules"] if module["package"][1:2] == [RULES]]
    for folder in folders:
        if not any(file.is_relative_to(folder) for file in files):
            raise _invalid(f"the folder gives no rule: {shown(folder, near)}", "project")


def check_loaded(rules: Iterable[Mapping[str, Json]], catalogued: Mapping[str, Collection[str]]) -> None:
    """Check the rules of the loaded policy against the conventions and the catalogues. Raises PolicyInvalid.

    `rules` is everything below `data.<root>.rules`, and what is named `findings` elsewhere.
    """
    loaded: dict[str, dict[str, str]] = {}
    complete: set[tuple[str, str]] = set()
    for rule in rules:
        path: Sequence[str] = rule["path"]
        place = f"data.{'.'.join(path)} ({rule['location'] or 'data'})"
        _check_path(rule, place)
        loaded.setdefault(path[0], {}).setdefault(path[2], place)
        if path[_RULE_DEPTH] == FINDINGS:
            if rule["kind"] != "set" or len(path) != _RULE_DEPTH + 1:
                raise _invalid(f"`{FINDINGS}` is no set: {place}")
            complete.add((path[0], path[2]))
    for root, names in loaded.items():
        for name, place in names.items():
            if (root, name) not in complete:
                raise _invalid(f"the rule {root}.{RULES}.{name} has no set named `{FINDINGS}`: {place}")
    _check_unique(loaded)
    _check_catalogued(loaded, catalogued)


def _check_path(rule: Mapping[str, Json], place: str) -> None:
    path: Sequence[str] = rule["path"]
    if path[1] != RULES:
        raise _stray(path[0], place)
    if rule["kind"] == "data":
        raise _invalid(f"data stands where only rules may: {place}")
    if len(path) <= _RULE_DEPTH:
        raise _invalid(f"a rule stands outside a package of its own: {place}")
    if FINDINGS in path[_RULE_DEPTH + 1 :]:
        raise _invalid(f"the package is nested one level too deep and would never be judged: {place}")


def _check_unique(loaded: Mapping[str, Mapping[str, str]]) -> None:
    seen: dict[str, str] = {}
    for root in sorted(loaded):
        for name, place in loaded[root].items():
            if name in seen:
                raise _invalid(f"the rule {name} exists in the roots {seen[name]} and {root}: {place}")
            seen[name] = root


def _check_catalogued(loaded: Mapping[str, Mapping[str, str]], catalogued: Mapping[str, Collection[str]]) -> None:
    if not any(loaded.values()):
        raise _invalid("the policy holds no rules, so nothing would be checked")
    for root in sorted({*loaded, *catalogued}):
        present, listed = set(loaded.get(root, ())), set(catalogued.get(root, ()))
        for name in sorted(present - listed):
            raise _invalid(f"the catalogue of {root} does not list the rule {name}: {loaded[root][name]}")
        for name in sorted(listed - present):
            raise _invalid(f"the catalogue of {root} lists the rule {name}, which is not loaded")


def _check_package(module: Mapping[str, Json], root: str, names: Mapping[str, str]) -> None:
    package: list[str] = module["package"]
    shown = ".".join(package)
    if package[:1] != [root]:
        raise _invalid(f"the package {shown} is outside the root {root}: {_place(names, module)}")
    if package[1:2] == [RULES] and len(package) != _RULE_DEPTH:
        problem = "is nested one level too deep" if len(package) > _RULE_DEPTH else "names no rule"
        raise _invalid(f"the package {shown} {problem}, it must be {root}.{RULES}.<rule>: {_place(names, module)}")
    for rule in module["rules"]:
        path = [*package, *rule["name"].split(".")]
        if path[-1] == FINDINGS and path[1] != RULES:
            raise _stray(root, _place(names, module, rule))


def _check_exports(modules: Iterable[Mapping[str, Json]], rules: Iterable[str], names: Mapping[str, str]) -> None:
    for name in sorted(rules):
        of_rule = [module for module in modules if module["package"][1:] == [RULES, name]]
        if not any(rule["name"] == FINDINGS for module in of_rule for rule in module["rules"]):
            raise _invalid(f"the rule {name} has no set named `{FINDINGS}`: {_place(names, of_rule[0])}")


def _entry(name: str, rule: Mapping[str, Json], place: str) -> tuple[str, dict[str, Json]]:
    """Code and catalogue entry of one METADATA block."""
    block: Mapping[str, Json] = rule["annotations"]
    custom: Mapping[str, Json] = block.get("custom") or {}
    code = custom.get("code")
    if not isinstance(code, str) or not code.startswith(f"{name}.") or code == f"{name}.":
        raise PolicyInvalid(
            f"the METADATA block needs `custom.code`, a text that starts with `{name}.`: {place}",
            advice=f"write `# custom:` and below it `#   code: {name}.<check>`, which names what is checked",
        )
    links = block.get("related_resources") or []
    needs = _needs(custom, code, place)
    return code, {
        "rule": name,
        "title": _text(block.get("title"), code),
        "description": _text(block.get("description"), ""),
        "why": _text(custom.get("why"), ""),
        "links": [{"ref": link["ref"], "description": _text(link.get("description"), "")} for link in links],
        "enforcement": _level(custom, code, place),
        **({"needs": needs} if needs else {}),
    }


def _level(custom: Mapping[str, Json], code: str, place: str) -> str:
    """The level that the author of a rule gives a code."""
    level = custom.get("enforcement", "hard")
    if level not in LEVELS:
        raise PolicyInvalid(
            f"`custom.enforcement` of {code} is {level!r}, not one of {', '.join(LEVELS)}: {place}",
            advice=f"write `enforcement: {_nearest_level(level)}`, or take it out, and the code is hard",
        )
    return str(level)


def _needs(custom: Mapping[str, Json], code: str, place: str) -> str | None:
    """What a code has to know, as its author says."""
    needs = custom.get("needs")
    if needs is not None and needs != FACTS:
        raise PolicyInvalid(
            f"`custom.needs` of {code} is {needs!r}, not {FACTS}: {place}",
            advice=f"write `needs: {FACTS}` where the rule reads what is in an image, or take it out",
        )
    return needs


def _nearest_level(level: Json) -> str:
    """The level that an author most likely meant; the one that only company data can give is none."""
    near = get_close_matches(level.lower(), LEVELS, n=1) if isinstance(level, str) else []
    return near[0] if near else " or ".join(LEVELS)


def _text(value: Json, otherwise: str) -> str:
    return " ".join(str(value).split()) if value else otherwise


def _place(names: Mapping[str, str], *lines: Mapping[str, Json]) -> str:
    """`file:line`: the file of the first, the line of the last."""
    file = names.get(lines[0]["file"], lines[0]["file"])
    return f"{file}:{lines[-1]['line']}" if lines[-1]["line"] else file


def _stray(root: str, place: str) -> PolicyInvalid:
    return _invalid(f"`{FINDINGS}` outside {root}.{RULES}.<rule> would never be judged: {place}", root)


def _invalid(message: str, root: str = "<root>") -> PolicyInvalid:
    return PolicyInvalid(message, advice=_ADVICE.format(root=root))


def shown(path: Path, root: Path) -> str:
    """A file as messages name it: relative to the project where it is inside."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)
