"""The chain, step by step and broken step by broken step, and what a name means."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy import ResolvedStack, StackDefinition, StackResolver
from flowyml_policy.definitions.builtin import LOCAL_STACK
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.lockfile import StackDrifted, StackNotPinned
from flowyml_policy.errors.references import ReferenceMalformed, VersionMalformed
from flowyml_policy.errors.registry import RegistryCorrupt, RegistryUnreachable, VersionRetired
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.errors.settings import EnvironmentUnknown
from flowyml_policy.errors.sources import (
    SourceMissing,
    SourceNotPinned,
    SourceUnreachable,
    SourceUnreadable,
    StackAmbiguous,
    StackNotFound,
)
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.provenance import Provenance, RegisteredProvenance, StepName
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.registrable import new_stack
from flowyml_policy.resolution.lockfile import Lockfile, write_lockfile
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.sources.source import FetchRules

AT = "2026-01-02T03:04:05.000000Z"


def text(name: str, version: str = "1.0.0", **compute: Any) -> str:
    keys = ", ".join(f"{key}: {value}" for key, value in ({"backend": "ray"} | compute).items())
    return (
        "apiVersion: flowyml/v1\nkind: StackDefinition\n"
        f'metadata: {{name: {name}, version: "{version}"}}\nspec: {{compute: {{{keys}}}}}\n'
    )


@dataclass
class Project:
    """A project on disk, and what stands in its environment; `resolver` makes a new resolver of it."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, content: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def stack(self, name: str, version: str = "1.0.0", *, file: str | None = None, **compute: Any) -> None:
        self.write(file or f"stacks/{name}.yaml", text(name, version, **compute))

    def register(self, name: str, version: str = "1.0.0", **compute: Any) -> None:
        definition = StackDefinition.from_yaml(text(name, version, **compute))
        with LocalRegistry(self.root / ".flowyml" / "policy.db") as registry:
            registry.put(new_stack(definition, applied_by="somebody", applied_at=AT))

    def resolver(self, rules: FetchRules | None = None) -> StackResolver:
        environ = {"HOME": str(self.root / "home"), "XDG_CACHE_HOME": str(self.root / "cache"), **self.environ}
        return StackResolver(self.root, environ=environ, rules=rules)

    def locate(self, stack: object = None, env: str | None = None) -> ResolvedStack:
        with self.resolver() as resolver:
            return resolver.locate(stack, env)

    def error(self, stack: object = None, env: str | None = None) -> FlowymlPolicyError:
        """What `locate` raises; `explain` must tell the same, and name one broken step, the last that was asked."""
        with self.resolver() as resolver:
            with pytest.raises(FlowymlPolicyError) as caught:
                resolver.locate(stack, env)
            told = resolver.explain(stack, env)
        assert told.resolved is None
        assert (type(told.error), str(told.error)) == (type(caught.value), str(caught.value))
        verdicts = [step.verdict for step in told.steps if step.verdict not in {"not set", "not asked"}]
        assert verdicts == ["broken"]
        return caught.value


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWYML_STACK", raising=False)
    monkeypatch.delenv("FLOWYML_ENV", raising=False)
    (tmp_path / "flowyml.yaml").write_text("{}\n")
    return Project(tmp_path)


FULL = """\
environments:
  prod: {stack: of-env}
  test: {stack: of-test}
active_stack: of-active
defaults: {stack: of-defaults}
"""
NAMES = ("given", "of-env", "of-test", "of-variable", "of-active", "of-defaults")


