"""From a definition and its surroundings to the one document that OPA judges.

Rules:
- No I/O and no clock: the instant, the actor and the settings are handed in.
- Everything is masked here, before OPA or the audit see it; only the definition's digest is of the real bytes.
- What a project demands is handed over as written: a demand that the mask would change is refused, because masks
  make different values equal.
- What is the same for every stack of a command (project, actor, authority) is built once, in `Normaliser`.
- An image reference that Docker would refuse, or that holds a secret, becomes facts with `registry` null and the
  reason in `error`: the policy denies it, and the other images are still judged. No other reference is judged for it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.images.named import images_of
from flowyml_policy.mask.harmless import MASK_SIGN
from flowyml_policy.mask.policy_input import masked_project, masked_run, masked_source, masked_stack
from flowyml_policy.mask.text import mask
from flowyml_policy.mask.value import mask_value_report
from flowyml_policy.records.policy_input import Actor, LockFacts, PolicyInput, RunFacts
from flowyml_policy.records.record import Json, Key, KeyPath, Operation
from flowyml_policy.settings.settings import Settings

ENVIRONMENT_LABEL: Final = "environment"
_READ_HERE: Final = frozenset({"builtin", "object", "local", "stdin"})
"""Kinds of source whose environments the settings can tell where all their stacks are names or files."""


class Normaliser:
    """Builds the PolicyInput of one definition after another, for one project and one actor."""

    def __init__(self, settings: Settings, actor: Actor) -> None:
        self._settings = settings
        self._actor = actor
        require_open_demands(settings)
        identity = settings.project
        self._project = masked_project(identity.name, identity.org, settings.policies.for_policy_input())

    def policy_input(
        self,
        definition: StackDefinition,
        *,
        operation: Operation,
        evaluated_at: str,
        environment: str | None = None,
        pinned_as: Collection[str] = (),
        lock: LockFacts | None = None,
        run: RunFacts | None = None,
        actor: Actor | None = None,
    ) -> PolicyInput:
        """The document for `definition`; `environment` is the one asked for, known to exist.

        `actor` is who asks, where that is not the one for whom this was made.
        `pinned_as` are the references that flowyml.lock pins to what `definition` is.
        """
        stack = masked_stack(definition.set_values(), definition.document, digest=definition.digest)
        return PolicyInput(
            operation=operation,
            evaluated_at=evaluated_at,
            authority=self._settings.authority,
            environments=self.environments(definition, environment, pinned_as),
            actor=actor or self._actor,
            project=self._project,
            stack=stack,
            source=masked_source(definition.source),
            lock=lock,
            run=None if run is None else masked_run(run),
            images=images_of(definition.set_values().get("spec", {}), secrets=bool(stack.suspected_secrets), run=run),
        )

    def environments(
        self, definition: StackDefinition, asked: str | None, pinned_as: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Every environment that applies, sorted: the one asked for, those mapped to this stack, its label's.

        One that runs on a reference of `pinned_as` is mapped to this stack, wherever this copy of it was read.
        The label counts for what it says, known here or not: company data may know the environment.
        """
        file = Path(definition.source.uri) if definition.source.kind == "local" else None
        names = set(self._settings.environments_of(definition.metadata.name, file=file))
        if self._settings.has_distant_stacks or definition.source.kind not in _READ_HERE:
            from flowyml_policy.resolution.environments import environments_of

            names.update(environments_of(self._settings, definition))
        if pinned_as:
            names.update(name for name, one in self._settings.environments.items() if one.stack in pinned_as)
        label = definition.metadata.labels.get(ENVIRONMENT_LABEL)
        if label and label not in self._settings.environments:
            label = mask(label)
        names.update(name for name in (asked, label) if name)
        return tuple(sorted(names))


def require_open_demands(settings: Settings) -> None:
    """Raise SettingsInvalid where the project demands something that is, or looks like, a secret or its mask."""
    demands = settings.policies.for_policy_input()
    suspected = mask_value_report(demands).suspected
    path = suspected[0].path if suspected else _path_of_mask(demands)
    if path is None:
        return
    where = next(filter(None, (settings.location(("policies", *path[:end])) for end in range(len(path), -1, -1))), None)
    raise SettingsInvalid(
        f"a demand of the project looks like a secret: {where or settings.file or settings.root}",
        advice="a demand stands in the open: ask for a value that is no secret, nor the mask of one",
    )


def _path_of_mask(value: Json) -> KeyPath | None:
    """Where `value` holds what stands in the place of a secret; null where nothing in it does."""
    waiting: list[tuple[Json, KeyPath]] = [(value, ())]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, str) and MASK_SIGN in node:
            return path
        items: list[tuple[Key, Json]] = []
        if isinstance(node, dict):
            items = list(node.items())
        elif isinstance(node, list | tuple):
            items = list(enumerate(node))
        for key, item in items:
            if isinstance(key, str) and MASK_SIGN in key:
                return (*path, key)
            waiting.append((item, (*path, key)))
    return None
