"""What the company's server knows of those who ask it."""

from __future__ import annotations

from typing import NamedTuple


class Token(NamedTuple):
    """A token without its secret. `number` stands for it in lists; instants are RFC 3339."""

    number: int
    name: str
    sha256: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None

    def is_valid(self, at: str) -> bool:
        """Whether it may be used at the instant `at`."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def allows(self, wanted: str, name: str | None = None) -> bool:
        """Whether it may do `wanted`, with the bundle `name` where one is meant."""
        return wanted in self.scopes or (name is not None and f"{wanted}:{name}" in self.scopes)
