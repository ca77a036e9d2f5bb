"""FlowyML's live stacks, by their attributes alone: what of them policy gets to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowyml_policy import PolicyEngine, StackResolver
from flowyml_policy.definitions.objects import definition_of
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.records.policy_input import Source


class Component:
    """Says of itself what it is given, as FlowyML's components do."""

    def __init__(self, **said: Any) -> None:
        self._said = said

    def to_dict(self) -> dict[str, Any]:
        return self._said


class VertexOrchestrator(Component):
    pass


class Bucket(Component):
    pass


class Database:
    db_path = Path(".flowyml/metadata.db")
    db_url = "postgresql://ml:hunter2secret@db.example/ml"
    engine = object()


class LiveStack:
    """The attributes of FlowyML's Stack."""

    def __init__(self, name: Any = "gcp-prod", **components: Any) -> None:
        self.name = name
        self.executor = None
        self.orchestrator = components.get("orchestrator")
        self.artifact_store = components.get("artifact_store")
        self.metadata_store = components.get("metadata_store")
        self.container_registry = None


def vertex(project: str = "ml-prod") -> LiveStack:
    return LiveStack(
        orchestrator=VertexOrchestrator(type="vertex_ai", project_id=project, region="europe-west1", network=None),
        artifact_store=Bucket(type="gcs", bucket_name="models", prefix="flowyml"),
        metadata_store=Database(),
    )


def test_definition_of_a_live_stack_has_all_that_it_says() -> None:
    definition = definition_of(vertex())
    assert definition.source == Source(kind="object", uri=f"object:{__name__}.LiveStack")
    assert definition.provenance is not None
    assert definition.provenance.pinned is False
    assert definition.location(("spec",)) is None
    assert definition.set_values() == {
        "apiVersion": "flowyml/v1",
        "kind": "StackDefinition",
        "metadata": {"name": "gcp-prod"},
        "spec": {
            "compute": {"backend": "gcp"},
            "storage": {
                "artifact_store": "gs://models/flowyml",
                "metadata_store": "postgresql://ml:hunter2secret@db.example/ml",
            },
            "instance": {
                "class": "LiveStack",
                "executor": None,
                "orchestrator": {
                    "type": "vertex_ai",
                    "project_id": "ml-prod",
                    "region": "europe-west1",
                    "network": None,
                    "class": "VertexOrchestrator",
                },
                "artifact_store": {"type": "gcs", "bucket_name": "models", "prefix": "flowyml", "class": "Bucket"},
                "metadata_store": {
                    "db_path": ".flowyml/metadata.db",
                    "db_url": "postgresql://ml:hunter2secret@db.example/ml",
                    "class": "Database",
                },
                "container_registry": None,
                "model_deployer": None,
                "model_registry": None,
            },
        },
    }


def test_definition_of_live_stacks_that_differ_in_one_fact_have_two_digests() -> None:
    assert definition_of(vertex()).digest == definition_of(vertex()).digest
    assert definition_of(vertex("ml-test")).digest != definition_of(vertex()).digest


@pytest.mark.parametrize(
    ("said", "backend"),
    [
        (None, "local"),
        ({"type": "local"}, "local"),
        ({"type": "aws_batch"}, "aws"),
        ({"type": "sagemaker"}, "aws"),
        ({"type": "azure_ml", "compute": "gpu-cluster"}, "azureml"),
        ({"type": "of-somebody-else"}, "custom"),
        ({}, "custom"),
    ],
)
def test_backend_of_a_live_stack_is_what_its_orchestrator_runs_on(said: dict[str, Any] | None, backend: str) -> None:
    definition = definition_of(LiveStack(orchestrator=None if said is None else Component(**said)))
    assert definition.spec.compute.backend == backend
    assert definition.spec.compute.size == (said or {}).get("compute")


def test_values_that_have_no_place_in_json_are_called_by_their_class() -> None:
    said = {
        "type": "x",
        "key": object(),
        "many": {1, 2},
        "huge": 2**60,
        "odd": float("nan"),
        "deep": {"a": (Path("b"),)},
    }
    definition = definition_of(LiveStack(orchestrator=Component(**said)))
    orchestrator = definition.set_values()["spec"]["instance"]["orchestrator"]
    assert orchestrator == {
        "type": "x",
        "key": "object",
        "many": [1, 2],
        "huge": str(2**60),
        "odd": "nan",
        "deep": {"a": ["b"]},
        "class": "Component",
    }


class Broken:
    def to_dict(self) -> dict[str, Any]:
        raise RuntimeError("no project")


class Unreadable:
    @property
    def name(self) -> str:
        raise RuntimeError("not connected")


@pytest.mark.parametrize(
    ("stack", "says"),
    [
        (LiveStack, "the class LiveStack is no stack"),
        (object(), "an object of class object is no stack"),
        ("gpu", "an object of class str is no stack"),
        (LiveStack(name=7), "an object of class LiveStack is no stack"),
        (LiveStack(name=""), "the LiveStack cannot be judged: metadata.name"),
        (LiveStack(name="\ud800"), "the LiveStack cannot be judged: "),
        (Unreadable(), "an object of class Unreadable cannot be read: RuntimeError"),
        (LiveStack(orchestrator=Broken()), "the component Broken cannot say what it is: RuntimeError"),
    ],
)
def test_object_that_cannot_be_read_fails_closed(stack: object, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        definition_of(stack)
    assert says in caught.value.message


class Printed:
    """FlowyML's own StackDefinition."""

    def __init__(self, **spec: Any) -> None:
        self._spec = spec

    def to_stack(self) -> None:
        raise AssertionError("nobody asks it for a live stack")

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"metadata": {"name": "gpu", "version": "1.0.0"}, "spec": self._spec}


def test_definition_of_flowymls_own_definition_is_the_document_that_it_prints() -> None:
    definition = definition_of(Printed(backend="aws", compute={"maxInstances": 3}))
    assert definition.written_schema == "flowyml.io/v1"
    assert (definition.spec.compute.backend, definition.spec.compute.max_nodes) == ("aws", 3)
    assert definition.source.kind == "object"
    with pytest.raises(DefinitionInvalid):
        definition_of(Printed(backend="a cloud"))


def test_live_stack_is_judged_as_it_is_and_its_secrets_stay_out_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowyml.yaml").write_text("policy: {images: {inspect: 'off'}}\n")
    with PolicyEngine.from_project() as engine:
        decision = engine.check(vertex())
    assert [finding.code for finding in decision.denials] == ["version.missing"]
    assert b"hunter2secret" not in (tmp_path / ".flowyml" / "policy.db").read_bytes()
    located = StackResolver().locate(vertex())
    assert (located.step, located.reference) == ("argument", f"object:{__name__}.LiveStack")
