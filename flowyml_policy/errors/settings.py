"""Errors of flowyml.yaml and the platform settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records.record import Location


class SettingsProblem:
    """One thing wrong with one settings file: what, where, and what to write instead."""

    __slots__ = ("fix", "location", "what")

    def __init__(self, what: str, *, location: Location, fix: str) -> None:
        self.what = what
        self.location = location
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.location}; {self.fix}"

    def __repr__(self) -> str:
        return f"SettingsProblem({str(self)!r})"


class SettingsInvalid(FlowymlPolicyError):
    """flowyml.yaml or the platform settings cannot be used as written.

    `problems` holds everything that was found in the files, in their order; it is empty where a file as a
    whole is the problem. Several problems stand in `message` a line each.
    """

    code = "settings_invalid"
    default_advice = "correct the file; `flowyml-policy schema settings` prints what may stand there"

    def __init__(self, message: str, *, advice: str | None = None, problems: Sequence[SettingsProblem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message, advice=advice)

    @classmethod
    def found(cls, problems: Sequence[SettingsProblem]) -> SettingsInvalid:
        """The error for `problems`, of which there is at least one."""
        if not problems:
            raise ValueError("invalid settings need at least one problem")
        if len(problems) > 1:
            return cls("\n".join(str(problem) for problem in problems), problems=problems)
        return cls(f"{problems[0].what}: {problems[0].location}", advice=problems[0].fix, problems=problems)

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if len(self.problems) > 1 else super().__str__()


class EnvironmentUnknown(FlowymlPolicyError):
    """An environment was asked for that the settings do not name."""

    code = "environment_unknown"
    default_advice = "name one of the environments of flowyml.yaml, or add it there"


class FeatureUnavailable(FlowymlPolicyError):
    """A setting is valid, but this version cannot honour it yet, and what it asks for would be skipped."""

    code = "feature_unavailable"
    default_advice = "take the setting out, or use a version of flowyml-policy that supports it"
