"""OPA in this process: the library's evaluator behind the seam.

Rules:
- A rule that does not end keeps the thread that asks, and one that takes all memory takes this process with it: this
  is for policy that ships or that the platform names. `process` is for all other.
- After a fork the Go runtime is dead in the child. There the policy is judged by a process of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from flowyml_policy.opa import shipped
from flowyml_policy.opa.discovery import load_policy
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.library import Library, is_alive, load
from flowyml_policy.opa.loading import Policy, PolicySource
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import EvaluatorName, GlobProblem

if TYPE_CHECKING:
    from flowyml_policy.opa.process import PolicyProcess
    from flowyml_policy.records.protocols import SequenceStore


class EmbeddedEvaluator(OpaEvaluator):
    """Judges by OPA in this process.

    `config` is `policy.opa.config`; without one the shipped policy judges. `rule_folders` hold the project's own
    rules, added as the bundle `project`. Relative resources start at `root`, the working directory by default.
    Times are in seconds. `allow_hosts` are the only hosts that policy may reach. Each bundle of `require_revision` must
    be at its revision. `library` is the OPA library, that of this package by default.

    Raises OpaError or FeatureUnavailable when the policy cannot be loaded.
    """

    name = "embedded"

    def __init__(
        self,
        *,
        config: Mapping[str, Json] | None = None,
        rule_folders: Sequence[Path] = (),
        root: Path | None = None,
        start_timeout: float = 10.0,
        deadline: float = 2.0,
        allow_hosts: Sequence[str] = (),
        require_revision: Mapping[str, str] | None = None,
        library: Library | None = None,
    ) -> None:
        source = PolicySource.of(
            config=config,
            rule_folders=rule_folders,
            root=root,
            start_timeout=start_timeout,
            deadline=deadline,
            allow_hosts=allow_hosts,
        )
        self._begin(source, library, None, require_revision, None)

    @classmethod
    def from_source(
        cls,
        source: PolicySource,
        *,
        memory: int | None = None,
        require_revision: Mapping[str, str] | None = None,
        sequences: SequenceStore | None = None,
    ) -> Self:
        """The evaluator of `source`. In a forked child, its process may take `memory` bytes.

        `sequences` knows what was seen of signed remote bundles.
        """
        made = cls.__new__(cls)
        made._begin(source, None, memory, require_revision, sequences)
        return made

    def _begin(
        self,
        source: PolicySource,
        library: Library | None,
        memory: int | None,
        require_revision: Mapping[str, str] | None,
        sequences: SequenceStore | None,
    ) -> None:
        self._source = source
        self._sequences = sequences
        self._memory = memory
        self._apart: PolicyProcess | None = None
        self._policy = self._loaded(library) if library or is_alive() else self._process(None)
        OpaEvaluator.__init__(
            self,
            bundles=self._policy.lasting,
            version=self._policy.opa_version,
            require_revision=require_revision,
        )
        self._name_process()

    def _loaded(self, library: Library | None) -> Policy:
        if library is not None:
            return load_policy(self._source, library, sequences=self._sequences)
        early = shipped.take() if self._source.is_shipped else None
        return load_policy(self._source, load(), early=early, sequences=self._sequences)

    def _query(self, path: str | None, document: bytes) -> bytes:
        return self._here().decide(path, document)

    def _check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        return tuple(GlobProblem(**problem) for problem in self._here().check_globs(patterns))

    def _remote(self) -> frozenset[str]:
        return (self._apart or self._policy).remote

    def _close(self) -> None:
        for policy in (self._policy, self._apart):
            if policy is not None:
                policy.stop()

    def _here(self) -> Policy:
        """The policy as it can be asked here: by itself, or, in a forked child, by a process that judges the same."""
        if self._apart is None and is_alive():
            return self._policy
        with _lock:
            if self._apart is None:
                self._process(self._policy)
                self._name_process()
            return self._apart or self._policy

    def _process(self, known: Policy | None) -> Policy:
        from flowyml_policy.opa.process import MEMORY, PolicyProcess

        self._apart = PolicyProcess(self._source, self._memory or MEMORY, known=known, sequences=self._sequences)
        return self._apart

    def _name_process(self) -> None:
        """Say in every evaluation that a process judged, where one does."""
        if self._apart is not None:
            self._title = EvaluatorName(name="process", version=self._apart.opa_version)


_lock = threading.Lock()
"""Held while a process is started in place of this one's policy."""


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603  a lock held by another thread at the fork is held for ever in the child
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
