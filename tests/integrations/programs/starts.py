"""Every way to start a pipeline, on a stack that is allowed (`prod-cpu`) and on others that are not."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flowyml import Pipeline
from flowyml.core.dynamic import DynamicStep
from flowyml.core.orchestrator import LocalOrchestrator
from flowyml.core.retry_policy import OrchestratorRetryPolicy
from flowyml.core.scheduler import PipelineScheduler
from flowyml.core.subpipeline import sub_pipeline
from flowyml.plugins import config
from flowyml.plugins.stack_config import StackManager
from flowyml.stacks.azure import AzureMLOrchestrator
from flowyml.stacks.components import DockerConfig
from flowyml.stacks.enterprise.models import StackDefinition as Theirs
from flowyml.stacks.gcp import GCRContainerRegistry, VertexAIOrchestrator
from flowyml.stacks.local import LocalStack
from flowyml.stacks.registry import get_registry

from flowyml_policy import PolicyDenied, StackDefinition
from tests.integrations.programs.cases import QUIET, Work, case, inside, run_as_program, variables

ROOT = Path.cwd()


def theirs(name: str, backend: str = "local") -> Any:
    return Theirs.model_validate({"metadata": {"name": name, "version": "1.0.0"}, "spec": {"backend": backend}})


class Duck:
    """An orchestrator that is none of FlowyML's."""

    def run_pipeline(self, pipeline: Any, **_: Any) -> str:
        for one in pipeline.steps:
            one.func()
        return "job-1"


class Mute(Duck):
    """One that cannot say what it is."""

    def to_dict(self) -> dict[str, object]:
        raise RuntimeError("mute")


class Own(LocalOrchestrator):  # type: ignore[misc, unused-ignore]
    """One that overrides what the second layer hooks."""

    def run_pipeline(self, pipeline: Any, **given: Any) -> Any:
        return LocalOrchestrator.run_pipeline(self, pipeline, **given)


# --- allowed


@case
def allowed_default(work: Work) -> object:
    with inside(ROOT / "free"):
        return work.run()


@case
def allowed_local_stack_as_flowyml_makes_it(work: Work) -> object:
    with inside(ROOT / "free"):
        return work.run(work.pipeline(stack=LocalStack()))


@case
def allowed_definition_with_fields_that_have_no_place(work: Work) -> object:
    """Also where warnings are errors."""
    definition = StackDefinition.from_dict(
        {
            "apiVersion": "flowyml/v1",
            "kind": "StackDefinition",
            "metadata": {"name": "prod-cpu", "version": "1.0.0", "labels": {"team": "ml"}},
            "spec": {"compute": {"backend": "local", "size": "large"}},
        }
    )
    warnings.simplefilter("error", UserWarning)
    return work.run(stack=definition)


@case
def allowed_name(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"))


@case
def allowed_env(work: Work) -> object:
    return work.run(env="prod")


@case
def allowed_active_stack(work: Work) -> object:
    with inside(ROOT / "active"):
        pipeline = work.pipeline()
        assert pipeline.stack.name == "prod-cpu"
        return work.run(pipeline)


@case
def allowed_env_beats_variable(work: Work) -> object:
    with variables(FLOWYML_STACK="toy-cpu"):
        return work.run(env="prod")


@case
def allowed_definition(work: Work) -> object:
    return work.run(stack=StackDefinition.from_file("stacks/prod-cpu.yaml"))


@case
def allowed_their_definition(work: Work) -> object:
    with inside(ROOT / "free"):
        return work.run(stack=theirs("theirs"))


@case
def allowed_made_stack(work: Work) -> object:
    return work.run(work.pipeline(stack=StackDefinition.from_file("stacks/prod-cpu.yaml").to_stack()))


@case
def allowed_version(work: Work) -> object:
    pipeline = Pipeline(work.name, version="v1", stack="prod-cpu")
    pipeline.add_step(work.step())
    return pipeline.run(auto_start_ui=False)


@case
def allowed_duck(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), orchestrator=Duck())


@case
def allowed_direct(work: Work) -> object:
    pipeline = work.pipeline(stack="prod-cpu")
    pipeline.build()
    return LocalOrchestrator().run_pipeline(pipeline, "run-direct")


