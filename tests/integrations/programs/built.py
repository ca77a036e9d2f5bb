"""What definitions become as FlowyML's stacks, and which image a run is handed."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from flowyml import Pipeline, step

from flowyml_policy import FlowymlPolicyError, PolicyDenied, StackDefinition


def described(definition: StackDefinition) -> dict[str, Any]:
    """The stack of a definition, as far as it says something, and what was warned of."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            stack = definition.to_stack()
        except FlowymlPolicyError as error:
            return {"error": [error.code, error.message]}
    orchestrator = {key: value for key, value in vars(stack.orchestrator).items() if value not in (None, {}, "")}
    orchestrator.pop("name")
    image = getattr(stack, "docker_config", None)
    machine = getattr(stack, "resources", None)
    store = stack.artifact_store
    return {
        "class": type(stack).__name__,
        "orchestrator": [type(stack.orchestrator).__name__, orchestrator],
        "artifacts": [
            str(getattr(store, name))
            for name in ("base_path", "bucket_name", "account_url", "container_name")
            if getattr(store, name, None)
        ],
        "metadata": stack.metadata_store.db_url if hasattr(stack.metadata_store, "db_url") else None,
        "registry": next(
            (
                getattr(stack.container_registry, name)
                for name in ("registry_uri", "login_server", "account_id")
                if getattr(stack.container_registry, name, None)
            ),
            None,
        ),
        "image": None if image is None else [image.image, image.base_image],
        "machine": None if machine is None else machine.machine_type,
        "warned": [str(one.message) for one in warned if issubclass(one.category, UserWarning)],
    }


class Seen:
    """An orchestrator that runs nothing and keeps which image it was told to run."""

    image: str | None = None

    def run_pipeline(self, pipeline: Any, **given: Any) -> str:
        del pipeline
        Seen.image = given["docker_config"].image
        return "job"


def image_of_run(stack: str) -> object:
    @step(name=f"nothing_{stack}", register=False)  # type: ignore[untyped-decorator, unused-ignore]
    def nothing() -> None:
        """Do nothing."""

    pipeline = Pipeline("images", stack=stack, enable_cache=False, enable_experiment_tracking=False)
    pipeline.add_step(nothing)
    Seen.image = None
    try:
        pipeline.run(orchestrator=Seen(), auto_start_ui=False)
    except PolicyDenied as error:
        return sorted({finding.code for finding in error.result.denials})
    return Seen.image


if __name__ == "__main__":
    documents = yaml.safe_load_all(Path("definitions.yaml").read_text())
    built = {one["metadata"]["name"]: described(StackDefinition.from_dict(one)) for one in documents}
    images = {name: image_of_run(name) for name in ("pinned", "unpinned")}
    Path(sys.argv[-1]).write_text(json.dumps({"built": built, "images": images}))
