"""Schema A, `flowyml/v1` `StackDefinition`, as frozen models. Field descriptions become the JSON Schema.

A key that the author left out is None (a section: empty); a key that is there must have a value of its type,
so `size:` with nothing after it is a problem and not the same as no `size`.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import Field, GetCoreSchemaHandler, SerializeAsAny, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import Self

from flowyml_policy.records.record import Record

API_VERSION: Final = "flowyml/v1"
KIND: Final = "StackDefinition"
LONGEST_NAME: Final = 128
MOST_NODES: Final = 2**53 - 1

SAFE_NAME: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
"""Names that the rule `naming` lets pass; others are well-formed definitions all the same."""


class Given:
    """Validates what is given as the inner type, so that None stands only for an absent key."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        as_it_is = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        return cast("CoreSchema", {**handler.generate_schema(self.inner), "serialization": as_it_is})


Version: TypeAlias = Annotated[str | None, Given(str)]
Text: TypeAlias = Annotated[str | None, Given(Annotated[str, Field(min_length=1)])]
Nodes: TypeAlias = Annotated[int | None, Given(Annotated[int, Field(ge=0, le=MOST_NODES)])]


class Metadata(Record):
    """What the stack is called and how it is labelled."""

    name: str = Field(
        min_length=1,
        max_length=LONGEST_NAME,
        description="What the stack is called wherever it is named.",
        examples=["prod-gpu-large"],
    )
    version: Version = Field(
        default=None,
        description="The version of this definition, in quotes: unquoted, 2.1 would be a number.",
        examples=["2.1.0"],
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels that policy looks at. Every value is text, so write true and numbers in quotes.",
        examples=[{"team": "ml-platform", "approved": "true"}],
    )


class Compute(Record):
    """Where the work runs and how large it may grow."""

    backend: Text = Field(default=None, description="The kind of backend.", examples=["azureml", "gcp", "local"])
    size: Text = Field(default=None, description="The machine type, in the backend's words.", examples=["n1-highmem-8"])
    min_nodes: Nodes = Field(default=None, description="Nodes that are always kept.", examples=[0])
    max_nodes: Nodes = Field(default=None, description="Nodes at most; not below min_nodes.", examples=[4])

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_nodes is not None and self.max_nodes is not None and self.min_nodes > self.max_nodes:
            raise PydanticCustomError("nodes_order", "min_nodes is larger than max_nodes")
        return self


class Runtime(Record):
    """What the work runs in."""

    python_version: Text = Field(
        default=None,
        description="The Python version, in quotes: unquoted, 3.10 would be the number 3.1.",
        examples=["3.11"],
    )
    docker_image: Text = Field(
        default=None, description="The image that steps run in.", examples=["myregistry.azurecr.io/flowyml:2.1.0"]
    )


class Storage(Record):
    """Where artifacts and metadata are kept."""

    artifact_store: Text = Field(default=None, description="URI of the artifact store.", examples=["s3://bucket/x"])
    metadata_store: Text = Field(default=None, description="URI of the metadata store.", examples=["sqlite:///m.db"])


class Tracking(Record):
    """Where experiments are tracked."""

    experiment_tracker: Text = Field(default=None, description="The kind of tracker.", examples=["mlflow"])
    mlflow_uri: Text = Field(default=None, description="Where MLflow answers.", examples=["https://mlflow.company.com"])


class Secrets(Record):
    """Where secrets come from; never the secrets themselves."""

    provider: Text = Field(default=None, description="The kind of vault.", examples=["azure_keyvault"])
    vault_url: Text = Field(
        default=None, description="Where the vault answers.", examples=["https://v.vault.azure.net"]
    )


class Spec(Record):
    """The parts of the stack; each may be left out."""

    compute: Compute = Field(
        default=Compute.model_construct(), description="Where the work runs and how large it may grow."
    )
    runtime: Runtime = Field(default=Runtime.model_construct(), description="What the work runs in.")
    storage: Storage = Field(default=Storage.model_construct(), description="Where artifacts and metadata are kept.")
    tracking: Tracking = Field(default=Tracking.model_construct(), description="Where experiments are tracked.")
    secrets: Secrets = Field(
        default=Secrets.model_construct(), description="Where secrets come from; never the secrets themselves."
    )


class Definition(Record):
    """The four keys that every definition has."""

    api_version: Literal["flowyml/v1"] = Field(alias="apiVersion", description="The schema of this definition.")
    kind: Literal["StackDefinition"] = Field(description="What this document is.")
    metadata: SerializeAsAny[Metadata] = Field(description="What the stack is called and how it is labelled.")
    spec: SerializeAsAny[Spec] = Field(description="The parts of the stack; each may be left out.")


_LEVELS: Final[dict[tuple[str, ...], type[Record]]] = {
    ("metadata",): Metadata,
    ("spec",): Spec,
    ("spec", "compute"): Compute,
    ("spec", "runtime"): Runtime,
    ("spec", "storage"): Storage,
    ("spec", "tracking"): Tracking,
    ("spec", "secrets"): Secrets,
}

KNOWN_KEYS: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    (): ("apiVersion", "kind", "metadata", "spec"),
    **{path: tuple(level.model_fields) for path, level in _LEVELS.items()},
}
"""The keys that may stand at each level that has fixed ones."""
