"""Where links may lead, for whoever reads files: arguments of commands, the library, entries of flowyml.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy import StackResolver
from flowyml_policy.decision.candidates import read_candidates, read_one
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.sources import SourceRefused, SourceUnreadable
from flowyml_policy.sources.boundary import Boundary
from flowyml_policy.sources.local import LocalSource

STACK = "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod}\nspec: {}\n"
SETTINGS = """\
stacks:
  file: {source: local, path: ../shared/prod.yaml}
  folder: {source: local, path: ../named}
"""


@pytest.fixture(name="project")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project beside other folders; it is the working directory."""
    for folder in ("project/stacks", "project/other", "shared", "named"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "prod.yaml").write_text(STACK.replace("prod", "folder") if folder == "named" else STACK)
    project = tmp_path / "project"
    (project / "flowyml.yaml").write_text(SETTINGS)
    monkeypatch.chdir(project)
    for name in ("FLOWYML_ENV", "FLOWYML_STACK", "FLOWYML_POLICY_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    return project


def outcome_of(path: str, project: Path) -> list[str | type[FlowymlPolicyError]]:
    """What is read at `path`: names of stacks, and errors."""
    contents = [candidate.content for candidate in read_candidates([path], project=project)]
    return [one.metadata.name if isinstance(one, StackDefinition) else type(one) for one in contents]


def resolved_of(path: str, project: Path) -> list[str | type[FlowymlPolicyError]]:
    """The same by way of the resolver."""
    with StackResolver(project) as resolver:
        try:
            return [resolver.resolve(Path(path)).metadata.name]
        except FlowymlPolicyError as error:
            return [type(error)]


@pytest.mark.parametrize("working", ["project", "project/stacks", "shared", "."])
def test_local_source_outside_the_project_is_read_from_every_folder(
    project: Path, working: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent / working)
    with StackResolver(project) as resolver:
        found = [resolver.resolve(name).metadata.name for name in ("file", "folder")]
    assert found == ["prod", "folder"]


@pytest.mark.parametrize(
    ("working", "path"),
    [("project", "../shared/prod.yaml"), ("project/stacks", "../../shared/prod.yaml"), ("shared", "prod.yaml")],
)
def test_path_outside_the_project_is_read_from_every_folder(
    project: Path, working: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent / working)
    assert resolved_of(path, project) == outcome_of(path, project) == ["prod"]


@pytest.mark.parametrize(
    ("working", "up"), [("project", ""), ("project/stacks", "../"), ("shared", "../project/"), (".", "project/")]
)
def test_link_out_of_the_project_fails_closed_from_every_folder(
    project: Path, working: str, up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "stacks/out.yaml").symlink_to("../../shared/prod.yaml")
    (project / "stacks/in.yaml").symlink_to("../other/prod.yaml")
    (project / "linked").symlink_to("../shared")
    (project / "within").symlink_to("other")
    monkeypatch.chdir(project.parent / working)
    for path in ("stacks/out.yaml", "linked", "linked/prod.yaml", "linked/../shared/prod.yaml"):
        assert outcome_of(up + path, project) == [SourceRefused], path
    for path in ("stacks/out.yaml", "linked", "linked/prod.yaml"):
        assert resolved_of(up + path, project) == [SourceRefused], path
    for path in ("stacks/in.yaml", "within", "within/prod.yaml"):
        assert resolved_of(up + path, project) == outcome_of(up + path, project) == ["prod"], path


def test_link_out_of_a_project_that_is_named_by_another_link_fails_closed(project: Path) -> None:
    (project / "stacks/out.yaml").symlink_to("../../shared/prod.yaml")
    (project / "linked").symlink_to("../shared")
    other = project.parent / "other-name"
    other.symlink_to(project)
    for path in ("stacks/out.yaml", "linked/prod.yaml"):
        assert outcome_of(str(other / path), project) == resolved_of(str(other / path), project) == [SourceRefused]
        assert outcome_of(str(project / path), other) == [SourceRefused]
    assert outcome_of(str(other / "stacks/prod.yaml"), project) == ["prod"]
    assert outcome_of(str(project / "stacks/prod.yaml"), other) == ["prod"]


@pytest.mark.parametrize("to", ["../named/prod.yaml", "../named"], ids=["file", "folder"])
def test_link_that_is_named_outside_is_followed(project: Path, to: str) -> None:
    (project.parent / "shared/current.yaml").symlink_to("next.yaml")
    (project.parent / "shared/next.yaml").symlink_to(to)
    path = "../shared/current.yaml"
    assert outcome_of(path, project) == resolved_of(path, project) == ["folder"]


def test_open_file_is_read_by_its_number(project: Path) -> None:
    with (project.parent / "named/prod.yaml").open() as file:
        assert outcome_of(f"/dev/fd/{file.fileno()}", project) == ["folder"]


def test_link_of_the_project_that_a_link_outside_leads_to_fails_closed(project: Path) -> None:
    (project / "stacks/out.yaml").symlink_to("../../named/prod.yaml")
    (project.parent / "shared/current.yaml").symlink_to("../project/stacks/out.yaml")
    (project.parent / "shared/good.yaml").symlink_to("../project/stacks/prod.yaml")
    path = "../shared/current.yaml"
    assert outcome_of(path, project) == resolved_of(path, project) == [SourceRefused]
    path = "../shared/good.yaml"
    assert outcome_of(path, project) == resolved_of(path, project) == ["prod"]


def test_link_below_a_link_that_is_named_outside_fails_closed(project: Path) -> None:
    (project.parent / "current").symlink_to("named")
    (project.parent / "named/out.yaml").symlink_to("../shared/prod.yaml")
    revision = LocalSource("../current", root=project).fetch()
    assert revision.list_paths() == ["prod.yaml"]
    with pytest.raises(SourceRefused):
        revision.read("out.yaml")


@pytest.mark.parametrize("place", ["stacks", "../shared"], ids=["project", "outside"])
def test_link_to_what_no_system_can_look_up_is_undecided_and_the_others_are_read(project: Path, place: str) -> None:
    (project / place / "long.yaml").symlink_to("a" * 300)
    paths = [f"{place}/long.yaml", "stacks/prod.yaml"]
    outcomes = [type(one.content) for one in read_candidates(paths, project=project)]
    assert outcomes == [SourceUnreadable, StackDefinition]
    assert resolved_of(paths[0], project) == [SourceUnreadable]


def test_library_reads_a_path_within_the_same_boundary(project: Path) -> None:
    (project / "stacks/out.yaml").symlink_to("../../shared/prod.yaml")
    candidate = read_one("stacks/out.yaml", open_resolver=StackResolver, project=project)
    assert isinstance(candidate.content, SourceRefused)
    assert str(candidate.content) == (
        f"a link leads out of {project}: stacks/out.yaml; "
        "put the definition itself there, or name the place that the link leads to"
    )
    assert (candidate.source.kind, candidate.source.uri, candidate.source.digest) == ("local", "stacks/out.yaml", None)


def test_link_that_cannot_be_followed_fails_closed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    (project / "stacks/closed.yaml").symlink_to("prod.yaml")
    boundary = Boundary(project / "stacks", project)
    monkeypatch.setattr("os.readlink", unreadable)
    with pytest.raises(SourceUnreadable) as caught:
        boundary.inside(project / "stacks/closed.yaml")
    assert caught.value.message == f"cannot follow the link {project}/stacks/closed.yaml: Permission denied"


def test_named_link_outside_that_cannot_be_followed_fails_closed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    (project.parent / "shared/closed.yaml").symlink_to("prod.yaml")
    monkeypatch.setattr("os.readlink", unreadable)
    with pytest.raises(SourceUnreadable) as caught:
        Boundary(Path("../shared/closed.yaml"), project)
    assert caught.value.message == "cannot follow the link ../shared/closed.yaml: Permission denied"
