"""The snippets of FlowyML's guide *Enterprise Stacks* as they stand there, but for the name of the package.

Only what surrounds them is ours: a client of Azure that keeps what it is given, and no server for a browser.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from flowyml import Pipeline
from flowyml.cli.main import cli
from flowyml.stacks.enterprise.models import StackDefinition as Theirs
from flowyml.stacks.enterprise.policy import PolicyContext, PolicyEngine

from flowyml_policy import AuditStore, FlowymlPolicyError, StackDefinition, StackLockManager, StackResolver
from flowyml_policy.integrations.flowyml.rules import OpaRule
from tests.integrations.programs.cases import inside

USE = """
pipeline = Pipeline("training", stack="prod-gpu-large")
pipeline.run()
"""
BY_ENVIRONMENT = """
pipeline = Pipeline("training", env="production")
pipeline.run()
"""
BY_DEFINITION = """
pipeline = Pipeline("training", stack=definition)
pipeline.run()
"""
BY_ADDRESS = """
pipeline = Pipeline("train", stack="github://my-org/ml-stacks@v2.1.0#prod")
pipeline.run()
"""
RESOLVE = """
resolver = StackResolver()
definition = resolver.resolve(stack="prod-gpu-large", env="production")
"""
AUDIT = """
audit = AuditStore()
events = audit.get_events(stack_name="prod-gpu-large")
"""
LOCK = """
lock_manager = StackLockManager()
with lock_manager.acquire("prod-gpu-large"):
    held.append("prod-gpu-large")
"""
COMMANDS = (
    "flowyml enterprise stack list",
    "flowyml enterprise stack show prod-gpu-large",
    "flowyml enterprise stack validate ./stacks/prod.yaml",
    "flowyml enterprise stack apply ./stacks/prod.yaml",
)

submitted: list[dict[str, Any]] = []


class Azure:
    """Azure ML's client, as far as FlowyML's orchestrator asks it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.jobs = self

    def create_or_update(self, job: dict[str, Any]) -> Any:
        submitted.append(job)
        return SimpleNamespace(name="job-1", studio_url="")


def install_azure() -> None:
    modules = {name: ModuleType(name) for name in ("azure", "azure.ai", "azure.ai.ml", "azure.identity")}
    vars(modules["azure.ai.ml"]).update(command=lambda **job: job, MLClient=Azure)
    vars(modules["azure.identity"]).update(DefaultAzureCredential=lambda **_: None)
    sys.modules.update(modules)


def ended(program: str, names: dict[str, Any]) -> str:
    """How a snippet ends: empty, or the error and its code."""
    try:
        exec(compile(program, "<page>", "exec"), names)  # noqa: S102  the page's own text
    except FlowymlPolicyError as error:
        result = getattr(error, "result", None)
        code = "" if result is None or result.error is None else result.error.code
        return f"{type(error).__name__} {code}"
    return ""


def exit_code(command: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            cli(command.split()[1:])
        except SystemExit as error:
            return int(error.code or 0)
    raise AssertionError(command)


def answered(name: str, policy: str = "{}", **context: Any) -> list[str]:
    """What FlowyML's own engine says, asking ours."""
    Path("flowyml.yaml").write_text(f"policies: {{allowed_stacks: [prod-*]}}\npolicy: {policy}\n")
    stack = Theirs.model_validate({"metadata": {"name": name, "version": "1.0.0"}, "spec": {"backend": "local"}})
    (found,) = PolicyEngine(rules=[OpaRule()]).validate(PolicyContext(stack=stack, **context))
    return [found.rule_name, found.status, found.message]


def answers() -> dict[str, list[str]]:
    """One answer of each kind, without the platform's settings, which no project can be laxer than."""
    del os.environ["FLOWYML_POLICY_SETTINGS"]
    Path("rules").mkdir()
    Path("rules", "broken.rego").write_text("package project.rules.x\n\nfindings contains {\n")
    return {
        "allowed": answered("prod-own"),
        "denied": answered("toy-own"),
        "observed": answered("toy-own", "{enforce: observe}"),
        "off": answered("toy-own", "{enforce: none}"),
        "nowhere": answered("prod-own", environment="nowhere"),
        "broken": answered("prod-own", "{rules: [rules]}"),
        "settings": answered("prod-own", "[]"),
    }


if __name__ == "__main__":
    install_azure()
    Pipeline._ensure_ui_server = lambda *_: (None, None, False)
    names: dict[str, Any] = {
        "held": [],
        "Pipeline": Pipeline,
        "StackResolver": StackResolver,
        "AuditStore": AuditStore,
        "StackLockManager": StackLockManager,
        "StackDefinition": StackDefinition,
    }
    found: dict[str, Any] = {
        "ends": [ended(program, names) for program in (USE, BY_ENVIRONMENT, RESOLVE, BY_DEFINITION, LOCK)],
        "definition": [names["definition"].metadata.name, names["definition"].metadata.version],
        "images": [job["environment"] for job in submitted],
        "held": names["held"],
        "commands": [exit_code(command) for command in COMMANDS],
        "unknown": ended('Pipeline("training", stack="toy").run()', names),
    }
    assert ended(AUDIT, names) == ""
    found["events"] = [event.type for event in reversed(names["events"])]
    with inside("elsewhere"):
        found["address"] = [
            ended(BY_ADDRESS, names),
            *(job["environment"] for job in submitted[len(found["images"]) :]),
        ]
    found["rule"] = answers()
    Path(sys.argv[-1]).write_text(json.dumps(found))