@pytest.mark.parametrize(
    ("stack", "env", "environ", "dropped", "expected", "step", "environment"),
    [
        ("given", "prod", {"FLOWYML_STACK": "of-variable"}, "", "given", "argument", "prod"),
        ("given", None, {"FLOWYML_ENV": "prod"}, "", "given", "argument", "prod"),
        (None, "prod", {"FLOWYML_ENV": "test", "FLOWYML_STACK": "of-variable"}, "", "of-env", "env", "prod"),
        (None, None, {"FLOWYML_ENV": "test", "FLOWYML_STACK": "of-variable"}, "", "of-test", "env", "test"),
        (None, None, {"FLOWYML_STACK": "of-variable"}, "", "of-variable", "FLOWYML_STACK", None),
        (None, None, {}, "", "of-active", "active_stack", None),
        (None, None, {"FLOWYML_STACK": "", "FLOWYML_ENV": ""}, "", "of-active", "active_stack", None),
        (None, None, {}, "active_stack", "of-defaults", "defaults.stack", None),
        (None, None, {}, "active_stack defaults", "local", "builtin", None),
    ],
)
def test_chain_first_step_that_is_set_decides(
    project: Project,
    stack: str | None,
    env: str | None,
    environ: dict[str, str],
    dropped: str,
    expected: str,
    step: StepName,
    environment: str | None,
) -> None:
    lines = [line for line in FULL.splitlines() if line.partition(":")[0] not in dropped.split()]
    project.write("flowyml.yaml", "\n".join(lines))
    for name in NAMES:
        project.stack(name)
    project.environ = environ
    found = project.locate(stack, env)
    assert (found.definition.metadata.name, found.step, found.environment) == (expected, step, environment)
    told = project.resolver().explain(stack, env)
    verdicts = {one.name: one.verdict for one in told.steps}
    assert list(verdicts) == ["argument", "env", "FLOWYML_STACK", "active_stack", "defaults.stack", "builtin"]
    at = list(verdicts).index(step)
    assert list(verdicts.values()) == ["not set"] * at + ["chosen"] + ["not asked"] * (5 - at)
    assert told.steps[at].found == expected
    assert told.resolved == found


@pytest.mark.parametrize(
    ("settings", "stack", "env", "environ", "error", "says"),
    [
        (FULL, "", None, {}, ReferenceMalformed, "is malformed: it is empty"),
        (FULL, "unknown", None, {}, StackNotFound, "no stack is called 'unknown'"),
        (FULL, "gvien", None, {}, StackNotFound, "did you mean given?"),
        (FULL, "given@^2", None, {}, StackNotFound, "no version ^2 of the stack 'given': there is 1.0.0 (stacks/given"),
        (FULL, "given@2.0", None, {}, VersionMalformed, "write 2.0.0, or ^2.0 for a range"),
        (FULL, "local@1.0.0", None, {}, StackNotFound, "write local alone"),
        (FULL, "github://org", None, {}, ReferenceMalformed, "its form is github://org/repo@v1.0#stack"),
        (FULL, "stacks/absent.yaml", None, {}, SourceMissing, "stacks/absent.yaml"),
        (FULL, "file://./absent.yaml", None, {}, SourceMissing, "absent.yaml"),
        (FULL, "registry://given", None, {}, FlowymlPolicyError, "no stack 'given' is registered"),
        (FULL, None, "", {}, EnvironmentUnknown, "the environment that is asked for is empty"),
        (FULL, None, "prdo", {}, EnvironmentUnknown, "did you mean prod?"),
        (FULL, "given", "prdo", {}, EnvironmentUnknown, "did you mean prod?"),
        (FULL, None, None, {"FLOWYML_ENV": "prdo"}, EnvironmentUnknown, "FLOWYML_ENV: there is no environment 'prdo'"),
        (FULL, "given", None, {"FLOWYML_ENV": "prdo"}, EnvironmentUnknown, "FLOWYML_ENV: there is no"),
        (FULL, None, None, {"FLOWYML_STACK": "a b"}, ReferenceMalformed, "FLOWYML_STACK: the stack reference"),
        (FULL, None, None, {"FLOWYML_STACK": "unknown"}, StackNotFound, "no stack is called 'unknown'"),
        ("environments: {prod: {stack: unknown}}\nactive_stack: given", None, "prod", {}, StackNotFound, "'unknown'"),
        ("active_stack: unknown\ndefaults: {stack: given}", None, None, {}, StackNotFound, "'unknown'"),
        ("active_stack: 'a b'", None, None, {}, ReferenceMalformed, "`active_stack`: the stack reference"),
        ("defaults: {stack: unknown}", None, None, {}, StackNotFound, "'unknown'"),
        ("defaults: {stack: 'git://x'}", None, None, {}, ReferenceMalformed, "`defaults.stack`: the stack reference"),
        (
            "active_stack: prod\nstacks: {prod: {source: github, repo: a/b}}",
            None,
            None,
            {},
            SourceUnreachable,
            "nothing is fetched offline: https://github.com/a/b",
        ),
        (
            "active_stack: prod\nstacks: {prod: {source: http, url: https://x.example/a.yaml}}",
            None,
            None,
            {},
            SourceUnreachable,
            "nothing is fetched offline: https://x.example/a.yaml",
        ),
        (
            "active_stack: prod\nstacks: {prod: {source: local, path: no.yaml}}",
            None,
            None,
            {},
            SourceMissing,
            "no.yaml",
        ),
    ],
)
def test_chain_step_that_is_set_but_broken_never_falls_to_the_next_fails_closed(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    stack: str | None,
    env: str | None,
    environ: dict[str, str],
    error: type[FlowymlPolicyError],
    says: str,
) -> None:
    project.write("flowyml.yaml", settings)
    for name in NAMES:
        project.stack(name)
    project.environ = environ
    resolver = project.resolver
    monkeypatch.setattr(project, "resolver", lambda: resolver(FetchRules(offline=True)))
    raised = project.error(stack, env)
    assert isinstance(raised, error)
    assert raised.exit_code == 3
    assert says in str(raised)


