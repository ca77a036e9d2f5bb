"""What holds for every test.

- How long an example of a property takes says nothing of whether it holds. A machine that does much else besides lets
  any one example wait, and hypothesis would call that a failure of the test. The time that a whole test may take is
  pytest's `timeout`.
- A program that a test starts can be interrupted, also where a shell runs the tests in the background, which makes
  them, and what they start, ignore interrupts.
"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

signal.signal(signal.SIGINT, signal.default_int_handler)
