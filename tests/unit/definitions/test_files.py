"""Which files of a folder are definitions, and how one is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyml_policy.definitions.files import find_files, local_source
from flowyml_policy.definitions.stack import read_definitions
from flowyml_policy.documents.canonical import digest
from flowyml_policy.documents.reader import Limits
from flowyml_policy.errors.definitions import DefinitionInvalid, NoStacksFound
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.records.policy_input import Source
from flowyml_policy.system.files import is_missing, read_file


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a: 1\n", encoding="utf-8")


def found(folder: Path, *, skip: tuple[Path, ...] = ()) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_files(folder, skip=skip)]


def test_find_files_of_a_folder_gives_yaml_files_of_all_folders_sorted(tmp_path: Path) -> None:
    make(tmp_path, "b.yaml", "a.yml", "sub/deep/c.yaml", "sub/B.YAML", "x.json", "yaml", "d.yaml.bak", "e.yaml/f.yml")

    assert found(tmp_path) == ["a.yml", "b.yaml", "e.yaml/f.yml", "sub/B.YAML", "sub/deep/c.yaml"]


def test_find_files_skips_hidden_files_settings_and_what_it_is_told_to(tmp_path: Path) -> None:
    make(tmp_path, "a.yaml", ".b.yaml", ".git/c.yaml", "sub/.d/e.yaml", "flowyml.yaml", "sub/flowyml.yaml", "w.yaml")
    make(tmp_path, "sub/w.yaml")
    (tmp_path / "sub" / "link.yaml").symlink_to("../w.yaml")

    assert found(tmp_path, skip=(tmp_path / "w.yaml",)) == ["a.yaml", "sub/w.yaml"]


def test_find_files_of_a_hidden_folder_that_is_named_gives_its_files(tmp_path: Path) -> None:
    make(tmp_path, ".stacks/a.yaml")

    assert found(tmp_path / ".stacks") == ["a.yaml"]


def test_find_files_of_a_relative_folder_gives_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "stacks/a.yaml")
    monkeypatch.chdir(tmp_path)

    assert find_files(Path("stacks")) == [Path("stacks/a.yaml")]
    assert find_files(Path()) == [Path("stacks/a.yaml")]


def test_find_files_of_a_file_gives_that_file(tmp_path: Path) -> None:
    make(tmp_path, "flowyml.yaml", "x.txt")

    assert find_files(tmp_path / "flowyml.yaml") == [tmp_path / "flowyml.yaml"]
    assert find_files(tmp_path / "x.txt") == [tmp_path / "x.txt"]


def test_find_files_follows_links_that_stay_in_the_folder_and_no_others(tmp_path: Path) -> None:
    make(tmp_path, "outside/o.yaml", "in/..data/a.yaml", "in/b.yaml", "in/real/c.yaml", "in-evil/e.yaml")
    folder = tmp_path / "in"
    (folder / "linked.yaml").symlink_to("..data/a.yaml")
    (folder / "shown").symlink_to("..data")
    (folder / "again").symlink_to("real")
    (folder / "out").symlink_to("../outside")
    (folder / "out.yaml").symlink_to("../outside/o.yaml")
    (folder / "evil").symlink_to("../in-evil")
    (folder / "loop").symlink_to(".")
    (folder / "real" / "up").symlink_to("..")

    assert found(folder) == ["b.yaml", "linked.yaml", "real/c.yaml", "shown/a.yaml"]


def test_find_files_of_a_folder_reached_by_a_link_gives_its_files(tmp_path: Path) -> None:
    make(tmp_path, "real/a.yaml")
    (tmp_path / "link").symlink_to("real")

    assert found(tmp_path / "link") == ["a.yaml"]


@pytest.mark.parametrize("target", ["absent.yaml", "broken.yaml"])
def test_broken_link_in_a_folder_is_found_and_unreadable_fails_closed(tmp_path: Path, target: str) -> None:
    (tmp_path / "broken.yaml").symlink_to(target)
    [path] = find_files(tmp_path)

    with pytest.raises(SourceUnreadable, match=r"cannot read .*broken\.yaml: "):
        read_file(path, most=Limits().size)


def test_find_files_of_a_link_that_cannot_be_followed_gives_it_and_what_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: str, **_: object) -> str:
        raise FileNotFoundError(2, "No such file or directory", path)

    make(tmp_path, "a.yaml")
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    (tmp_path / "exe").symlink_to("gone")
    monkeypatch.setattr("os.readlink", gone)

    assert found(tmp_path) == ["a.yaml", "link.yaml"]


def test_find_files_asks_before_each_folder_whether_to_go_on(tmp_path: Path) -> None:
    make(tmp_path, "a.yaml", "b/c.yaml", "b/d/e.yaml")
    asked: list[int] = []

    assert len(find_files(tmp_path, watch=lambda: asked.append(1))) == 3
    assert asked == [1, 1, 1]


def test_find_files_of_a_folder_without_stacks_fails_closed(tmp_path: Path) -> None:
    make(tmp_path, "flowyml.yaml", ".a.yaml", "b.txt")

    with pytest.raises(NoStacksFound) as caught:
        find_files(tmp_path)
    assert caught.value.message == f"no *.yaml or *.yml file is in the folder {tmp_path.as_posix()}"
    assert caught.value.exit_code == 3


def test_find_files_of_a_folder_with_nothing_but_links_out_names_them(tmp_path: Path) -> None:
    make(tmp_path, "outside/o.yaml", "in/b.txt")
    folder = tmp_path / "in"
    (folder / "out.yaml").symlink_to("../outside/o.yaml")
    (folder / "out").symlink_to("../outside")
    (folder / "out.txt").symlink_to("../outside/o.yaml")
    said = f"no *.yaml or *.yml file is in the folder {folder}; no link that leads out of it is followed: "

    with pytest.raises(NoStacksFound) as caught:
        find_files(folder)
    assert caught.value.message == f"{said}{folder}/out, {folder}/out.yaml"
    for name in ("p.yaml", "q.yaml", "r.yaml"):
        (folder / name).symlink_to("../outside/o.yaml")
    with pytest.raises(NoStacksFound) as caught:
        find_files(folder)
    assert caught.value.message == f"{said}{folder}/out, {folder}/out.yaml, {folder}/p.yaml and 2 more"


def test_find_files_passes_by_a_folder_that_vanishes_and_fails_closed_for_all_of_it(tmp_path: Path) -> None:
    make(tmp_path, "a.yaml", "b/c.yaml", "gone/d.yaml")

    def remove() -> None:
        if asked.pop():
            (tmp_path / "gone" / "d.yaml").unlink()
            (tmp_path / "gone").rmdir()

    asked = [False, True, False]
    assert [path.name for path in find_files(tmp_path, watch=remove)] == ["a.yaml", "c.yaml"]
    make(tmp_path, "top/e.yaml")
    with pytest.raises(SourceUnreadable, match=r"cannot list the folder .*top: No such file or directory"):
        find_files(tmp_path / "top", watch=lambda: (tmp_path / "top").rename(tmp_path / "away"))


@pytest.mark.parametrize("name", ["absent", "absent/a.yaml", "nul\0.yaml"])
def test_find_files_of_nothing_fails_closed(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceUnreadable, match="no such file or folder can be reached"):
        find_files(tmp_path / name)


@pytest.fixture(name="_closed")
def __closed(open_folder: Path) -> Iterator[None]:
    """`closed/` may not be listed, `closed.yaml` may not be read."""
    make(open_folder, "a.yaml", "closed/b.yaml", "closed.yaml")
    (open_folder / "closed").chmod(0)
    (open_folder / "closed.yaml").chmod(0)
    yield
    (open_folder / "closed").chmod(0o700)


@pytest.mark.usefixtures("_closed", "_as_nobody")
def test_find_files_of_what_cannot_be_reached_is_that_file_which_cannot_be_read_fails_closed(open_folder: Path) -> None:
    path = open_folder / "closed" / "b.yaml"
    assert find_files(path) == [path]
    with pytest.raises(SourceUnreadable, match="Permission denied"):
        read_file(path, most=Limits().size)


def test_is_missing_is_what_is_known_not_to_be_there(tmp_path: Path) -> None:
    make(tmp_path, "a.yaml", "folder/b.yaml")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    there = ["a.yaml", "folder", "dangling", "circle", "circle/a"]
    nowhere = ["nothing", "nothing/a.yaml", "a.yaml/b", "dangling/a", "nul\0", "n" * 300]
    assert [name for name in there + nowhere if is_missing(tmp_path / name)] == nowhere


@pytest.mark.usefixtures("_closed", "_as_nobody")
def test_find_files_of_a_folder_that_cannot_be_listed_fails_closed(open_folder: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"cannot list the folder .*closed: Permission denied") as caught:
        find_files(open_folder)
    assert caught.value.advice == "let this user list it, or name a folder without it"


@pytest.mark.usefixtures("_closed", "_as_nobody")
def test_read_file_without_permission_fails_closed(open_folder: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"cannot read .*closed\.yaml: Permission denied"):
        read_file(open_folder / "closed.yaml", most=Limits().size)


def test_read_file_of_a_file_gives_its_bytes_and_source(tmp_path: Path) -> None:
    make(tmp_path, "a.yaml")
    data = read_file(tmp_path / "a.yaml", most=Limits().size)

    assert data == b"a: 1\n"
    assert local_source(tmp_path / "a.yaml", data) == Source(
        kind="local", uri=(tmp_path / "a.yaml").as_posix(), digest=digest(b"a: 1\n")
    )


def test_read_file_of_a_huge_file_gives_enough_to_refuse_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    data = read_file(path, most=Limits().size)
    source = local_source(path, data)
    [invalid] = read_definitions(data, "huge.yaml", source)

    assert len(data) == 1_048_577
    assert source.digest is None
    assert isinstance(invalid, DefinitionInvalid)
    assert [problem.code for problem in invalid.problems] == ["definition.size"]


def test_read_file_of_a_folder_fails_closed(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="not a regular file"):
        read_file(tmp_path, most=Limits().size)


def test_read_file_of_a_pipe_fails_closed_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    [path] = find_files(tmp_path)

    with pytest.raises(SourceUnreadable, match="not a regular file"):
        read_file(path, most=Limits().size)


@pytest.mark.parametrize("name", ["absent.yaml", "nul\0.yaml", "a.yaml/b.yaml", "x" * 300])
def test_read_file_of_what_cannot_be_opened_fails_closed(tmp_path: Path, name: str) -> None:
    make(tmp_path, "a.yaml")

    with pytest.raises(SourceUnreadable, match="cannot read "):
        read_file(tmp_path / name, most=Limits().size)
