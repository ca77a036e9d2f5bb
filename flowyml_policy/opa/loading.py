"""A policy, loaded by the OPA library of this process: staged, started and checked once.

Rules:
- Bundles are staged before OPA sees them: tests and samples stay out, and the catalogue of rules that carry none is
  made of their METADATA. An archive, and whatever is signed, goes to OPA as it is.
- The policy is checked once when it is loaded, so that nothing has to be looked for in a decision.
- What is staged is removed when OPA has read it, which it does once.
- Nothing here needs pydantic: the process that judges apart starts in half the time without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from flowyml_policy.errors.opa import OpaStartFailed, OpaUndefined, PolicyInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.opa import bundle_files, shipped
from flowyml_policy.opa.bundle_files import BundleFiles, BundleFilesInvalid
from flowyml_policy.opa.catalogue import check_folders, check_loaded, make_catalogue, shown
from flowyml_policy.opa.configuration import (
    PROJECT_BUNDLE,
    PROJECT_ROOTS,
    BundleSource,
    Configuration,
    check_roots,
    read_configuration,
)
from flowyml_policy.opa.library import Library, is_alive

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

RULE_ROOTS: Final = ("flowyml", "org", "project")
_NANOSECONDS: Final = 1_000_000_000
_STOP_SECONDS: Final = 5.0


class PolicySource(NamedTuple):
    """What a policy is loaded from, and how. Times are in seconds.

    `config` is `policy.opa.config`; without one the shipped policy judges. `rule_folders` hold the project's own
    rules, added as the bundle `project`. Relative resources start at `root`; messages show files as seen from `near`.
    `allow_hosts` are the only hosts that policy may reach. `require_signed`: every configured bundle must be signed.
    """

    root: Path
    near: Path
    config: Mapping[str, Json] | None
    rule_folders: tuple[Path, ...]
    start_timeout: float
    deadline: float
    allow_hosts: tuple[str, ...]
    require_signed: bool = False

    @classmethod
    def of(
        cls,
        *,
        config: Mapping[str, Json] | None = None,
        rule_folders: Iterable[str | Path] = (),
        root: Path | None = None,
        start_timeout: float = 10.0,
        deadline: float = 2.0,
        allow_hosts: Iterable[str] = (),
        require_signed: bool = False,
    ) -> PolicySource:
        """The source, with the working directory where `root` is none, and every place absolute."""
        near = Path.cwd()
        folders = tuple(near / folder for folder in rule_folders)
        place = near / (root or "")
        return cls(place, near, config, folders, start_timeout, deadline, tuple(allow_hosts), require_signed)

    @property
    def is_shipped(self) -> bool:
        """Whether it is the shipped policy, and nothing is configured."""
        return self.config is None and not self.rule_folders and not self.allow_hosts

    def encode(self) -> bytes:
        """As JSON, for another process. Raises ValueError or TypeError for a configuration that is none."""
        places = {
            "root": str(self.root),
            "near": str(self.near),
            "rule_folders": [str(one) for one in self.rule_folders],
        }
        return json.dumps({**self._asdict(), **places}, allow_nan=False).encode()

    @classmethod
    def decode(cls, encoded: bytes) -> PolicySource:
        """What `encode` made."""
        values: dict[str, Any] = json.loads(encoded)
        values["root"], values["near"] = Path(values["root"]), Path(values["near"])
        values["rule_folders"] = tuple(Path(folder) for folder in values["rule_folders"])
        values["allow_hosts"] = tuple(values["allow_hosts"])
        return cls(**values)


class Policy(Protocol):
    """A policy that can be asked, in this process or apart. Safe from many threads."""

    @property
    def bundles(self) -> Mapping[str, str]:
        """Every bundle that was loaded, and its revision."""

    @property
    def digest(self) -> str:
        """The SHA-256 of all that was loaded besides the shipped policy: a revision is only what its author says."""

    @property
    def opa_version(self) -> str:
        """The version of the OPA that judges."""

    def decide(self, path: str | None, document: bytes) -> bytes:
        """The value at `path`, or the decision for None: JSON `{"result": ..., "bundles": {name: revision}}`."""

    def check_globs(self, patterns: Sequence[str]) -> list[dict[str, str]]:
        """Those patterns that `glob.match` refuses: `[{"pattern", "reason"}]`."""

    def stop(self) -> None:
        """Release what is held."""


class LoadedPolicy:
    """A policy that the library of this process judges by.

    `early` is a start of the shipped policy that was begun before (see `shipped`). `board` is the descriptor of memory
    where it says which builtin is called, and where; 0 for none. Raises OpaError or
    FeatureUnavailable when the policy cannot be loaded.
    """

    def __init__(
        self, source: PolicySource, library: Library, *, early: dict[str, Json] | None = None, board: int = 0
    ) -> None:
        self._source = source
        self._board = board
        self._library = library
        self._deadline_ns = round(source.deadline * _NANOSECONDS)
        self._timeout_ns = round(source.start_timeout * _NANOSECONDS)
        self.digest = _digest({})
        try:
            started = early or self._start(
                read_configuration(source.config, source.root, require_signed=source.require_signed)
            )
        except FlowymlPolicyError:
            raise
        except BundleFilesInvalid as error:
            raise PolicyInvalid(str(error)) from error
        except Exception as error:
            raise OpaStartFailed(f"the policy could not be staged: {type(error).__name__}: {error}") from error
        self._handle: int = started["handle"]
        self.bundles: Mapping[str, str] = started["bundles"]
        self.opa_version = library.opa_version
        try:
            check_loaded(started["rules"], {root: self._catalogued(root) for root in RULE_ROOTS})
        except BaseException:
            self.stop()
            raise

    def decide(self, path: str | None, document: bytes) -> bytes:
        """The value at `path`, or the decision for None: JSON `{"result": ..., "bundles": {name: revision}}`."""
        encoded = None if path is None else path.encode()
        return self._library.decide(self._handle, encoded, document, self._deadline_ns)

    def check_globs(self, patterns: Sequence[str]) -> list[dict[str, str]]:
        """Those patterns that `glob.match` refuses: `[{"pattern", "reason"}]`."""
        return self._library.check_globs(patterns, self._deadline_ns)

    def stop(self) -> None:
        """Stop OPA; in a forked child there is nothing left to stop."""
        if is_alive():
            self._library.stop(self._handle, round(_STOP_SECONDS * _NANOSECONDS))

    def _start(self, configuration: Configuration) -> dict[str, Json]:
        from tempfile import TemporaryDirectory

        rule_folders = self._source.rule_folders
        with TemporaryDirectory(prefix="flowyml-policy-") as scratch, ExitStack() as held:
            bundles: dict[str, Json] = {}
            expected: dict[str, Json] = {}
            places: dict[str, Path] = {}
            for source in configuration.sources:
                place = self._staged(source, Path(scratch), held)
                bundles[source.name] = {**source.options, "resource": place.absolute().as_uri()}
                expected[source.name] = {"roots": shipped.CONFIGURED_ROOTS}
                if source.place is not None:
                    places[source.name] = place
            if rule_folders:
                place = self._staged_project(rule_folders, Path(scratch))
                bundles[PROJECT_BUNDLE] = {"resource": place.as_uri()}
                expected[PROJECT_BUNDLE] = {"roots": PROJECT_ROOTS}
                places[PROJECT_BUNDLE] = place
            self.digest = _digest(places)
            return self._library.start(
                shipped.start_settings(
                    {**configuration.rest, "bundles": bundles},
                    expected,
                    self._source.allow_hosts,
                    self._timeout_ns,
                    vouched=any(source.place is None for source in configuration.sources),
                    board=self._board,
                )
            )

    def _staged(self, source: BundleSource, scratch: Path, held: ExitStack) -> Path:
        """What OPA is to read for a configured bundle, until `held` is closed."""
        target = scratch / f"{len(list(scratch.iterdir()))}.tar.gz"
        if source.place is None:
            return held.enter_context(shipped.bundle())
        if source.is_signed or not source.place.is_dir():
            return source.place
        manifest = bundle_files.read_manifest(source.place)
        roots = [root.strip("/") for root in manifest.get("roots", [""])]
        check_roots(source.name, roots)
        found = bundle_files.collect([source.place])
        for root in roots:
            if root in RULE_ROOTS and "catalogue" not in found.data.get(root, {}):
                self._add_catalogue(found, root, source.place.parent, beside=roots)
        bundle_files.write(found, target, roots=roots, version=source.name, manifest=manifest)
        return target

    def _staged_project(self, folders: Sequence[Path], scratch: Path) -> Path:
        """The project's own rules as one bundle."""
        found = bundle_files.collect(folders, titled=True)
        for key in found.data.keys() - set(PROJECT_ROOTS):
            raise PolicyInvalid(f"data.{key} is outside the root {PROJECT_BUNDLE}, the only one that a project may own")
        if "catalogue" in found.data.get(PROJECT_BUNDLE, {}):
            raise PolicyInvalid("data.project.catalogue is made of the rules' METADATA, and cannot be given")
        near = self._source.near
        check_folders(self._add_catalogue(found, PROJECT_BUNDLE, near), folders, near)
        target = scratch / "project.tar.gz"
        bundle_files.write(found, target, roots=PROJECT_ROOTS, version=PROJECT_BUNDLE, manifest={})
        return target

    def _add_catalogue(
        self, found: BundleFiles, root: str, near: Path, *, beside: Sequence[str] = ()
    ) -> dict[str, Json]:
        """Add the catalogue of the rules of `root`, made of the inspection that is returned.

        What stands below the roots `beside` it, all of them the bundle's own, is in no catalogue of this one.
        """
        files = list(found.origins.values())
        inspection = self._library.inspect(files, self._timeout_ns)
        others = tuple(f"{other}/" for other in beside if other != root)
        inspection["modules"] = [
            module for module in inspection["modules"] if not f"{'/'.join(module['package'])}/".startswith(others)
        ]
        names = {str(file): shown(file, near) for file in files}
        found.data.setdefault(root, {})["catalogue"] = make_catalogue(inspection, root, names=names)
        return inspection

    def _catalogued(self, root: str) -> list[str]:
        """The names of the rules that the catalogue of a root lists."""
        try:
            names = json.loads(self.decide(f"{root}/catalogue/rules", b"{}"))["result"]
        except OpaUndefined:
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise PolicyInvalid(f"data.{root}.catalogue.rules is no list of names")
        return names


def _digest(places: Mapping[str, Path]) -> str:
    """The SHA-256 of the bytes that OPA reads for each bundle, an archive or a folder, by its name."""
    digest = sha256()
    for name, place in sorted(places.items()):
        files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        for file in files:
            with suppress(OSError):  # OPA says what is wrong with it
                content = file.read_bytes()
                digest.update(f"{name}\0{file.relative_to(place)}\0{len(content)}\0".encode(errors="surrogateescape"))
                digest.update(content)
    return digest.hexdigest()
