"""What was found of an image, without secrets."""

from __future__ import annotations

from flowyml_policy.mask.text import are_clean, mask
from flowyml_policy.mask.value import mask_value
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts, ScanFacts


def masked_image(facts: ImageFacts) -> ImageFacts:
    """Return `facts` with every text masked that came from outside; digests stay what they are."""
    platforms = tuple(map(_masked_platform, facts.platforms))
    endpoint = None if facts.endpoint is None else mask(facts.endpoint)
    error = facts.error and facts.error.model_copy(update={"message": mask(facts.error.message)})
    signatures = tuple(
        one if one.reason is None else one.model_copy(update={"reason": mask(one.reason)}) for one in facts.signatures
    )
    update = {
        "platforms": platforms,
        "endpoint": endpoint,
        "error": error,
        "signatures": signatures,
        "scan": masked_scan(facts.scan),
        "scan_problem": facts.scan_problem and mask(facts.scan_problem),
    }
    return facts.model_copy(update=update)


def masked_scan(facts: ScanFacts | None) -> ScanFacts | None:
    """Return `facts` with every text masked that a report wrote."""
    if facts is None:
        return None
    written = [text for one in facts.findings for text in (one.id, one.package, one.fixed_in or "")]
    if are_clean([facts.tool, *written]):
        return facts
    findings = tuple(
        one.model_copy(
            update={"id": mask(one.id), "package": mask(one.package), "fixed_in": one.fixed_in and mask(one.fixed_in)}
        )
        for one in facts.findings
    )
    return facts.model_copy(update={"tool": mask(facts.tool), "findings": findings})


def _masked_platform(facts: PlatformFacts) -> PlatformFacts:
    labels, base = mask_value(facts.labels), facts.base
    single = {name: getattr(facts, name) for name in ("platform", "user", "architecture", "os")}
    several = {name: getattr(facts, name) for name in ("ports", "entrypoint", "env")}
    texts = [one for one in single.values() if one is not None] + [one for many in several.values() for one in many]
    if base is not None:
        texts.append(base.ref)
    if are_clean(texts):
        return facts if labels is facts.labels else facts.model_copy(update={"labels": labels})
    update = {
        "labels": labels,
        **{name: None if one is None else mask(one) for name, one in single.items()},
        **{name: tuple(map(mask, many)) for name, many in several.items()},
        "base": base and base.model_copy(update={"ref": mask(base.ref)}),
    }
    return facts.model_copy(update=update)
