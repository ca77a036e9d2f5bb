"""The watched folder: what is whole and new in it is published, and what is not is told once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyml_policy.bundles.admission import check
from flowyml_policy.server.bundles import Publications, Put
from flowyml_policy.server.watching import WatchedFolder
from tests.unit.server.publishing import company


class Watched:
    """A watched folder, what is published of it, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "dist"
        self.folder.mkdir()
        self.told: list[str] = []
        self.publications = Publications(
            folder / "server.db", folder / "bundles", keys=(), keep=20, tell=lambda _: None, check=check
        )
        self._watched = WatchedFolder(self.folder, self.publications, self.told.append)

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self._watched.look()

    def problems(self) -> dict[str, str]:
        return self._watched.problems

    def active(self, name: str = "acme") -> str | None:
        found = self.publications.active(name)
        return None if found is None else found.publication.revision


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.publications.close()


def test_file_is_published_once_two_looks_find_it_the_same(watched: Watched) -> None:
    packed = company("1", sequence=1)
    file = watched.folder / "acme.tar.gz"
    file.write_bytes(packed[:50])
    watched.look(1)
    file.write_bytes(packed)  # half of it was there
    watched.look(1)
    assert (watched.active(), watched.told) == (None, [])
    watched.look(1)
    assert watched.active() == "1"
    (one,) = watched.publications.history("acme")
    assert one.published_by == "watched folder"


def test_next_bundle_is_published_and_an_older_one_is_not(watched: Watched) -> None:
    file = watched.folder / "acme.tar.gz"
    first, second = company("1", sequence=1), company("2", sequence=2)
    for packed in (first, second):
        file.write_bytes(packed)
        watched.look()
    assert watched.active() == "2"
    file.write_bytes(first)  # as after a restore of the folder: it was published before
    watched.look()
    assert (watched.active(), watched.told) == ("2", [])
    file.write_bytes(company("other", sequence=1))
    watched.look(4)
    assert (watched.active(), len(watched.told)) == ("2", 1)
    assert "sequence_not_higher" in watched.told[0]


def test_folder_may_lag_behind_what_was_put(watched: Watched) -> None:
    packed = company("1", sequence=1)
    (watched.folder / "acme.tar.gz").write_bytes(packed)
    watched.publications.put(Put("acme", packed, "ci"))
    watched.publications.put(Put("acme", company("2", sequence=2), "ci"))
    watched.look()
    assert (watched.active(), watched.told) == ("2", [])


def test_refused_file_is_told_once_and_forgotten_when_it_goes(watched: Watched) -> None:
    for name in ("acme", ".hidden", "no name"):
        (watched.folder / f"{name}.tar.gz").write_bytes(b"no bundle")
    (watched.folder / "notes.txt").write_text("not looked at")
    (watched.folder / "folder.tar.gz").mkdir()
    watched.look(4)
    assert sorted(watched.problems()) == ["acme.tar.gz", "folder.tar.gz", "no name.tar.gz"]
    assert len(watched.told) == 3
    (watched.folder / "no name.tar.gz").unlink()
    (watched.folder / "folder.tar.gz").rmdir()
    (watched.folder / "acme.tar.gz").write_bytes(company("1", sequence=1))
    watched.look(3)
    assert (watched.problems(), watched.active(), len(watched.told)) == ({}, "1", 3)


def test_folder_that_goes_away_is_told_once(watched: Watched) -> None:
    watched.folder.rmdir()
    watched.look(3)
    assert watched.told == [f"{watched.folder}: the watched folder cannot be read: No such file or directory"]
    watched.folder.mkdir()
    watched.look(1)
    assert watched.problems() == {}
