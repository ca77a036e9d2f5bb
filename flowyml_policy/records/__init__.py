"""Frozen values that several rooms share, and the protocols between rooms.

Rules of this room:
- Values only: no I/O, no clock, no import of another room but `errors` and `canonical`.
- A value from outside is validated once, by constructing its record; afterwards it is trusted.
- No `from __future__ import annotations` where models are: pydantic would compile every annotation at each start.
- Questions about a value are properties of it (`decision.allowed`, `result.exit_code`).
"""

from typing import TYPE_CHECKING

from flowyml_policy.on_demand import on_demand
from flowyml_policy.records.decision import (
    Decision,
    Enforcement,
    Finding,
    Override,
    Severity,
    Waived,
    Waivers,
)
from flowyml_policy.records.judgement import GlobProblem, Judgement
from flowyml_policy.records.location import Location
from flowyml_policy.records.policy_input import (
    SCHEMA_VERSION,
    Actor,
    ImageFacts,
    ImagePolicy,
    LockFacts,
    PlatformFacts,
    PolicyInput,
    Project,
    ProjectPolicies,
    RunFacts,
    Source,
    Stack,
    SuspectedSecret,
    policy_input_schema,
)
from flowyml_policy.records.protocols import (
    ContentStore,
    Evaluator,
    EventRecorder,
    LastDecisions,
    Recorder,
    StackRegistry,
)
from flowyml_policy.records.result import (
    DecisionRecord,
    ErrorReport,
    EvaluatorName,
    LocatedFinding,
    Result,
    StackName,
    Summary,
)

if TYPE_CHECKING:
    from flowyml_policy.records.catalogue import CatalogueEntry, RuleLink
    from flowyml_policy.records.events import (
        Event,
        NewEvent,
        PolicyChecked,
        RegistryEvent,
        StackApplied,
        StackLocked,
        StackRetired,
        StackRetiring,
        StackUnlocked,
        StackValidated,
        typed_event,
    )
    from flowyml_policy.records.lock_holder import LockHolder
    from flowyml_policy.records.pins import StackPin, StackPins
    from flowyml_policy.records.registry import (
        AlreadyThere,
        LastDecision,
        ListedStack,
        NewStack,
        Registered,
        RegisteredStack,
        Registration,
        Retirement,
    )

__all__ = [
    "SCHEMA_VERSION",
    "Actor",
    "AlreadyThere",
    "CatalogueEntry",
    "ContentStore",
    "Decision",
    "DecisionRecord",
    "Enforcement",
    "ErrorReport",
    "Evaluator",
    "EvaluatorName",
    "Event",
    "EventRecorder",
    "Finding",
    "GlobProblem",
    "ImageFacts",
    "ImagePolicy",
    "Judgement",
    "LastDecision",
    "LastDecisions",
    "ListedStack",
    "LocatedFinding",
    "Location",
    "LockFacts",
    "LockHolder",
    "NewEvent",
    "NewStack",
    "Override",
    "PlatformFacts",
    "PolicyChecked",
    "PolicyInput",
    "Project",
    "ProjectPolicies",
    "Recorder",
    "Registered",
    "RegisteredStack",
    "Registration",
    "RegistryEvent",
    "Result",
    "Retirement",
    "RuleLink",
    "RunFacts",
    "Severity",
    "Source",
    "Stack",
    "StackApplied",
    "StackLocked",
    "StackName",
    "StackPin",
    "StackPins",
    "StackRegistry",
    "StackRetired",
    "StackRetiring",
    "StackUnlocked",
    "StackValidated",
    "Summary",
    "SuspectedSecret",
    "Waived",
    "Waivers",
    "policy_input_schema",
    "typed_event",
]

__getattr__ = on_demand(
    __name__,
    {
        **dict.fromkeys(("CatalogueEntry", "RuleLink"), "catalogue"),
        **dict.fromkeys(("Event", "NewEvent", "PolicyChecked", "RegistryEvent", "StackApplied"), "events"),
        **dict.fromkeys(("StackLocked", "StackRetired", "StackRetiring", "StackUnlocked"), "events"),
        **dict.fromkeys(("StackValidated", "typed_event"), "events"),
        "LockHolder": "lock_holder",
        **dict.fromkeys(("StackPin", "StackPins"), "pins"),
        **dict.fromkeys(("AlreadyThere", "LastDecision", "ListedStack", "NewStack"), "registry"),
        **dict.fromkeys(("Registered", "RegisteredStack", "Registration", "Retirement"), "registry"),
    },
)
