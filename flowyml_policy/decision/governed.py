"""Policy for code without pipelines: a function that runs on a stack, and a test that asks whether it may.

What is denied or undecided stops the call, as `policy.enforce` says: `observe` tells of it on stderr and goes on,
`none` judges nothing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeVar

from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.decision.results import enforcement_of
from flowyml_policy.errors.decision import PolicyDenied, PolicyUndecided
from flowyml_policy.errors.root import UsageError

_Function = TypeVar("_Function", bound=Callable[..., Any])


def governed(
    stack: object = None, *, environment: str | None = None, project: str | Path | None = None
) -> Callable[[_Function], _Function]:
    """Judge `stack` before each call of the function that this decorates; all three are as PolicyEngine takes them.

    The call raises PolicyDenied or PolicyUndecided, and whatever `PolicyEngine.check` raises. The settings are those of
    the first call.
    """
    held = _Engine(project)

    def decorated(function: _Function) -> _Function:
        if iscoroutinefunction(function):
            raise UsageError(
                f"{function.__qualname__} is a coroutine function, and judging would hold up its event loop",
                advice="await PolicyEngine.acheck in it",
            )

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            held.require(stack, environment, function.__qualname__)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorated


def assert_allowed(stack: object = None, *, environment: str | None = None, project: str | Path | None = None) -> None:
    """Raise AssertionError, with the findings, unless policy lets `stack` run: for a user's own tests.

    Raises PolicyUndecided where there is no decision, and whatever `PolicyEngine.check` raises.
    """
    with PolicyEngine.from_project(project) as engine:
        decision = engine.check(stack, environment=environment)
    if not decision.allowed:
        lines = [f"  {finding.code}: {finding.message}; {finding.fix}" for finding in decision.denials]
        raise AssertionError("\n".join(["policy denies the stack:", *lines]))


class _Engine:
    """The engine of one decorated function, made by its first call."""

    def __init__(self, project: str | Path | None) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._engine: PolicyEngine | None = None

    def require(self, stack: object, environment: str | None, called: str) -> None:
        with self._lock:
            if self._engine is None:
                self._engine = PolicyEngine.from_project(self._project)
            engine = self._engine
        settings = engine.settings
        if settings.enforcement(settings.environments) == settings.policy.enforce == "none":
            return
        try:
            engine.require(stack, environment=environment)
        except (PolicyDenied, PolicyUndecided) as error:
            mode = enforcement_of(error.result, settings)
            if mode == "block":
                raise
            if mode == "observe":
                sys.stderr.write(f"flowyml-policy: observe: {called} goes on, and block would stop it: {error}\n")
