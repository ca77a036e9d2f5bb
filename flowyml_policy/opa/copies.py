"""Kept copies of remote bundles: where they are, and what is loaded where no server may be asked.

Rules:
- OPA writes them and reads them. Two configurations never share a folder by default: a bundle of one server must not
  stand in for that of another. What a discovery bundle names is kept below the folder of this bundle, each set apart.
- Without a server a copy is loaded as a file, its signature checked as ever, as long as it is young enough.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from flowyml_policy.errors.opa import OpaStartFailed, OpaUnavailable
from flowyml_policy.opa.configuration import DISCOVERY, BundleSource, Configuration
from flowyml_policy.opa.services import OCI

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

PERSISTENCE: Final = "persistence_directory"

DEFAULT_MAX_AGE: Final = 7 * 86400.0

_FOLDER: Final = "bundles"
_SHOWN: Final = 16
_OFFLINE: Final = "no server may be asked"


class Remote(NamedTuple):
    """How remote bundles are followed.

    `max_age` is for how many seconds one may decide unconfirmed; `state` the folder for kept copies where the
    configuration names none; `offline`: no server is asked, and kept copies judge. `sequences` are the highest that
    were seen, by the origins of the bundles.
    """

    max_age: float = DEFAULT_MAX_AGE
    state: Path | None = None
    offline: bool = False
    sequences: Mapping[str, int] = MappingProxyType({})

    def encodable(self) -> dict[str, Json]:
        """As values of JSON."""
        state = None if self.state is None else str(self.state)
        return {**self._asdict(), "state": state, "sequences": dict(self.sequences)}

    @classmethod
    def decoded(cls, values: dict[str, Json]) -> Remote:
        """What `encodable` made."""
        return cls(**{**values, "state": Path(values["state"]) if values["state"] else None})


def loadable(read: Configuration, remote: Remote) -> Configuration:
    """`read` as OPA can load it: with a folder for copies, or, where no server is asked, with copies alone.

    Raises OpaStartFailed, OpaUnavailable.
    """
    return kept_alone(read, remote) if remote.offline else with_copies(read, remote)


def with_copies(read: Configuration, source: Remote) -> Configuration:
    """`read`, with a folder that is there where OPA keeps anything. Raises OpaStartFailed."""
    if not any(one.is_kept or (one.service and one.service.kind == OCI) for one in read.remote):
        return read
    folder = _folder(read, source)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if read.is_discovered:
            _share_discovery(_folder(read.alone, source), folder)
    except OSError as error:
        raise OpaStartFailed(
            f"the folder for kept copies of bundles cannot be made: {folder}: {error.strerror}",
            advice="let this user write there, or name another in policy.opa.config.persistence_directory",
        ) from error
    return read._replace(rest={**read.rest, PERSISTENCE: str(folder)})


def kept_alone(read: Configuration, source: Remote) -> Configuration:
    """`read`, with the kept copies in place of the servers. Raises OpaUnavailable where one is missing or too old."""
    if not read.remote:
        return read
    folder = _folder(read, source)
    base = _folder(read.alone, source) if read.is_discovered else folder
    sources = tuple(
        one if one.service is None else _copy(one, base if one in read.alone.sources else folder, source.max_age)
        for one in read.sources
    )
    rest = {key: value for key, value in read.rest.items() if key not in {"services", PERSISTENCE}}
    return read._replace(sources=sources, rest=rest)


def _copy(one: BundleSource, folder: Path, max_age: float) -> BundleSource:
    place = folder / _FOLDER / one.name / "bundle.tar.gz"
    advice = "run once with its server in reach"
    if not one.is_kept:
        raise OpaUnavailable(
            f"{_OFFLINE}, and no copy is kept of bundle {one.name!r}",
            advice=f"set `persist: true` at {one.setting}, and {advice}",
        )
    try:
        confirmed = place.stat().st_mtime
    except OSError as error:
        raise OpaUnavailable(
            f"{_OFFLINE}, and there is no copy of bundle {one.name!r}: {place}: {error.strerror}", advice=advice
        ) from error
    if time() - confirmed > max_age:
        when = datetime.fromtimestamp(confirmed, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise OpaUnavailable(
            f"{_OFFLINE}, and the copy of bundle {one.name!r} was last known to be the newest at {when}: that is longer"
            " ago than policy.opa.max_age",
            advice=f"{advice}, or raise policy.opa.max_age",
        )
    kept = {key: value for key, value in one.options.items() if key in {"signing", "size_limit_bytes"}}
    return one._replace(place=place, options=kept, copied=int(confirmed))


def _share_discovery(base: Path, folder: Path) -> None:
    """Let `folder` hold the copy of the discovery bundle that `base` holds: there is one, whatever it names."""
    shared, link = base / _FOLDER / DISCOVERY, folder / _FOLDER / DISCOVERY
    for made in (shared, link.parent):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):  # this process made it before, or another one
        link.symlink_to(os.path.relpath(shared, link.parent), target_is_directory=True)


def _folder(read: Configuration, source: Remote) -> Path:
    if read.is_discovered:
        return _folder(read.alone, source) / _title(read)
    named = read.rest.get(PERSISTENCE)
    if named is not None:
        return Path(named)
    if source.state is None:
        raise OpaStartFailed(
            "no folder is known to keep copies of bundles in",
            advice="name one in policy.opa.config.persistence_directory",
        )
    return source.state / _FOLDER / _title(read)


def _title(read: Configuration) -> str:
    """A name for the folder of these bundles from these servers."""
    told: Mapping[str, Json] = {one.name: one.origin for one in read.remote}
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:_SHOWN]