def test_builtin_is_found_pinned_and_is_what_local_always_means(project: Project) -> None:
    project.write("flowyml.yaml", "environments: {prod: {stack: local, require_pinned: true}}\n")
    project.stack("local", backend="azureml")
    found = project.locate(env="prod")
    assert found.definition == LOCAL_STACK
    assert found.provenance == Provenance(kind="builtin", uri="builtin:local", pinned=True)
    assert found.definition.source == LOCAL_STACK.source


def test_name_is_a_key_of_stacks_then_in_the_folder_then_registered(project: Project) -> None:
    project.write("flowyml.yaml", "stacks: {mine: {source: local, path: elsewhere/other.yaml}}\n")
    project.stack("other", file="elsewhere/other.yaml")
    project.stack("in-folder", file="stacks/deep/any.yaml")
    project.register("registered", "1.9.0")
    project.register("registered", "1.10.0")
    project.register("registered", "2.0.0-rc.1")
    assert project.locate("mine").definition.source.uri == "elsewhere/other.yaml"
    found = project.locate("in-folder")
    assert str(found.definition.location(("spec", "compute"))) == "stacks/deep/any.yaml:4:8"
    assert found.provenance == found.definition.provenance
    assert (found.provenance.kind, found.provenance.path, found.provenance.pinned) == ("local", "deep/any.yaml", False)
    assert project.locate("registered").definition.metadata.version == "1.10.0"
    assert project.locate("registered@~1.9").definition.metadata.version == "1.9.0"


def test_registered_version_is_pinned_only_when_it_is_named_exactly(project: Project) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.register("gpu", "2.1.0")
    pins = {wanted: project.locate(wanted).provenance.pinned for wanted in ("gpu", "gpu@^2", "gpu@2.1.0")}
    assert pins == {"gpu": False, "gpu@^2": False, "gpu@2.1.0": True}
    found = project.locate("registry://gpu@2.1.0")
    assert found.provenance == RegisteredProvenance(
        kind="registry",
        uri="registry://gpu@2.1.0",
        ref="2.1.0",
        digest=found.definition.digest,
        pinned=True,
        applied_from=StackDefinition.from_yaml(text("gpu", "2.1.0")).source,
    )


def test_registered_stack_of_the_other_schema_is_itself_again(project: Project) -> None:
    written = {
        "apiVersion": "flowyml.io/v1",
        "kind": "Stack",
        "metadata": {"name": "wide", "version": "1.0.0", "owner": "ml"},
        "spec": {"backend": "aws", "compute": {"region": "eu-west-1"}, "policies": {"maxRuntimeMinutes": 5}},
    }
    definition = StackDefinition.from_dict(written)
    with LocalRegistry(project.root / ".flowyml" / "policy.db") as registry:
        registry.put(new_stack(definition, applied_by="somebody", applied_at=AT))
    project.write("flowyml.yaml", "project: {name: a}\n")
    assert project.locate("wide").definition == definition