@case
def allowed_sub_pipeline(work: Work) -> object:
    parent = Pipeline("parent", stack="prod-cpu", **QUIET)
    parent.add_step(sub_pipeline(work.pipeline(stack="prod-cpu")))
    return parent.run(auto_start_ui=False).success


@case
def allowed_twice_on_what_run_named(work: Work) -> object:
    pipeline = work.pipeline()
    work.run(pipeline, stack="prod-cpu")
    return work.run(pipeline)


@case
def allowed_after_another_was_denied(work: Work) -> object:
    with inside(ROOT / "active"):
        pipeline = work.pipeline()
        try:
            work.run(pipeline, stack="toy-cpu")
        except PolicyDenied:
            return work.run(pipeline)
    return "not denied"


@case
def allowed_image_by_its_full_name(work: Work) -> object:
    """Vertex AI builds and pushes what is named without a `/`."""
    named: list[str] = []

    class Keeping(Duck):
        def run_pipeline(self, pipeline: Any, **given: Any) -> str:
            named.append(given["docker_config"].image)
            return super().run_pipeline(pipeline)

    with inside(ROOT / "free"):
        work.run(orchestrator=Keeping(), docker_config={"image": "train:1"})
    return named


# --- denied


@case
def denied_name(work: Work) -> object:
    return work.run(work.pipeline(stack="toy-cpu"))


@case
def denied_name_in_run(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), stack="toy-cpu")


@case
def denied_address(work: Work) -> object:
    return work.run(work.pipeline(stack=f"file://{ROOT}/stacks/toy-cpu.yaml"))


@case
def denied_env(work: Work) -> object:
    return work.run(work.pipeline(env="dev"))


@case
def denied_env_in_run(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), env="dev")


@case
def denied_variable(work: Work) -> object:
    with variables(FLOWYML_STACK="toy-cpu"):
        return work.run()


@case
def denied_variable_set_late(work: Work) -> object:
    pipeline = work.pipeline()
    with variables(FLOWYML_STACK="toy-cpu"):
        return work.run(pipeline)


@case
def denied_environment_variable(work: Work) -> object:
    with variables(FLOWYML_ENV="dev"):
        return work.run()


@case
def denied_default_stack(work: Work) -> object:
    with inside(ROOT / "strict"):
        return work.run()


@case
def denied_local_stack_as_flowyml_makes_it(work: Work) -> object:
    with inside(ROOT / "strict"):
        return work.run(stack=LocalStack())


@case
def denied_local_stack_that_is_no_longer_so(work: Work) -> object:
    stack = LocalStack()
    stack.docker_config = DockerConfig(image="a.io/x:1")
    with inside(ROOT / "free"):
        return work.run(stack=stack)


@case
def denied_local_stack_whose_parts_are_no_longer_so(work: Work) -> object:
    stack = LocalStack()
    stack.executor.docker_config = DockerConfig(image="a.io/x:1")
    with inside(ROOT / "free"):
        return work.run(stack=stack)


@case
def denied_local_stack_with_another_database(work: Work) -> object:
    with inside(ROOT / "free"):
        return work.run(stack=LocalStack(metadata_path="sqlite://"))


@case
def denied_definition_that_is_called_local(work: Work) -> object:
    """It becomes what `LocalStack()` makes, and stays what it is."""
    definition = StackDefinition.from_dict(
        {
            "apiVersion": "flowyml/v1",
            "kind": "StackDefinition",
            "metadata": {"name": "local", "version": "1.0.0"},
            "spec": {"compute": {"backend": "local"}},
        }
    )
    return work.run(work.pipeline(stack=definition.to_stack()))


@case
def denied_local(work: Work) -> object:
    with inside(ROOT / "strict"):
        return work.run(work.pipeline(stack="local"))


@case
def denied_instance(work: Work) -> object:
    return work.run(work.pipeline(stack=LocalStack("toy-cpu")))


@case
def denied_instance_in_run(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), stack=LocalStack("toy-cpu"))


@case
def denied_instance_called_as_allowed(work: Work) -> object:
    return work.run(work.pipeline(stack=LocalStack("prod-cpu")))


@case
def denied_definition(work: Work) -> object:
    return work.run(work.pipeline(stack=StackDefinition.from_file("stacks/toy-cpu.yaml")))


