"""The highest sequence of each bundle is kept, and never lowered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.storage.sequences import FILE, FileSequences


def test_the_highest_sequence_is_kept(tmp_path: Path) -> None:
    store = FileSequences(tmp_path / "not" / "there")
    assert store.known() == {}
    assert [store.advance("a", sequence) for sequence in (3, 2, 3, 7)] == [3, 3, 3, 7]
    assert store.advance("b", 1) == 1
    again = FileSequences(tmp_path / "not" / "there")
    assert again.known() == {"a": 7, "b": 1}


def test_threads_and_stores_lose_nothing(tmp_path: Path) -> None:
    def advance(number: int) -> int:
        return FileSequences(tmp_path).advance(f"bundle {number % 4}", number)

    with ThreadPoolExecutor(8) as pool:
        assert all(highest >= number for number, highest in enumerate(pool.map(advance, range(80))))
    assert FileSequences(tmp_path).known() == {f"bundle {number}": 76 + number for number in range(4)}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "sequences": {}}',
        '{"version": 1}',
        '{"version": 1, "sequences": {"a": "1"}}',
    ],
)
def test_a_file_that_is_none_is_an_error_and_stays(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    store = FileSequences(tmp_path)
    with pytest.raises(OpaUnavailable, match="the file of sequences of bundles is none"):
        store.known()
    with pytest.raises(OpaUnavailable, match="the file of sequences of bundles is none"):
        store.advance("a", 1)
    assert (tmp_path / FILE).read_text() == content


@pytest.mark.usefixtures("_as_nobody")
def test_a_folder_that_cannot_be_written_is_an_error(open_folder: Path) -> None:
    open_folder.chmod(0o500)
    with pytest.raises(OpaUnavailable, match="cannot be kept"):
        FileSequences(open_folder).advance("a", 1)


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OpaUnavailable, match="cannot be"):
        FileSequences(tmp_path / "file").advance("a", 1)
