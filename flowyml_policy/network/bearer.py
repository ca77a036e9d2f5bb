"""Bearer tokens, as servers of a company are shown them."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


def bearer(token: str) -> str | None:
    """The value of `Authorization` that shows `token` (RFC 6750); None for what is no token."""
    return f"Bearer {token}" if _TOKEN.fullmatch(token) else None
