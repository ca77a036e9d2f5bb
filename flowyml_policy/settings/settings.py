"""The settings in force: what flowyml.yaml and the platform say, in one frozen value."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import PrivateAttr

from flowyml_policy.documents.document import Document
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.records.record import Authority, Json, Key, KeyPath, Location, computed_once
from flowyml_policy.settings.places import ENVIRONMENT_VARIABLE, LOCKFILE
from flowyml_policy.settings.platform import TIGHTENED
from flowyml_policy.settings.policy_section import Enforce, PolicySection
from flowyml_policy.settings.project_file import EnvironmentSettings, PoliciesSection, ProjectIdentity
from flowyml_policy.settings.stack_entries import StackEntry
from flowyml_policy.settings.types import Section


class Origins(NamedTuple):
    """The documents that the settings were read from; `inner_policies`: the policies stand under `project`."""

    project: Document | None = None
    platform: Document | None = None
    inner_policies: bool = False


class Settings(Section):
    """Everything that is configured, checked, with every path absolute where it is offered as one.

    `root` is the project's folder, `file` its flowyml.yaml, `platform_file` the platform's settings; both are
    null where there is none. `is_above`: `file` lies above the git work tree that is worked in, or, without one, above
    the working directory. `default_stack` is FlowyML's `defaults.stack`; `fallback_environment` what
    FLOWYML_ENV names. `has_waivers`: a waivers file is named, or lies where one is looked for.
    """

    root: Path
    file: Path | None
    is_above: bool = False
    platform_file: Path | None
    project: ProjectIdentity
    policies: PoliciesSection
    environments: dict[str, EnvironmentSettings]
    active_stack: str | None
    default_stack: str | None
    fallback_environment: str | None
    stacks: dict[str, StackEntry]
    policy: PolicySection
    rule_folders: tuple[Path, ...]
    waivers_path: Path
    has_waivers: bool
    audit_path: Path

    _origins: Origins = PrivateAttr(default=Origins())

    @classmethod
    def made_from(cls, origins: Origins, **values: Any) -> Settings:
        """The settings of `values`, which remember where each of them was written."""
        settings = cls.model_construct(**values)
        settings._origins = origins
        return settings

    @property
    def authority(self) -> Authority:
        """Who owns the settings."""
        return "project" if self.platform_file is None else "platform"

    @property
    def lockfile(self) -> Path:
        """Where the project's lockfile lies, beside flowyml.yaml."""
        return self.root / LOCKFILE

    @property
    def registry_ca(self) -> Path | None:
        """The file of certificates that the company's registry is trusted by; None for the system's."""
        ca = self.policy.registry.ca
        return None if ca is None else self.resolved(("policy", "registry", "ca"), ca)

    @property
    def report_ca(self) -> Path | None:
        """The file of certificates that the server of `report_to` is trusted by; None for the system's."""
        report_to = self.policy.audit.report_to
        if report_to is None or report_to.ca is None:
            return None
        return self.resolved(("policy", "audit", "report_to", "ca"), report_to.ca)

    def location(self, path: KeyPath) -> Location | None:
        """Where the value at `path` (`("policy", "opa", "mode")`) is written; null where no file sets it."""
        documents = (self._origins.platform, self._origins.project)
        for document in reversed(documents) if path in TIGHTENED else documents:
            written = None if document is None else _written(document.value, self._in_file(path))
            if document is not None and written is not None:
                return document.location(written)
        return None

    def is_set_by_platform(self, path: KeyPath) -> bool:
        """Whether the platform's file sets the value at `path`, which no project then can."""
        platform = self._origins.platform
        return platform is not None and _written(platform.value, path) is not None

    def environment(self, name: str) -> EnvironmentSettings:
        """The environment called `name`. Raises EnvironmentUnknown."""
        found = self.environments.get(name)
        if found is not None:
            return found
        near = get_close_matches(name, self.environments, n=1)
        if near:
            advice = f"did you mean {near[0]}?"
        elif self.environments:
            advice = f"name one of {', '.join(self.environments)}, or add it to flowyml.yaml"
        else:
            advice = "add it under `environments` of flowyml.yaml; none is there yet"
        raise EnvironmentUnknown(f"there is no environment {name!r}: {self.file or self.root}", advice=advice)

    def requested_environment(self, asked: str | None) -> str | None:
        """The environment that is asked for, or that FLOWYML_ENV names; null where neither does.

        Raises EnvironmentUnknown for one that does not exist, which names the variable where that asked.
        """
        name = self.fallback_environment if asked is None else asked
        if name is None:
            return None
        by = f"{ENVIRONMENT_VARIABLE}: " if asked is None else ""
        if not name:
            what = f"{by}the environment that is asked for is empty"
            raise EnvironmentUnknown(what, advice="name one, or ask for none")
        try:
            self.environment(name)
        except EnvironmentUnknown as error:
            raise EnvironmentUnknown(f"{by}{error.message}", advice=error.advice) from error
        return name

    def environments_of(self, stack_name: str, *, file: Path | None = None) -> tuple[str, ...]:
        """The environments that run on the stack called `stack_name`, or on a key of `stacks:` that is `file`.

        Links are followed, so that no other name for the file takes it out of an environment.
        """
        names = {stack_name}
        if file is not None and self._keys_by_file:
            names.update(self._keys_by_file.get(os.path.realpath(file), ()))
        return tuple(name for name, environment in self.environments.items() if environment.stack in names)

    @computed_once
    def has_distant_stacks(self) -> bool:
        """Whether an environment may run on a stack that neither its name alone nor a file of this machine tells."""
        kinds = {source.source for source in self.stacks.values()}
        asked = [environment.stack for environment in self.environments.values()]
        return bool(kinds - {"local"}) or any("@" in text or "://" in text for text in asked)

    def enforcement(self, environments: Iterable[str] = ()) -> Enforce:
        """What a denial does to a run in `environments`: block wherever one of them requires validation."""
        required = any(
            self.environments[name].require_policy_validation for name in environments if name in self.environments
        )
        return "block" if required else self.policy.enforce

    def resolved(self, path: KeyPath, value: str) -> Path:
        """`value`, a path that a file sets at `path`, absolute: relative ones start at that file's folder."""
        return resolved(self.root, self.platform_file, self._origins, path, value)

    def stack_path(self, name: str) -> Path | None:
        """The file or folder of the local stack that `stacks:` keeps under `name`; null for one kept elsewhere."""
        source = self.stacks[name]
        return self.resolved(("stacks", name), source.path) if source.source == "local" else None

    @computed_once
    def _keys_by_file(self) -> dict[str, list[str]]:
        """The keys of `stacks:` that are kept in local files, by the file that each comes to."""
        found: dict[str, list[str]] = {}
        for key in self.stacks:
            path = self.stack_path(key)
            if path is not None:
                found.setdefault(os.path.realpath(path), []).append(key)
        return found

    def _in_file(self, path: KeyPath) -> KeyPath:
        return ("project", *path) if self._origins.inner_policies and path[:1] == ("policies",) else path


def resolved(root: Path, platform_file: Path | None, origins: Origins, path: KeyPath, value: str) -> Path:
    """`value` of the key at `path`, absolute: relative to the folder of the file that sets it, else to `root`."""
    platform = origins.platform
    if platform_file is not None and platform is not None and _written(platform.value, path) is not None:
        return platform_file.parent / value
    return root / value


def _written(value: Json, path: KeyPath) -> KeyPath | None:
    """`path` as the file spells it, or null where it leads nowhere in `value`."""
    written: list[Key] = []
    for step in path:
        if isinstance(value, dict):
            spelled = next((key for key in (step, _camel_case(step)) if key in value), None)
            if spelled is None:
                return None
            value = value[spelled]
            written.append(spelled)
        elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
            value = value[step]
            written.append(step)
        else:
            return None
    return tuple(written)


def _camel_case(step: Key) -> Key:
    """FlowyML's spelling of a key of ours: `require_lock` is `requireLock` there."""
    if not isinstance(step, str):
        return step
    first, *others = step.split("_")
    return first + "".join(word.capitalize() for word in others)
