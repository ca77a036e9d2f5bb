"""Policy as code for ML execution stacks, judged by the Open Policy Agent that comes with this package.

These names are the library; everything else may change. Each is imported on first use, so that
`import flowyml_policy` costs nothing and a command loads only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowyml_policy.on_demand import on_demand

if TYPE_CHECKING:
    from flowyml_policy.audit import AuditStore
    from flowyml_policy.definitions import StackDefinition
    from flowyml_policy.errors import FlowymlPolicyError, PolicyDenied, PolicyUndecided
    from flowyml_policy.lifecycle import StackLifecycle
    from flowyml_policy.locks import StackLockManager
    from flowyml_policy.policy_engine import PolicyEngine
    from flowyml_policy.records import Decision, Finding, PolicyInput, Result
    from flowyml_policy.resolution.resolver import ResolvedStack
    from flowyml_policy.stack_resolver import StackResolver

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
]

_imported = on_demand(
    __name__,
    {
        "AuditStore": "audit",
        "Decision": "records",
        "Finding": "records",
        "FlowymlPolicyError": "errors",
        "PolicyDenied": "errors",
        "PolicyEngine": "policy_engine",
        "PolicyInput": "records",
        "PolicyUndecided": "errors",
        "ResolvedStack": "resolution.resolver",
        "Result": "records",
        "StackDefinition": "definitions",
        "StackLifecycle": "lifecycle",
        "StackLockManager": "locks",
        "StackResolver": "stack_resolver",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("flowyml_policy.version").VERSION
    return _imported(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