@case
def denied_their_definition(work: Work) -> object:
    return work.run(work.pipeline(stack=theirs("toy-cpu")))


@case
def denied_their_stack(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), stack=theirs("toy-cpu").to_stack())


@case
def denied_by_their_own_policy(work: Work) -> object:
    definition = theirs("theirs")
    definition.spec.permissions.allowed_groups = ["ml"]
    with inside(ROOT / "free"):
        try:
            return work.run(stack=definition)
        except Exception as error:  # noqa: BLE001  its class is the outcome
            return type(error).__name__


@case
def denied_assigned(work: Work) -> object:
    pipeline = work.pipeline(stack="prod-cpu")
    pipeline.stack = LocalStack("toy-cpu")
    return work.run(pipeline)


@case
def denied_changed_after_it_was_made(work: Work) -> object:
    pipeline = work.pipeline(stack="prod-cpu")
    pipeline.stack.name = "toy-cpu"
    return work.run(pipeline)


@case
def denied_without_its_definition(work: Work) -> object:
    pipeline = work.pipeline(stack="toy-cpu")
    pipeline._stack_definition = None
    return work.run(pipeline)


@case
def denied_swapped_after_it_was_judged(work: Work) -> object:
    pipeline = work.pipeline(stack="prod-cpu")
    build = pipeline.build

    def swap() -> None:
        pipeline.stack = LocalStack("toy-cpu")
        build()

    pipeline.build = swap
    return work.run(pipeline)


@case
def denied_active_stack_of_a_program(work: Work) -> object:
    registry = get_registry()
    registry.register_stack(LocalStack("toy-active"), set_active=True)
    try:
        return work.run()
    finally:
        registry.active_stack_name = None


@case
def denied_version(work: Work) -> object:
    pipeline = Pipeline(work.name, version="v1", stack="toy-cpu")
    pipeline.add_step(work.step())
    return pipeline.run(auto_start_ui=False)


@case
def denied_orchestrator(work: Work) -> object:
    return work.run(work.pipeline(stack="toy-cpu"), orchestrator=LocalOrchestrator())


@case
def denied_duck(work: Work) -> object:
    return work.run(work.pipeline(stack="toy-cpu"), orchestrator=Duck())


@case
def denied_own_orchestrator(work: Work) -> object:
    return work.run(work.pipeline(stack="toy-cpu"), orchestrator=Own())


@case
def denied_direct(work: Work) -> object:
    pipeline = work.pipeline(stack="toy-cpu")
    pipeline.build()
    return LocalOrchestrator().run_pipeline(pipeline, "run-direct")


@case
def denied_direct_on_what_it_was_made_on(work: Work) -> object:
    with variables(FLOWYML_STACK="toy-cpu"):
        pipeline = work.pipeline()
    pipeline.build()
    return LocalOrchestrator().run_pipeline(pipeline, "run-direct")


@case
def denied_before_anything_on_what_it_was_made_on(work: Work) -> object:
    with variables(FLOWYML_STACK="toy-cpu"):
        pipeline = work.pipeline()
    pipeline.build = work.file.touch  # what FlowyML does before it asks an orchestrator
    return work.run(pipeline)


@case
def denied_direct_within_an_allowed_run(work: Work) -> object:
    inner = work.pipeline(stack="toy-cpu")
    inner.build()
    outer = Work("outer", work.file.parent).pipeline(stack="prod-cpu")
    outer.steps[0].func = lambda: LocalOrchestrator().run_pipeline(inner, "run-inner")
    result = outer.run(auto_start_ui=False)
    return f"success={result.success}"


@case
def denied_rerun(work: Work) -> object:
    pipeline = work.pipeline(stack="toy-cpu", enable_checkpointing=True)
    from flowyml.core.checkpoint import PipelineCheckpoint
    from flowyml.utils.config import get_config

    PipelineCheckpoint(run_id="old", checkpoint_dir=str(get_config().checkpoint_dir)).save_step_state("none", 1)
    return pipeline.rerun("old", auto_start_ui=False)


