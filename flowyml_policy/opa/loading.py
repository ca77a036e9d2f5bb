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
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from flowyml_policy.errors.opa import OpaStartFailed, OpaUndefined, PolicyInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.opa import shipped
from flowyml_policy.opa.activation import MOST_MOVES, STATE, Sequences, too_fast
from flowyml_policy.opa.bundle_files import BundleFilesInvalid
from flowyml_policy.opa.catalogue import check_loaded
from flowyml_policy.opa.configuration import (
    PROJECT_BUNDLE,
    PROJECT_ROOTS,
    BundleSource,
    Configuration,
    as_discovered,
    read_configuration,
)
from flowyml_policy.opa.copies import Remote, loadable
from flowyml_policy.opa.library import Library, is_alive
from flowyml_policy.opa.staging import RULE_ROOTS, Staging, digest_of

if TYPE_CHECKING:
    from flowyml_policy.records.protocols import SequenceStore
    from flowyml_policy.records.record import Json

PATTERNS_PATH: Final = "flowyml/main/patterns"
_NANOSECONDS: Final = 1_000_000_000
_STOP_SECONDS: Final = 5.0


class PolicySource(NamedTuple):
    """What a policy is loaded from, and how. Times are in seconds.

    `config` is `policy.opa.config`; without one the shipped policy judges. `rule_folders` hold the project's own
    rules, added as the bundle `project`. Relative resources start at `root`; messages show files as seen from `near`.
    `allow_hosts` are the only hosts that policy may reach. `require_signed`: every configured bundle must be signed.
    `remote` says how bundles are followed that a server gives. `takes_expired`: a bundle past its time is loaded, too.
    """

    root: Path
    near: Path
    config: Mapping[str, Json] | None
    rule_folders: tuple[Path, ...]
    start_timeout: float
    deadline: float
    allow_hosts: tuple[str, ...]
    require_signed: bool = False
    remote: Remote = Remote()
    takes_expired: bool = False

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
        remote: Remote = Remote(),  # noqa: B008  it holds nothing that changes
    ) -> PolicySource:
        """The source, with the working directory where `root` is none, and every place absolute."""
        near = Path.cwd()
        return cls(
            near / (root or ""),
            near,
            config,
            tuple(near / folder for folder in rule_folders),
            start_timeout,
            deadline,
            tuple(allow_hosts),
            require_signed,
            remote,
        )

    def read(self) -> Configuration:
        """What is configured. Raises OpaError, FeatureUnavailable."""
        return read_configuration(self.config, self.root, require_signed=self.require_signed)

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
            "remote": self.remote.encodable(),
        }
        return json.dumps({**self._asdict(), **places}, allow_nan=False).encode()

    @classmethod
    def decode(cls, encoded: bytes) -> PolicySource:
        """What `encode` made."""
        values: dict[str, Any] = json.loads(encoded)
        values["root"], values["near"] = Path(values["root"]), Path(values["near"])
        values["rule_folders"] = tuple(Path(folder) for folder in values["rule_folders"])
        values["allow_hosts"] = tuple(values["allow_hosts"])
        values["remote"] = Remote.decoded(values["remote"])
        return cls(**values)


