"""What flowyml.lock pins of a stack, without secrets."""

from __future__ import annotations

from flowyml_policy.mask.text import mask
from flowyml_policy.records.pins import StackPin


def masked_pin(pin: StackPin) -> StackPin:
    """Return `pin` with secrets in the address masked: the file is committed."""
    return pin.model_copy(update={"uri": mask(pin.uri)})
