"""A policy whose bundles a discovery bundle names: it is asked first, and what it names takes effect while it runs.

Rules:
- The discovery bundle is one of the policy's bundles, loaded by OPA like any other: its signature, sequence, time and
  age count, and every answer carries its revision. OPA's own discovery tells nothing of these, so it is not used.
- No policy decides beside a discovery bundle that names other bundles: until these are loaded, nothing is decided.
- What takes its place is loaded once, for all decisions that ask meanwhile. Each waits for it at most its deadline, and
  again if the bundle names others by then.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from flowyml_policy.errors.opa import OpaEvaluationFailed, OpaUnavailable, OpaUndefined, PolicyInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.opa.activation import MOST_MOVES, too_fast
from flowyml_policy.opa.configuration import DISCOVERY, PROJECT_BUNDLE, as_discovered, discovered
from flowyml_policy.opa.library import is_alive
from flowyml_policy.opa.loading import Discovery, LoadedPolicy, PolicySource, Rediscovered, again

if TYPE_CHECKING:
    from flowyml_policy.opa.library import Library
    from flowyml_policy.records.protocols import SequenceStore
    from flowyml_policy.records.record import Json

RETRY: Final = 2.0
"""Seconds until bundles that could not be loaded are tried again."""

_SHARE: Final = 0.5
"""How much of the time for a start the discovery bundle may take; its bundles take what is left."""

_SHORTEST: Final = 0.001


def load_policy(
    source: PolicySource,
    library: Library,
    *,
    early: dict[str, Json] | None = None,
    board: int = 0,
    sequences: SequenceStore | None = None,
) -> LoadedPolicy | DiscoveredPolicy:
    """The policy of `source`, as `LoadedPolicy` takes them. Raises OpaError or FeatureUnavailable."""
    if isinstance(source.config, Mapping) and source.config.get(DISCOVERY) is not None:
        return DiscoveredPolicy(source, library, board=board, sequences=sequences)
    return LoadedPolicy(source, library, early=early, board=board, sequences=sequences)


class DiscoveredPolicy:
    """A policy whose bundles a discovery bundle names. Safe from many threads.

    Raises OpaError or FeatureUnavailable when the policy cannot be loaded.
    """

    def __init__(
        self, source: PolicySource, library: Library, *, board: int = 0, sequences: SequenceStore | None = None
    ) -> None:
        self._source = source
        self._library = library
        self._board = board
        self._sequences = sequences
        self._read = source.read()
        self._lock = threading.Lock()
        self._renewal: _Renewal | None = None
        self._stopped = False
        self.remote: frozenset[str] = frozenset()
        until = monotonic() + source.start_timeout
        self._current = self._loaded(self._ask(), until, None)
        own = [PROJECT_BUNDLE] if source.rule_folders else []
        self.lasting = frozenset([*own, *(one.name for one in self._read.sources)])

    @property
    def bundles(self) -> Mapping[str, str]:
        """Every bundle that was loaded, and its revision."""
        return self._current.bundles

    @property
    def digest(self) -> str:
        """The SHA-256 of what was loaded from this machine."""
        return self._current.digest

    @property
    def opa_version(self) -> str:
        """The version of the OPA that judges."""
        return self._library.opa_version

    def decide(self, path: str | None, document: bytes) -> bytes:
        """The value at `path`, or the decision for None: JSON `{"result": ..., "bundles": {name: revision}}`."""
        for _ in range(MOST_MOVES):
            policy = self._current
            try:
                return policy.decide(path, document)
            except Rediscovered as found:
                self._renew(policy, found.document)
            except OpaUnavailable:
                if policy is self._current:  # else it was stopped when another one took its place
                    raise
        raise too_fast()

    def describe(self) -> dict[str, Json]:
        """What is loaded and was checked, as `LoadedPolicy` describes it. Raises OpaError."""
        return self._current.describe()

    def check_globs(self, patterns: Sequence[str]) -> list[dict[str, str]]:
        """Those patterns that `glob.match` refuses: `[{"pattern", "reason"}]`."""
        return self._current.check_globs(patterns)

    def stop(self) -> None:
        """Stop OPA; what is being loaded is stopped once it is. In a forked child there is nothing left to stop."""
        if not is_alive():  # another thread may have held the lock at the fork
            return
        with self._lock:
            self._stopped = True
        self._current.stop()

    def _ask(self) -> Json:
        """What the discovery bundle says, once it was loaded by itself; None for nothing."""
        source = self._source._replace(start_timeout=self._source.start_timeout * _SHARE, rule_folders=())
        asked = LoadedPolicy(
            source,
            self._library,
            board=self._board,
            sequences=self._sequences,
            discovery=Discovery(self._read.alone, is_alone=True),
        )
        try:
            answer: dict[str, Json] = json.loads(asked.decide(self._read.discovery, b"{}"))
            return as_discovered(answer["result"])
        except OpaUndefined:
            return None
        finally:
            asked.stop()

    def _loaded(self, document: Json, until: float, former: LoadedPolicy | None) -> LoadedPolicy:
        """The policy of what the discovery bundle says: `document`, or what it says meanwhile; it succeeds `former`."""
        for _ in range(MOST_MOVES):
            configuration = discovered(self._read, document, require_signed=self._source.require_signed)
            try:
                policy = LoadedPolicy(
                    self._source._replace(start_timeout=max(until - monotonic(), _SHORTEST)),
                    self._library,
                    board=self._board,
                    sequences=self._sequences,
                    discovery=Discovery(configuration, document, former is not None),
                )
            except Rediscovered as found:
                document = found.document
                continue
            if former is not None and policy.digest != former.digest:
                policy.stop()
                raise PolicyInvalid(
                    "a bundle or a rule of this machine changed while the policy was in use",
                    advice="run the command again, or make a new PolicyEngine",
                )
            self.remote |= policy.remote  # an answer may be read when its policy has been replaced
            return policy
        raise too_fast()

    def _renew(self, former: LoadedPolicy, document: Json) -> None:
        """Wait until another policy takes the place of `former`. Raises OpaError."""
        with self._lock:
            if self._current is not former:
                return
            renewal = self._renewal
            if renewal is None or renewal.is_over(document):
                renewal = self._renewal = _Renewal(document)
                args = (renewal, former)
                threading.Thread(target=self._load, args=args, name="flowyml-policy-discovery", daemon=True).start()
        if not renewal.ended.wait(self._source.deadline):
            raise OpaUnavailable(
                "the discovery bundle names other bundles, and they are still being loaded",
                advice="run the command again, or raise policy.opa.deadline",
            )
        if renewal.error is not None:
            raise again(renewal.error)

    def _load(self, renewal: _Renewal, former: LoadedPolicy) -> None:
        """Load what the discovery bundle names now, in place of `former`."""
        policy = former
        try:
            policy = self._loaded(renewal.document, monotonic() + self._source.start_timeout, former)
        except FlowymlPolicyError as error:
            renewal.fail(error)
        except Exception as error:  # noqa: BLE001  whatever it is, who waits must be told
            renewal.fail(OpaEvaluationFailed(f"what was discovered was not loaded: {type(error).__name__}: {error}"))
        with self._lock:
            if policy is not former and not self._stopped:
                self._current, policy = policy, former
                self._renewal = None
            is_unused = policy is not self._current
        renewal.ended.set()
        if is_unused:
            policy.stop()


class _Renewal:
    """One attempt to load what a discovery bundle says in `document`. Once it has `ended`, `error` is why it failed."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.ended = threading.Event()
        self.error: FlowymlPolicyError | None = None
        self._until = 0.0

    def fail(self, error: FlowymlPolicyError) -> None:
        """It failed; it counts for some seconds."""
        self.error, self._until = error, monotonic() + RETRY

    def is_over(self, document: Json) -> bool:
        """Whether another attempt is due for `document`."""
        return self.ended.is_set() and (self.document != document or monotonic() >= self._until)
