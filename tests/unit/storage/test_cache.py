"""What is kept by content, and what happens when it is not what it was."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.sources import SourceRefused, SourceUnreadable
from flowyml_policy.storage.cache import Cached, CachedEntry, ContentCache
from flowyml_policy.system.directories import cache_directory


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


def blobs(cache: ContentCache) -> list[Path]:
    return [path for path in (cache.directory / "blobs").rglob("*") if path.is_file()]


def entries(cache: ContentCache) -> list[Path]:
    return [path for path in (cache.directory / "entries").rglob("*") if path.is_file()]


def test_cache_gives_back_what_was_put(cache: ContentCache) -> None:
    assert cache.get("a", "b") is None
    cache.put("a", "b", data=b"1", notes={"at": "now"})
    cache.put("ab", data=b"2")
    assert (cache.get("a", "b"), cache.get("ab"), cache.get("a")) == (Cached(b"1", {"at": "now"}), Cached(b"2"), None)
    cache.put("a", "b", data=b"3")
    assert cache.get("a", "b") == Cached(b"3")


@given(key=st.lists(st.text(max_size=20), min_size=1, max_size=4), data=st.binary(max_size=200))
def test_cache_takes_any_key_and_bytes(key: list[str], data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = ContentCache(tmp_path_factory.getbasetemp() / "any-cache")
    cache.put(*key, data=data)
    assert cache.get(*key) == Cached(data)


def test_cache_keeps_equal_bytes_once(cache: ContentCache) -> None:
    cache.put("one", data=b"same")
    cache.put("two", data=b"same")
    assert len(blobs(cache)) == 1


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"other"), lambda path: path.unlink()])
def test_cache_damaged_bytes_are_dropped(harm: Callable[[Path], object], cache: ContentCache) -> None:
    cache.put("key", data=b"data")
    harm(blobs(cache)[0])
    assert cache.get("key") is None
    assert (blobs(cache), entries(cache)) == ([], [])
    cache.put("key", data=b"data")
    assert cache.get("key") == Cached(b"data")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        json.dumps({"key": ["other"], "digest": "sha256:" + "0" * 64, "notes": {}}).encode(),
        json.dumps({"key": ["key"], "digest": "sha256:../../../../etc/passwd", "notes": {}}).encode(),
        json.dumps({"key": ["key"], "digest": 1, "notes": {}}).encode(),
        json.dumps({"key": ["key"], "digest": "sha256:" + "0" * 64, "notes": {"a": 1}}).encode(),
    ],
)
def test_cache_damaged_entry_is_dropped(content: bytes, cache: ContentCache) -> None:
    cache.put("key", data=b"data")
    entries(cache)[0].write_bytes(content)
    assert cache.get("key") is None
    assert entries(cache) == []


def test_cache_is_private(cache: ContentCache) -> None:
    old = os.umask(0)
    try:
        cache.put("key", data=b"data")
        folder = cache.private_folder("git")
    finally:
        os.umask(old)
    for path in [cache.directory, folder, *cache.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_cache_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    assert ContentCache(folder).get("key") is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a folder away")
def test_cache_folder_of_another_user_fails_closed(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    for use in (lambda cache: cache.get("key"), lambda cache: cache.put("key", data=b""), _git_folder):
        with pytest.raises(SourceRefused):
            use(ContentCache(folder))


def _git_folder(cache: ContentCache) -> Path:
    return cache.private_folder("git")


def test_cache_that_cannot_be_written_keeps_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = ContentCache(tmp_path / "file" / "cache")
    cache.put("key", data=b"data")
    assert cache.get("key") is None
    with pytest.raises(SourceUnreadable):
        cache.private_folder("git")


def test_cache_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", max_bytes=100_000)
    for number in range(30):
        cache.put(str(number), data=bytes([number]) * 10_000)
        for path in (*blobs(cache), *entries(cache)):
            os.utime(path, (path.stat().st_atime - 100, path.stat().st_mtime - 100))
    kept = [number for number in range(30) if cache.get(str(number))]
    assert kept == list(range(kept[0], 30))
    assert sum(path.stat().st_size for path in (*blobs(cache), *entries(cache))) <= 110_000


def test_cache_use_keeps_an_entry(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path / "cache", max_bytes=100_000)
    for number in range(40):
        cache.put(str(number), data=bytes([number]) * 10_000)
        for path in (*blobs(cache), *entries(cache)):
            os.utime(path, (path.stat().st_atime - 5000, path.stat().st_mtime - 5000))
        assert cache.get("0") == Cached(bytes(10_000))


def test_cache_lies_where_the_system_keeps_caches(tmp_path: Path) -> None:
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "flowyml-policy"
    parts = ("Library", "Caches") if sys.platform == "darwin" else (".cache",)
    expected = tmp_path.joinpath(*parts, "flowyml-policy")
    assert cache_directory({"HOME": str(tmp_path)}) == expected
    assert cache_directory({"HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"}) == expected


def test_cache_lists_what_is_kept(cache: ContentCache) -> None:
    assert list(cache.entries()) == []
    cache.put("one", "b", data=b"123", notes={"at": "now"})
    cache.put("two", data=b"")
    for path in entries(cache):
        os.utime(path, (17, 17))
    at = "1970-01-01T00:00:17.000000Z"
    found = {entry.key: entry for entry in cache.entries()}
    expected = [
        CachedEntry(("one", "b"), {"at": "now"}, 3, at),
        CachedEntry(("two",), {}, 0, at),
    ]
    assert found == {entry.key: entry for entry in expected}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"[" * 100_000, b'{"key": 1}', b'{"key": [{}]}', b'{"key": ["other"]}']
)
def test_cache_lists_no_damaged_entry(content: bytes, cache: ContentCache) -> None:
    cache.put("key", data=b"data")
    entries(cache)[0].write_bytes(content)
    assert list(cache.entries()) == []


def test_cache_is_emptied(cache: ContentCache) -> None:
    assert cache.clear() == 0
    cache.put("one", data=b"same")
    cache.put("two", data=b"same")
    assert cache.clear() == 2
    assert (blobs(cache), entries(cache), cache.get("one")) == ([], [], None)
    cache.put("one", data=b"again")
    assert cache.get("one") == Cached(b"again")


def test_cache_on_a_full_disk_keeps_nothing_and_says_nothing(
    cache: ContentCache, limited_file_size: Callable[[int], None]
) -> None:
    cache.put("old", data=b"old")
    limited_file_size(1000)
    cache.put("new", data=bytes(5000))
    assert (cache.get("new"), cache.get("old")) == (None, Cached(b"old"))


def test_secret_of_a_cache_is_made_once(cache: ContentCache) -> None:
    """Also by many processes at once; it is for this user alone, and stays when the cache is cleared."""
    readers = [os.pipe() for _ in range(4)]
    for _, end in readers:
        if os.fork() == 0:
            try:
                os.write(end, ContentCache(cache.directory).secret() or b"")
            finally:
                os._exit(0)
        os.close(end)
    found = {os.read(end, 100) for end, _ in readers}
    for end, _ in readers:
        os.close(end)
        os.wait()
    cache.clear()
    assert found == {cache.secret()}
    assert len(*found) == 32
    (file,) = cache.directory.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache.directory, file)] == [0o700, 0o600]
    file.write_bytes(b"half")
    assert cache.secret() not in {None, b"half", *found}
    assert cache.secret() == ContentCache(cache.directory).secret()


def test_secret_that_cannot_be_kept_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert ContentCache(tmp_path / "file" / "cache").secret() is None