@case
def denied_schedule(work: Work) -> object:
    failures: list[str] = []
    scheduler = PipelineScheduler(on_failure=lambda *given: failures.append(type(given[-1]).__name__))
    schedule = scheduler.schedule_interval(work.name, work.pipeline(stack="toy-cpu").run, seconds=3600)
    scheduler._run_pipeline(schedule)
    return failures


@case
def denied_sub_pipeline(work: Work) -> object:
    parent = Pipeline("parent", stack="prod-cpu", **QUIET)
    parent.add_step(sub_pipeline(work.pipeline(stack="toy-cpu")))
    return f"success={parent.run(auto_start_ui=False).success}"


@case
def denied_dynamic_with_retries(work: Work) -> object:
    parent = Pipeline("parent", stack="prod-cpu", **QUIET)
    asked: list[int] = []

    def make(*_: Any) -> Any:
        asked.append(1)
        return work.pipeline(stack="toy-cpu")

    parent.add_step(DynamicStep(make, name="make"))
    policy = OrchestratorRetryPolicy(max_attempts=3, initial_delay=0.01, max_delay=0.01)
    try:
        return f"success={parent.run(auto_start_ui=False, retry_policy=policy).success}, asked {len(asked)}"
    except Exception as error:  # noqa: BLE001  its class is the outcome
        return f"{type(error).__name__}, asked {len(asked)}"


@case
def denied_with_retries(work: Work) -> object:
    policy = OrchestratorRetryPolicy(max_attempts=3, initial_delay=5.0)
    began = time.monotonic()
    try:
        return work.run(work.pipeline(stack="toy-cpu"), retry_policy=policy)
    finally:
        assert time.monotonic() - began < 5  # no delay was waited for


@case
def denied_plugin_orchestrator(work: Work) -> object:
    from flowyml import plugins
    from flowyml.plugins import stack

    stack.get_orchestrator = Duck
    return plugins.run_pipeline(work.pipeline(stack="toy-cpu"), "run-1")


@case
def denied_step_runner(work: Work) -> object:
    from flowyml.core.step_runner import StepRunner

    module = type(sys)("made_here")
    module.build = lambda: work.pipeline(stack="toy-cpu")  # type: ignore[attr-defined]
    sys.modules["made_here"] = module
    return StepRunner("made_here:build", [f"write_{work.name}"], "run-1", artifact_dir="artifacts").run()


@case
def denied_command(work: Work) -> object:
    from flowyml.cli.run import run_pipeline

    Path("on_toy.py").write_text(
        "from flowyml import Pipeline, step\n"
        f"@step(name='write')\ndef write():\n    open({str(work.file)!r}, 'w').close()\n"
        "pipeline = Pipeline('on_toy', enable_cache=False)\npipeline.add_step(write)\n"
    )
    return run_pipeline("on_toy", stack="toy-cpu", auto_start_ui=False)


@case
def denied_rest(work: Work) -> object:
    from flowyml.ui.backend.routers.execution import PipelineExecutionRequest, execute_pipeline

    module = type(sys)("for_rest")
    module.pipeline = work.pipeline(stack="toy-cpu")  # type: ignore[attr-defined]
    sys.modules["for_rest"] = module
    request = PipelineExecutionRequest(
        pipeline_module="for_rest", pipeline_name="pipeline", parameters={"auto_start_ui": False}
    )
    try:
        asyncio.run(execute_pipeline(request, token_data={}))
    except Exception as error:  # noqa: BLE001  its class is the outcome
        return f"{type(error).__name__} {'is denied' in str(getattr(error, 'detail', ''))}"
    return "ran"


@case
def denied_dry_run(work: Work) -> object:
    return work.pipeline(stack="toy-cpu").dry_run()


@case
def denied_image_of_the_run(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), docker_config={"image": "evil.io/train:1"})


@case
def denied_build_of_the_run(work: Work) -> object:
    return work.run(
        work.pipeline(stack="prod-cpu"), docker_config=DockerConfig(base_image="evil.io/base:1", registry_uri="a.io")
    )


@case
def denied_build_that_is_pushed_elsewhere(work: Work) -> object:
    """Before `docker` is called, which no machine of these tests has to have."""
    return work.run(
        work.pipeline(stack="prod-cpu"), docker_config=DockerConfig(base_image="a.io/base:1", registry_uri="evil.io")
    )