@pytest.mark.parametrize("name", ["twice", "twice@1.0.0", "twice@^1"])
def test_name_found_twice_is_fine_with_one_digest_and_an_error_with_two_fails_closed(
    project: Project, name: str
) -> None:
    project.write("flowyml.yaml", "stacks: {twice: {source: local, path: mine.yaml}}\n")
    project.stack("twice", file="mine.yaml")
    project.stack("twice")
    project.register("twice")
    assert project.locate(name).definition.source.uri == "mine.yaml"
    project.stack("twice", max_nodes=7)
    error = project.error(name)
    assert isinstance(error, StackAmbiguous)
    assert "mine.yaml:3:18 (sha256:" in error.message
    assert "stacks/twice.yaml:3:18 (sha256:" in error.message


def test_name_in_folder_and_registry_that_differ_names_both_fails_closed(project: Project) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.stack("twice", max_nodes=7)
    project.register("twice")
    error = project.error("twice")
    assert isinstance(error, StackAmbiguous)
    assert "stacks/twice.yaml:3:18" in error.message
    assert "registry://twice@1.0.0" in error.message


def test_name_twice_in_the_folder_names_both_fails_closed(project: Project) -> None:
    project.stack("twice", file="stacks/a.yaml")
    project.stack("twice", file="stacks/b.yaml", max_nodes=7)
    error = project.error("twice")
    assert isinstance(error, StackAmbiguous)
    assert "stacks/a.yaml:3:18" in error.message
    assert "stacks/b.yaml:3:18" in error.message


def test_version_chooses_between_the_folder_and_the_registry(project: Project) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.stack("gpu", "2.0.0")
    project.register("gpu", "1.0.0")
    kinds = {wanted: project.locate(f"gpu@{wanted}").provenance.kind for wanted in ("^1", "1.0.0", "2.0.0", "~2.0")}
    assert kinds == {"^1": "registry", "1.0.0": "registry", "2.0.0": "local", "~2.0": "local"}


@pytest.mark.parametrize(
    "broken", ["metadata: {name: gpu}\n\tx: 1\n", "kind: StackDefinition\nmetadata: {name: gpu}\n"]
)
def test_file_that_may_hold_the_name_and_cannot_be_read_fails_closed(project: Project, broken: str) -> None:
    project.register("gpu")
    project.write("stacks/gpu.yaml", broken)
    with pytest.raises(DefinitionInvalid, match=r"gpu\.yaml"):
        project.locate("gpu")


def test_broken_file_that_cannot_hold_the_name_is_no_matter(project: Project) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.stack("gpu")
    project.write("stacks/other.yaml", "\tx: 1\n")
    assert project.locate("gpu").definition.metadata.name == "gpu"


def test_registry_that_cannot_be_read_fails_closed_though_the_name_is_in_the_folder(project: Project) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.stack("gpu")
    project.write(".flowyml/policy.db", "no database, and long enough to be looked at as one: " + "x" * 4096)
    assert isinstance(project.error("gpu"), RegistryCorrupt)


def test_retired_version_fails_closed_though_the_folder_has_it(project: Project) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.stack("gpu")
    project.register("gpu")
    with LocalRegistry(project.root / ".flowyml" / "policy.db") as registry:
        registry.retire("gpu", "1.0.0", by="somebody", at=AT)
    assert isinstance(project.error("gpu@1.0.0"), VersionRetired)


def test_local_folder_under_a_key_is_searched_for_that_name(project: Project) -> None:
    project.write("flowyml.yaml", "stacks: {gpu: {source: local, path: more}}\n")
    project.stack("gpu", file="more/a.yaml")
    project.stack("cpu", file="more/b.yaml")
    assert project.locate("gpu").definition.source.uri == "more/a.yaml"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("long", SourceUnreadable), ("loop", SourceUnreadable), ("a" * 300, SourceMissing), ("plain/more", SourceMissing)],
    ids=["link to a name too long", "link to itself", "name too long", "below a file"],
)
def test_local_path_under_a_key_that_no_system_can_look_up_fails_closed(
    project: Project, path: str, expected: type[Exception]
) -> None:
    project.write("flowyml.yaml", f"stacks: {{gpu: {{source: local, path: {path}}}}}\n")
    project.write("plain", "a file")
    (project.root / "long").symlink_to("a" * 300)
    (project.root / "loop").symlink_to("loop")
    assert type(project.error("gpu")) is expected


