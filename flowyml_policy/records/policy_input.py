"""PolicyInput, schema version 1: the one document that OPA judges and that the audit keeps.

It is masked when it is built, and serialised once: `encoded` is byte for byte what the evaluator is given
and what is recorded. Every key is always present; what is not known is null, never left out, so that Rego
meets one shape. New optional keys keep version 1.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, field_validator
from typing_extensions import Self

from flowyml_policy.records.decision import Enforcement
from flowyml_policy.records.record import Authority, Json, KeyPath, Operation, Record, Sha256, SourceKind, computed_once

SCHEMA_VERSION: Final = 1


class Actor(Record):
    """Who asks, by the operating system or the platform settings; `claimed` is what CI variables say of it."""

    name: str
    groups: tuple[str, ...] = ()
    claimed: dict[str, str] = Field(default_factory=dict)


class ImagePolicy(Record):
    """The project's own demands on images; null means that it says nothing, an empty list that nothing passes."""

    allowed_registries: tuple[str, ...] | None = None
    required_labels: tuple[str, ...] | None = None
    allowed_bases: tuple[str, ...] | None = None
    max_age_seconds: int | None = None
    require_digest: bool | None = None
    deny_tags: tuple[str, ...] | None = None


class ProjectPolicies(Record):
    """`policies` of flowyml.yaml. It can only tighten what shipped and company policy demand."""

    allowed_stacks: tuple[str, ...] | None = None
    required_labels: tuple[str, ...] | None = None
    image_policy: ImagePolicy = ImagePolicy.model_construct()
    levels: dict[str, Enforcement] = Field(default_factory=dict)
    rule_data: dict[str, dict[str, Json]] = Field(default_factory=dict)


class Project(Record):
    """The project that asks, with what it says of policy."""

    name: str | None = None
    org: str | None = None
    policies: ProjectPolicies = ProjectPolicies.model_construct()
    waivers: dict[str, Json] = Field(default_factory=dict)
    overrides: tuple[dict[str, Json], ...] = ()


class SuspectedSecret(Record):
    """A value of the definition that looks like a secret; the value itself is masked everywhere."""

    path: KeyPath
    detector: str


class Stack(Record):
    """The definition under judgement: typed parts, and the document as its author wrote it.

    `description`, `owner` and `tags` are said in FlowyML's own schema only.
    """

    name: str
    version: str | None
    labels: dict[str, str]
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    spec: dict[str, dict[str, Json]]
    document: dict[str, Json]
    definition_digest: Sha256
    suspected_secrets: tuple[SuspectedSecret, ...] = ()


class Source(Record):
    """Where a definition came from. `digest` is that of the bytes read; `pinned` says it could not have moved."""

    kind: SourceKind
    uri: str
    ref: str | None = None
    commit: str | None = None
    digest: Sha256 | None = None
    pinned: bool = False


class LockFacts(Record):
    """What the lockfile pins for this stack."""

    commit: str | None = None
    definition_digest: Sha256
    images: dict[str, str] = Field(default_factory=dict)
    bundles: dict[str, str] = Field(default_factory=dict)


class ImageProblem(Record):
    """Why nothing is known of an image: a stable code, and what happened in words."""

    code: str
    message: str


class BuiltImage(Record):
    """The image that a run would have built, and, where `is_pushed`, pushed. Its tag is known once it was built.

    `ref` is without a tag. Where it is no reference, `error` says why, and `registry` and `repository` are null.
    """

    ref: str
    is_pushed: bool = True
    registry: str | None = None
    repository: str | None = None
    error: ImageProblem | None = None


class RunFacts(Record):
    """What a pipeline run asks for beside the stack, and what will run it.

    `orchestrator` is the full name of its class. `docker_config` and `resources` hold the keys that say something,
    `packages` what the image is to have installed. `orchestrator_config` is what an orchestrator says of itself that
    was given to the run in place of the stack's own. `builds` is null where nothing is built for the run. `options` are
    what else the orchestrator is told, as JSON.
    """

    pipeline: str
    orchestrator: str | None = None
    docker_config: dict[str, Json] | None = None
    resources: dict[str, Json] | None = None
    packages: tuple[str, ...] = ()
    orchestrator_config: dict[str, Json] | None = None
    builds: BuiltImage | None = None
    options: dict[str, Json] | None = None


class BaseFacts(Record):
    """The image that a platform was built on. `how` is what shows it: equal `layers`, signed `provenance`, a `claim`.

    A claim is the annotation `org.opencontainers.image.base.*`, which whoever pushed the image could write.
    """

    ref: str
    digest: Sha256 | None = None
    how: Literal["layers", "provenance", "claim"]


class PlatformFacts(Record):
    """One platform of an image, `linux/arm64/v8`. `created` is an RFC 3339 instant, `size` counts bytes.

    `digest` is that of the platform's manifest, null where only a daemon knows the image. `size` is what a pull
    would bring, or, from a daemon, what the image takes there. `env` holds names, never values. `diff_ids` are the
    digests of the layers' unpacked archives, the lowest first.
    """

    platform: str
    digest: Sha256 | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    user: str | None = None
    created: str | None = None
    size: int | None = None
    base: BaseFacts | None = None
    architecture: str | None = None
    os: str | None = None
    ports: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    diff_ids: tuple[str, ...] = ()


