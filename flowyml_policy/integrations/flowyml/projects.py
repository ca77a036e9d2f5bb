"""The project by whose settings runs of this process are judged: its settings, engine and audit, kept while they hold.

Rules:
- Files are looked at for every run; what changed is read anew, and the engine of what it was is closed after its last
  run. The rules that OPA compiled stay those of the engine's start.
- Settings that cannot be read are an error of each run, never of an import.
- After a fork the child makes its own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.decision.candidates import StackDocument
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.decision.results import enforcement_of
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.events import new_event
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.policy_input import RunFacts
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import DecisionRecord, Result
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.places import PLATFORM_FILE
from flowyml_policy.settings.policy_section import Enforce
from flowyml_policy.settings.reading import find_platform_file, find_project
from flowyml_policy.settings.settings import Settings
from flowyml_policy.system.actor import current_actor

_VARIABLES: Final = "FLOWYML_"
"""How the variables begin that settings depend on."""

NAME: Final = "flowyml-policy"


class GuardedProject:
    """One project as it was read. The engine is made by the first run that is judged."""

    def __init__(self, settings: Settings, state: object) -> None:
        self.settings = settings
        self.state = state
        self.events = AuditRecorder(settings.audit_path)
        self._lock = threading.Lock()
        self._engine: PolicyEngine | None = None
        self._users = 0
        self._pid = os.getpid()
        self._is_replaced = False
        self._is_told_off = False

    @property
    def engine(self) -> PolicyEngine:
        """What judges. Raises what PolicyEngine.from_settings does."""
        with self._lock:
            if self._engine is None:
                self._engine = PolicyEngine.from_settings(self.settings)
            return self._engine

    @property
    def is_off(self) -> bool:
        """Whether nothing is judged: `policy.enforce` is none, and no environment asks for more."""
        return (
            self.settings.policy.enforce == "none" and self.settings.enforcement(self.settings.environments) == "none"
        )

    def judge(
        self,
        document: StackDocument,
        run: RunFacts,
        environment: str | None,
        failure: FlowymlPolicyError | None = None,
    ) -> DecisionRecord:
        """The recorded answer to whether a run may start; in an environment that is none, that it may not."""
        return self.engine.judge_run(document, run, environment=environment, failure=failure)

    def enforcement(self, result: Result) -> Enforce:
        """What `result`, which allows nothing, does to its run."""
        return enforcement_of(result, self.settings)

    def record(
        self,
        kind: str,
        payload: Mapping[str, Json],
        *,
        stack_name: str | None = None,
        decision_id: str | None = None,
    ) -> None:
        """Put an event into the audit. Raises AuditError."""
        event = new_event(
            kind,
            at=utc_now(),
            actor=current_actor().name,
            stack_name=stack_name,
            decision_id=decision_id,
            payload=payload,
        )
        self.events.append_events([event])

    def tell_off(self) -> None:
        """Say once in this process that nothing is judged. Raises AuditError."""
        with self._lock:
            if self._is_told_off:
                return
            self.record("GuardOff", {"why": "policy.enforce: none", "pid": os.getpid()})
            self._is_told_off = True
        tell(f"runs are not judged, because policy.enforce is none: {self.settings.file or self.settings.root}")

    def use(self) -> None:
        with self._lock:
            self._users += 1

    def release(self, *, replaced: bool = False) -> None:
        """End a use, or say that there is a newer state; close what nobody uses any more, but not a parent's."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._users -= not replaced
            self._is_replaced |= replaced
            if self._users or not self._is_replaced:
                return
            engine, self._engine = self._engine, None
        self.events.close()
        if engine is not None:
            engine.close()


def tell(said: str) -> None:
    """Put one line on stderr."""
    sys.stderr.write(f"{NAME}: {said}\n")


class _Kept:
    """The one project that is kept. Another working directory or state takes its place."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In the child of a fork: no lock that another thread held, and nothing that is the parent's."""
        self.lock = threading.Lock()
        self.project: GuardedProject | None = None

    def taken(self, folder: Path | None) -> GuardedProject:
        """The project as it is now, in use until it is released."""
        with self.lock:
            state = _state(folder)
            project = self.project
            if project is None or project.state != state:
                before, project = project, GuardedProject(load_settings(project=folder), state)
                self.project = project
                if before is not None:
                    before.release(replaced=True)
            project.use()
            return project


_kept = _Kept()


@contextmanager
def current_project(folder: Path | None) -> Iterator[GuardedProject]:
    """The project in `folder`, or the one around the working directory, for as long as one run is judged.

    Raises SettingsInvalid and UsageError.
    """
    project = _kept.taken(folder)
    try:
        yield project
    finally:
        project.release()


def _state(folder: Path | None) -> object:
    """What would differ if the settings did."""
    place = find_project(None, folder)
    platform = find_platform_file(os.environ, PLATFORM_FILE)
    files = [place.file, platform, place.root / "flowyml.lock", place.root / "waivers.yaml"]
    variables = sorted(item for item in os.environ.items() if item[0].startswith(_VARIABLES))
    return place.root, folder, [(file, _stamp(file)) for file in files], variables


def _stamp(file: Path | None) -> tuple[int, ...] | None:
    try:
        found = None if file is None else os.stat(file)  # noqa: PTH116  half the time of Path.stat
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


os.register_at_fork(after_in_child=_kept.forget)
