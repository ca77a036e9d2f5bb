"""Definitions in files and folders, and the links among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy.documents.canonical import digest
from flowyml_policy.errors.sources import SourceMissing, SourceRefused, SourceTooLarge, SourceUnreadable
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.sources.local import LocalSource
from flowyml_policy.sources.search import StackSearch
from flowyml_policy.sources.source import FetchRules, SourceLimits

STACK = b"apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod}\nspec: {}\n"


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    """A project beside another folder, each with a stack."""
    for folder in ("project/stacks/team", "shared"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "prod.yaml").write_bytes(STACK)
    return tmp_path / "project"


def test_local_file_is_found_by_its_path_in_the_project(root: Path) -> None:
    source = LocalSource("stacks/team/prod.yaml", root=root)
    found = StackSearch(source.fetch()).find()
    path = root / "stacks/team/prod.yaml"
    assert found.provenance == Provenance(kind="local", uri=str(path), path="prod.yaml", digest=digest(STACK))
    assert str(found.definition.location(("metadata", "name"))) == f"{path}:3:18"
    assert (found.path, found.file, source.uri) == ("prod.yaml", str(path), str(path))


@pytest.mark.parametrize("named", ["stacks", "./stacks/", ".", "stacks/team"])
def test_local_folder_is_searched_in_all_of_it(named: str, root: Path) -> None:
    found = StackSearch(LocalSource(named, root=root).fetch()).find("prod")
    assert found.file == str(root / "stacks/team/prod.yaml")


def test_local_path_may_be_named_outside_the_project(root: Path) -> None:
    assert LocalSource("../shared", root=root).fetch().read("prod.yaml") == STACK
    assert LocalSource(root.parent / "shared" / "prod.yaml", root=root).fetch().read("prod.yaml") == STACK


@pytest.mark.parametrize("named", ["stacks/link.yaml", "stacks/linked/prod.yaml", "stacks/linked"])
def test_local_link_out_of_the_project_fails_closed(named: str, root: Path) -> None:
    (root / "stacks/link.yaml").symlink_to("../../shared/prod.yaml")
    (root / "stacks/linked").symlink_to(root.parent / "shared")
    with pytest.raises(SourceRefused):
        LocalSource(named, root=root).fetch()
    revision = LocalSource("stacks", root=root).fetch()
    assert revision.list_paths() == ["team/prod.yaml"]
    for path in ("link.yaml", "linked/prod.yaml"):
        with pytest.raises(SourceRefused):
            revision.read(path)
        with pytest.raises(SourceRefused):
            revision.holds(path)
    with pytest.raises(SourceRefused):
        revision.list_paths("linked")


def test_local_link_inside_the_project_is_followed(root: Path) -> None:
    (root / "stacks/link.yaml").symlink_to("team/prod.yaml")
    assert LocalSource("stacks/link.yaml", root=root).fetch().read("link.yaml") == STACK


def test_local_link_out_of_a_folder_that_was_named_outside_fails_closed(root: Path) -> None:
    shared = root.parent / "shared"
    (shared / "in.yaml").symlink_to("prod.yaml")
    (shared / "out.yaml").symlink_to(root / "stacks/team/prod.yaml")
    revision = LocalSource(shared, root=root).fetch()
    assert revision.read("in.yaml") == STACK
    with pytest.raises(SourceRefused):
        revision.read("out.yaml")


def test_local_project_that_is_reached_through_a_link_is_no_way_out(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert LocalSource("stacks/team/prod.yaml", root=link).fetch().read("prod.yaml") == STACK


def test_local_missing_path_fails_closed(root: Path) -> None:
    with pytest.raises(SourceMissing) as raised:
        LocalSource("none.yaml", root=root).fetch()
    assert raised.value.message == f"there is no such file or folder: {root}/none.yaml"
    assert raised.value.advice == "correct the path"
    revision = LocalSource("stacks", root=root).fetch()
    with pytest.raises(SourceMissing):
        revision.read("none.yaml")
    with pytest.raises(SourceMissing):
        LocalSource("stacks/team/prod.yaml", root=root).fetch().read("other.yaml")
    assert (revision.list_paths("none"), revision.holds("none"), revision.holds("team")) == ([], None, "folder")


def test_local_path_that_is_an_address_of_ssh_is_told_as_one(root: Path) -> None:
    with pytest.raises(SourceMissing) as raised:
        LocalSource("git@git.example:org/repo.git@v1#prod", root=root).fetch()
    assert raised.value.advice == "to read a repository, write git+ssh://git@git.example/org/repo.git@v1#prod"


def test_local_folder_read_as_a_file_fails_closed(root: Path) -> None:
    with pytest.raises(SourceUnreadable):
        LocalSource("stacks", root=root).fetch().read("team")


def test_local_large_file_fails_closed(root: Path) -> None:
    (root / "stacks/large.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(SourceTooLarge):
        LocalSource("stacks/large.yaml", root=root).fetch().read("large.yaml")


def test_local_folder_of_more_files_than_are_listed_fails_closed(root: Path) -> None:
    (root / "stacks/dev.yaml").write_bytes(STACK)
    for most, place in ((2, "stacks"), (1, "stacks/team")):
        rules = FetchRules(limits=SourceLimits(local_files=most, files=0))
        assert len(LocalSource(place, root=root, rules=rules).fetch().list_paths()) == most
    rules = FetchRules(limits=SourceLimits(local_files=1))
    with pytest.raises(SourceTooLarge) as raised:
        LocalSource("stacks", root=root, rules=rules).fetch().list_paths()
    assert raised.value.message == "2 definition files in its root, more than 1"


@pytest.mark.parametrize("named", ["stacks", "stacks/team/prod.yaml"])
def test_local_place_that_is_not_read_through_in_time_fails_closed(named: str, root: Path) -> None:
    source = LocalSource(named, root=root, rules=FetchRules(limits=SourceLimits(timeout=0)))
    with pytest.raises(SourceTooLarge) as raised:
        StackSearch(source.fetch()).find("prod")
    assert str(raised.value) == (f"not read through within 0 s: {root / named}; name the file, or a smaller folder")


def test_local_list_tells_a_folder_from_what_is_below_it(root: Path) -> None:
    (root / "stacks/dev.yaml").write_bytes(STACK)
    revision = LocalSource(".", root=root).fetch()
    assert revision.list_paths("stacks") == ["stacks/dev.yaml", "stacks/team/prod.yaml"]
    assert revision.list_paths("stacks", recursive=False) == ["stacks/dev.yaml"]
    assert revision.list_paths(recursive=False) == []
