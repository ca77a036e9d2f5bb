"""Definitions as FlowyML's stacks: every field in its place, and the image that runs is the one that was judged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy import StackDefinition
from flowyml_policy.errors.root import UsageError
from tests import oci_registry

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = Path(__file__).resolve().parent / "programs" / "built.py"

DEFINITIONS = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: azure, version: "1.0.0"}
spec:
  compute: {backend: azureml, size: Standard_NC6s_v3, max_nodes: 4}
  runtime: {docker_image: "myregistry.azurecr.io/flowyml:1"}
  storage: {artifact_store: "abfs://artifacts@mystorage.dfs.core.windows.net", metadata_store: "sqlite:///shared.db"}
  tracking: {experiment_tracker: mlflow}
---
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: google, version: "1.0.0"}
spec:
  compute: {backend: gcp, size: n1-highmem-8}
  runtime: {docker_image: "europe-docker.pkg.dev/p/repo/train:1"}
  storage: {artifact_store: "gs://models"}
---
apiVersion: flowyml.io/v1
kind: Stack
metadata: {name: google-b, version: "1.0.0"}
spec:
  backend: gcp
  compute: {region: europe-west4}
  storage: {artifactStore: gcs, uri: "gs://models/below"}
  deployment: {registryUri: gcr.io/own, config: {project_id: p-1, service_account: sa@p, other: x}}
---
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: amazon, version: "1.0.0"}
spec:
  compute: {backend: aws}
  runtime: {docker_image: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:1"}
  storage: {artifact_store: "s3://models"}
---
apiVersion: flowyml.io/v1
kind: Stack
metadata: {name: sagemaker-b, version: "1.0.0"}
spec:
  backend: aws
  compute: {region: eu-west-1, size: ml.p3.2xlarge}
  deployment: {config: {role_arn: "arn:aws:iam::1:role/r"}}
---
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: here, version: "1.0.0"}
spec: {compute: {backend: local}, storage: {artifact_store: ./own, metadata_store: "sqlite:///own.db"}}
---
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: kube, version: "1.0.0"}
spec: {compute: {backend: kubernetes}}
---
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: slurm, version: "1.0.0"}
spec: {compute: {backend: slurm}}
"""


def not_applied(name: str, fields: str, backend: str) -> list[str]:
    what = f"FlowyML has no place for {fields} on backend {backend!r}"
    return [f"stack {name!r}: {what}; policy has judged it, and nothing applies it"]


BUILT: dict[str, Any] = {
    "azure": {
        "class": "AzureMLStack",
        "orchestrator": [
            "AzureMLOrchestrator",
            {"compute": "Standard_NC6s_v3", "experiment_name": "flowyml", "code": "."},
        ],
        "artifacts": ["https://mystorage.blob.core.windows.net", "artifacts"],
        "registry": "myregistry.azurecr.io",
        "image": ["myregistry.azurecr.io/flowyml:1", "python:3.11-slim"],
        "machine": None,
        "warned": not_applied("azure", "spec.compute.max_nodes, spec.tracking.experiment_tracker", "azureml"),
    },
    "google": {
        "class": "GCPStack",
        "orchestrator": ["VertexAIOrchestrator", {"region": "us-central1", "staging_bucket": "gs://models"}],
        "artifacts": ["gs://models/flowyml", "models"],
        "registry": "europe-docker.pkg.dev/p/repo",
        "image": ["europe-docker.pkg.dev/p/repo/train:1", "python:3.11-slim"],
        "machine": "n1-highmem-8",
        "warned": [],
    },
    "google-b": {
        "class": "GCPStack",
        "orchestrator": [
            "VertexAIOrchestrator",
            {
                "project_id": "p-1",
                "region": "europe-west4",
                "service_account": "sa@p",
                "staging_bucket": "gs://models",
            },
        ],
        "artifacts": ["gs://models/below", "models"],
        "registry": "gcr.io/own",
        "image": None,
        "machine": None,
        "warned": not_applied("google-b", "spec.deployment.config.other", "gcp"),
    },
    "amazon": {
        "class": "AWSStack",
        "orchestrator": ["AWSBatchOrchestrator", {"region": "eu-west-1"}],
        "artifacts": ["models"],
        "registry": "123456789012",
        "image": None,
        "machine": None,
        "warned": not_applied("amazon", "spec.runtime.docker_image", "aws"),
    },
    "sagemaker-b": {
        "class": "AWSStack",
        "orchestrator": [
            "SageMakerOrchestrator",
            {
                "region": "eu-west-1",
                "role_arn": "arn:aws:iam::1:role/r",
                "default_instance_type": "ml.p3.2xlarge",
                "default_instance_count": 1,
                "volume_size_gb": 50,
            },
        ],
        "artifacts": [],
        "registry": None,
        "image": None,
        "machine": None,
        "warned": [],
    },
    "here": {
        "class": "LocalStack",
        "orchestrator": ["LocalOrchestrator", {}],
        "artifacts": ["own"],
        "registry": None,
        "image": None,
        "machine": None,
        "warned": [],
    },
    "kube": {
        "error": ["stack_unbuildable", "FlowyML has no stack for kubernetes: it would run 'kube' in this process"],
    },
    "slurm": {"error": ["stack_unbuildable", "FlowyML knows no backend 'slurm': stack 'slurm'"]},
}


@pytest.mark.flowyml
def test_definitions_become_stacks_and_images_run_by_digest(run: Run, flowyml_python: Path, tmp_path: Path) -> None:
    with oci_registry.start() as server:
        repository = server.repository("team/train")
        digest = repository.add_image({"os": "linux", "architecture": "amd64", "config": {"User": "1000"}}, "1")
        host = server.host
        (tmp_path / "definitions.yaml").write_text(DEFINITIONS)
        (tmp_path / "stacks").mkdir()
        for name, image in (("pinned", f"{host}/team/train:1"), ("unpinned", f"{host}/team/none:1")):
            (tmp_path / "stacks" / f"{name}.yaml").write_text(
                "apiVersion: flowyml/v1\nkind: StackDefinition\n"
                f'metadata: {{name: {name}, version: "1.0.0"}}\n'
                f"spec: {{compute: {{backend: azureml}}, runtime: {{docker_image: '{image}'}}}}\n"
            )
        (tmp_path / "flowyml.yaml").write_text(
            f"policy: {{images: {{inspect: registry, insecure: ['{host}']}}, sources: {{plain_http: []}}}}\n"
        )
        ended = run(flowyml_python, PROGRAM, tmp_path / "results.json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    metadata = {name: stack.pop("metadata", None) for name, stack in found["built"].items()}
    assert metadata["azure"] == f"sqlite:///{tmp_path / 'shared.db'}"
    assert found == {
        "built": BUILT,
        "images": {"pinned": f"{host}/team/train@{digest}", "unpinned": ["images_inspected.failed"]},
    }


def test_to_stack_without_flowyml_says_how_to_install_it() -> None:
    definition = StackDefinition.from_yaml(DEFINITIONS.split("---\n", maxsplit=1)[0])
    with pytest.raises(UsageError) as raised:
        definition.to_stack()
    assert raised.value.advice == "run pip install 'flowyml-policy[flowyml]'"
