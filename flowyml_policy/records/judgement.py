"""What an evaluator answers."""

from flowyml_policy.records.decision import Decision
from flowyml_policy.records.record import Record
from flowyml_policy.records.result import EvaluatorName


class Judgement(Record):
    """A decision with that very answer's provenance: each bundle's revision, and how long it took."""

    decision: Decision
    bundles: dict[str, str]
    evaluator: EvaluatorName
    duration_ns: int


class GlobProblem(Record):
    """A pattern that OPA's `glob.match` refuses, and OPA's reason."""

    pattern: str
    reason: str
