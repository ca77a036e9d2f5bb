"""A definition becomes FlowyML's stack: every field goes where FlowyML has a place for it, the others are named.

Rules:
- FlowyML runs in this process what it has no stack for. Here that is an error, unless `policy.run_locally` allows it.
- What a cloud asks for and no section of a definition holds (project, queue, role, workspace) is read from
  `spec.deployment.config`, which the deployer is told as well.
- The image and the machine hang on the stack as `docker_config` and `resources`; the guard hands them to the run.
- What has no place is named in one UserWarning. Left out of it is what policy alone looks at: metadata, permissions,
  policies, security.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.definitions import StackUnbuildable
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.integrations.flowyml.origins import keep_origin
from flowyml_policy.records.record import Json
from flowyml_policy.references.image import ImageReference, parse_reference
from flowyml_policy.settings.loading import load_settings

UNBUILT: Final = ("kubernetes", "ray", "databricks", "custom")
"""Backends that FlowyML has no stack for: it would run their pipelines in this process."""

_JUDGED_ONLY: Final = frozenset({"permissions", "policies", "security", "instance"})
_MANAGERS: Final = {
    "poetry": ("use_poetry", True),
    "conda": ("use_conda", True),
    "pipenv": ("use_pipenv", True),
    "uv": ("use_uv", True),
    "pip": ("use_uv", False),
}
_BUILD_KEYS: Final = {
    "dependency_file": "requirements_file",
    "dependency_lock_file": "requirements_file",
    "dockerfile": "dockerfile",
    "apt_packages": "apt_packages",
    "gpu_enabled": "gpu_enabled",
    "cuda_version": "cuda_version",
    "health_check": "health_check",
    "entrypoint": "entrypoint",
    "labels": "labels",
    "auto_build": "auto_build",
    "auto_push": "auto_push",
    "multi_stage": "multi_stage",
}
"""Keys of `spec.runtime` that say how an image is built, and what FlowyML's DockerConfig calls them."""


def to_stack(definition: StackDefinition, *, run_locally: Collection[str] | None = None) -> Any:
    """FlowyML's stack of `definition`; `run_locally` stands for the setting of that name, which else is loaded.

    Raises UsageError where FlowyML is not installed, StackUnbuildable, SettingsInvalid.
    """
    stack, told = make_stack(definition, run_locally)
    if told is not None:
        warnings.warn(told, stacklevel=2)
    return stack


def make_stack(definition: StackDefinition, run_locally: Collection[str] | None) -> tuple[Any, str | None]:
    """FlowyML's stack, and what is to be warned of: the fields that have no place in it. Raises as `to_stack` does."""
    try:
        import flowyml.stacks.base  # noqa: F401  whether it is there at all
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "flowyml":
            raise
        raise UsageError(
            "FlowyML is not installed, and only it has stacks", advice="run pip install 'flowyml-policy[flowyml]'"
        ) from error
    parts = _Parts(definition)
    backend = parts.take("compute", "backend") or "local"
    build = _BUILDERS.get(backend)
    if build is None:
        require_buildable(definition, load_settings().policy.run_locally if run_locally is None else run_locally)
        build = _local
    try:
        stack = build(definition.metadata.name, parts)
        _attach_deployment(stack, parts)
    except FlowymlPolicyError:
        raise
    except Exception as error:
        why = str(error).partition("\n")[0]
        advice = "correct what the definition names, or make it reachable"
        if isinstance(error, ImportError):
            advice = f"install what its backend needs: pip install 'flowyml[{backend}]'"
        raise StackUnbuildable(
            f"FlowyML cannot make the stack {definition.metadata.name!r} of backend {backend!r}: {why}", advice=advice
        ) from error
    keep_origin(stack, definition)
    left = parts.left()
    if not left:
        return stack, None
    return stack, (
        f"stack {definition.metadata.name!r}: FlowyML has no place for {', '.join(left)} on backend {backend!r}; "
        "policy has judged it, and nothing applies it"
    )


def require_buildable(definition: StackDefinition, run_locally: Collection[str]) -> None:
    """Raise StackUnbuildable where FlowyML would run `definition` elsewhere than it says, and nothing allows that."""
    backend = definition.spec.compute.backend or "local"
    if backend in _BUILDERS or backend in run_locally:
        return
    name = definition.metadata.name
    if backend not in UNBUILT:
        raise StackUnbuildable(f"FlowyML knows no backend {backend!r}: stack {name!r}")
    raise StackUnbuildable(
        f"FlowyML has no stack for {backend}: it would run {name!r} in this process",
        advice=f"use another backend, or allow it: `policy.run_locally: [{backend}]`",
    )


