"""What `image inspect` and `image cache list` print, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural, printable

if TYPE_CHECKING:
    from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts, SignatureFacts
    from flowyml_policy.storage.cache import CachedEntry

_MARGIN: Final = 12
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1000
_SHORT: Final = len("sha256:") + 12


def _inspected_table(screen: Screen, image: ImageFacts) -> None:
    screen.line(screen.style(printable(image.ref), bold=True))
    _lines(screen, _facts(image))
    for platform in image.platforms:
        screen.line()
        screen.line(screen.style(printable(platform.platform), bold=True))
        _lines(screen, _platform_facts(platform))
    if image.signing or image.signatures:
        screen.line()
        screen.line(screen.style("signatures", bold=True))
        _lines(screen, _signature_facts(image))


def _lines(screen: Screen, facts: Iterable[tuple[str, str | None]]) -> None:
    for name, value in facts:
        if value is not None:
            for line in screen.wrap(printable(value), indent=2, first=f"{name:<{_MARGIN}}"):
                screen.line(line)


def _facts(image: ImageFacts) -> Iterator[tuple[str, str | None]]:
    yield "digest", image.digest or "none: no registry has it"
    platforms = "an index of " + plural(len(image.platforms), "platform") if image.kind == "index" else "one platform"
    yield "kind", platforms
    yield "asked", f"{image.via} {image.endpoint or ''}"
    yield "at", image.inspected_at


def _platform_facts(platform: PlatformFacts) -> Iterator[tuple[str, str | None]]:
    yield "digest", platform.digest
    yield "user", platform.user or "none, so root"
    yield "created", platform.created
    yield "size", None if platform.size is None else size_in_words(platform.size)
    if platform.base is not None:
        how = {"claim": "claimed by an annotation", "provenance": "by signed provenance", "layers": "by its layers"}
        yield "base", f"{platform.base.ref}, {how[platform.base.how]}"
    yield "entrypoint", " ".join(platform.entrypoint) or None
    yield "ports", ", ".join(platform.ports) or None
    yield "variables", ", ".join(platform.env) or None
    yield "layers", str(len(platform.diff_ids))
    for name, value in sorted(platform.labels.items()):
        yield "label", f"{name}={value}"


def _signature_facts(image: ImageFacts) -> Iterator[tuple[str, str | None]]:
    names = {key.id: key.name for demand in image.signing for key in demand.keys}
    for demand in image.signing:
        yield "asked for", f"{demand.need} of {', '.join(key.name for key in demand.keys)} ({demand.entry})"
    for found in image.signatures:
        yield "good" if found.ok else found.problem or "bad", _signature(found, names.get(found.key or ""))


def _signature(found: SignatureFacts, name: str | None) -> str:
    parts = (name, found.digest, f"as a {found.form}", found.reason)
    return ", ".join(part for part in parts if part)


def _inspected_json(screen: Screen, image: ImageFacts) -> None:
    print_json(screen, {"image": image.model_dump(mode="json", exclude={"paths", "certainty", "scan"})})


def _cache_table(screen: Screen, entries: Iterable[CachedEntry]) -> None:
    entries = sorted(entries, key=lambda entry: (entry.key[1:3], entry.key))
    rows = [(entry.used_at[:19], size_in_words(entry.size), _what(entry)) for entry in entries]
    for line in screen.table(rows) if rows else ():
        screen.line(line)
    total = size_in_words(sum(entry.size for entry in entries))
    screen.line(f"{len(entries):,} remembered, {total}" if rows else "nothing is remembered")


def _what(entry: CachedEntry) -> str:
    """What is remembered, without what stands for the reason why it is believed."""
    kind, *names = entry.key
    registry, *rest = (printable(name) for name in names[:3])
    return " ".join([f"{kind.removeprefix('image-'):<9}", "/".join([registry, *rest[:1]]), *map(_short, rest[1:])])


def _short(name: str) -> str:
    return name[:_SHORT] if name.startswith("sha256:") else name


def _cache_json(screen: Screen, entries: Iterable[CachedEntry]) -> None:
    print_json(screen, {"entries": [entry._asdict() for entry in entries]})


def size_in_words(size: int) -> str:
    """`123 B`, `4.5 MB`."""
    value, unit = float(size), 0
    while value >= _THOUSAND and unit < len(_UNITS) - 1:
        value, unit = value / _THOUSAND, unit + 1
    return f"{size} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


INSPECTED: Final[dict[str, Callable[[Screen, ImageFacts], None]]] = {"table": _inspected_table, "json": _inspected_json}
CACHE: Final[dict[str, Callable[[Screen, Iterable[CachedEntry]], None]]] = {"table": _cache_table, "json": _cache_json}
