"""From what the user names to definitions: which documents are meant, and where they came from."""

from flowyml_policy.resolution.paths import Candidate, is_reference, read_candidates, require_pinned

__all__ = ["Candidate", "is_reference", "read_candidates", "require_pinned"]
