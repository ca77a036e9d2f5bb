"""The shipped policy: where it is, and an OPA that starts on it while Python is still importing.

Rules:
- Only the standard library and `library` are imported: a command calls `start_early` once it has read the settings, and
  OPA, which needs 30 ms of a processor but none of Python's lock, starts while the rest is imported.
- An early start is a guess that the shipped policy is the whole policy. Whoever finds it wrong says `discard`; whoever
  finds it right says `take`, once. What failed early is tried again, so that the reason is told where it belongs.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.opa import bundle_files, library
from flowyml_policy.version import VERSION

PACKAGED_BUNDLE: Final = Path(__file__).parent / "_bundle" / "flowyml.tar.gz"
"""The shipped policy as a wheel carries it."""

CHECKOUT_POLICY: Final = Path(__file__).parents[2] / "rego"
"""The shipped policy in a checkout, from which an editable install works."""

SHIPPED_BUNDLE: Final = "flowyml"
DECISION_PATH: Final = "flowyml/main/decision"
"""The only entry point of policy."""

SHAPE_PATH: Final = "flowyml/lib/shape/valid"
"""The rule that says whether an input has the agreed shape. A decision by the shipped policy takes it as true: an
evaluator is handed PolicyInputs, which were validated when they were made, by more than this rule asks for."""

CONFIGURED_ROOTS: Final = ("flowyml", "org", "system/log")
"""The roots that a configured bundle may own. Never `system`, which would erase the record of what is loaded."""

_EARLY_DEADLINE_NS: Final = 10_000_000_000
_STOP_DEADLINE_NS: Final = 1_000_000_000


@contextmanager
def bundle() -> Iterator[Path]:
    """The shipped policy's archive; where a checkout holds the policy itself, one that is made, and removed again."""
    if PACKAGED_BUNDLE.is_file():
        yield PACKAGED_BUNDLE
        return
    if not (CHECKOUT_POLICY / "flowyml").is_dir():
        raise OpaUnavailable(f"the shipped policy is missing: {PACKAGED_BUNDLE}")
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:
        target = Path(scratch) / "shipped.tar.gz"
        bundle_files.stage(CHECKOUT_POLICY, target, roots=[SHIPPED_BUNDLE], version=VERSION, only=[SHIPPED_BUNDLE])
        yield target


def start_settings(
    config: Mapping[str, Any],
    expected: Mapping[str, Any],
    allow_hosts: tuple[str, ...],
    deadline_ns: int,
    *,
    vouched: bool,
    board: int = 0,
    max_age_ns: int = 0,
) -> dict[str, Any]:
    """What the library is started with (libopa/internal/engine, Settings).

    `vouched` is for the policy of this very package: another one may ask for more of an input than is validated here.
    `board` is the descriptor of memory on which calls of builtins are told, 0 for none. `max_age_ns`: for how long a
    remote bundle may decide while nobody confirms that it is the newest, 0 for ever.
    """
    return {
        "config": dict(config),
        "bundles": dict(expected),
        "input_schema": bundle_files.INPUT_SCHEMA,
        "decision": DECISION_PATH,
        "vouched": SHAPE_PATH if vouched else "",
        "allow_hosts": list(allow_hosts),
        "deadline_ns": deadline_ns,
        "board": board,
        "max_age_ns": max_age_ns,
    }


class _EarlyStart:
    """One start on the shipped policy alone, on a thread of its own."""

    def __init__(self) -> None:
        self._started: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._start, name="flowyml-policy-opa", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        try:
            with bundle() as archive:
                config = {"bundles": {SHIPPED_BUNDLE: {"resource": archive.as_uri()}}}
                expected = {SHIPPED_BUNDLE: {"roots": CONFIGURED_ROOTS}}
                settings = start_settings(config, expected, (), _EARLY_DEADLINE_NS, vouched=True)
                self._started = library.load().start(settings)
        except Exception:  # noqa: BLE001  a guess that failed: who needs OPA starts it again, and is told why
            self._started = None

    def result(self) -> dict[str, Any] | None:
        """What the library answered; None where it did not start."""
        self._thread.join()
        return self._started


_early: _EarlyStart | None = None


def start_early() -> None:
    """Begin to start OPA on the shipped policy. Raises nothing; call `take` or `discard` later."""
    global _early
    if _early is None:
        _early = _EarlyStart()
        atexit.register(discard)


def take() -> dict[str, Any] | None:
    """The early start's answer, which is the caller's from now on; None where there is none, or it failed."""
    global _early
    early, _early = _early, None
    return early.result() if early else None


def discard() -> None:
    """End what was started early and is not needed."""
    started = take()
    if started is not None and library.is_alive():
        library.load().stop(started["handle"], _STOP_DEADLINE_NS)
