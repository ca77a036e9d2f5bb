"""The parts of PolicyInput that come from outside, without secrets.

Rules:
- OPA and the audit see these parts, never what they were made of; only a definition's digest is of the real bytes.
- What a project demands is handed over as written: masks make different values equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowyml_policy.mask.text import encodable, mask
from flowyml_policy.mask.value import mask_value, mask_value_report
from flowyml_policy.records.policy_input import Actor, Project, RunFacts, Source, Stack
from flowyml_policy.records.record import Json


def masked_actor(name: str, groups: Iterable[str], claimed: Mapping[str, str]) -> Actor:
    """Return who asks. What CI claims is masked; a name and groups of the operating system identify, and stay."""
    return Actor(
        name=encodable(name),
        groups=tuple(sorted({encodable(group) for group in groups})),
        claimed={key: mask(claim) for key, claim in claimed.items()},
    )


def masked_project(name: str | None, org: str | None, policies: Json) -> Project:
    """Return the project with its name masked; `policies`, its demands, hold no secret."""
    return Project.model_validate({**mask_value({"name": name, "org": org}), "policies": policies}, strict=False)


def masked_stack(values: dict[str, Json], written: dict[str, Json], *, digest: str) -> Stack:
    """Return the definition under judgement: `values` in schema A's spelling, `written` as its author wrote it."""
    masked, suspected = mask_value_report(values)
    metadata = masked["metadata"]
    return Stack(
        name=metadata["name"],
        version=metadata.get("version"),
        labels=metadata.get("labels", {}),
        description=metadata.get("description"),
        owner=metadata.get("owner"),
        tags=tuple(metadata.get("tags", ())),
        spec=masked.get("spec", {}),
        document=masked if written == values else mask_value(written),
        definition_digest=digest,
        suspected_secrets=suspected,
    )


def masked_source(source: Source) -> Source:
    """Return `source` with secrets in its address and its ref masked."""
    uri = mask(source.uri)
    ref = None if source.ref is None else mask(source.ref)
    unchanged = uri == source.uri and ref == source.ref
    return source if unchanged else source.model_copy(update={"uri": uri, "ref": ref})


def masked_run(run: RunFacts) -> RunFacts:
    """Return what a run asks for, masked."""
    return RunFacts.model_validate(mask_value(run.model_dump()), strict=False)
