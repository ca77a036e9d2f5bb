"""Which stack of a source is meant."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Literal

import pytest

from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.sources import SourceMissing, SourceUnreadable, StackAmbiguous, StackNotFound
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.sources.search import StackSearch
from flowyml_policy.sources.source import Layout, Revision, SourceLimits, provenance_of


def stack(name: str, version: str = "1.0.0") -> str:
    return (
        f'apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {{name: {name}, version: "{version}"}}\nspec: {{}}\n'
    )


class Files(Revision):
    """A revision that a mapping from paths to texts holds."""

    def __init__(self, files: dict[str, str], layout: Layout = "repository") -> None:
        super().__init__(SourceLimits())
        self.layout = layout
        self.only_file = next(iter(files)) if layout == "file" else None
        self.files = files
        self.reads: list[list[str]] = []

    def provenance(self, path: str, data: bytes) -> Provenance:
        return provenance_of(data, path, kind="git", uri="https://host/r", pinned=True)

    def _read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        self.reads.append(list(paths))
        missing = [path for path in paths if path not in self.files]
        if missing:
            raise SourceMissing(f"no such file: {missing[0]}")
        return {path: self.files[path].encode() for path in paths}

    def _list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        inside = [path for path in self.files if not folder or path.startswith(f"{folder}/")]
        return inside if recursive else [path for path in inside if posixpath.dirname(path) == folder]

    def _holds(self, path: str) -> Literal["file", "folder"] | None:
        if path in self.files:
            return "file"
        return "folder" if self._list_paths(path, recursive=True) else None


def places(
    files: dict[str, str], name: str | None = None, path: str | None = None, layout: Layout = "repository"
) -> str:
    found = StackSearch(Files(files, layout)).find(name, path)
    return str(found.definition.location(("metadata", "name")))


REPOSITORY = {
    "stacks/a.yaml": stack("prod"),
    "stacks/team/b.yml": f"{stack('dev')}---\n{stack('test')}",
    "root.yaml": stack("root"),
    "elsewhere/c.yaml": stack("hidden"),
    "more/d.yaml": stack("named"),
    "more/e.yaml": stack("also-named"),
    "flowyml.yaml": "stacks:\n  x: {source: local, path: ./more/d.yaml}\n  y: {source: local, path: more/}\n"
    "  z: {source: local, path: ../out.yaml}\n  w: {source: local, path: gone.yaml}\n  v: {source: git, repo: x}\n",
}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("prod", "stacks/a.yaml:3:18"),
        ("dev", "stacks/team/b.yml:3:18"),
        ("test", "stacks/team/b.yml:8:18"),
        ("root", "root.yaml:3:18"),
        ("named", "more/d.yaml:3:18"),
        ("also-named", "more/e.yaml:3:18"),
    ],
)
def test_search_finds_a_stack_by_its_own_name_wherever_stacks_are_kept(name: str, place: str) -> None:
    assert places(REPOSITORY, name) == place


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("hidden", "name one of also-named, dev, named, prod, root, ..."),
        ("prod-1", "did you mean prod?"),
        ("a", "name one of also-named, dev, named, prod, root, ..."),
        ("x", "name one of also-named, dev, named, prod, root, ..."),
    ],
)
def test_search_not_found_says_what_is_there(name: str, advice: str) -> None:
    with pytest.raises(StackNotFound) as raised:
        places(REPOSITORY, name)
    assert raised.value.message == f"there is no stack '{name}' in 5 files: https://host/r"
    assert raised.value.advice == advice


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"stacks/a.yaml": stack("prod"), "b.yaml": stack("prod", "2.0.0")},
            "2 stacks are called 'prod': stacks/a.yaml:3:18 (prod), b.yaml:3:18 (prod)",
        ),
        (
            {"stacks/a.yaml": f"{stack('prod')}---\n{stack('prod')}"},
            "2 stacks are called 'prod': stacks/a.yaml:3:18 (prod), stacks/a.yaml:8:18 (prod)",
        ),
        (
            {"stacks/a.yaml": stack("prod"), "b.yaml": stack('"pro\\u0064"')},
            "2 stacks are called 'prod': stacks/a.yaml:3:18 (prod), b.yaml:3:18 (prod)",
        ),
        (
            {"stacks/a.yaml": stack("prod"), "b.yaml": stack("prod").replace("spec", "specs")},
            "2 stacks are called 'prod': stacks/a.yaml:3:18 (prod), b.yaml:1:1 (invalid)",
        ),
        (
            {f"stacks/{number}.yaml": stack("prod") for number in range(7)},
            "7 stacks are called 'prod': "
            + ", ".join(f"stacks/{number}.yaml:3:18 (prod)" for number in range(5))
            + ", and 2 more",
        ),
    ],
)
def test_search_two_of_one_name_fail_closed(files: dict[str, str], message: str) -> None:
    with pytest.raises(StackAmbiguous) as raised:
        places(files, "prod")
    assert raised.value.message == message


def test_search_without_a_name_takes_the_only_stack() -> None:
    assert places({"stacks/a.yaml": stack("prod")}) == "stacks/a.yaml:3:18"
    with pytest.raises(StackAmbiguous) as raised:
        places({"stacks/a.yaml": stack("prod"), "b.yaml": stack("dev")})
    assert raised.value.message == "2 stacks are there: stacks/a.yaml:3:18 (prod), b.yaml:3:18 (dev)"
    with pytest.raises(StackNotFound):
        places({"elsewhere/a.yaml": stack("prod")})


@pytest.mark.parametrize(
    ("name", "path", "place"),
    [
        (None, "elsewhere/c.yaml", "elsewhere/c.yaml:3:18"),
        ("hidden", "elsewhere/c.yaml", "elsewhere/c.yaml:3:18"),
        ("test", "stacks/team/b.yml", "stacks/team/b.yml:8:18"),
        ("hidden", "elsewhere", "elsewhere/c.yaml:3:18"),
        (None, "elsewhere/", "elsewhere/c.yaml:3:18"),
    ],
)
def test_search_path_that_is_given_wins(name: str | None, path: str, place: str) -> None:
    assert places(REPOSITORY, name, path) == place


def test_search_path_reads_nothing_else() -> None:
    revision = Files(REPOSITORY)
    StackSearch(revision).find(path="elsewhere/c.yaml")
    assert revision.reads == [["elsewhere/c.yaml"]]


@pytest.mark.parametrize(
    ("name", "path", "error"),
    [
        ("prod", "elsewhere/c.yaml", StackNotFound),
        (None, "stacks/team/b.yml", StackAmbiguous),
        (None, "none.yaml", SourceMissing),
        (None, "none", SourceMissing),
    ],
)
def test_search_path_without_the_stack_fails_closed(name: str | None, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        places(REPOSITORY, name, path)


def test_search_file_and_folder_are_searched_as_they_are() -> None:
    files = {"deep/er/x.yaml": stack("prod")}
    assert places(files, "prod", layout="folder") == "deep/er/x.yaml:3:18"
    assert places({"x": stack("prod")}, layout="file") == "x:3:18"


def test_search_the_one_that_is_meant_and_invalid_fails_closed() -> None:
    broken = stack("prod").replace("spec", "specs")
    for files, path in (({"stacks/a.yaml": broken, "b.yaml": stack("dev")}, None), ({"a.yaml": broken}, "a.yaml")):
        with pytest.raises(DefinitionInvalid):
            places(files, "prod", path)
    with pytest.raises(DefinitionInvalid):
        places({"a.yaml": "a: [\n"}, "prod", "a.yaml")


def test_search_says_how_many_documents_could_not_be_read() -> None:
    with pytest.raises(StackNotFound) as raised:
        places({"stacks/a.yaml": "a: [\n", "stacks/b.yaml": stack("dev"), "values.yaml": "a: 1\n"}, "prod")
    assert raised.value.message == (
        "there is no stack 'prod' in 3 files: https://host/r; 2 of its documents cannot be read as stacks"
    )


def test_search_settings_of_the_repository_that_cannot_be_read_fail_closed() -> None:
    files = {"stacks/a.yaml": stack("prod"), "flowyml.yaml": "stacks: [\n"}
    with pytest.raises(SourceUnreadable) as raised:
        places(files, "prod")
    assert raised.value.advice == "name the path of the stack's file"
    assert places(files, "prod", "stacks/a.yaml") == "stacks/a.yaml:3:18"


def test_search_reads_each_file_once_for_all_stacks() -> None:
    revision = Files({f"stacks/{number}.yaml": stack(f"stack-{number}") for number in range(50)})
    search = StackSearch(revision)
    found = [search.find(f"stack-{number}").path for number in range(50)]
    assert found == [f"stacks/{number}.yaml" for number in range(50)]
    assert [sorted(paths) for paths in revision.reads] == [sorted(revision.files)]
    assert search.names() == sorted(f"stack-{number}" for number in range(50))


@pytest.mark.parametrize("layout", ["repository", "folder"])
@pytest.mark.parametrize("path", [None, "stacks"])
def test_find_name_that_a_file_that_is_no_yaml_may_hold_fails_closed(layout: Layout, path: str | None) -> None:
    files = {"stacks/a.yaml": stack("prod"), "stacks/b.yaml": f"{stack('prod', '2.0.0')}  - ]\n"}
    with pytest.raises(DefinitionInvalid) as caught:
        places(files, "prod", path, layout)
    assert {problem.code for problem in caught.value.problems} == {"definition.yaml"}
    assert str(caught.value.problems[0].location).split(":")[0].endswith("stacks/b.yaml")


def test_find_passes_over_a_file_that_is_no_yaml_and_cannot_hold_the_name() -> None:
    files = {"stacks/a.yaml": stack("prod"), "stacks/b.yaml": f"{stack('dev')}  - ]\n"}
    assert places(files, "prod").startswith("stacks/a.yaml")
