"""The settings files as their authors write them: flowyml.yaml, and the platform's settings.yaml.

Every key has a default but what makes a thing that thing (an environment's stack, a source's place). Keys of
FlowyML's own flowyml.yaml that this program does not use are accepted, so that one file serves both.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import AliasChoices, Field

from flowyml_policy.records.record import Json
from flowyml_policy.settings.policy_section import PolicySection
from flowyml_policy.settings.stack_entries import StackEntry
from flowyml_policy.settings.types import (
    AllowedRegistry,
    BaseImage,
    LabelRequirement,
    Listing,
    Section,
    StackGlob,
    StackKey,
    StackName,
    TagGlob,
    Text,
    Timeout,
    WhenSet,
)

Level: TypeAlias = Literal["advisory", "soft", "hard"]
"""What a project may raise a code to; only company data can switch a code off."""


class ImagePolicySection(Section):
    """What the project asks of images."""

    allowed_registries: Annotated[Listing[AllowedRegistry] | None, WhenSet] = Field(
        default=None, description="Registries, each a host or a host and a path; an empty list allows none."
    )
    required_labels: Annotated[Listing[LabelRequirement] | None, WhenSet] = Field(
        default=None, description="Labels that every image must have: `name`, or `name=value`."
    )
    allowed_bases: Annotated[Listing[BaseImage] | None, WhenSet] = Field(
        default=None, description="Images, each with a tag or digest, one of which every image must be built on."
    )
    max_age: Annotated[Timeout | None, WhenSet] = Field(
        default=None, description="How long ago an image may have been built, for example 90d."
    )
    require_digest: Annotated[bool | None, WhenSet] = Field(
        default=None, description="Whether every image must be named by its digest."
    )
    deny_tags: Annotated[Listing[TagGlob] | None, WhenSet] = Field(
        default=None, description="Globs of tags that no image may be named by; a missing tag is `latest`."
    )


class PoliciesSection(Section):
    """What the project asks of stacks. It can only tighten what shipped and company policy demand."""

    allowed_stacks: Annotated[Listing[StackGlob] | None, WhenSet] = Field(
        default=None,
        description="Globs (`*`, `?`, `[abc]`, `[a-z]`, `{a,b}`) of which a stack's name must match one; an empty list "
        "allows none.",
    )
    required_labels: Annotated[Listing[LabelRequirement] | None, WhenSet] = Field(
        default=None, description="Labels that every stack must have: `name`, or `name=value`."
    )
    image_policy: ImagePolicySection = Field(
        default=ImagePolicySection.model_construct(), description="What the project asks of images."
    )
    levels: dict[Text, Level] = Field(default={}, description="Levels of codes, stricter than they are.")
    rule_data: dict[Text, dict[str, Annotated[Json, WhenSet]]] = Field(
        default={}, description="Data of rules, which can only tighten."
    )

    def for_policy_input(self) -> dict[str, Json]:
        """These policies as plain JSON, in the shape of the policy input's `project.policies`."""
        images = self.image_policy
        return {
            "allowed_stacks": _listed(self.allowed_stacks),
            "required_labels": _listed(self.required_labels),
            "image_policy": {
                "allowed_registries": _listed(images.allowed_registries),
                "required_labels": _listed(images.required_labels),
                "allowed_bases": _listed(images.allowed_bases),
                "max_age_seconds": None if images.max_age is None else int(images.max_age),
                "require_digest": images.require_digest,
                "deny_tags": _listed(images.deny_tags),
            },
            "levels": dict(self.levels),
            "rule_data": {rule: dict(data) for rule, data in self.rule_data.items()},
        }


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


class ProjectIdentity(Section):
    """Whose project this is."""

    name: Annotated[Text | None, WhenSet] = Field(default=None, description="The project's name.")
    org: Annotated[Text | None, WhenSet] = Field(default=None, description="The organisation it belongs to.")
    owner: Annotated[str | None, WhenSet] = Field(default=None, description="FlowyML's own key: who owns it.")


class ProjectSection(ProjectIdentity):
    """`project` of flowyml.yaml."""

    policies: Annotated[PoliciesSection | None, WhenSet] = Field(
        default=None, description="As `policies` at the top; only one of the two may stand."
    )


class EnvironmentSettings(Section):
    """One environment: the stack that it runs on, and what it demands."""

    stack: StackName = Field(description="Name of the stack that this environment runs on.")
    packs: Listing[Text] = Field(default=(), description="Packs of rules that hold here besides the baseline.")
    require_pinned: bool = Field(
        default=False, description="Only stacks whose source is pinned may run here, or be validated or applied for it."
    )
    require_lock: bool = Field(
        default=False,
        validation_alias=AliasChoices("require_lock", "requireLock"),
        description="Only what flowyml.lock pins may run here, or be validated or applied for it. "
        "FlowyML's spelling is `requireLock`.",
    )
    require_policy_validation: bool = Field(
        default=False,
        validation_alias=AliasChoices("require_policy_validation", "requirePolicyValidation"),
        description="A denied run is blocked here, whatever `policy.enforce` says. "
        "FlowyML's spelling is `requirePolicyValidation`.",
    )


class DefaultsSection(Section):
    """`defaults` of FlowyML's own flowyml.yaml."""

    stack: Annotated[StackName | None, WhenSet] = Field(
        default=None, description="The stack where no `active_stack` is set."
    )
    environment: Annotated[str | None, WhenSet] = Field(default=None, description="FlowyML's own key; read by nobody.")


class UpstreamRegistrySection(Section):
    """`registry` of FlowyML's own flowyml.yaml."""

    sources: Listing[str] = Field(default=(), description="FlowyML's own key: where its stacks come from.")


class ProjectFile(Section):
    """flowyml.yaml."""

    project: ProjectSection = Field(default=ProjectSection.model_construct(), description="Whose project this is.")
    policies: Annotated[PoliciesSection | None, WhenSet] = Field(default=None, description="What is asked of stacks.")
    environments: dict[Text, EnvironmentSettings] = Field(
        default={}, description="Environments by name, each with the stack that it runs on."
    )
    active_stack: Annotated[StackName | None, WhenSet] = Field(
        default=None, description="The stack that is meant where none is named."
    )
    stacks: dict[StackKey, StackEntry] = Field(default={}, description="Stacks by name, and where each is kept.")
    policy: PolicySection = Field(
        default=PolicySection.model_construct(), description="Settings of flowyml-policy itself."
    )
    defaults: DefaultsSection = Field(default=DefaultsSection.model_construct(), description="FlowyML's own defaults.")
    registry: UpstreamRegistrySection = Field(
        default=UpstreamRegistrySection.model_construct(), description="FlowyML's own stack registry."
    )
    docker: dict[str, Json] = Field(default={}, description="FlowyML's own key: how it builds images.")
    plugins: Json = Field(default=None, description="FlowyML's own key: its plugins.")


class PlatformFile(Section):
    """The platform's settings.yaml: whatever it sets, no project can."""

    policy: PolicySection = Field(
        default=PolicySection.model_construct(), description="Settings of flowyml-policy itself."
    )


ProjectFile.model_rebuild()
