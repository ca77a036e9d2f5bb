"""Where Python keeps what it compiled, for programs that a test gives variables of its own."""

from __future__ import annotations

import os
from typing import Final

COMPILED: Final = {name: os.environ[name] for name in ("PYTHONPYCACHEPREFIX",) if name in os.environ}
