"""The digests that the images of stacks have now, to be pinned or compared.

Rules:
- An image that is named by its digest is not asked for: nothing can move under that name.
- What a tag names is asked anew, whatever is remembered of it.
- An image that cannot be examined keeps its stack from being pinned or compared; it is never "no digest".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from flowyml_policy.errors.images import ImageError
from flowyml_policy.mask.reports import error_report
from flowyml_policy.records.policy_input import ImageFacts
from flowyml_policy.records.result import ErrorReport

if TYPE_CHECKING:
    from flowyml_policy.images.inspection import Inspection

_OFF: Final = "is pinned to a digest, and policy.images.inspect is off, so that nobody knows what it names now"
_WITHOUT: Final = "or pin without the digests of images: `flowyml-policy stack lock --no-images`"
_ADVICE: Final = f"set policy.images.inspect to auto; {_WITHOUT}"
_KINDS: Final = {kind.code: kind for kind in ImageError.__subclasses__()}


class Digests(NamedTuple):
    """By reference, the digest that an image has; and why an image has none that is known."""

    found: Mapping[str, str | None]
    failed: Mapping[str, ErrorReport]


def digests_of(images: Sequence[ImageFacts], inspection: Inspection) -> Digests:
    """What `images`, named by tags, are now. An image that only a daemon has, with `allow_local`, has no digest."""
    found: dict[str, str | None] = {}
    failed: dict[str, ErrorReport] = {}
    for image in inspection.examine(images):
        if image.inspected:
            found[image.ref] = image.digest
        elif image.error is not None:
            kind = _KINDS.get(image.error.code, ImageError)
            what = f"the image {image.ref} could not be examined: {image.error.message}"
            failed[image.ref] = error_report(kind(what, advice=f"{kind.default_advice}; {_WITHOUT}"))
        else:
            failed[image.ref] = error_report(ImageError(f"the image {image.ref} {_OFF}", advice=_ADVICE))
    return Digests(found, failed)
