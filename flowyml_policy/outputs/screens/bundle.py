"""What the `bundle` commands print, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from flowyml_policy.outputs.blocks import word
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.bundles.archive import SignatureState
    from flowyml_policy.bundles.build import Built
    from flowyml_policy.bundles.difference import Change, Difference
    from flowyml_policy.bundles.inspection import Inspection
    from flowyml_policy.bundles.keys import KeyPair
    from flowyml_policy.bundles.oci import Pulled
    from flowyml_policy.bundles.publication import Published
    from flowyml_policy.bundles.signing import Signed, Verified
    from flowyml_policy.records.record import Json

Rows: TypeAlias = Iterable[tuple[str, str]]


def _built_table(screen: Screen, built: Built) -> None:
    screen.line(f"{word(screen, 'built')}  {printable(built.name)}  {_shown(built.file)}")
    _rows(
        screen,
        [
            ("revision", built.revision),
            ("roots", ", ".join(built.roots)),
            ("rules", f"{len(built.rules)}, and {plural(built.tests, 'test')} passed"),
            *_validity(built.sequence, built.expires),
            ("digest", built.digest),
        ],
    )


def _built_json(screen: Screen, built: Built) -> None:
    print_json(screen, {"bundle": {**built._asdict(), "file": str(built.file)}})


def _inspected_table(screen: Screen, bundle: Inspection) -> None:
    screen.line(f"{screen.style(printable(bundle.revision or 'no revision'), bold=True)}  {_shown(bundle.file)}")
    _rows(
        screen,
        [
            ("roots", ", ".join(root or "(every one)" for root in bundle.roots)),
            *_validity(bundle.sequence, bundle.expires),
            ("schema", "none stated" if bundle.input_schema is None else f"input {bundle.input_schema}"),
            ("signature", _signature(bundle.signature)),
            ("digest", bundle.digest),
            *((key, _value(value)) for key, value in bundle.metadata.items()),
        ],
    )
    _part(screen, "rules", [printable(name) for name in bundle.rules])
    _part(screen, "levels", screen.table((printable(level), printable(code)) for code, level in bundle.levels.items()))
    _part(screen, "data", [f"{printable(name)}: {_value(value)}" for name, value in bundle.data.items()])


def _inspected_json(screen: Screen, bundle: Inspection) -> None:
    print_json(screen, {"bundle": _described(bundle)})


def _difference_table(screen: Screen, found: Difference) -> None:
    for sign, bundle in (("-", found.old), ("+", found.new)):
        screen.line(f"{sign} {printable(bundle.revision or 'no revision')}  {_shown(bundle.file)}")
    _part(screen, "rules", _package_lines(screen, found))
    for name in ("levels", "data", "manifest"):
        _part(screen, name, _change_lines(screen, getattr(found, name)))
    if found.exit_code == 0:
        screen.line(f"{word(screen, 'unchanged')}  rules, levels, data and manifest are the same")


def _difference_json(screen: Screen, found: Difference) -> None:
    changes = {name: [one._asdict() for one in getattr(found, name)] for name in ("levels", "data", "manifest")}
    rules = {"added": list(found.added), "removed": list(found.removed), "changed": list(found.changed)}
    revisions = {
        side: {"file": str(bundle.file), "revision": bundle.revision, "digest": bundle.digest}
        for side, bundle in (("old", found.old), ("new", found.new))
    }
    print_json(screen, {**revisions, "rules": rules, **changes})


def _keys_table(screen: Screen, pair: KeyPair) -> None:
    screen.line(f"{word(screen, 'made')}  {printable(pair.keyid)}  {pair.algorithm}")
    screen.line(f"  sign with    {_shown(pair.private)}, which stays with you")
    screen.line(f"  verify with  {_shown(pair.public)}")


def _keys_json(screen: Screen, pair: KeyPair) -> None:
    print_json(screen, {"key": {**pair._asdict(), "private": str(pair.private), "public": str(pair.public)}})


def _signed_table(screen: Screen, signed: Signed) -> None:
    screen.line(f"{word(screen, 'signed')}  {printable(signed.revision)}  {_shown(signed.file)}")
    _rows(screen, [("key", f"{signed.keyid} ({signed.algorithm})"), ("digest", signed.digest)])


def _verified_table(screen: Screen, verified: Verified) -> None:
    screen.line(f"{word(screen, 'ok')}  {printable(verified.revision)}  {_shown(verified.file)}")
    _rows(screen, [("signed by", f"{verified.keyid} ({verified.algorithm})"), ("digest", verified.digest)])


def _signature_json(screen: Screen, signed: Signed | Verified) -> None:
    print_json(screen, {"bundle": {**signed._asdict(), "file": str(signed.file)}})


def _published_table(screen: Screen, found: Published) -> None:
    what = word(screen, "pushed" if found.changed else "unchanged")
    screen.line(f"{what}  {printable(found.revision)}  {printable(found.place)}")
    _rows(screen, [*_validity(found.sequence, found.expires), ("signature", _signature(found.signature))])
    _rows(screen, [("digest", found.digest), *([("manifest", found.manifest)] if found.manifest else [])])


def _published_json(screen: Screen, found: Published) -> None:
    signature = None if found.signature is None else found.signature._asdict()
    print_json(screen, {"bundle": {**found._asdict(), "signature": signature}})


def _pulled_table(screen: Screen, found: Pulled) -> None:
    screen.line(f"{word(screen, 'pulled')}  {printable(found.revision)}  {_shown(found.file)}")
    _rows(
        screen,
        [
            ("from", found.place),
            *_validity(found.sequence, found.expires),
            ("signature", _signature(found.signature, is_verified=found.is_verified)),
            ("digest", found.digest),
            ("manifest", found.manifest),
        ],
    )


def _pulled_json(screen: Screen, found: Pulled) -> None:
    signature = None if found.signature is None else found.signature._asdict()
    print_json(screen, {"bundle": {**found._asdict(), "file": str(found.file), "signature": signature}})


def _described(bundle: Inspection) -> dict[str, Json]:
    signature = bundle.signature
    return {
        "file": str(bundle.file),
        "digest": bundle.digest,
        "revision": bundle.revision,
        "roots": list(bundle.roots),
        "sequence": bundle.sequence,
        "expires": bundle.expires,
        "input_schema": bundle.input_schema,
        "metadata": bundle.metadata,
        "rules": list(bundle.rules),
        "levels": bundle.levels,
        "data": bundle.data,
        "signature": None if signature is None else signature._asdict(),
    }


def _signature(signature: SignatureState | None, *, is_verified: bool = False) -> str:
    if signature is None:
        return "none"
    name = f"by {signature.keyid}" if signature.keyid else "by a key that it does not name"
    checked = "checked" if is_verified else "not checked: `flowyml-policy bundle verify` does"
    return f"{name} ({signature.algorithm}), {checked}"


def _validity(sequence: int | None, expires: str | None) -> Rows:
    yield "sequence", "none, so it cannot be pushed" if sequence is None else str(sequence)
    yield "expires", expires or "never"


def _package_lines(screen: Screen, found: Difference) -> Iterator[str]:
    for sign, names, colour in (
        ("-", found.removed, "red"),
        ("+", found.added, "green"),
        ("~", found.changed, "yellow"),
    ):
        for name in names:
            yield screen.style(f"{sign} {printable(name)}", fg=colour)


def _change_lines(screen: Screen, changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        yield printable(change.name)
        for sign, value, colour in (("-", change.old, "red"), ("+", change.new, "green")):
            if value is not None:
                yield screen.style(f"  {sign} {_value(value)}", fg=colour)


def _part(screen: Screen, title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        screen.line()
        screen.line(screen.style(title, bold=True))
        for line in lines:
            screen.line(f"  {line}")


def _rows(screen: Screen, rows: Rows) -> None:
    for name, value in rows:
        screen.line(f"  {printable(name):<10} {printable(value)}")


def _value(value: Json) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _shown(path: Path) -> str:
    return printable(str(path))


BUILT: Final[Mapping[str, Callable[[Screen, Built], None]]] = {"table": _built_table, "json": _built_json}
INSPECTED: Final[Mapping[str, Callable[[Screen, Inspection], None]]] = {
    "table": _inspected_table,
    "json": _inspected_json,
}
DIFFERENCE: Final[Mapping[str, Callable[[Screen, Difference], None]]] = {
    "table": _difference_table,
    "json": _difference_json,
}
KEYS: Final[Mapping[str, Callable[[Screen, KeyPair], None]]] = {"table": _keys_table, "json": _keys_json}
SIGNED: Final[Mapping[str, Callable[[Screen, Signed], None]]] = {"table": _signed_table, "json": _signature_json}
VERIFIED: Final[Mapping[str, Callable[[Screen, Verified], None]]] = {"table": _verified_table, "json": _signature_json}
PUBLISHED: Final[Mapping[str, Callable[[Screen, Published], None]]] = {
    "table": _published_table,
    "json": _published_json,
}
PULLED: Final[Mapping[str, Callable[[Screen, Pulled], None]]] = {"table": _pulled_table, "json": _pulled_json}
