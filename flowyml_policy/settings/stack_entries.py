"""Where a stack that the project names is kept: the values of `stacks:`, told apart by `source`."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

from flowyml_policy.errors.references import ReferenceMalformed, VersionMalformed
from flowyml_policy.references.git import meant_by_short_form
from flowyml_policy.references.stack_parts import git_url, project
from flowyml_policy.references.stack_values import HttpReference, RegistryReference
from flowyml_policy.references.url import BadValue, shown, text, url
from flowyml_policy.settings.types import (
    FilePath,
    GitRef,
    Host,
    Pin,
    RepositoryPath,
    Section,
    Text,
    VariableName,
    WebAddress,
    WhenSet,
)

_HOW: Final = "write its owner and name, as my-org/ml-stacks"


def _project_path(value: str) -> str:
    try:
        project(value, "gitlab")
    except ReferenceMalformed as error:
        meant = meant_by_short_form(value)
        other = f", or the address {meant} under `source: git`" if meant else ""
        what = "git's short form of an ssh address" if meant else f"no repository: {shown(value)}"
        raise BadValue(f"is {what}", _HOW + other) from error
    return value


def _github_repository(value: str) -> str:
    if _project_path(value).count("/") > 1:
        raise BadValue(f"is no GitHub repository: {shown(value)}", _HOW)
    return value


def _git_repository(value: str) -> str:
    """An address of a repository, as references have it, or a path on `host`."""
    meant = meant_by_short_form(text(value))
    if meant:
        raise BadValue("is git's short form of an ssh address", f"write {meant}")
    if "://" not in value:
        return _project_path(value)
    if value.startswith(("https://", "http://")):
        url(value)
    try:
        git_url(value)
    except ReferenceMalformed as error:
        raise BadValue(
            f"is no address of a git repository: {error.message}",
            "write https://host/path.git or ssh://git@host/path.git",
        ) from error
    return value


def _file_address(value: str) -> str:
    """The address of one file, as references have it."""
    try:
        HttpReference(value)
    except ReferenceMalformed as error:
        raise BadValue(f"is refused: {error.message}", error.advice) from error
    return value


def _registered_name(value: str) -> str:
    """A name that the registry can be asked for."""
    return _asked(value, name=value)


def _registered_version(value: str) -> str:
    """A version, or a range of them, that the registry can be asked for."""
    return _asked(value, name="any", version=value)


def _asked(value: str, *, name: str, version: str | None = None) -> str:
    try:
        RegistryReference(text(name), None if version is None else text(version))
    except (ReferenceMalformed, VersionMalformed) as error:
        raise BadValue(f"is refused: {error.message}", error.advice) from error
    return value


class LocalEntry(Section):
    """A file or folder of this machine."""

    source: Literal["local"]
    path: FilePath = Field(description="File or folder, relative to the folder of flowyml.yaml.")


class _RepositoryEntry(Section):
    ref: Annotated[GitRef | None, WhenSet] = Field(default=None, description="Tag, branch or commit.")
    path: Annotated[RepositoryPath | None, WhenSet] = Field(
        default=None, description="File inside the repository, from its root."
    )
    host: Annotated[Host | None, WhenSet] = Field(default=None, description="One's own server, in place of the public.")


class GitHubEntry(_RepositoryEntry):
    """A repository on GitHub, or on a GitHub server of one's own."""

    source: Literal["github"]
    repo: Annotated[str, AfterValidator(_github_repository)] = Field(description="Owner and name: my-org/ml-stacks.")


class GitLabEntry(_RepositoryEntry):
    """A repository on GitLab, or on a GitLab server of one's own; groups may be nested."""

    source: Literal["gitlab"]
    repo: Annotated[str, AfterValidator(_project_path)] = Field(description="Group and name: group/sub/ml-stacks.")


class GitEntry(_RepositoryEntry):
    """Any git repository: a full address, or a path on `host`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"not": {"required": ["host"]}, "properties": {"repo": {"pattern": "://"}}},
                {"required": ["host"], "properties": {"repo": {"not": {"pattern": "://"}}}},
            ]
        }
    )

    source: Literal["git"]
    repo: Annotated[str, AfterValidator(_git_repository)] = Field(
        description="Address (https, ssh, file), or a path on `host`."
    )

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if ("://" in self.repo) == (self.host is not None):
            raise BadValue("does not say where its repository is", "write `repo` as an address, or a path and `host`")
        return self


class HttpEntry(Section):
    """One file at an https address."""

    source: Literal["http"]
    url: Annotated[WebAddress, AfterValidator(_file_address)] = Field(
        description="Where the file is; https, or http on this machine and on hosts of `policy.sources.plain_http`."
    )
    sha256: Annotated[Pin | None, WhenSet] = Field(default=None, description="SHA-256 that the file must have.")
    token_env: Annotated[VariableName | None, WhenSet] = Field(
        default=None, description="Environment variable that holds the bearer token."
    )
    ca: Annotated[FilePath | None, WhenSet] = Field(default=None, description="CA certificates, a PEM file.")


RegisteredName: TypeAlias = Annotated[Text, AfterValidator(_registered_name)]
RegisteredVersion: TypeAlias = Annotated[Text, AfterValidator(_registered_version)]


class RegistryEntry(Section):
    """A stack of the company's registry."""

    source: Literal["registry"]
    name: Annotated[RegisteredName | None, WhenSet] = Field(
        default=None, description="Its name there, where that is another."
    )
    version: Annotated[RegisteredVersion | None, WhenSet] = Field(
        default=None, description="Version or range: 2.1.0, ^2.1."
    )


StackEntry: TypeAlias = Annotated[
    LocalEntry | GitHubEntry | GitLabEntry | GitEntry | HttpEntry | RegistryEntry,
    Field(discriminator="source"),
]
