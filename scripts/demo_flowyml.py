"""Show that no pipeline of FlowyML starts before policy allowed it: one that runs, and two that do not.

Exits 0 only when the allowed pipeline ran, neither the denied nor the undecided one did a thing, and the audit holds
all three; `make demo-flowyml`. It runs in the environment with FlowyML that `make flowyml` makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from demo import show_in

from flowyml_policy import AuditStore
from flowyml_policy.settings.places import PLATFORM_FILE

SETTINGS: Final = """\
project: {name: fraud-detection, org: fintech-corp}
policies: {allowed_stacks: [prod-*], required_labels: [team]}
policy: {images: {inspect: "off"}}
"""
BROKEN: Final = """\
policy:
  images: {inspect: "off"}
  opa: {config: {bundles: {company: {resource: "file://company.tar.gz"}}}}
"""
STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {{name: {name}, version: 1.0.0, labels: {{team: ml}}}}
spec: {{compute: {{backend: local}}}}
"""
PIPELINE: Final = """\
from pathlib import Path

from flowyml import Pipeline, step


@step(outputs=["model"])
def train():
    Path("{model}").write_text("trained")
    return "{model}"


pipeline = Pipeline("{name}", stack="{stack}")
pipeline.add_step(train)
pipeline.run(auto_start_ui=False)
"""
BLOCKED: Final = ["PolicyChecked", "PipelineBlocked"]
EVENTS: Final = ["PolicyChecked", "PipelineStarted", *BLOCKED, *BLOCKED]


class DemoFailed(Exception):
    """Something is not as it should be; the message says what."""


def main() -> int:
    """Run the demonstration; return the exit code."""
    if PLATFORM_FILE.exists():
        print(f"error: this machine's own settings would hold here: {PLATFORM_FILE}", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="fp-demo-") as folder:
        try:
            demonstrate(Path(folder))
        except DemoFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print("\nEvery run ended as it should. Next: docs/flowyml.md")
    return 0


def demonstrate(here: Path) -> None:
    """Start three pipelines, then show what the audit holds of them. Raises DemoFailed."""
    (here / "stacks").mkdir()
    for name in ("prod-cpu", "toy-cpu"):
        (here / "stacks" / f"{name}.yaml").write_text(STACK.format(name=name), "utf-8")
    say("A project. Its stacks must be called prod-*, and say which team they belong to.")
    write(here / "flowyml.yaml", SETTINGS)

    say("A pipeline on a stack that policy allows. Its one step writes a file. It runs.")
    write(here / "good.py", PIPELINE.format(name="good", stack="prod-cpu", model="good.model"))
    run(here, "good", ends="", has_run=True)

    say("The same on a stack that policy denies. It does not start.")
    write(here / "bad.py", PIPELINE.format(name="bad", stack="toy-cpu", model="bad.model"), shown=False)
    run(here, "bad", ends="PolicyDenied", has_run=False)

    say("The company's rules come as a bundle, and it is broken. Nobody can tell what it allows, and nothing starts.")
    write(here / "flowyml.yaml", SETTINGS.partition("policy:")[0] + BROKEN)
    (here / "company.tar.gz").write_bytes(b"half of an arch")
    write(here / "late.py", PIPELINE.format(name="late", stack="prod-cpu", model="late.model"), shown=False)
    run(here, "late", ends="PolicyUndecided", has_run=False)

    show_audit(here)


def say(text: str) -> None:
    """Begin a step."""
    print(f"\n== {text}", flush=True)


def write(file: Path, text: str, *, shown: bool = True) -> None:
    """Write a file, and show what is in it."""
    file.write_text(text, "utf-8")
    if shown:
        print(f"\n$ cat {file.name}\n{text}", end="", flush=True)


def run(here: Path, name: str, *, ends: str, has_run: bool) -> None:
    """Start a pipeline as its author would; `ends` is the error that it must end with. Raises DemoFailed."""
    print(f"\n$ python {name}.py", flush=True)
    ended = subprocess.run(
        [sys.executable, f"{name}.py"], cwd=here, env=environ(here), capture_output=True, text=True, check=False
    )
    print(ended.stdout, end="")
    said = ended.stderr.rpartition("\nflowyml_policy.errors.decision.")[2].strip() if ended.returncode else ""
    if said:
        print(f"Traceback (most recent call last):\n  ...\nflowyml_policy.errors.decision.{said}")
    model = here / f"{name}.model"
    print(f"\n$ ls {model.name}\n{model.name}" if model.exists() else f"\n$ ls {model.name}\nls: no such file")
    if said.partition(":")[0] != ends or (ended.returncode == 0) != has_run or model.exists() != has_run:
        raise DemoFailed(f"{name}.py did not end as it should: exit code {ended.returncode}\n{ended.stderr}")


def show_audit(here: Path) -> None:
    """Show what was recorded, and require that it is all that there should be. Raises DemoFailed."""
    say("The audit has all three: what was decided, and what became of the runs.")
    for arguments in (("audit", "list"), ("audit", "verify")):
        if not show_in(here, environ(here), *arguments, code=0):
            raise DemoFailed(f"flowyml-policy {' '.join(arguments)} failed")
    with AuditStore(here / ".flowyml" / "policy.db") as audit:
        events = list(reversed(audit.get_events()))
        outcomes = [decision.outcome for decision in reversed(audit.decisions())]
    print("\n>>> AuditStore().get_events()")
    for event in events:
        of = f"pipeline {event.payload['pipeline']!r}" if "pipeline" in event.payload else "the question"
        print(f"{event.at[11:19]}  {event.type:17}{event.stack_name or '-':10}{of}")
    if (outcomes, [event.type for event in events]) != (["allow", "deny", "error"], EVENTS):
        raise DemoFailed(f"the audit should hold {EVENTS}")


def environ(here: Path) -> dict[str, str]:
    """The environment of somebody who has no settings, and no stacks, of their own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLOWYML_")}
    return {**kept, "HOME": str(here), "PYTHONWARNINGS": "ignore"}


if __name__ == "__main__":
    sys.exit(main())
