"""What a bundle says of itself: nothing of it is loaded, and nothing of it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from flowyml_policy.bundles.archive import Archive, SignatureState, read_archive
from flowyml_policy.bundles.recipe import RESERVED_METADATA
from flowyml_policy.errors.bundles import BundleUnreadable
from flowyml_policy.opa.catalogue import RULES
from flowyml_policy.opa.library import load
from flowyml_policy.records.record import Json

INSPECTION_NS: Final = 20_000_000_000
CATALOGUE: Final = "catalogue"
LEVELS: Final = "levels"
RULE_DEPTH: Final = 3


@dataclass(frozen=True)
class Inspection:
    """A bundle as its archive has it.

    `rules` are names such as `org.rules.cost_centre`; `packages` all packages, with a digest of their text. `levels`
    are those of every code that its catalogues list or its data gives a level to, the latter before the former. `data`
    is all other data, by its dotted place; lists are one value. `signature` is what it says of itself, None where it
    has none.
    """

    file: Path
    digest: str
    revision: str
    roots: tuple[str, ...]
    sequence: int | None
    expires: str | None
    input_schema: int | None
    metadata: dict[str, Json]
    packages: dict[str, str]
    levels: dict[str, str]
    data: dict[str, Json] = field(default_factory=dict)
    signature: SignatureState | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(name for name in self.packages if is_rule(name))


def inspect_bundle(path: Path) -> Inspection:
    """Read the bundle at `path`. Raises UsageError, BundleUnreadable, OpaUnavailable."""
    archive = read_archive(path)
    manifest = archive.manifest
    metadata = manifest.get("metadata", {})
    roots = manifest.get("roots", [""])
    if not isinstance(metadata, dict) or not isinstance(roots, list):
        raise BundleUnreadable(f"the manifest has not the agreed shape: {path}")
    release, schema = archive.release, metadata.get("input_schema")
    return Inspection(
        file=path,
        digest=archive.digest,
        revision=release.revision,
        roots=tuple(sorted(str(root) for root in roots)),
        sequence=release.sequence,
        expires=release.expires,
        input_schema=schema if type(schema) is int else None,
        metadata={key: value for key, value in sorted(metadata.items()) if key not in RESERVED_METADATA},
        packages=_packages(archive),
        levels=_levels(archive.data),
        data=dict(_leaves(archive.data)),
        signature=archive.signature,
    )


def is_rule(package: str) -> bool:
    """Whether a package is one of a rule."""
    parts = package.split(".")
    return len(parts) == RULE_DEPTH and parts[1] == RULES


def _packages(archive: Archive) -> dict[str, str]:
    """Every package, sorted, with the digest of the files that it stands in."""
    texts = list(archive.rego.values())
    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:
        files = [Path(scratch) / f"{number}.rego" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_bytes(text)
        found = load().inspect(files, INSPECTION_NS)
    for problem in found["problems"]:
        name = list(archive.rego)[int(Path(problem["file"]).stem)]
        raise BundleUnreadable(f"{problem['message']}: {archive.path}: {name}:{problem['line']}")
    digests: dict[str, list[str]] = {}
    for module in found["modules"]:
        text = texts[int(Path(module["file"]).stem)]
        digests.setdefault(".".join(module["package"]), []).append(sha256(text).hexdigest())
    return {name: sha256("".join(sorted(digests[name])).encode()).hexdigest() for name in sorted(digests)}


def _levels(data: dict[str, Json]) -> dict[str, str]:
    levels: dict[str, str] = {}
    for root in data.values():
        codes = root.get(CATALOGUE, {}).get("codes", {}) if isinstance(root, dict) else {}
        levels.update((code, str(entry.get("enforcement"))) for code, entry in codes.items() if isinstance(entry, dict))
    for root in data.values():
        given = root.get(LEVELS) if isinstance(root, dict) else None
        levels.update((code, str(level)) for code, level in (given.items() if isinstance(given, dict) else ()))
    return {code: levels[code] for code in sorted(levels)}


def _leaves(value: Json, *path: str) -> Iterator[tuple[str, Json]]:
    """Every value of data that is no mapping, by its dotted place; catalogues and levels are told of elsewhere."""
    if len(path) == 2 and path[1] in {CATALOGUE, LEVELS}:  # noqa: PLR2004
        return
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _leaves(value[key], *path, key)
    elif path:
        yield ".".join(path), value
