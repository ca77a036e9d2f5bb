"""The manifests that everything judges: all distinct, every other one denied, each for one of several reasons.

Rules:
- They lie on a disk. In memory (tmpfs) neither reading nor the audit's commits would cost what they cost.
- The same folder serves every judge. A number fixes a manifest, so runs are comparable.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clock import CannotMeasure

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})

BACKENDS = ("azureml", "kubernetes", "sagemaker", "vertex", "ray")
TEAMS = ("ml-platform", "fraud", "forecasting", "vision", "search")
REGISTRIES = ("myregistry.azurecr.io", "gcr.io/my-project")

SETTINGS = """\
project: {name: fraud-detection, org: fintech-corp}
policies:
  allowed_stacks: [prod-gpu-*, staging-*]
  required_labels: [approved, team]
  image_policy: {allowed_registries: [myregistry.azurecr.io, gcr.io/my-project]}
policy:
  images: {inspect: "off"}
  audit: {path: .flowyml/policy.db}
"""

PROJECT = {
    "name": "fraud-detection",
    "org": "fintech-corp",
    "policies": {
        "allowed_stacks": ["prod-gpu-*", "staging-*"],
        "required_labels": ["approved", "team"],
        "image_policy": {"allowed_registries": list(REGISTRIES), "required_labels": None},
        "levels": {},
        "rule_data": {},
    },
    "waivers": {},
    "overrides": [],
}
"""What SETTINGS say, as it stands in a PolicyInput: for judges that do not read flowyml.yaml."""


@dataclass(frozen=True)
class StackProject:
    """A project folder with `count` manifests under `stacks`, half of them to be denied."""

    folder: Path
    count: int

    @property
    def stacks(self) -> Path:
        return self.folder / "stacks"

    @property
    def files(self) -> list[Path]:
        return sorted(self.stacks.glob("*.yaml"))

    @property
    def denied(self) -> int:
        return sum(must_be_denied(number) for number in range(self.count))

    @property
    def audit(self) -> Path:
        return self.folder / ".flowyml"

    def forget(self) -> None:
        """Remove the audit, so that the next run makes one."""
        shutil.rmtree(self.audit, ignore_errors=True)

    def restart_from(self, audit: Path) -> None:
        """Put a copy of `audit` in the place of this project's."""
        self.forget()
        shutil.copytree(audit, self.audit)


def must_be_denied(number: int) -> bool:
    """Every other manifest is: manifest() breaks a rule in it."""
    return number % 2 == 1


def write_project(folder: Path, count: int) -> StackProject:
    """Make a project of `count` manifests in `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    project = StackProject(folder, count)
    project.stacks.mkdir(parents=True)
    refuse_memory(folder)
    (folder / "flowyml.yaml").write_text(SETTINGS, "utf-8")
    for number in range(count):
        (project.stacks / f"stack-{number:05}.yaml").write_text(manifest(number), "utf-8")
    return project


def manifest(number: int) -> str:
    """Manifest `number`; an odd one breaks one rule: allowed names, required labels, version or registry."""
    broken = number // 2 % 4 if must_be_denied(number) else None
    name = f"{'toy' if broken == 0 else 'prod-gpu'}-{number:05}"
    approved = "" if broken == 1 else 'approved: "true", '
    version = "latest" if broken == 2 else f"{1 + number % 7}.{number % 11}.{number}"
    registry = f"mirror-{number}.example.com" if broken == 3 else REGISTRIES[number // 2 % 2]
    return (
        "apiVersion: flowyml/v1\n"
        "kind: StackDefinition\n"
        "metadata:\n"
        f"  name: {name}\n"
        f'  version: "{version}"\n'
        f"  labels: {{{approved}team: {TEAMS[number % 5]}, cost-centre: cc-{number}}}\n"
        "spec:\n"
        "  compute:\n"
        f"    backend: {BACKENDS[number % 5]}\n"
        f"    size: Standard_NC{6 * (1 + number % 4)}s_v3\n"
        "    min_nodes: 0\n"
        f"    max_nodes: {1 + number % 16}\n"
        "  runtime:\n"
        f'    python_version: "3.{10 + number % 4}"\n'
        f'    docker_image: "{registry}/team-{number % 23}/trainer:{number % 9}.{number}"\n'
        "  storage:\n"
        f"    artifact_store: abfs://artifacts@store{number % 41}.dfs.core.windows.net/{number}\n"
        "    metadata_store: sqlite:///shared/metadata.db\n"
        "  tracking:\n"
        "    experiment_tracker: mlflow\n"
        f"    mlflow_uri: https://mlflow-{number % 3}.company.com\n"
        "  secrets:\n"
        "    provider: azure_keyvault\n"
        f"    vault_url: https://vault-{number % 17}.vault.azure.net\n"
    )


def refuse_memory(folder: Path) -> None:
    """Raise CannotMeasure where `folder` lies in memory; where the system does not tell, it is taken for a disk."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.is_file():
        return
    best = ("", "")
    for line in mounts.read_text("utf-8").splitlines():
        fields = line.split()
        point, kind = fields[4], fields[fields.index("-") + 1]
        if folder.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    if best[1] in IN_MEMORY:
        raise CannotMeasure(f"{folder} is on {best[1]}, which is memory; name a folder on a disk with --work")
