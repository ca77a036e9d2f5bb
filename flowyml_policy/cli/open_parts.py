"""What commands on registered stacks open: the project's registry, with its audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowyml_policy.audit import AuditStore
from flowyml_policy.records import StackRegistry
from flowyml_policy.registry import LocalRegistry
from flowyml_policy.settings import Settings, load_settings
from flowyml_policy.stack_resolver import open_registry


@contextmanager
def registry_of(settings: Settings) -> Iterator[StackRegistry]:
    """The registry that `settings` name; its listings say what was last decided here."""
    with AuditStore(settings.audit_path) as audit:
        registry = open_registry(settings, decisions=audit)
        try:
            yield registry
        finally:
            if isinstance(registry, LocalRegistry):
                registry.close()


@contextmanager
def opened_registry(project: str | None) -> Iterator[StackRegistry]:
    """The registry of the project in the folder `project`, or around the working directory."""
    with registry_of(load_settings(project=None if project is None else Path(project))) as registry:
        yield registry
