"""Semantic versions of stacks and ranges of them, as `name@wanted` writes them.

Rules:
- Versions are read and ordered by SemVer 2.0.0 (through `semver`): 1.10.0 is higher than 1.9.0, a release higher
  than its pre-releases, and build metadata counts for nothing.
- `^2.1` is everything from 2.1.0 that keeps the leftmost number that is not 0; `~2.1.0` everything from there with
  the same major and minor. `^2` and `~2` are the same.
- A pre-release is never chosen by chance: only by its exact version, or by a range that names a pre-release of the
  same three numbers (`^2.1.0-rc.1` accepts 2.1.0-rc.2, and not 2.2.0-rc.1).
- No wanted version at all means the highest release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from semver import Version

from flowyml_policy.errors.references import VersionMalformed

LONGEST: Final = 128

_RANGE: Final = re.compile(r"([\^~])(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?)?)?", re.ASCII)
_SHORT: Final = re.compile(r"v?\d+(?:\.\d+){0,2}", re.ASCII)

Identifier: TypeAlias = tuple[int, int, str]
Precedence: TypeAlias = tuple[int, int, int, int, tuple[Identifier, ...]]


@lru_cache(maxsize=20_000)
def parse_version(text: str) -> Version:
    """The semantic version that `text` is. Raises VersionMalformed."""
    if len(text) <= LONGEST:
        with suppress(ValueError, TypeError):
            version = Version.parse(text)
            if str(version) == text:  # older releases of semver pass over a line end
                return version
    raise VersionMalformed(f"{_shown(text)} is no semantic version", advice=_advice(text))


def precedence(version: Version) -> Precedence:
    """What versions are ordered by; two that differ in build metadata alone have the same."""
    identifiers = version.prerelease.split(".") if version.prerelease else []
    ordered = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in identifiers)
    return version.major, version.minor, version.patch, not identifiers, ordered


@dataclass(frozen=True)
class Wanted:
    """The versions that somebody asks for: one exact one, or those of a range. `text` is as it was written."""

    text: str
    lowest: Version
    below: tuple[int, int, int] | None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """The version or range that `text` is. Raises VersionMalformed."""
        if not text.startswith(("^", "~")):
            return cls(text, parse_version(text), None)
        match = _RANGE.fullmatch(text) if len(text) <= LONGEST else None
        if match is None:
            raise VersionMalformed(f"{_shown(text)} is no range of versions")
        kind, major, minor, patch, prerelease = match.groups()
        suffix = f"-{prerelease}" if prerelease else ""
        lowest = parse_version(f"{major}.{minor or 0}.{patch or 0}{suffix}")
        numbers = [int(one) for one in (major, minor, patch) if one is not None]
        return cls(text, lowest, _tilde_end(numbers) if kind == "~" else _caret_end(numbers))

    @property
    def is_exact(self) -> bool:
        return self.below is None

    def accepts(self, version: Version) -> bool:
        """Whether `version` is one of these. An exact version without build metadata accepts any build of it."""
        if self.below is None:
            builds = (version.build, None) if self.lowest.build is None else (self.lowest.build,)
            return precedence(version) == precedence(self.lowest) and version.build in builds
        numbers = (version.major, version.minor, version.patch)
        if version.prerelease and not (self.lowest.prerelease and numbers == self._lowest_numbers):
            return False
        return precedence(version) >= precedence(self.lowest) and numbers < self.below

    @property
    def _lowest_numbers(self) -> tuple[int, int, int]:
        return self.lowest.major, self.lowest.minor, self.lowest.patch


def highest(versions: Iterable[str], wanted: Wanted | None = None) -> str | None:
    """The highest of `versions` that is wanted, None where none is. Raises VersionMalformed for one that is none."""
    parsed = ((parse_version(text), text) for text in versions)
    accepted = [
        (precedence(version), text)
        for version, text in parsed
        if (not version.prerelease if wanted is None else wanted.accepts(version))
    ]
    return max(accepted)[1] if accepted else None


def _caret_end(numbers: list[int]) -> tuple[int, int, int]:
    """The first release beyond `^` and these numbers: the leftmost that is not 0, or else the last given, goes up."""
    at = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    return _filled([*numbers[:at], numbers[at] + 1])


def _tilde_end(numbers: list[int]) -> tuple[int, int, int]:
    """The first release beyond `~` and these numbers: the minor goes up, or the major where it stands alone."""
    at = min(1, len(numbers) - 1)
    return _filled([*numbers[:at], numbers[at] + 1])


def _filled(numbers: list[int]) -> tuple[int, int, int]:
    major, minor, patch = [*numbers, 0, 0][:3]
    return major, minor, patch


def _shown(text: str) -> str:
    return ascii(text if len(text) <= LONGEST else text[:LONGEST] + "...")


def _advice(text: str) -> str | None:
    """`2.1` and `v2.1.0` are what people write most."""
    if _SHORT.fullmatch(text) is None:
        return None
    numbers = [str(int(one)) for one in text.removeprefix("v").split(".")] if len(text) <= LONGEST else []
    if not numbers:
        return None
    whole = ".".join([*numbers, "0", "0"][:3])
    return f"write {whole}, or ^{'.'.join(numbers)} for a range"
