"""From what the user names to definitions: which documents are meant, and where they came from."""

from flowyml_policy.resolution.paths import Candidate, read_candidates

__all__ = ["Candidate", "read_candidates"]