@pytest.mark.parametrize(
    "named",
    ["stacks/gpu.yaml", Path("stacks/gpu.yaml"), "file://./stacks/gpu.yaml", "file://./stacks#gpu", "gpu"],
)
def test_path_and_reference_to_one_file_are_one_definition(project: Project, named: object) -> None:
    project.write("flowyml.yaml", "project: {name: a}\n")
    project.stack("gpu")
    found = project.locate(named)
    assert (found.definition.metadata.name, found.definition.source.uri) == ("gpu", "stacks/gpu.yaml")
    assert found.provenance.digest == found.definition.source.digest


def test_definition_is_used_as_it_is(project: Project) -> None:
    definition = StackDefinition.from_yaml(text("mine"))
    found = project.locate(definition)
    assert found.definition is definition
    assert found.provenance == Provenance(kind="object", uri="object", pinned=False)
    assert found.step == "argument"


@pytest.mark.parametrize("stack", [7, b"gpu", object(), StackDefinition, {"name": "gpu"}])
def test_object_that_is_no_stack_is_a_usage_error(project: Project, stack: object) -> None:
    error = project.error(stack)
    assert isinstance(error, UsageError)
    assert "is no stack" in error.message


DEMANDING = "environments: {prod: {stack: gpu, require_pinned: true}}\n"


@pytest.mark.parametrize("named", [None, "gpu", "gpu@^2", "stacks/gpu.yaml"])
def test_source_that_is_not_pinned_fails_closed_where_the_environment_demands_it(
    project: Project, named: str | None
) -> None:
    project.write("flowyml.yaml", DEMANDING)
    project.stack("gpu", "2.0.0")
    error = project.error(named, "prod")
    assert isinstance(error, SourceNotPinned)
    assert error.message == (
        "environment 'prod' takes pinned sources only, and that of stack 'gpu' may change: stacks/gpu.yaml"
    )


def test_source_that_is_pinned_holds_where_the_environment_demands_it(project: Project) -> None:
    project.write("flowyml.yaml", "environments: {prod: {stack: gpu@2.0.0, require_pinned: true}}\n")
    project.register("gpu", "2.0.0")
    assert project.locate(env="prod").provenance.pinned


def _lock(project: Project, definition: StackDefinition) -> None:
    pin = StackPin(
        name=definition.metadata.name,
        version=definition.metadata.version,
        definition=definition.digest,
        kind="local",
        uri="stacks/gpu.yaml",
    )
    lockfile = Lockfile(environments={"prod": "gpu"}, stacks={"gpu": pin}, bundles={})
    write_lockfile(load_settings(project=project.root).lockfile, lockfile)


def test_lock_holds_what_it_pins_and_nothing_else_fails_closed(project: Project) -> None:
    project.write("flowyml.yaml", "environments: {prod: {stack: gpu, require_lock: true}}\n")
    project.stack("gpu")
    assert isinstance(project.error(env="prod"), StackNotPinned)
    definition = project.locate("gpu").definition
    _lock(project, definition)
    found = project.locate(env="prod")
    assert found.lock is not None
    assert found.lock.definition_digest == definition.digest
    project.stack("gpu", max_nodes=9)
    assert isinstance(project.error(env="prod"), StackDrifted)
    assert project.locate("gpu").definition != definition


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a port of this machine at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("kept", ["in the folder", "under a key"])
def test_name_that_is_pinned_is_found_while_the_registry_is_out_of_reach(
    project: Project, nobody: str, kept: str
) -> None:
    settings = (
        f"environments: {{prod: {{stack: gpu, require_lock: true}}}}\npolicy: {{registry: {{url: '{nobody}'}}}}\n"
    )
    if kept == "under a key":
        settings += "stacks: {gpu: {source: local, path: elsewhere/gpu.yaml}}\n"
    project.write("flowyml.yaml", settings)
    project.stack("gpu", file="elsewhere/gpu.yaml" if kept == "under a key" else None)
    definition = StackDefinition.from_yaml(text("gpu"))
    assert isinstance(project.error(env="prod"), RegistryUnreachable)
    _lock(project, definition)

    found = project.locate(env="prod")
    assert (found.definition.digest, found.lock and found.lock.definition_digest) == (definition.digest,) * 2
    with project.resolver() as resolver:
        told = resolver.explain(env="prod").places[-1]
    assert (told.where, told.found) == (
        f"the registry {nobody}",
        "it does not answer, and need not: what was found is what is pinned",
    )
    assert isinstance(project.error("gpu"), RegistryUnreachable)


