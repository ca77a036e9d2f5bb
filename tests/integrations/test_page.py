"""The snippets of FlowyML's guide run here as they stand: its classes, its commands, its settings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import oci_registry
from tests.resolution.conftest import Authority, GitHost, Repository, StartServer, authority, start_server

__all__ = ["authority", "start_server"]

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.flowyml

PROGRAM = Path(__file__).resolve().parent / "programs" / "page.py"
ROOT = Path(__file__).resolve().parents[2]

SETTINGS = """\
project:
  name: fraud-detection
  org: fintech-corp
policies:
  allowed_stacks: [prod-gpu-*, staging-*]
  required_labels: [approved, team]
  image_policy:
    allowed_registries: [myregistry.azurecr.io, gcr.io/my-project]
    required_labels: [maintainer, version]
environments:
  dev: {stack: local}
  staging: {stack: staging-cpu}
  production: {stack: prod-gpu-large}
"""
DEFINITION = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata:
  name: prod-gpu-large
  version: "2.1.0"
  labels:
    team: ml-platform
    environment: production
    approved: "true"
spec:
  compute:
    backend: azureml
    size: Standard_NC6s_v3
    min_nodes: 0
    max_nodes: 4
  runtime:
    python_version: "3.11"
    docker_image: myregistry.azurecr.io/flowyml:latest
  storage:
    artifact_store: abfs://artifacts@mystorage.dfs.core.windows.net
    metadata_store: sqlite:///shared/metadata.db
  tracking:
    experiment_tracker: mlflow
    mlflow_uri: https://mlflow.company.com
  secrets:
    provider: azure_keyvault
    vault_url: https://my-vault.vault.azure.net
"""
NOT_ALLOWED = (
    'naming.allowed_stacks: the stack\'s name "toy-own" is not allowed: the project (policies.allowed_stacks) '
    'allows "prod-*"'
)
CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"User": "1000", "Labels": {"maintainer": "ml", "version": "1.0.0"}},
}


@pytest.fixture
def git_settings(tmp_path: Path, authority: Authority, start_server: StartServer) -> Path:
    """Settings of git that lead github.com to a host of ours, with the guide's repository."""
    repository = Repository(tmp_path / "github" / "my-org" / "ml-stacks.git")
    repository.folder.mkdir(parents=True)
    repository.git("init", "--quiet")
    for key, value in (("user.name", "Tester"), ("user.email", "tester@example.com")):
        repository.git("config", key, value)
    repository.commit({"stacks/prod.yaml": DEFINITION.replace("name: prod-gpu-large", "name: prod").encode()})
    repository.git("tag", "v2.1.0")
    server = start_server(authority.server)
    server.answer = GitHost(tmp_path / "github", server).answer
    file = tmp_path / "gitconfig"
    file.write_text(
        f'[http]\n  sslCAInfo = {authority.file}\n[url "{server.url("/")}"]\n  insteadOf = https://github.com/\n'
    )
    return file


def test_snippets_of_the_guide_run_as_they_stand(
    run: Run, flowyml_python: Path, tmp_path: Path, git_settings: Path
) -> None:
    """Platform settings lead the guide's registry to one of ours, which holds an image with the guide's labels."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "flowyml.yaml").write_text("project: {name: train, org: fintech-corp}\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "flowyml.yaml").write_text(SETTINGS)
    (tmp_path / "stacks" / "prod.yaml").write_text(DEFINITION)
    with oci_registry.start() as server:
        digest = server.repository("flowyml").add_image(CONFIG, "latest")
        images = {"mirrors": {"myregistry.azurecr.io": [server.host]}, "insecure": [server.host]}
        (tmp_path / "platform.yaml").write_text(json.dumps({"policy": {"images": images}}))
        ended = run(
            flowyml_python,
            PROGRAM,
            tmp_path / "results.json",
            cwd=tmp_path,
            FLOWYML_POLICY_SETTINGS=str(tmp_path / "platform.yaml"),
            GIT_CONFIG_GLOBAL=str(git_settings),
            GIT_CONFIG_NOSYSTEM="1",
            PYTHONPATH=str(ROOT),
        )
    assert ended.returncode == 0, ended.stderr
    exact = f"myregistry.azurecr.io/flowyml@{digest}"
    found = json.loads((tmp_path / "results.json").read_text())
    assert found.pop("rule") == {
        "allowed": ["opa", "passed", "policy allows stack 'prod-own'"],
        "denied": ["opa", "failed", NOT_ALLOWED],
        "observed": ["opa", "warning", NOT_ALLOWED],
        "off": ["opa", "passed", "nothing is judged, because policy.enforce is none"],
        "nowhere": ["opa", "failed", f"undecided: there is no environment 'nowhere': {tmp_path / 'flowyml.yaml'}"],
        "broken": ["opa", "failed", "undecided: rego_parse_error: unexpected eof token: rules/broken.rego:4"],
        "settings": ["opa", "failed", "undecided: `policy` must be a mapping, not a list: flowyml.yaml:2:1"],
    }
    assert found == {
        "ends": ["", "", "", "", ""],
        "definition": ["prod-gpu-large", "2.1.0"],
        "images": [exact, exact, exact],
        "address": ["", exact],
        "held": ["prod-gpu-large"],
        "commands": [0, 0, 0, 0],
        "unknown": "PolicyUndecided stack_not_found",
        "events": [
            *["PolicyChecked", "PipelineStarted"] * 3,
            "PolicyChecked",
            "StackValidated",
            "StackLocked",
            "PolicyChecked",
            "StackValidated",
            "StackApplied",
            "StackUnlocked",
        ],
    }