@case
def denied_build_pushed_to_the_registry_of_a_stack(work: Work) -> object:
    stack = StackDefinition.from_file("stacks/prod-cpu.yaml").to_stack()
    stack.container_registry = GCRContainerRegistry(project_id="evil")
    return work.run(stack=stack, docker_config=DockerConfig(base_image="a.io/base:1"))


@case
def denied_build_for_gpus_whose_base_is_flowymls(work: Work) -> object:
    return work.run(
        work.pipeline(stack="prod-cpu"),
        docker_config=DockerConfig(base_image="a.io/base:1", registry_uri="a.io", gpu_enabled=True),
    )


@case
def denied_build_where_a_digest_is_required(work: Work) -> object:
    with inside(ROOT / "digest"):
        return work.run(
            work.pipeline(stack="prod-cpu"),
            docker_config=DockerConfig(base_image=f"a.io/base@sha256:{'a' * 64}", registry_uri="a.io"),
        )


@case
def denied_build_that_is_not_pushed_where_a_digest_is_required(work: Work) -> object:
    with inside(ROOT / "digest"):
        return work.run(
            work.pipeline(stack="prod-cpu"),
            docker_config=DockerConfig(base_image=f"a.io/base@sha256:{'a' * 64}", registry_uri="a.io", auto_push=False),
        )


@case
def denied_image_among_the_options_of_an_orchestrator(work: Work) -> object:
    """As SageMaker's takes it."""
    return work.run(work.pipeline(stack="prod-cpu"), orchestrator=Duck(), training_image="evil.io/train:1")


@case
def denied_where_the_program_went_elsewhere_meanwhile(work: Work) -> object:
    """What differs at the orchestrator's door is judged by the settings that the run began with."""
    pipeline = work.pipeline(stack="prod-cpu")
    build = pipeline.build

    def leave() -> None:
        pipeline.stack = LocalStack("toy-cpu")
        os.chdir(ROOT / "free")
        build()

    pipeline.build = leave
    with inside(ROOT):
        return work.run(pipeline)


@case
def denied_image_of_an_orchestrator(work: Work) -> object:
    return work.run(
        work.pipeline(stack="prod-cpu"), orchestrator=AzureMLOrchestrator(environment="evil.io/environment:1")
    )


# --- undecided


@case
def undecided_unknown_name(work: Work) -> object:
    return work.run(work.pipeline(stack="nowhere"))


