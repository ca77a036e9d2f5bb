"""What policy is given of a stack in FlowyML's own schema, and what it makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowyml_policy import AuditStore, PolicyEngine
from flowyml_policy.actor import current_actor
from flowyml_policy.definitions import StackDefinition
from flowyml_policy.normaliser import Normaliser
from flowyml_policy.records import Location
from flowyml_policy.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import WriteStack

TEXT = """\
apiVersion: flowyml.io/v1
kind: Stack
metadata:
  name: prod-gpu-b
  version: "2.1.0"
  description: token=ghp_0123456789abcdefghijABCDEFGHIJ012345
  owner: ml-platform
  tags: [gpu]
spec:
  backend: gcp
  compute: {type: gpu, maxInstances: 4}
  runtime: {baseImage: docker.io/evil/x:1}
  deployment:
    modelDeployer: kubernetes
    config: {image: quay.io/evil/serve:1, containerImage: docker.io/evil/x:1, baseImage: 3, nested: {image: no}}
"""


def test_policy_input_of_schema_b_holds_all_of_it_in_terms_of_schema_a(project: Path) -> None:
    definition = StackDefinition.from_yaml(TEXT, file="f")
    document = Normaliser(load_settings(project), current_actor()).policy_input(
        definition, operation="validate", evaluated_at="2026-01-01T00:00:00Z"
    )

    stack = document.stack
    assert (stack.name, stack.version, stack.labels) == ("prod-gpu-b", "2.1.0", {})
    assert (stack.owner, stack.tags) == ("ml-platform", ("gpu",))
    assert stack.description is not None
    assert stack.description.startswith("token=masked:")
    assert stack.spec == definition.set_values()["spec"]
    assert stack.spec["compute"] == {"backend": "gcp", "type": "gpu", "max_nodes": 4}
    assert stack.document["spec"] == definition.document["spec"]
    assert stack.document["metadata"]["description"] == stack.description
    assert stack.definition_digest == definition.digest
    assert [secret.path for secret in stack.suspected_secrets] == [("metadata", "description")]
    assert [(image.ref, image.paths) for image in document.images] == [
        (
            "docker.io/evil/x:1",
            (("spec", "runtime", "docker_image"), ("spec", "deployment", "config", "containerImage")),
        ),
        ("quay.io/evil/serve:1", (("spec", "deployment", "config", "image"),)),
    ]


def test_policy_input_of_schema_a_says_nothing_that_schema_a_has_no_place_for(
    project: Path, write_stack: WriteStack
) -> None:
    definition = StackDefinition.from_file(project / write_stack("prod-gpu-large"))
    document = Normaliser(load_settings(project), current_actor()).policy_input(
        definition, operation="validate", evaluated_at="2026-01-01T00:00:00Z"
    )

    assert (document.stack.description, document.stack.owner, document.stack.tags) == (None, None, ())
    assert document.stack.document == definition.document


def test_validate_of_schema_b_denies_with_paths_of_schema_a_and_lines_of_the_file(write_stack: WriteStack) -> None:
    path = write_stack("prod-gpu-b", text=TEXT)

    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path])

    found = {(one.code, one.path): one.location for one in result.findings}
    assert result.outcome == "deny"
    assert found["images_registry.not_allowed", ("spec", "runtime", "docker_image")] == Location(
        file=path, line=12, column=24
    )
    assert found["images_registry.not_allowed", ("spec", "deployment", "config", "image")] == Location(
        file=path, line=15, column=21
    )
    assert {code for code, _ in found if code.startswith("labels")} == {"labels.required"}
    with AuditStore() as audit:
        assert [event.type for event in audit.get_events(stack_name="prod-gpu-b")] == [
            "StackValidated",
            "PolicyChecked",
        ]
        assert audit.verify().ok
