"""What FlowyML's own schema, `flowyml.io/v1`, says, in schema A's terms: schema A's sections made wider, and its own.

These models take only what was converted by `schema_b`; a schema A document with such a key has an unknown key. As
in `model`, a key that the author left out is None or empty, and none of FlowyML's defaults is filled in.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from flowyml_policy.definitions.model import MOST_NODES, Compute, Given, Metadata, Runtime, Secrets, Spec, Storage, Text
from flowyml_policy.documents.canonical import canonical_json
from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.records.record import Json, Record

Backend: TypeAlias = Literal["local", "azureml", "kubernetes", "ray", "databricks", "gcp", "aws", "custom"]
Hardware: TypeAlias = Annotated[Literal["cpu", "gpu", "tpu"] | None, Given(Literal["cpu", "gpu", "tpu"])]
_Store: TypeAlias = Literal["local", "azure_blob", "s3", "gcs", "minio"]
_Vault: TypeAlias = Literal[
    "azure_key_vault", "aws_secrets_manager", "gcp_secret_manager", "hashicorp_vault", "env", "local"
]
_Deployer: TypeAlias = Literal[
    "local_docker", "kubernetes", "openshift", "vertex_endpoint", "sagemaker_endpoint", "gcp_cloud_run"
]
_ModelRegistry: TypeAlias = Literal[
    "mlflow_registry", "azureml_registry", "vertex_model_registry", "sagemaker_model_registry"
]
Words: TypeAlias = Annotated[str | None, Given(str)]
Flag: TypeAlias = Annotated[bool | None, Given(bool)]
Texts: TypeAlias = Annotated[list[str] | None, Given(list[str])]
Minutes: TypeAlias = Annotated[int | None, Given(Annotated[int, Field(ge=1, le=MOST_NODES)])]
Cost: TypeAlias = Annotated[float | None, Given(Annotated[float, Field(ge=0, le=MOST_NODES, allow_inf_nan=False)])]


class WideMetadata(Metadata):
    """What the stack is called, who owns it, and what it is for."""

    version: str = Field(description="The version of this definition, in quotes: unquoted, 2.1 would be a number.")
    description: Words = Field(default=None, description="What the stack is for.")
    owner: Words = Field(default=None, description="Who answers for it.")
    tags: Texts = Field(default=None, description="Words that it is found by.")


class WideCompute(Compute):
    """Where the work runs, on what, and how large it may grow."""

    backend: Backend = Field(description="The kind of backend.")
    type: Hardware = Field(default=None, description="The kind of hardware.")
    region: Text = Field(default=None, description="Where the machines stand.")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_nodes is not None and self.max_nodes is not None and self.min_nodes > self.max_nodes:
            raise PydanticCustomError("instances_order", "minInstances is larger than maxInstances")
        return self


class WideRuntime(Runtime):
    """What the work runs in, and how its image is built."""

    dependency_lock_file: Text = Field(default=None, description="The file that pins the dependencies.")
    dependency_manager: Text = Field(default=None, description="What installs the dependencies.")
    dependency_file: Text = Field(default=None, description="The file that names the dependencies.")
    dockerfile: Text = Field(default=None, description="The file that the image is built from.")
    cuda_version: Text = Field(default=None, description="The CUDA version, in quotes.")
    health_check: Text = Field(default=None, description="The command that says whether a container is well.")
    entrypoint: Text = Field(default=None, description="The command that a container starts.")
    apt_packages: Texts = Field(default=None, description="Debian packages that are put into the image.")
    gpu_enabled: Flag = Field(default=None, description="Whether containers see GPUs.")
    auto_build: Flag = Field(default=None, description="Whether the image is built before a run.")
    auto_push: Flag = Field(default=None, description="Whether the image is pushed after it is built.")
    multi_stage: Flag = Field(default=None, description="Whether the image is built in stages.")
    labels: Annotated[dict[str, str] | None, Given(dict[str, str])] = Field(
        default=None, description="Labels that the image is given."
    )


class WideStorage(Storage):
    """Where artifacts and metadata are kept."""

    artifact_store_type: Annotated[_Store | None, Given(_Store)] = Field(
        default=None, description="The kind of artifact store."
    )


class WideSecrets(Secrets):
    """Where secrets come from; never the secrets themselves."""

    provider: Annotated[_Vault | None, Given(_Vault)] = Field(default=None, description="The kind of vault.")
    scope: Text = Field(default=None, description="The part of the vault that is meant.")


class Deployment(Record):
    """Where models are registered and served."""

    model_deployer: Annotated[_Deployer | None, Given(_Deployer)] = Field(
        default=None, description="What serves the models."
    )
    model_registry: Annotated[_ModelRegistry | None, Given(_ModelRegistry)] = Field(
        default=None, description="What registers the models."
    )
    namespace: Text = Field(default=None, description="The namespace that models are served in.")
    registry_uri: Text = Field(default=None, description="Where the registry answers.")
    config: Annotated[dict[str, Json] | None, Given(dict[str, Json])] = Field(
        default=None, description="What else the deployer is told."
    )

    @field_validator("config")
    @classmethod
    def _is_canonical(cls, config: dict[str, Json] | None) -> dict[str, Json] | None:
        try:
            canonical_json(config)
        except NotCanonical as error:
            raise PydanticCustomError("not_canonical", "a value has no canonical JSON") from error
        return config


class Observability(Record):
    """What is watched while the work runs."""

    logs: Flag = Field(default=None, description="Whether logs are kept.")
    metrics: Flag = Field(default=None, description="Whether metrics are kept.")
    traces: Flag = Field(default=None, description="Whether traces are kept.")


class StackPolicies(Record):
    """What the stack says of policy for its own runs."""

    allow_external_network: Flag = Field(default=None, description="Whether runs may reach other networks.")
    allow_custom_docker_image: Flag = Field(default=None, description="Whether a run may bring an image of its own.")
    allowed_python_packages: Texts = Field(default=None, description="The only packages that runs may use.")
    denied_python_packages: Texts = Field(default=None, description="Packages that no run may use.")
    max_runtime_minutes: Minutes = Field(default=None, description="Minutes that a run may take.")
    max_estimated_cost_usd: Cost = Field(default=None, description="What a run may cost, in US dollars.")
    require_signed_stack: Flag = Field(default=None, description="Whether the definition must be signed.")
    allowed_model_deployers: Texts = Field(default=None, description="The only deployers that may serve models.")
    allowed_model_registries: Texts = Field(default=None, description="The only registries that may take models.")

    @model_validator(mode="after")
    def _packages_apart(self) -> Self:
        both = set(self.allowed_python_packages or ()) & set(self.denied_python_packages or ())
        if both:
            raise PydanticCustomError("packages_overlap", "allowed and denied", {"package": min(both)})
        return self


class Permissions(Record):
    """Who may use the stack; an empty list is everybody."""

    allowed_groups: Texts = Field(default=None, description="The groups that may use it.")
    allowed_projects: Texts = Field(default=None, description="The projects that may use it.")


class Signature(Record):
    """Whether and how the definition is signed."""

    enabled: Flag = Field(default=None, description="Whether it is signed.")
    provider: Text = Field(default=None, description="What signed it.", examples=["cosign"])


class Security(Record):
    """How the definition itself is protected."""

    signature: Signature = Field(default=Signature(), description="Whether and how the definition is signed.")


class WideSpec(Spec):
    """The parts of the stack, those of `flowyml.io/v1` among them."""

    compute: WideCompute = Field(description="Where the work runs, on what, and how large it may grow.")
    runtime: WideRuntime = Field(default=WideRuntime(), description="What the work runs in.")
    storage: WideStorage = Field(default=WideStorage(), description="Where artifacts and metadata are kept.")
    secrets: WideSecrets = Field(default=WideSecrets(), description="Where secrets come from.")
    deployment: Deployment = Field(default=Deployment(), description="Where models are registered and served.")
    observability: Observability = Field(default=Observability(), description="What is watched.")
    policies: StackPolicies = Field(default=StackPolicies(), description="What the stack says of its own runs.")
    permissions: Permissions = Field(default=Permissions(), description="Who may use the stack.")
    security: Security = Field(default=Security(), description="How the definition itself is protected.")


class WideParts(Record):
    """The two parts of a definition that schemas differ in."""

    metadata: WideMetadata
    spec: WideSpec
