"""The record of every decision: on disk before anybody hears it, and provably unedited.

Rules:
- `events` is an append-only journal, chained by hashes; `decisions` and `findings` can be queried, and the
  chain covers them too, because each PolicyChecked event carries their digests.
- A batch is one transaction: all of it is durable when `record` returns, or none of it is there.
- What cannot be recorded was not decided: every failure is an AuditError, never a shrug.
- Reading never creates a file.
"""
