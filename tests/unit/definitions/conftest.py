"""A definition as an author writes it, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from flowyml_policy.records.policy_input import Source

TEXT = """\
# A GPU stack
apiVersion: flowyml/v1
kind: StackDefinition
metadata:
  name: prod-gpu-large
  version: "2.1.0"
  labels: {team: ml-platform, approved: "true"}
spec:
  compute: {backend: azureml, size: Standard_NC6s_v3, min_nodes: 0, max_nodes: 4}
  runtime:
    python_version: "3.11"
    docker_image: myregistry.azurecr.io/flowyml:latest
  storage: {artifact_store: "abfs://store", metadata_store: "sqlite:///meta.db"}
  tracking: {experiment_tracker: mlflow, mlflow_uri: https://mlflow.company.com}
  secrets: {provider: azure_keyvault, vault_url: https://vault.azure.net}
"""

VALUE: dict[str, Any] = {
    "apiVersion": "flowyml/v1",
    "kind": "StackDefinition",
    "metadata": {
        "name": "prod-gpu-large",
        "version": "2.1.0",
        "labels": {"team": "ml-platform", "approved": "true"},
    },
    "spec": {
        "compute": {"backend": "azureml", "size": "Standard_NC6s_v3", "min_nodes": 0, "max_nodes": 4},
        "runtime": {"python_version": "3.11", "docker_image": "myregistry.azurecr.io/flowyml:latest"},
        "storage": {"artifact_store": "abfs://store", "metadata_store": "sqlite:///meta.db"},
        "tracking": {"experiment_tracker": "mlflow", "mlflow_uri": "https://mlflow.company.com"},
        "secrets": {"provider": "azure_keyvault", "vault_url": "https://vault.azure.net"},
    },
}


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def value() -> dict[str, Any]:
    return VALUE


@pytest.fixture
def source() -> Source:
    return Source(kind="local", uri="f.yaml")
