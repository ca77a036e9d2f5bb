"""Policy as code for ML execution stacks, judged by the Open Policy Agent that comes with this package.

These names are the library; everything else may change. Each is imported on first use, so that
`import flowyml_policy` costs nothing and a command loads only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flowyml_policy.audit.store import AuditStore
    from flowyml_policy.decision.engine import PolicyEngine
    from flowyml_policy.decision.governed import assert_allowed, governed
    from flowyml_policy.decision.lifecycle import StackLifecycle
    from flowyml_policy.definitions.stack import StackDefinition
    from flowyml_policy.errors.decision import PolicyDenied, PolicyUndecided
    from flowyml_policy.errors.root import FlowymlPolicyError
    from flowyml_policy.records.decision import Decision, Finding
    from flowyml_policy.records.policy_input import PolicyInput
    from flowyml_policy.records.result import Result
    from flowyml_policy.resolution.explanation import ResolvedStack
    from flowyml_policy.resolution.resolver import StackResolver
    from flowyml_policy.storage.locks import StackLockManager

    __version__: str

__all__ = [
    "AuditStore",
    "Decision",
    "Finding",
    "FlowymlPolicyError",
    "PolicyDenied",
    "PolicyEngine",
    "PolicyInput",
    "PolicyUndecided",
    "ResolvedStack",
    "Result",
    "StackDefinition",
    "StackLifecycle",
    "StackLockManager",
    "StackResolver",
    "__version__",
    "assert_allowed",
    "governed",
]

_MODULES: Final = {
    "AuditStore": "audit.store",
    "Decision": "records.decision",
    "Finding": "records.decision",
    "FlowymlPolicyError": "errors.root",
    "PolicyDenied": "errors.decision",
    "PolicyEngine": "decision.engine",
    "PolicyInput": "records.policy_input",
    "PolicyUndecided": "errors.decision",
    "ResolvedStack": "resolution.explanation",
    "Result": "records.result",
    "StackDefinition": "definitions.stack",
    "StackLifecycle": "decision.lifecycle",
    "StackLockManager": "storage.locks",
    "StackResolver": "resolution.resolver",
    "__version__": "version",
    "assert_allowed": "decision.governed",
    "governed": "decision.governed",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    value = module.VERSION if name == "__version__" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
