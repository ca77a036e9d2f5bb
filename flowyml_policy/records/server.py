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


class Publication(NamedTuple):
    """A bundle that was published: the `number` grows from one to the next. `digest` is `sha256:` and hex digits."""

    number: int
    name: str
    revision: str
    sequence: int | None
    expires: str | None
    digest: str
    size: int
    published_at: str
    published_by: str

    @property
    def etag(self) -> str:
        """The strong ETag of the archive. The sequence is in what it hashes, so that an old one never comes back."""
        return f'"{self.digest.partition(":")[2]}"'
