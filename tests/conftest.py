"""What holds for every test: how long an example of a property takes says nothing of whether it holds.

A machine that does much else besides lets any one example wait, and hypothesis would call that a failure of the test.
The time that a whole test may take is pytest's `timeout`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
