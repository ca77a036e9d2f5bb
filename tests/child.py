"""Work in a child of a fork, as web servers do it whose threads are busy at that moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


def succeeds_in_child(work: Callable[[], object], seconds: float = 15) -> bool:
    """Whether `work` ends in a child, within `seconds`, and raises nothing there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False