class SigningKey(Record):
    """A public key that may sign an image: `id` is the SHA-256 of its SubjectPublicKeyInfo, `name` its file."""

    id: str
    name: str


class SigningDemand(Record):
    """What `policy.images.cosign_keys` asks of an image: `need` of `keys` have signed it. `entry` is its key there."""

    entry: str
    need: int
    keys: tuple[SigningKey, ...]


class SignatureFacts(Record):
    """What was found at one place where a signature may lie.

    `key` is the `id` of the key that made it, null where none of ours did. `form` is the layout: `bundle` (a referrer
    that is a Sigstore bundle), `tag` (the older `.sig` tag). `digest` is what is signed, the image's or a platform's.
    `problem` says what `reason` explains: `unknown` that the place could not be read.
    """

    key: str | None
    form: Literal["bundle", "tag"]
    digest: Sha256 | None
    ok: bool
    reason: str | None = None
    problem: Literal["invalid", "keyless", "unknown"] | None = None


class VulnerabilityFacts(Record):
    """One entry of a scan report; `severity` in small letters: critical, high, medium, low, negligible, unknown."""

    id: str
    severity: str
    package: str
    fixed_in: str | None = None


class ScanFacts(Record):
    """What scan reports say of an image. `db_at` is the oldest instant that vouches for any of them.

    `digests` are the platforms' digests that were scanned, `signed_digests` those of them that an attestation speaks
    of which a key of `cosign_keys` signed. `signed`: all of it came as such attestations, nothing as a file.
    """

    tool: str
    db_at: str | None
    findings: tuple[VulnerabilityFacts, ...] = ()
    digests: tuple[str, ...] = ()
    signed: bool = False
    signed_digests: tuple[str, ...] = ()


class ImageFacts(Record):
    """One image that the stack names, normalised as Docker reads it, and what inspection found.

    `paths` leads to every place of the definition that names it, or of the input's `run`. `registry` and `repository`
    are null for a reference that Docker would refuse; `error` then says why, as it does for a failed inspection.
    `digest` is what the author wrote and, once the image was inspected, what was judged. `via` is how it was inspected,
    "off" where the settings switch inspection off, `endpoint` who answered, `inspected_at` when that was, an RFC 3339
    instant.
    `kind` says whether the digest is that of an index of platforms. `signing` is what must be signed, and by whom.
    `scan_problem` says why something that may be a scan report attached to it could not be read.
    `certainty` is `guessed` where nothing but its look says that the text is an image.
    """

    ref: str
    registry: str | None
    repository: str | None
    tag: str | None = None
    digest: str | None = None
    paths: tuple[KeyPath, ...] = ()
    inspected: bool = False
    via: Literal["daemon", "registry", "off"] | None = None
    error: ImageProblem | None = None
    platforms: tuple[PlatformFacts, ...] = ()
    certainty: Literal["named", "guessed"] = "named"
    endpoint: str | None = None
    inspected_at: str | None = None
    kind: Literal["index", "manifest"] | None = None
    signing: tuple[SigningDemand, ...] = ()
    signatures: tuple[SignatureFacts, ...] = ()
    scan: ScanFacts | None = None
    scan_problem: str | None = None

    @property
    def exact(self) -> str | None:
        """`registry/repository@sha256:...` of what was judged; null for what was not examined, or has no digest."""
        return f"{self.registry}/{self.repository}@{self.digest}" if self.inspected and self.digest else None

    @field_validator("error", mode="before")
    @classmethod
    def _read_older(cls, value: object) -> object:
        """Inputs that were recorded before inspection existed say the reason alone."""
        return {"code": "reference_invalid", "message": value} if isinstance(value, str) else value


class BasePlatform(Record):
    """One platform of an allowed base image, with the digests of its layers; none where it could not be read."""

    ref: str
    digest: Sha256 | None
    platform: str
    diff_ids: tuple[str, ...]


class PolicyInput(Record):
    """Everything that policy may look at, at one instant. Rego does no I/O and reads no clock.

    `evaluated_at` is an RFC 3339 instant in UTC, taken once for a command. `environments` names every
    environment that applies. `authority` says who owns the settings. `bases` are the allowed base images that could be
    read.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    operation: Operation
    evaluated_at: str
    hypothetical: bool = False
    authority: Authority
    environments: tuple[str, ...] = ()
    actor: Actor
    project: Project
    stack: Stack
    source: Source
    lock: LockFacts | None = None
    run: RunFacts | None = None
    images: tuple[ImageFacts, ...] = ()
    bases: tuple[BasePlatform, ...] = ()

    @computed_once
    def encoded(self) -> bytes:
        """This document as compact UTF-8 JSON, keys in schema order: the bytes judged and the bytes recorded.

        Evaluators rely on the shape that validation gave it. Raises PydanticSerializationError for most values of
        another type, as only a document has that was made without validation, or changed below its frozen surface;
        what is null or absent there is not seen.
        """
        return self.model_dump_json(warnings="error").encode()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, which keeps no bytes of the original: it may have other values."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("encoded", None)
        return copied


def policy_input_schema() -> dict[str, Json]:
    """The JSON Schema of what is handed to OPA: every key is required, because every key is always there."""
    return PolicyInput.model_json_schema(mode="serialization")
