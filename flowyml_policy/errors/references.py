"""Errors of text that names a stack, an image or a version."""

from __future__ import annotations

from flowyml_policy.errors.registry import RegistryError
from flowyml_policy.errors.root import FlowymlPolicyError


class VersionMalformed(RegistryError):
    """Text is no semantic version, or no range of them."""

    code = "version_malformed"
    default_advice = "write a version, as 2.1.0, or a range, as ^2.1 or ~2.1.0"


class ReferenceInvalid(FlowymlPolicyError):
    """Text is no image reference that Docker would take, or no entry of a list of allowed registries."""

    code = "reference_invalid"
    default_advice = "write it as registry/path:tag or registry/path@sha256:digest"

    def __init__(self, message: str, *, problem: str | None = None, advice: str | None = None) -> None:
        self.problem = message if problem is None else problem
        """What is wrong, where the text itself need not be said again."""
        super().__init__(message, advice=advice)


class ReferenceMalformed(FlowymlPolicyError):
    """Text is no reference to a stack. The message never repeats credentials; the advice shows the right form."""

    code = "reference_malformed"
    default_advice = "write a name, as prod-gpu or prod-gpu@2.1.0, or an address, as github://org/repo@v1.0#stack"
