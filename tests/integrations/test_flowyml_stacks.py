"""The real FlowyML's live stacks and definitions, as this program reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integrations.conftest import Run

pytestmark = pytest.mark.flowyml

PROGRAM = """\
import json, sys
from flowyml.stacks.local import LocalStack
from flowyml.stacks.aws import AWSStack
from flowyml.stacks.enterprise.models import StackDefinition as Theirs
from flowyml_policy import PolicyEngine, StackResolver

theirs = Theirs.model_validate({"metadata": {"name": "batch", "version": "1.0.0"}, "spec": {"backend": "aws"}})
stacks = [
    LocalStack("mine"),
    AWSStack("aws-prod", region="eu-west-1", bucket_name="models", job_queue="q"),
    theirs,
    theirs.to_stack(),
]
said = []
with PolicyEngine.from_project() as engine:
    for stack in stacks:
        found = StackResolver().locate(stack)
        values = found.definition.set_values()
        instance = values["spec"].get("instance", {})
        said.append([
            found.definition.metadata.name,
            found.definition.spec.compute.backend,
            found.provenance.uri,
            found.definition.spec.storage.artifact_store,
            (instance.get("orchestrator") or {}).get("job_queue"),
            sorted({finding.code for finding in engine.check(stack).denials}),
        ])
sys.stderr.write("said:" + json.dumps(said))
"""


def test_live_stacks_are_read_and_judged(run: Run, flowyml_python: Path, project: Path) -> None:
    done = run(flowyml_python, "-c", PROGRAM, cwd=project)
    assert done.returncode == 0, done.stderr
    undefined = ["labels.required", "naming.allowed_stacks", "version.missing"]
    assert json.loads(done.stderr.rpartition("said:")[2]) == [
        ["mine", "local", "object:flowyml.stacks.local.LocalStack", ".flowyml/artifacts", None, undefined],
        ["aws-prod", "aws", "object:flowyml.stacks.aws.AWSStack", "s3://models/flowyml", "q", undefined],
        [
            "batch",
            "aws",
            "object:flowyml.stacks.enterprise.models.StackDefinition",
            None,
            None,
            ["labels.required", "naming.allowed_stacks"],
        ],
        ["batch", "aws", "object:flowyml.stacks.aws.AWSStack", None, None, undefined],
    ]


IMAGES = """\
import json, sys
from flowyml.core.executor import LocalExecutor
from flowyml.plugins.base import PluginType
from flowyml.plugins.deployers.gcp_cloud_run import GCPCloudRunDeployer
from flowyml.plugins.stack_config import StackConfig
from flowyml.stacks.aws import AWSStack
from flowyml.stacks.azure import AzureMLStack
from flowyml.stacks.base import Stack
from flowyml.stacks.bridge import GenericBridge
from flowyml.stacks.components import DockerConfig
from flowyml.stacks.gcp import GCPStack
from flowyml.stacks.local import LocalStack
from flowyml_policy import PolicyEngine

class Environment:
    def __init__(self, image):
        self.name, self.image = "train", image

class ForeignOrchestrator:
    def __init__(self, **config):
        self.image = "b.io/foreign:1"

    def run(self):
        pass

plain = [LocalStack("local-one"), AWSStack("aws"), GCPStack("gcp"), AzureMLStack("azure", environment="sklearn@latest")]
named = AzureMLStack("azure", environment="b.io/env:1")
held = AzureMLStack("azure")
held.orchestrator.environment = Environment("b.io/held:1")
built = GCPStack("gcp")
built.docker_config = DockerConfig(base_image="b.io/base:1")
whole = AWSStack("aws")
whole.orchestrator.docker_config = DockerConfig(image="b.io/whole:1")
plugin = StackConfig.from_dict("plugged", {
    "model_registry": {"type": "of-nobody", "inference_image_uri": "b.io/serve:1"},
    "experiment_tracker": {"type": "mlflow", "server": {"image": "b.io/track:1"}},
    "artifact_stores": {"other": {"type": "gcs", "sync": {"image": "b.io/sync:1"}}},
}).to_stack()
deployer = GCPStack("gcp", model_deployer=GCPCloudRunDeployer(project_id="p", image="b.io/deploy:1"))
wrapper = GenericBridge().wrap_component(ForeignOrchestrator, "foreign")
local = LocalStack("x")
bridged = Stack("bridged", LocalExecutor(), local.artifact_store, local.metadata_store, orchestrator=wrapper())

said = []
with PolicyEngine.from_project() as engine:
    for stack in [*plain, named, held, built, whole, plugin, deployer, bridged]:
        denials = engine.check(stack).denials
        said.append(sorted({one.subject for one in denials if one.code == "images_registry.not_allowed"}))
sys.stderr.write("said:" + json.dumps(said))
"""


def test_images_that_live_stacks_name_are_judged(run: Run, flowyml_python: Path, project: Path) -> None:
    settings = project / "flowyml.yaml"
    settings.write_text("policies: {image_policy: {allowed_registries: [a.io]}}\npolicy: {images: {inspect: 'off'}}\n")
    done = run(flowyml_python, "-c", IMAGES, cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.rpartition("said:")[2]) == [
        *([[]] * 4),
        ["b.io/env:1"],
        ["b.io/held:1"],
        ["b.io/base:1"],
        ["b.io/whole:1"],
        ["b.io/serve:1", "b.io/sync:1", "b.io/track:1"],
        ["b.io/deploy:1"],
        ["b.io/foreign:1"],
    ]
