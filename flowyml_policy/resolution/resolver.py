"""From whatever names a stack to the one definition that is meant, by one explainable chain.

Rules:
- The steps are asked in this order, and the first that is set decides: the argument, the environment (`env=`, or
  FLOWYML_ENV where none is given), FLOWYML_STACK, `active_stack`, `defaults.stack`, the built-in stack.
- A step that is set but broken is an error. It never falls to the next, and an empty value is set.
- An environment that is asked for holds even where the argument decides: it must exist, and what it demands
  (`require_pinned`, `require_lock`) is demanded of the stack, whoever named it.
- A tag that moved since flowyml.lock pinned it is an error to everybody; a branch may move where no lock is demanded.
- `explain` walks the same way as `locate`; it is no second account of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from typing_extensions import Self

from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.errors.root import FlowymlPolicyError, InternalError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.records.pins import StackPin, StackPins
from flowyml_policy.records.policy_input import LockFacts
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.provenance import Provenance, StepName
from flowyml_policy.records.record import SourceKind
from flowyml_policy.references.arguments import looks_like_path
from flowyml_policy.references.stack import parse_stack_reference
from flowyml_policy.references.stack_values import NameReference
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.opening import open_registry
from flowyml_policy.resolution.explanation import Explanation, ResolvedStack, Trail
from flowyml_policy.resolution.names import BUILTIN, Names, place_of
from flowyml_policy.resolution.pins import ProjectPins, require_pinned
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from flowyml_policy.sources.entries import reference_of
from flowyml_policy.sources.fetcher import Fetcher
from flowyml_policy.sources.source import FetchRules

STACK_VARIABLE: Final = "FLOWYML_STACK"
ENVIRONMENT_VARIABLE: Final = "FLOWYML_ENV"


class StackResolver:
    """Resolves stacks for the project in folder `project`, or for the one around the working directory.

    One resolver asks each repository and server once: what it was told then holds for as long as it lives, so make
    another to see what has changed. Files of this machine are read anew at every call. Safe from many threads.

    What is not given is the project's own: `registry` the one that its settings name, or else its own file; `pins`
    what its flowyml.lock pins. `rules` bound what is fetched; FLOWYML_POLICY_OFFLINE=1 in `environ` asks no server,
    whatever they say. A context manager; closing it releases the registry that it opened itself, and a closed resolver
    can be used again. Raises SettingsInvalid, UsageError, and RegistryError for an address that cannot be one.
    """

    def __init__(
        self,
        project: str | Path | None = None,
        *,
        settings: Settings | None = None,
        registry: StackRegistry | None = None,
        pins: StackPins | None = None,
        rules: FetchRules | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if settings is None:
            settings = load_settings(project=None if project is None else Path(project), environ=environ)
        self.settings = settings
        self._environ = os.environ if environ is None else environ
        self._opened = None
        if registry is None:
            registry = self._opened = open_registry(settings, environ=environ)
        self._pins = ProjectPins.of(settings) if pins is None else pins
        rules = (rules or FetchRules()).as_asked(self._environ)
        self._fetcher = Fetcher(settings, registry=registry, pins=self._pins, rules=rules, environ=self._environ)
        self._names = Names(settings, self._fetcher, registry)

    def resolve(self, stack: object = None, env: str | None = None) -> StackDefinition:
        """The definition that `stack` means, or, without one, the chain.

        `stack` is a name (`prod-gpu`, `prod-gpu@^2.1`), an address (`github://...`), a path, a StackDefinition, or a
        FlowyML Stack. Raises FlowymlPolicyError leaves: SourceError, RegistryError, LockfileError, DefinitionInvalid,
        ReferenceMalformed, EnvironmentUnknown, and UsageError for what is no stack at all.
        """
        return self.locate(stack, env).definition

    def locate(self, stack: object = None, env: str | None = None) -> ResolvedStack:
        """As `resolve`, with how it was found."""
        return self._walk(stack, env, Trail())

    def explain(self, stack: object = None, env: str | None = None, *, asked_by: str = "env=") -> Explanation:
        """As `locate`, step by step. What is wrong with a step is told, not raised.

        `asked_by` is what the user gave `env` by, an option for example.
        """
        trail = Trail(asked_by)
        try:
            return trail.explained(self._walk(stack, env, trail))
        except FlowymlPolicyError as error:
            return trail.explained(error=error)

    def close(self) -> None:
        """Release the registry's file; closing twice is fine."""
        if isinstance(self._opened, LocalRegistry):
            self._opened.close()

    def source_kind(self, named: str) -> SourceKind:
        """Where what is called `named` would come from; the registry is the last place in which a name is looked up."""
        if looks_like_path(named):
            return "local"
        try:
            reference = parse_stack_reference(named)
            if isinstance(reference, NameReference) and reference.name in self.settings.stacks:
                reference = reference_of(self.settings.stacks[reference.name], key=reference.name)
        except FlowymlPolicyError:
            return "registry"
        return reference.source_kind

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _walk(self, stack: object, env: str | None, trail: Trail) -> ResolvedStack:
        """Go along the chain. Raises only FlowymlPolicyError: this is the one place that promises it."""
        try:
            return self._walked(stack, env, trail)
        except FlowymlPolicyError:
            raise
        except Exception as error:
            raise InternalError(f"the stack could not be resolved: {type(error).__name__}: {error}") from error

    def _walked(self, stack: object, env: str | None, trail: Trail) -> ResolvedStack:
        environment, variable = self._environment(env)
        step, named = self._chosen(stack, environment, variable, trail)
        if environment is not None:
            trail.environment = self._demands(environment)
        definition, reference = self._found(named, environment, step, trail)
        provenance = definition.provenance or _provenance(definition)
        lock = self._held(definition, reference, environment)
        return ResolvedStack(definition, reference or provenance.uri, step, environment, provenance, lock)

    def _environment(self, env: str | None) -> tuple[str | None, str | None]:
        """The environment that is asked for, and the variable that asks."""
        if env is not None:
            return env, None
        named = self.settings.fallback_environment
        return named, None if named is None else ENVIRONMENT_VARIABLE

    def _chosen(
        self, stack: object, environment: str | None, variable: str | None, trail: Trail
    ) -> tuple[StepName, object]:
        """The step that decides, and what it names."""
        if stack is not None:
            shown = str(stack) if isinstance(stack, str | Path) else type(stack).__name__
            why = "an argument comes before all else"
            trail.step("argument", "the argument", shown, verdict="chosen", why=why)
            if environment is not None:
                self._runs_on(environment, variable)
            return "argument", stack
        trail.step("argument", "the argument", None, verdict="not set", why="no stack was given")
        if environment is None:
            why = "no environment was asked for"
            trail.step("env", f"{trail.asked_by} and {ENVIRONMENT_VARIABLE}", None, verdict="not set", why=why)
            return self._by_default(trail)
        place = self.settings.location(("environments", environment, "stack"))
        where = f"environment {environment!r}, asked for by {variable or trail.asked_by}"
        where += f": {place}" if place else ""
        trail.step("env", where, None, verdict="chosen", why="the environment that is asked for must exist")
        runs_on = self._runs_on(environment, variable)
        trail.steps.pop()
        trail.step("env", where, runs_on, verdict="chosen", why="the environment that is asked for runs on it")
        return "env", runs_on

    def _by_default(self, trail: Trail) -> tuple[StepName, str]:
        """The step that decides where neither a stack nor an environment is asked for."""
        settings = self.settings
        candidates: tuple[tuple[StepName, str, str | None, str], ...] = (
            (
                "FLOWYML_STACK",
                "the variable FLOWYML_STACK",
                self._environ.get(STACK_VARIABLE) or None,
                "the variable is set",
            ),
            ("active_stack", self._where("active_stack"), settings.active_stack, "the project's own choice"),
            ("defaults.stack", self._where("defaults", "stack"), settings.default_stack, "FlowyML's default is set"),
        )
        for name, where, value, why in candidates:
            if value is not None:
                trail.step(name, where, value, verdict="chosen", why=why)
                return name, value
            trail.step(name, where, None, verdict="not set", why="nothing stands there")
        trail.step(
            "builtin", f"the built-in stack {BUILTIN}", BUILTIN, verdict="chosen", why="nothing names another stack"
        )
        return "builtin", BUILTIN

    def _runs_on(self, environment: str, variable: str | None) -> str:
        """The stack of an environment, which must exist."""
        by = "" if variable is None else f"{variable}: "
        if not environment:
            raise EnvironmentUnknown(
                f"{by}the environment that is asked for is empty", advice="name one, or ask for none"
            )
        try:
            return self.settings.environment(environment).stack
        except EnvironmentUnknown as error:
            raise EnvironmentUnknown(f"{by}{error.message}", advice=error.advice) from error

    def _demands(self, environment: str) -> str:
        section = self.settings.environments[environment]
        asked = [key for key in ("require_pinned", "require_lock") if getattr(section, key)]
        return f"{environment}: {' and '.join(asked) if asked else 'demands nothing of where a stack comes from'}"

    def _where(self, *path: str) -> str:
        """Where a setting stands, or the file in which it would."""
        return str(self.settings.location(path) or self.settings.file or self.settings.root)

    def _found(
        self, named: object, environment: str | None, step: StepName, trail: Trail
    ) -> tuple[StackDefinition, str | None]:
        """The definition that is named, and the reference to it as it was written; none for an object."""
        if isinstance(named, StackDefinition):
            trail.place("the definition that was given", place_of(named))
            return named, None
        if isinstance(named, Path):
            return self._from_path(named, trail)
        if not isinstance(named, str):
            definition = definition_of(named)
            trail.place("the object that was given", definition.source.uri)
            return definition, None
        if looks_like_path(named) and step in {"argument", "FLOWYML_STACK"}:
            return self._from_path(Path(named), trail)
        try:
            reference = parse_stack_reference(named)
        except ReferenceMalformed as error:
            if step == "argument":
                raise
            where = {"active_stack": "`active_stack`", "defaults.stack": "`defaults.stack`"}.get(step, step)
            raise ReferenceMalformed(f"{where}: {error.message}", advice=error.advice) from error
        pin = self._pin_of(named, environment)
        if isinstance(reference, NameReference):
            return self._names.find(reference, trail, pin=pin), named
        definition = self._fetcher.fetch(reference, pin=pin)
        trail.place(str(reference), place_of(definition))
        return definition, named

    def _from_path(self, path: Path, trail: Trail) -> tuple[StackDefinition, str]:
        definition = self._fetcher.fetch_path(path)
        trail.place(f"the path {path}", place_of(definition))
        return definition, str(path)

    def _pin_of(self, reference: str, environment: str | None) -> StackPin | None:
        """What flowyml.lock pins, where the environment takes nothing else."""
        if environment is None or not self.settings.environments[environment].require_lock:
            return None
        return self._pins.pin_of(reference)

    def _held(self, definition: StackDefinition, reference: str | None, environment: str | None) -> LockFacts | None:
        """What is pinned of a stack that is what the environment demands."""
        name = definition.metadata.name
        section = None if environment is None else self.settings.environments[environment]
        if section is not None and environment is not None:
            if section.require_pinned:
                require_pinned(environment, definition)
            if section.require_lock:
                return self._pins.require(
                    environment=environment,
                    reference=reference,
                    name=name,
                    definition=definition.digest,
                    commit=definition.source.commit,
                )
        commit = definition.source.commit
        return self._pins.facts(reference=reference, name=name, definition=definition.digest, commit=commit)


def _provenance(definition: StackDefinition) -> Provenance:
    """The origin of a definition that was read without resolving, as far as it knows it."""
    source = definition.source
    return Provenance(
        kind=source.kind,
        uri=source.uri,
        ref=source.ref,
        commit=source.commit,
        digest=source.digest,
        pinned=source.pinned,
    )
