"""Definitions on their way into a registry, and a server that keeps one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.registry import NewStack
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.registrable import new_stack
from tests.registry_server import RegistryServer, serving

AT = "2026-11-23T10:00:00Z"


class MakeStack(Protocol):
    """A registration as `apply` makes it."""

    def __call__(self, version: str = ..., name: str = ..., *, nodes: int = ..., **labels: str) -> NewStack: ...


def make_stack(version: str = "1.0.0", name: str = "prod-gpu", *, nodes: int = 4, **labels: str) -> NewStack:
    definition = StackDefinition.from_dict(
        {
            "apiVersion": "flowyml/v1",
            "kind": "StackDefinition",
            "metadata": {"name": name, "version": version, "labels": labels},
            "spec": {"compute": {"backend": "local", "max_nodes": nodes}},
        },
        source=Source(kind="local", uri=f"stacks/{name}.yaml"),
    )
    return new_stack(definition, applied_by="ada", applied_at=AT, decision_id="d-1")


@pytest.fixture
def stack() -> MakeStack:
    return make_stack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".flowyml" / "policy.db"


@pytest.fixture
def registry(path: Path) -> LocalRegistry:
    return LocalRegistry(path)


@pytest.fixture
def put_all(registry: LocalRegistry) -> Callable[..., None]:
    """Registers these versions of `prod-gpu`."""

    def put(*versions: str, name: str = "prod-gpu") -> None:
        for version in versions:
            registry.put(make_stack(version, name))

    return put


@pytest.fixture
def server(registry: LocalRegistry) -> Iterator[RegistryServer]:
    with serving(registry) as running:
        yield running
