"""The policy knows what helps against every reason for which an image cannot be examined."""

from __future__ import annotations

from flowyml_policy.errors.images import ImageError, ScanReportInvalid
from flowyml_policy.opa.embedded import EmbeddedEvaluator


def test_every_reason_has_its_remedy(shipped: EmbeddedEvaluator) -> None:
    """A scan report that cannot be read ends the command; it is no reason why an image is not inspected."""
    reasons = {error.code for error in ImageError.__subclasses__() if error is not ScanReportInvalid}

    assert set(shipped.query("flowyml/rules/images_inspected/_remedies", {})) == reasons
