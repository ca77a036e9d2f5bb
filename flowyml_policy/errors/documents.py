"""Errors of reading YAML and of writing canonical JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records.record import Location


class YamlInvalid(FlowymlPolicyError):
    """A file is not the YAML that this program reads. `problem` says what, `location` where, `fix` what to write."""

    code = "yaml_invalid"

    def __init__(self, problem: str, *, location: Location, fix: str) -> None:
        self.problem = problem
        self.location = location
        self.fix = fix
        super().__init__(f"{location}: {problem}", advice=fix)


class YamlTooLarge(YamlInvalid):
    """A file is larger, deeper or longer, with its aliases written out, than this program reads."""

    code = "yaml_too_large"


class NotCanonical(FlowymlPolicyError):
    """A value has no canonical JSON (RFC 8785), so it cannot be digested: it is not JSON, or ambiguous JSON."""

    code = "not_canonical"
    default_advice = "use text, whole numbers up to 2**53 - 1, finite numbers, booleans, null, lists and mappings only"