class _Parts:
    """The sections of a definition's spec, which remembers what was taken of them."""

    def __init__(self, definition: StackDefinition) -> None:
        spec = definition.set_values().get("spec", {})
        self._spec: Mapping[str, Mapping[str, Json]] = spec
        self._config: Mapping[str, Json] = spec.get("deployment", {}).get("config") or {}
        self._taken: set[tuple[str, str]] = set()
        self._told: set[str] = set()
        self.is_written_for_builds = definition.written_schema != definition.api_version

    def peek(self, section: str, key: str) -> Json:
        return self._spec.get(section, {}).get(key)

    def take(self, section: str, key: str) -> Json:
        """The value there, which has found its place."""
        self._taken.add((section, key))
        return self.peek(section, key)

    def told(self, *names: str) -> str | None:
        """What `spec.deployment.config` says under the first of `names` that it has."""
        for name in names:
            value = self._config.get(name)
            if isinstance(value, str) and value:
                self._told.add(name)
                return value
        return None

    @property
    def image(self) -> ImageReference | None:
        """The image, where it is one that Docker would take."""
        try:
            return parse_reference(self.peek("runtime", "docker_image") or "")
        except ReferenceInvalid:
            return None

    def left(self) -> list[str]:
        """What found no place, as dotted paths."""
        left = [
            f"spec.{section}.{key}"
            for section, keys in self._spec.items()
            if section not in _JUDGED_ONLY and isinstance(keys, Mapping)
            for key in keys
            if (section, key) not in self._taken | {("deployment", "config")}
        ]
        if ("deployment", "config") not in self._taken:
            left += [f"spec.deployment.config.{key}" for key in self._config if key not in self._told]
        return left


def _local(name: str, parts: _Parts) -> Any:
    from flowyml.stacks.local import LocalStack

    said: dict[str, str] = {}
    for key, argument, scheme in (
        ("artifact_store", "artifact_path", "file://"),
        ("metadata_store", "metadata_path", "sqlite:///"),
    ):
        value = parts.peek("storage", key)
        if isinstance(value, str) and (value.startswith(scheme) or "://" not in value):
            said[argument] = parts.take("storage", key).removeprefix(scheme)
    if parts.peek("storage", "artifact_store_type") == "local":
        parts.take("storage", "artifact_store_type")
    return LocalStack(name=name, **said)


def _gcp(name: str, parts: _Parts) -> Any:
    from flowyml.stacks.gcp import GCPStack

    image = parts.image
    is_google = image is not None and (
        image.registry.endswith(("-docker.pkg.dev", ".gcr.io")) or image.registry == "gcr.io"
    )
    registry = parts.take("deployment", "registry_uri")
    if registry is None and image is not None and is_google:
        registry = f"{image.registry}/{image.repository.rpartition('/')[0]}".rstrip("/")
    bucket, prefix = _bucket(parts, "gs", "gcs")
    stack = GCPStack(
        name=name,
        project_id=parts.told("project_id", "project"),
        region=parts.take("compute", "region") or parts.told("region") or "us-central1",
        bucket_name=bucket,
        registry_uri=registry,
        service_account=parts.told("service_account"),
        metadata_store=_metadata(parts),
    )
    if prefix is not None:
        stack.artifact_store.prefix = prefix
    orchestrator = stack.orchestrator
    orchestrator.network = parts.told("network")
    orchestrator.staging_bucket = None if bucket is None else f"gs://{bucket}"
    _attach_machine(stack, parts)
    _attach_image(stack, parts)
    return stack


def _aws(name: str, parts: _Parts) -> Any:
    from flowyml.stacks.aws import AWSStack

    host = "" if parts.image is None else parts.image.registry
    account, *rest = host.split(".") if host.endswith(".amazonaws.com") and ".dkr.ecr." in host else [None]
    queue, role = parts.told("job_queue"), parts.told("role_arn")
    kind = parts.told("orchestrator_type") or ("sagemaker" if role and not queue else "batch")
    region = parts.take("compute", "region") or parts.told("region") or (rest[2] if rest else "us-east-1")
    place = parts.peek("storage", "artifact_store")
    bucket, prefix = _bucket(parts, "s3", "s3")
    stack = AWSStack(
        name=name,
        region=region,
        bucket_name=bucket,
        account_id=parts.told("account_id") or account,
        job_queue=queue,
        job_definition=parts.told("job_definition"),
        registry_alias=parts.take("deployment", "registry_uri"),
        orchestrator_type=kind,
        role_arn=role,
        metadata_store=_metadata(parts),
    )
    if prefix is not None:
        stack.artifact_store.prefix = prefix
    if kind == "sagemaker":  # AWS Batch takes the image and the machine of its job definition
        stack.orchestrator.output_path = place
        if parts.peek("compute", "size"):
            stack.orchestrator.default_instance_type = parts.take("compute", "size")
        _attach_image(stack, parts)
    return stack


def _azureml(name: str, parts: _Parts) -> Any:
    from flowyml.stacks.azure import AzureMLStack

    host = "" if parts.image is None else parts.image.registry
    server = parts.take("deployment", "registry_uri") or (host if host.endswith(".azurecr.io") else None)
    account, container = _azure_blob(parts)
    stack = AzureMLStack(
        name=name,
        subscription_id=parts.told("subscription_id"),
        resource_group=parts.told("resource_group"),
        workspace_name=parts.told("workspace_name", "workspace"),
        compute=parts.take("compute", "size"),
        environment=parts.told("environment"),
        account_url=account,
        container_name=container,
        registry_name=parts.told("registry_name") or (server.partition(".")[0] if server else None),
        login_server=server,
        metadata_store=_metadata(parts),
    )
    _attach_image(stack, parts)
    return stack


