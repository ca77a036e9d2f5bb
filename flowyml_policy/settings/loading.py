"""Loads the settings: finds the files, reads and checks them, and puts them together.

Rules:
- Everything wrong in both files is said at once.
- What the platform sets or keeps for itself, the project cannot set; what neither sets has the default of this version.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem
from flowyml_policy.records.record import KeyPath, Location
from flowyml_policy.references.url import PLAIN_HTTP, may_be_plain
from flowyml_policy.settings.demands import refused_demands
from flowyml_policy.settings.places import ENVIRONMENT_VARIABLE, PLATFORM_FILE
from flowyml_policy.settings.platform import conflicts, merged
from flowyml_policy.settings.problems import in_file_order
from flowyml_policy.settings.project_file import PlatformFile, PoliciesSection, ProjectFile, ProjectIdentity
from flowyml_policy.settings.reading import ProjectPlace, ReadFile, find_platform_file, find_project, read_settings_file
from flowyml_policy.settings.settings import Origins, Settings, resolved
from flowyml_policy.settings.variables import Expansion
from flowyml_policy.system.directories import user_audit_file

if TYPE_CHECKING:
    from flowyml_policy.settings.stack_entries import StackEntry

_CONFIG: Final[KeyPath] = ("policy", "opa", "config")
_RULES: Final[KeyPath] = ("policy", "rules")
_WAIVERS: Final[KeyPath] = ("policy", "waivers")
_AUDIT: Final[KeyPath] = ("policy", "audit", "path")

_File = TypeVar("_File", PlatformFile, ProjectFile)


def load_settings(
    start: Path | None = None,
    *,
    project: Path | None = None,
    environ: Mapping[str, str] | None = None,
    system_file: Path = PLATFORM_FILE,
) -> Settings:
    """The settings for the project in folder `project`, or for the one around `start` (the working directory).

    A `project` of `.` is the working directory, and so the project around it. Where none is named and none is found,
    everything has its default, and `root` is the folder itself. `environ` stands for the process's environment,
    `system_file` for where the platform's settings lie. Raises SettingsInvalid with all that is wrong, and UsageError
    for a folder that does not exist and a `project` without a flowyml.yaml.
    """
    environ = os.environ if environ is None else environ
    place = find_project(start, project)
    platform_path = find_platform_file(environ, system_file)
    gathered = _Problems()
    platform = gathered.read(platform_path, str(platform_path), PlatformFile, environ)
    own = gathered.read(place.file, place.shown, ProjectFile, environ)
    gathered.raise_any()
    if own is not None:
        gathered.found += _both_policies(own.document, own.values)
        gathered.found += _demands(own.document, own.values)
        if platform is not None:
            twice = conflicts(platform.values.policy, platform.document, own.values.policy, own.document)
            gathered.found += in_file_order(twice)
        gathered.found += _plain_addresses(own, platform)
    gathered.raise_any()
    settings = _settings(place, own, platform, environ)
    gathered.found += _passed_over(settings)
    gathered.raise_any()
    return settings


class _Problems:
    """What is wrong with the files that were read so far."""

    def __init__(self) -> None:
        self.found: list[SettingsProblem] = []
        self.cause: BaseException | None = None

    def read(
        self, path: Path | None, shown: str, model: type[_File], environ: Mapping[str, str]
    ) -> ReadFile[_File] | None:
        """The file at `path`, its variables expanded; null where there is none or where it has problems."""
        if path is None:
            return None
        try:
            file = read_settings_file(path, shown, model)
        except SettingsInvalid as error:
            if not error.problems:
                raise
            self.found += error.problems
            self.cause = self.cause or error.__cause__
            return None
        config = file.values.policy.opa.config
        if config is None:
            return file
        expansion = Expansion(environ, file.document)
        opa = file.values.policy.opa.model_copy(update={"config": expansion.expanded(config, _CONFIG)})
        self.found += expansion.problems
        policy = file.values.policy.model_copy(update={"opa": opa})
        return ReadFile(file.path, file.document, file.values.model_copy(update={"policy": policy}))

    def raise_any(self) -> None:
        if self.found:
            raise SettingsInvalid.found(self.found) from self.cause


def _both_policies(document: Document, values: ProjectFile) -> list[SettingsProblem]:
    """The project's policies stand in one place."""
    if values.policies is None or values.project.policies is None:
        return []
    first, second = sorted(
        (document.key_location(path) for path in (("policies",), ("project", "policies"))),
        key=lambda location: (location.line, location.column),
    )
    return [
        SettingsProblem(
            f"`policies` stands twice, here and at {first}", location=second, fix="keep one: `policies` at the top"
        )
    ]


