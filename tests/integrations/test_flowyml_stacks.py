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