_BUILDERS: Final[dict[str, Callable[[str, _Parts], Any]]] = {
    "local": _local,
    "gcp": _gcp,
    "aws": _aws,
    "azureml": _azureml,
}


def _bucket(parts: _Parts, scheme: str, kind: str) -> tuple[str | None, str | None]:
    """The bucket of an artifact store whose address has `scheme`, and the prefix in it."""
    address = urlsplit(parts.peek("storage", "artifact_store") or "")
    if parts.peek("storage", "artifact_store_type") == kind:
        parts.take("storage", "artifact_store_type")
    if address.scheme != scheme or not address.netloc:
        return None, None
    parts.take("storage", "artifact_store")
    return address.netloc, address.path.strip("/") or None


def _azure_blob(parts: _Parts) -> tuple[str | None, str | None]:
    """The account's address and the container of `abfs://CONTAINER@ACCOUNT...` or `https://ACCOUNT.../CONTAINER`."""
    address = urlsplit(parts.peek("storage", "artifact_store") or "")
    if parts.peek("storage", "artifact_store_type") == "azure_blob":
        parts.take("storage", "artifact_store_type")
    host = (address.hostname or "").replace(".dfs.core.windows.net", ".blob.core.windows.net")
    first, _, below = address.path.strip("/").partition("/")
    if address.scheme in {"abfs", "abfss"} and address.username and host:
        container, below = address.username, first
    elif address.scheme == "https" and first and host.endswith(".blob.core.windows.net"):
        container = first
    else:
        return None, None
    if not below:
        parts.take("storage", "artifact_store")
    return f"https://{host}", container


def _metadata(parts: _Parts) -> Any:
    """Where runs are told of: the database of the definition, or FlowyML's own, which some of its stacks lack."""
    from flowyml.storage.metadata import SQLiteMetadataStore

    place = parts.peek("storage", "metadata_store")
    if not isinstance(place, str):
        return SQLiteMetadataStore()
    parts.take("storage", "metadata_store")
    # FlowyML makes the folder of a file that is named by its path, and not of one that is named by an address.
    return SQLiteMetadataStore(place.removeprefix("sqlite:///"))


def _attach_machine(stack: Any, parts: _Parts) -> None:
    from flowyml.stacks.components import ResourceConfig

    size = parts.take("compute", "size")
    if size is not None:
        stack.resources = ResourceConfig(machine_type=size)


def _attach_image(stack: Any, parts: _Parts) -> None:
    """Hang on `stack` the image that steps run in, or how FlowyML's schema says that it is built."""
    from flowyml.stacks.components import DockerConfig

    image = parts.peek("runtime", "docker_image")
    if not parts.is_written_for_builds:
        if image is not None:
            stack.docker_config = DockerConfig(image=parts.take("runtime", "docker_image"))
        return
    said: dict[str, Any] = {}
    if image is not None:
        said["base_image"] = parts.take("runtime", "docker_image")
    for key, name in _BUILD_KEYS.items():
        if parts.peek("runtime", key) is not None:
            said[name] = parts.take("runtime", key)
    manager = _MANAGERS.get(parts.peek("runtime", "dependency_manager") or "")
    if manager is not None:
        parts.take("runtime", "dependency_manager")
        said[manager[0]] = manager[1]
    if said:
        stack.docker_config = DockerConfig(registry_uri=parts.peek("deployment", "registry_uri"), **said)


def _attach_deployment(stack: Any, parts: _Parts) -> None:
    """Give `stack` what serves and what registers models, as far as FlowyML has it."""
    config = dict(parts.peek("deployment", "config") or {})
    if parts.peek("deployment", "namespace"):
        config.setdefault("namespace", parts.peek("deployment", "namespace"))
    if parts.peek("deployment", "registry_uri"):
        config.setdefault("registry_uri", parts.peek("deployment", "registry_uri"))
    deployer = _component(parts.peek("deployment", "model_deployer"), config)
    if deployer is not None:
        stack.model_deployer = deployer
        for key in ("model_deployer", "namespace", "registry_uri", "config"):
            parts.take("deployment", key)
    registry = _component(parts.peek("deployment", "model_registry"), {})
    if registry is not None:
        stack.model_registry = registry
        parts.take("deployment", "model_registry")


def _component(flavor: str | None, config: dict[str, Json]) -> Any:
    """FlowyML's component called `flavor`, told `config`; None where it has none, or none that takes that."""
    if not flavor:
        return None
    from flowyml.plugins.stack_config import _ensure_providers_loaded
    from flowyml.stacks.plugins import get_component_registry

    _ensure_providers_loaded(flavor)
    kind = get_component_registry().get_component(flavor)
    if kind is None:
        return None
    try:
        return kind(**config)
    except (TypeError, ValueError, ImportError):
        return None
