"""The end of one call's time."""

from __future__ import annotations

import time


class Deadline:
    """The end of `seconds` from now, however many requests are made until then."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; 0 where the time is over."""
        return max(self._end - time.monotonic(), 0.0)
