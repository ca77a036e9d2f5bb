"""The record of every decision: on disk before anybody hears it, and provably unedited.

Rules of this room:
- `events` is an append-only journal, chained by hashes; `decisions` and `findings` can be queried, and the
  chain covers them too, because each PolicyChecked event carries their digests.
- A batch is one transaction: all of it is durable when `record` returns, or none of it is there.
- What cannot be recorded was not decided: every failure is an AuditError, never a shrug.
- Reading never creates a file.
"""

from typing import TYPE_CHECKING

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.on_demand import on_demand

if TYPE_CHECKING:
    from flowyml_policy.audit.stored import StoredDecision
    from flowyml_policy.audit.verification import Problem, Verification

__all__ = ["AuditStore", "Problem", "StoredDecision", "Verification"]

__getattr__ = on_demand(
    __name__, {"Problem": "verification", "StoredDecision": "stored", "Verification": "verification"}
)
