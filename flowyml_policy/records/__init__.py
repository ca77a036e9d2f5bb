"""Frozen values that several packages share, and the protocols between them.

Rules:
- Values only: no I/O, no clock, no import of another package.
- A value from outside is validated once, by constructing its record; afterwards it is trusted.
- No `from __future__ import annotations` where models are: pydantic would compile every annotation at each start.
- Questions about a value are properties of it (`decision.allowed`, `result.exit_code`).
"""