class Policy(Protocol):
    """A policy that can be asked, in this process or apart. Safe from many threads."""

    @property
    def bundles(self) -> Mapping[str, str]:
        """Every bundle that was loaded, and its revision."""

    @property
    def remote(self) -> frozenset[str]:
        """The bundles that a server gives."""

    @property
    def lasting(self) -> frozenset[str]:
        """The bundles that every decision is made by; which others are, a discovery bundle says."""

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
    where it says which builtin is called, and where; 0 for none. `discovery` is what it was found by: the configuration
    that a discovery bundle made, of a policy that takes the place of another where `succeeds`. Raises OpaError or
    FeatureUnavailable when the policy cannot be loaded, and Rediscovered, as `decide` does.
    """

    def __init__(
        self,
        source: PolicySource,
        library: Library,
        *,
        early: dict[str, Json] | None = None,
        board: int = 0,
        sequences: SequenceStore | None = None,
        discovery: Discovery | None = None,
    ) -> None:
        self._source = source
        self._discovery = discovery
        self._board = board
        self._library = library
        self._deadline_ns = round(source.deadline * _NANOSECONDS)
        self._timeout_ns = round(source.start_timeout * _NANOSECONDS)
        self._following = threading.Lock()
        self._refused: tuple[bytes, FlowymlPolicyError] | None = None
        self.digest = digest_of({})
        try:
            configuration = loadable(discovery.configuration if discovery else source.read(), source.remote)
            self.remote = frozenset(one.name for one in configuration.remote)
            self._origins: dict[str, Json] = {one.name: one.origin for one in configuration.remote if one.is_signed}
            self._sequences = Sequences(sequences, required=source.require_signed)
            started = early or self._start(configuration)
        except FlowymlPolicyError:
            raise
        except BundleFilesInvalid as error:
            raise PolicyInvalid(str(error)) from error
        except Exception as error:
            raise OpaStartFailed(f"the policy could not be staged: {type(error).__name__}: {error}") from error
        self._handle: int = started["handle"]
        self.bundles: Mapping[str, str] = started["bundles"]
        self.opa_version = library.opa_version
        self._checked = b""
        try:
            self._follow(started)
        except BaseException:
            self.stop()
            raise

    @property
    def lasting(self) -> frozenset[str]:
        """The bundles that every decision is made by."""
        return frozenset(self.bundles)

    def decide(self, path: str | None, document: bytes) -> bytes:
        """The value at `path`, or the decision for None: JSON `{"result": ..., "bundles": {name: revision}}`."""
        encoded = None if path is None else path.encode()
        for _ in range(MOST_MOVES):
            answer = self._library.decide(self._handle, encoded, document, self._deadline_ns)
            if answer.endswith(self._checked):
                return answer
            self._follow()
        raise too_fast()

    def describe(self) -> dict[str, Json]:
        """What is loaded and was checked, as the library describes it; which bundles servers give, and from where."""
        return {**self._described, "remote": sorted(self.remote), "origins": self._origins}

    def _follow(self, described: dict[str, Json] | None = None) -> None:
        """Check what is loaded now, once, as at the start: nothing is decided by what was not. Raises OpaError."""
        with self._following:
            for _ in range(MOST_MOVES):
                described = described or self._library.describe(self._handle, self._deadline_ns)
                end = STATE % described["state"]
                if end == self._checked:
                    return
                if self._refused is not None and self._refused[0] == end:
                    raise again(self._refused[1])
                try:
                    self._check(described)
                except _Moved:
                    described = None
                    continue
                except FlowymlPolicyError as error:
                    self._refused = (end, error)
                    raise
                self.bundles = described["bundles"]
                self._described, self._checked = described, end
                return
            raise too_fast()

    def _check(self, described: dict[str, Json]) -> None:
        """Check one state of the policy. Raises PolicyInvalid and PolicyRolledBack, and _Moved where it is gone."""
        state, found_by = described["state"], self._discovery
        if found_by is None or not found_by.is_alone:
            if found_by is not None:
                self._check_discovered(found_by, state)
            check_loaded(described["rules"], {root: self._catalogued(root, state) for root in RULE_ROOTS})
            if self._checked or (found_by is not None and found_by.succeeds):
                self._check_patterns(state)  # at the start the settings' patterns are checked with the policy's
        self._sequences.keep({**described, "origins": self._origins})

    def _check_discovered(self, found_by: Discovery, state: int) -> None:
        document = as_discovered(self._value_at(found_by.configuration.discovery or "", state))
        if document != found_by.document:
            raise Rediscovered(document)

    def _check_patterns(self, state: int) -> None:
        patterns = self._value_at(PATTERNS_PATH, state)
        if patterns is None:
            return
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise PolicyInvalid(f"the policy's patterns (data.{PATTERNS_PATH}) are not a set of strings")
        for problem in self.check_globs(patterns):
            raise PolicyInvalid(
                f"the policy's data holds a pattern that OPA cannot read: {problem['pattern']!r}: {problem['reason']}"
            )

    def _value_at(self, path: str, state: int) -> Json:
        """What stands at `path` in one state of the policy; None where nothing does. Raises _Moved."""
        try:
            answer = json.loads(self._library.decide(self._handle, path.encode(), b"{}", self._deadline_ns))
        except OpaUndefined:
            return None
        if answer["state"] != state:
            raise _Moved
        return answer["result"]

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
            staging = Staging(self._library, Path(scratch), self._source.near, self._timeout_ns)
            bundles: dict[str, Json] = {}
            expected: dict[str, Json] = {}
            places: dict[str, Path] = {}
            known = self._sequences.known()
            for source in configuration.sources:
                in_time = not self._source.takes_expired
                expected[source.name] = _expected(source, known.get(source.origin), in_time=in_time)
                if source.service is not None and source.copied is None:
                    resource = {"service": source.service.name, "resource": source.resource}
                    bundles[source.name] = {**source.options, **resource}
                    continue
                place = staging.staged(source, held)
                bundles[source.name] = {**source.options, "resource": place.absolute().as_uri()}
                if source.place is not None and source.copied is None:
                    places[source.name] = place
            if rule_folders:
                place = staging.staged_project(rule_folders)
                bundles[PROJECT_BUNDLE] = {"resource": place.as_uri()}
                expected[PROJECT_BUNDLE] = {"roots": PROJECT_ROOTS}
                places[PROJECT_BUNDLE] = place
            self.digest = digest_of(places)
            return self._library.start(
                shipped.start_settings(
                    {**configuration.rest, "bundles": bundles},
                    expected,
                    self._source.allow_hosts,
                    self._timeout_ns,
                    vouched=any(source.is_packaged for source in configuration.sources),
                    board=self._board,
                    max_age_ns=round(self._source.remote.max_age * _NANOSECONDS) if self.remote else 0,
                )
            )

    def _catalogued(self, root: str, state: int) -> list[str]:
        """The names of the rules that the catalogue of a root lists."""
        names = self._value_at(f"{root}/catalogue/rules", state)
        if names is None:
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise PolicyInvalid(f"data.{root}.catalogue.rules is no list of names")
        return names


def _expected(source: BundleSource, sequence: int | None, *, in_time: bool) -> dict[str, Json]:
    """What the library is told of a configured bundle (libopa/internal/engine, Expected)."""
    return {
        "roots": source.roots,
        "remote": source.service is not None,
        "signed": source.is_signed,
        "sequence": sequence if source.service is not None and source.is_signed else None,
        "copied": source.copied,
        "in_time": in_time,
    }


class Discovery(NamedTuple):
    """By what a policy was found.

    `configuration` is what is loaded, as long as the discovery bundle says `document`; where it `is_alone`, it is this
    bundle, and no policy. `succeeds`: it takes the place of a policy that decided before.
    """

    configuration: Configuration
    document: Json = None
    succeeds: bool = False
    is_alone: bool = False


class Rediscovered(Exception):
    """The discovery bundle says another `document` than the one that the policy was loaded by."""

    def __init__(self, document: Json) -> None:
        self.document = document
        super().__init__("the discovery bundle names other bundles")


class _Moved(Exception):
    """Another bundle was activated in between."""


def again(error: FlowymlPolicyError) -> FlowymlPolicyError:
    """The same error, to be raised by another call."""
    return type(error)(error.message, advice=error.advice)