def test_name_that_is_not_as_it_was_pinned_needs_the_registry_fails_closed(project: Project, nobody: str) -> None:
    project.write(
        "flowyml.yaml",
        f"environments: {{prod: {{stack: gpu, require_lock: true}}}}\npolicy: {{registry: {{url: '{nobody}'}}}}\n",
    )
    _lock(project, StackDefinition.from_yaml(text("gpu")))
    assert isinstance(project.error(env="prod"), RegistryUnreachable)
    project.stack("gpu", max_nodes=9)
    assert isinstance(project.error(env="prod"), RegistryUnreachable)


def test_pinned_name_that_the_registry_has_otherwise_fails_closed(project: Project) -> None:
    project.write("flowyml.yaml", "environments: {prod: {stack: gpu, require_lock: true}}\n")
    project.stack("gpu")
    _lock(project, StackDefinition.from_yaml(text("gpu")))
    assert project.locate(env="prod").definition.metadata.name == "gpu"
    project.register("gpu", max_nodes=9)
    assert isinstance(project.error(env="prod"), StackAmbiguous)


def test_explanation_calls_an_environment_by_what_the_caller_gave_it_by(project: Project) -> None:
    file = project.write("flowyml.yaml", "environments: {prod: {stack: gpu}}\n")
    project.stack("gpu")
    with project.resolver() as resolver:
        told = [resolver.explain(env="prod"), resolver.explain(env="prod", asked_by="--environment")]
    at = f"{file}:1:30"
    assert [explanation.steps[1].looked_at for explanation in told] == [
        f"environment 'prod', asked for by env=: {at}",
        f"environment 'prod', asked for by --environment: {at}",
    ]


def test_explanation_tells_every_place_that_was_looked_in(project: Project) -> None:
    project.write("flowyml.yaml", "stacks: {gpu: {source: local, path: a.yaml}}\n")
    project.stack("gpu", file="a.yaml")
    project.stack("gpu")
    told = project.resolver().explain("gpu")
    assert told.resolved is not None
    digest = told.resolved.definition.digest
    root = project.root
    assert [(place.where, place.found) for place in told.places] == [
        (f"`stacks.gpu`, {root}/flowyml.yaml:1:10", f"gpu 1.0.0, a.yaml:3:18, {digest}"),
        (f"the folder {root}/stacks", f"gpu 1.0.0, stacks/gpu.yaml:3:18, {digest}"),
        (f"the registry {root}/.flowyml/policy.db", "no stack of that name"),
    ]


@pytest.mark.parametrize("named", ["./\ud800.yaml", "\ud800.yaml", Path("\ud800"), "./a\0b.yaml", "\ud800"])
def test_resolve_name_that_no_file_can_have_is_an_error_of_the_tree(project: Project, named: str | Path) -> None:
    with project.resolver() as resolver:
        for call in (resolver.resolve, resolver.locate):
            with pytest.raises(FlowymlPolicyError):
                call(named)
        assert resolver.explain(named).error is not None


@pytest.mark.parametrize("named", ["./gr\udcc3\udcb6\udcc3\udc9fe.yaml", "./gr\xf6\xdfe.yaml"])
def test_locate_path_that_the_locale_cannot_read_is_read(project: Project, named: str) -> None:
    """In the C locale the bytes of a name reach Python as surrogates."""
    project.write("gr\xf6\xdfe.yaml", text("prod"))
    found = project.locate(named)
    assert (found.definition.metadata.name, found.definition.source.uri) == ("prod", "gr\xf6\xdfe.yaml")