@case
def undecided_unknown_name_in_run(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-cpu"), stack="nowhere")


@case
def undecided_number(work: Work) -> object:
    return work.run(work.pipeline(stack=123))


@case
def undecided_mapping(work: Work) -> object:
    return work.run(stack={})


@case
def undecided_unknown_environment(work: Work) -> object:
    return work.run(work.pipeline(env="nowhere"))


@case
def undecided_unknown_environment_variable(work: Work) -> object:
    with variables(FLOWYML_ENV="nowhere"):
        return work.run()


@case
def undecided_direct(work: Work) -> object:
    pipeline = work.pipeline(stack="nowhere")
    pipeline.build()
    return LocalOrchestrator().run_pipeline(pipeline, "run-direct")


@case
def undecided_backend_that_would_run_here(work: Work) -> object:
    return work.run(work.pipeline(stack="prod-kube"))


@case
def undecided_their_backend_that_would_run_here(work: Work) -> object:
    return work.run(work.pipeline(stack=theirs("prod-kube", "kubernetes").to_stack()))


@case
def undecided_definition_that_flowyml_refuses(work: Work) -> object:
    return work.run(stack="prod-odd")


@case
def undecided_orchestrator_that_cannot_be_read(work: Work) -> object:
    return work.run(stack="prod-cpu", orchestrator=Mute())


@case
def undecided_docker_configuration_of_another_class(work: Work) -> object:
    return work.run(stack="prod-cpu", docker_config=SimpleNamespace(image="a.io/train:1"))


@case
def undecided_build_by_an_orchestrator_itself(work: Work) -> object:
    with inside(ROOT / "free"):
        return work.run(
            orchestrator=VertexAIOrchestrator(project_id="p"), docker_config=DockerConfig(base_image="a.io/base:1")
        )


@case
def undecided_broken_settings(work: Work) -> object:
    with inside(ROOT / "broken"):
        return work.run(work.pipeline(stack="prod-cpu"))


@case
def undecided_broken_bundle(work: Work) -> object:
    with inside(ROOT / "bundle"):
        return work.run()


@case
def undecided_broken_rule(work: Work) -> object:
    with inside(ROOT / "rule"):
        return work.run()


@case
def undecided_audit(work: Work) -> object:
    with inside(ROOT / "audit"):
        return work.run()


# --- observed, and off


@case
def observed_denied(work: Work) -> object:
    with inside(ROOT / "observe"):
        return work.run(stack=LocalStack("toy-cpu"))


@case
def observed_orchestrator_that_cannot_be_read(work: Work) -> object:
    with inside(ROOT / "observe"):
        return work.run(stack="prod-cpu", orchestrator=Mute())


@case
def observed_unknown(work: Work) -> object:
    with inside(ROOT / "observe"):
        return work.run(work.pipeline(stack="nowhere"))


@case
def observed_unknown_environment_variable(work: Work) -> object:
    with inside(ROOT / "observe"), variables(FLOWYML_ENV="nowhere"):
        return work.run()


@case
def observed_where_an_environment_of_an_invalid_stack_may_block(work: Work) -> object:
    with inside(ROOT / "observe-strict"):
        return work.run(stack="bad")


@case
def observed_where_an_environment_blocks(work: Work) -> object:
    with inside(ROOT / "observe-strict"):
        return work.run(env="strict")


@case
def off(work: Work) -> object:
    with inside(ROOT / "none"):
        work.run(stack=LocalStack("toy-cpu"))
        return work.run(stack=LocalStack("toy-cpu"))


@case
def off_but_for_an_environment(work: Work) -> object:
    with inside(ROOT / "none-strict"):
        return work.run(env="strict")


@case
def allowed_backend_that_settings_let_run_here(work: Work) -> object:
    with inside(ROOT / "here"):
        return work.run(stack="prod-kube")


@case
def disabled_and_enabled_again(work: Work) -> object:
    from flowyml_policy.errors.decision import GuardInactive
    from flowyml_policy.integrations.flowyml import disable, enable, require_guard

    outcomes: list[object] = []
    disable()
    try:
        require_guard()
    except GuardInactive as error:
        outcomes.append(error.message)
    work.run(work.pipeline(stack=LocalStack("toy-cpu")))
    outcomes.append([work.file.exists(), hasattr(Pipeline.run, "__wrapped__")])
    work.file.unlink()
    enable()
    require_guard()
    try:
        work.run(work.pipeline(stack=LocalStack("toy-cpu")))
    except Exception as error:  # noqa: BLE001  its class is the outcome
        outcomes.append(type(error).__name__)
    return outcomes


@case
def allowed_default_beside_named_stacks(work: Work) -> object:
    """FlowyML takes the first of `stacks:` for its active one."""
    with inside(ROOT / "named"):
        config._config = None
        StackManager.reset()
        try:
            return work.run()
        finally:
            config._config = None
            StackManager.reset()


@case
def allowed_in_many_threads(work: Work) -> object:
    with ThreadPoolExecutor(8) as threads:
        wanted = ["prod-cpu", "toy-cpu"] * 4
        return sorted(threads.map(lambda stack: ran(work, stack), wanted))


@case
def allowed_in_children(work: Work) -> object:
    """What is judged in the children of a fork, whose parent had started OPA."""
    children = []
    for stack in ("prod-cpu", "toy-cpu"):
        child = os.fork()
        if child == 0:
            os._exit({"ran": 10, "PolicyDenied": 20}.get(ran(work, stack), 1))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@case
def denied_after_a_reload(work: Work) -> object:
    """Last, since FlowyML's own modules keep the class that was there before."""
    module = importlib.reload(sys.modules[Pipeline.__module__])
    pipeline = module.Pipeline(work.name, stack="toy-cpu", **QUIET)
    pipeline.add_step(work.step())
    return pipeline.run(auto_start_ui=False)


def ran(work: Work, stack: str) -> str:
    try:
        work.run(stack=stack)
    except Exception as error:  # noqa: BLE001  its class is the outcome
        return type(error).__name__
    return "ran"


if __name__ == "__main__":
    run_as_program()
