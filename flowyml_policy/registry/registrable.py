"""What may be registered: a definition that can be asked for by name and version, and is what its digest says.

A registry hands out what it was given, to everybody who may read it, for good: a definition in whose document the mask
finds a secret is never registered, in no registry.
"""

from __future__ import annotations

import re
from typing import Final

from flowyml_policy.definitions.builtin import LOCAL_STACK
from flowyml_policy.definitions.model import SAFE_NAME
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import StackUnregistrable
from flowyml_policy.mask.policy_input import masked_source
from flowyml_policy.mask.text import mask
from flowyml_policy.mask.value import mask_value_report
from flowyml_policy.records.registry import NewStack
from flowyml_policy.references.version import parse_version

_SAFE_NAME: Final = re.compile(SAFE_NAME.removesuffix("$"))
_SHOWN_SECRETS: Final = 5


def new_stack(
    definition: StackDefinition, *, applied_by: str, applied_at: str, decision_id: str | None = None
) -> NewStack:
    """`definition` as it is to be registered; its source's address is masked.

    `applied_at` is an RFC 3339 instant in UTC. Raises StackUnregistrable.
    """
    metadata = definition.metadata
    if definition.source.kind == "builtin":
        raise StackUnregistrable(
            f"the built-in stack {metadata.name!r} is never registered: it is part of this program",
            advice="use it by its name, or apply a definition of your own",
        )
    if metadata.version is None:
        raise StackUnregistrable(
            f"stack {metadata.name!r} has no version to be registered under",
            advice='give it a metadata.version, as "1.0.0"',
        )
    stack = NewStack(
        name=metadata.name,
        version=metadata.version,
        digest=definition.digest,
        document=definition.set_values(),
        labels=dict(metadata.labels),
        source=masked_source(definition.source),
        applied_by=applied_by,
        applied_at=applied_at,
        decision_id=decision_id,
    )
    check_registrable(stack)
    return stack


def check_registrable(stack: NewStack) -> None:
    """Raise StackUnregistrable for what no registry takes."""
    _refuse_secrets(stack)
    if not can_be_named(stack.name):
        raise StackUnregistrable(
            f"no reference can name a stack {stack.name!a}",
            advice="write 1 to 128 letters, digits, '.', '_' and '-', the first and the last a letter or digit",
        )
    if stack.name == LOCAL_STACK.metadata.name:
        raise StackUnregistrable(
            f"the name {stack.name!r} is that of the built-in stack", advice="give the stack another metadata.name"
        )
    try:
        parse_version(stack.version)
    except VersionMalformed as error:
        raise StackUnregistrable(
            f"stack {stack.name!r} cannot be registered: {error.message}", advice=f"in metadata.version, {error.advice}"
        ) from error
    if not is_whole(stack):
        raise StackUnregistrable(
            f"stack {stack.name!r} is not the definition that its name, version, labels and digest say",
            advice="read the definition again",
        )


def _refuse_secrets(stack: NewStack) -> None:
    """Raise StackUnregistrable where the mask finds secrets in the document; it says where, never what."""
    suspected = mask_value_report(stack.document).suspected
    if not suspected:
        return
    shown = [f"{dotted(one.path)} ({one.detector})" for one in suspected[:_SHOWN_SECRETS]]
    if len(suspected) > _SHOWN_SECRETS:
        shown.append(f"and {len(suspected) - _SHOWN_SECRETS} more")
    raise StackUnregistrable(
        f"stack {mask(stack.name)!r} holds what looks like a secret: {', '.join(shown)}",
        advice="name the secret by reference in spec.secrets instead of writing it into the definition",
    )


def can_be_named(name: str) -> bool:
    """Whether anything can be registered under `name`, as far as its form goes."""
    return _SAFE_NAME.fullmatch(name) is not None


def is_whole(stack: NewStack) -> bool:
    """Whether the document has the name, version, labels and digest that the registration says."""
    metadata = stack.document.get("metadata")
    if not isinstance(metadata, dict):
        return False
    said = (stack.name, stack.version, stack.labels)
    try:
        digest = canonical_digest(stack.document)
    except NotCanonical:
        return False
    return said == (metadata.get("name"), metadata.get("version"), metadata.get("labels", {})) and (
        digest == stack.digest
    )