def _demands(document: Document, values: ProjectFile) -> list[SettingsProblem]:
    """What is wrong with the project's policies, wherever they stand."""
    policies = values.policies or values.project.policies
    if policies is None:
        return []
    under: KeyPath = ("policies",) if values.policies else ("project", "policies")
    return in_file_order(list(refused_demands(policies, under, document)))


def _plain_addresses(own: ReadFile[ProjectFile], platform: ReadFile[PlatformFile] | None) -> list[SettingsProblem]:
    """The project's plain http addresses of hosts that neither file names for it."""
    named, owner = own.values.policy.sources.plain_http, None
    if platform is not None and "plain_http" in platform.values.policy.sources.model_fields_set:
        named, owner = platform.values.policy.sources.plain_http, platform.document.key_location(PLAIN_HTTP)
    return list(refused_addresses(own.values.stacks, named, own.document, owner))


def _passed_over(settings: Settings) -> Iterator[SettingsProblem]:
    """What is said of the policy although a server judges, which has its own."""
    policy = settings.policy
    if policy.opa.mode != "sidecar":
        return
    for path, is_said in ((_RULES, bool(policy.rules)), (_CONFIG, policy.opa.config is not None)):
        location = settings.location(path)
        if is_said and location is not None:
            yield SettingsProblem(
                f"`{dotted(path)}` would be passed over, because `policy.opa.mode` is sidecar and the server judges by"
                " its own policy",
                location=location,
                fix="take it out and let the server load it, or set policy.opa.mode to embedded",
            )


def _settings(
    place: ProjectPlace,
    own: ReadFile[ProjectFile] | None,
    platform: ReadFile[PlatformFile] | None,
    environ: Mapping[str, str],
) -> Settings:
    """The settings that two valid files come to."""
    root = place.root
    values = own.values if own else ProjectFile()
    inner = values.project.policies
    origins = Origins(
        own.document if own else None, platform.document if platform else None, inner_policies=inner is not None
    )
    policy = merged(platform.values.policy, values.policy) if platform else values.policy
    platform_file = None if platform is None else platform.path.absolute()

    def absolute(path: KeyPath, value: str) -> Path:
        return resolved(root, platform_file, origins, path, value)

    has_audit_place = own is not None or "path" in policy.audit.model_fields_set
    waivers = absolute(_WAIVERS, policy.waivers)
    return Settings.made_from(
        origins,
        root=root,
        file=None if own is None else own.path,
        is_above=place.is_above,
        platform_file=platform_file,
        project=_identity(values.project),
        policies=values.policies or inner or PoliciesSection(),
        environments=values.environments,
        active_stack=values.active_stack,
        default_stack=values.defaults.stack,
        fallback_environment=environ.get(ENVIRONMENT_VARIABLE) or None,
        stacks=values.stacks,
        policy=policy,
        rule_folders=tuple(absolute(_RULES, folder) for folder in policy.rules),
        waivers_path=waivers,
        has_waivers="waivers" in policy.model_fields_set or os.path.lexists(waivers),
        audit_path=absolute(_AUDIT, policy.audit.path) if has_audit_place else user_audit_file(environ),
    )


def _identity(section: ProjectIdentity) -> ProjectIdentity:
    """The keys of `project` that say whose it is, without its policies."""
    said = {name: getattr(section, name) for name in ProjectIdentity.model_fields}
    return ProjectIdentity.model_construct(**{name: value for name, value in said.items() if value is not None})


def refused_addresses(
    stacks: Mapping[str, StackEntry], named: Collection[str], document: Document, owner: Location | None
) -> Iterator[SettingsProblem]:
    """What is wrong with the http sources of `stacks`; `owner` is where the platform names the hosts, if it does."""
    for key, source in stacks.items():
        if source.source != "http":
            continue
        address = urlsplit(source.url)
        if address.scheme == "http" and not may_be_plain(address.netloc, named):
            path: KeyPath = ("stacks", key, "url")
            where = "" if owner is None else f", which the platform sets ({owner})"
            yield SettingsProblem(
                f"`{dotted(path)}` is a plain http address of {address.hostname}",
                location=document.location(path),
                fix=f"write https, or name {address.hostname} under `{dotted(PLAIN_HTTP)}`{where}",
            )
