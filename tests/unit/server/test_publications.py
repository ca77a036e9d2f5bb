"""What may be published, and what is kept of it.

Every bundle is checked by the real OPA: in this process, since one of its own for each takes a second, but for a few.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from flowyml_policy.bundles.admission import admit, check
from flowyml_policy.bundles.keys import ES256, KeyPair, make_keys, read_public_key
from flowyml_policy.errors.bundles import BundleRefused, SignatureRefused
from flowyml_policy.errors.server import ServerUnwritable
from flowyml_policy.opa.bundle_files import archive_bytes
from flowyml_policy.server.bundles import Publications, Put
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.store import open_database
from tests.unit.server.publishing import company, files, signed

BROKEN = {"broken.rego": b"package org.rules.broken\n\nfindings := nothing(1)\n"}
Refusal = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys") / "release", ES256)


def opened(folder: Path, *, keys: KeyPair | None = None, keep: int = 20, told: list[str] | None = None) -> Publications:
    public = () if keys is None else (read_public_key(keys.public),)
    tell = (told if told is not None else []).append
    made = Publications(folder / "server.db", folder / "bundles", keys=public, keep=keep, tell=tell, check=check)
    made.start()
    return made


@pytest.fixture
def publications(tmp_path: Path) -> Iterator[Publications]:
    made = opened(tmp_path)
    yield made
    made.close()


def refusal(publications: Publications, packed: bytes, name: str = "acme", **conditions: str) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        publications.put(Put(name, packed, "ci", **conditions))
    return int(refused.value.status), refused.value.code


def put(publications: Publications, packed: bytes, name: str = "acme", **conditions: str) -> bool:
    """Whether it was new."""
    return publications.put(Put(name, packed, "ci", **conditions))[1]


def archives(folder: Path, name: str = "acme") -> set[str]:
    return {file.name for file in (folder / "bundles" / name).iterdir()}


def file_of(packed: bytes) -> str:
    return f"{sha256(packed).hexdigest()}.tar.gz"


def test_name_goes_forward_only(tmp_path: Path) -> None:
    told: list[str] = []
    publications = opened(tmp_path, told=told)
    first, second = company("1", sequence=3), company("2", sequence=4)
    assert put(publications, first)
    assert not put(publications, first)
    assert refusal(publications, company("other", sequence=3)) == (409, "sequence_not_higher")
    assert put(publications, second)
    assert refusal(publications, first) == (409, "sequence_not_higher")
    active = publications.active("acme")
    assert active is not None
    assert (active.packed, active.publication.etag) == (second, f'"{sha256(second).hexdigest()}"')
    assert told == ["acme", "acme"]
    listed = [(one.revision, one.sequence, one.published_by) for one in publications.history("acme")]
    assert listed == [("2", 4, "ci"), ("1", 3, "ci")]
    assert archives(tmp_path) == {file_of(first), file_of(second)}
    publications.close()


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        pytest.param(b"no bundle", (400, "bundle_unreadable"), id="no archive"),
        pytest.param(company("1"), (422, "no_sequence"), id="no sequence"),
        pytest.param(company("1", sequence=1, expires="2020-01-01"), (422, "expired"), id="expired"),
        pytest.param(company("1", sequence=1, expires="soon"), (422, "bundle_refused"), id="no expiry"),
        pytest.param(company("1", sequence=1, roots=("system",)), (422, "bundle_refused"), id="foreign root"),
        pytest.param(company("1", sequence=1, roots=()), (422, "bundle_refused"), id="no root"),
    ],
)
def test_bundle_that_is_not_published(
    publications: Publications, tmp_path: Path, packed: bytes, expected: tuple[int, str]
) -> None:
    assert refusal(publications, packed) == expected
    assert publications.active("acme") is None
    assert archives(tmp_path) == set()


def test_bundle_must_be_signed_where_there_are_keys(tmp_path: Path, keys: KeyPair) -> None:
    publications = opened(tmp_path, keys=keys)
    assert refusal(publications, company("1", sequence=1)) == (422, "signature_refused")
    other = make_keys(tmp_path / "release", ES256)  # another key of the same name
    assert refusal(publications, signed(tmp_path, other, "1", sequence=1)) == (422, "signature_refused")
    assert put(publications, signed(tmp_path, keys, "1", sequence=1))
    publications.close()


def test_discovery_bundle_is_one_of_the_others(tmp_path: Path, keys: KeyPair) -> None:
    publications = opened(tmp_path, keys=keys)
    data = {"discovery": {"bundles": {"acme": {"service": "company", "signing": {}}}}}
    assert put(publications, signed(tmp_path, keys, "1", roots=("discovery",), data=data, sequence=1), "discovery")
    publications.close()


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "a\\b", ".hidden", "x" * 129, "a\x00", "ä"])
def test_name_that_is_none(publications: Publications, tmp_path: Path, name: str) -> None:
    assert refusal(publications, company("1", sequence=1), name) == (404, "no_such_bundle")
    assert not (tmp_path / "bundles").exists()


def test_conditions(publications: Publications) -> None:
    assert refusal(publications, company("1", sequence=1), if_match="*") == (412, "not_active")
    first, second = company("1", sequence=1), company("2", sequence=2)
    assert put(publications, first, if_none_match="*")
    etag = f'"{sha256(first).hexdigest()}"'
    assert refusal(publications, second, if_none_match="*") == (412, "is_active")
    assert refusal(publications, second, if_match='"other"') == (412, "not_active")
    assert refusal(publications, second, if_match=f"W/{etag}") == (412, "not_active")
    assert put(publications, second, if_match=f'"other", {etag}')
    assert not put(publications, second, if_match=etag)  # its answer was lost


def test_bundle_that_is_put_twice_at_once_is_published_once(publications: Publications) -> None:
    packed = company("1", sequence=1)
    with ThreadPoolExecutor() as pool:
        news = [one.result() for one in [pool.submit(put, publications, packed) for _ in range(3)]]
    assert sorted(news) == [False, False, True]
    assert len(publications.history("acme")) == 1


def test_rows_stay_when_archives_go(tmp_path: Path) -> None:
    publications = opened(tmp_path, keep=2)
    packed = [company(str(number), sequence=number) for number in range(1, 4)]
    for one in packed:
        put(publications, one)
    assert archives(tmp_path) == {file_of(packed[1]), file_of(packed[2])}
    assert [publications.is_kept(one) for one in publications.history("acme")] == [True, True, False]
    assert (publications.archive("acme", "2"), publications.archive("acme", "1")) == (packed[1], None)
    publications.close()


def test_start_removes_what_was_not_finished_and_serves_the_last(tmp_path: Path) -> None:
    publications = opened(tmp_path)
    packed = company("1", sequence=1)
    put(publications, packed)
    publications.close()
    folder = tmp_path / "bundles" / "acme"
    (folder / file_of(b"of no row")).write_bytes(b"of no row")
    (folder / ".half.tar.gz").write_bytes(b"half")
    again = opened(tmp_path)
    assert archives(tmp_path) == {file_of(packed)}
    active = again.active("acme")
    assert active is not None
    assert active.packed == packed
    again.close()


def test_archive_that_is_damaged_is_told_and_put_again(tmp_path: Path) -> None:
    publications = opened(tmp_path)
    packed = company("1", sequence=1)
    put(publications, packed)
    publications.close()
    (tmp_path / "bundles" / "acme" / file_of(packed)).write_bytes(b"other")
    again = opened(tmp_path)
    active = again.active("acme")
    assert active is not None
    assert active.packed is None
    assert again.warnings() == ["the archive of the bundle acme is damaged; publish it again"]
    assert not put(again, packed)
    assert again.warnings() == []
    again.close()


def test_bundle_that_has_expired_is_served_and_told(publications: Publications, tmp_path: Path) -> None:
    packed = company("1", sequence=1, expires="2020-01-01T00:00:00Z")
    (tmp_path / "bundles" / "acme").mkdir(parents=True)
    (tmp_path / "bundles" / "acme" / file_of(packed)).write_bytes(packed)
    digest = f"sha256:{sha256(packed).hexdigest()}"
    row = ("acme", "1", 1, "2020-01-01T00:00:00Z", digest, len(packed), "2019-01-01T00:00:00.000000Z", "ci")
    columns = "name, revision, sequence, expires, digest, size, published_at, published_by"
    with closing(open_database(tmp_path / "server.db")) as database, database.writing() as transaction:
        transaction.connection.execute(f"INSERT INTO publications ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    publications.start()
    active = publications.active("acme")
    assert active is not None
    assert active.packed == packed
    assert publications.warnings() == ["the bundle acme expired at 2020-01-01T00:00:00Z, and its clients deny"]


def test_folder_that_is_in_the_way(publications: Publications, tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file")
    with pytest.raises(ServerUnwritable):
        put(publications, company("1", sequence=1))
    assert publications.history("acme") == []


def test_bundle_that_does_not_load_names_the_bundle_and_no_path(publications: Publications, tmp_path: Path) -> None:
    packed = archive_bytes({**files("1", sequence=1), **BROKEN})
    with pytest.raises(Refused, match="nothing") as refused:
        publications.put(Put("acme", packed, "ci"))
    assert str(tmp_path) not in refused.value.message
    assert "acme" in refused.value.message


def test_bundle_that_unpacks_without_end_is_none(publications: Publications) -> None:
    header = tarfile.TarInfo("data.json")
    header.size = 300 << 20
    zeros = gzip.compress(bytes(1 << 20))
    assert refusal(publications, gzip.compress(header.tobuf()) + 300 * zeros) == (400, "bundle_unreadable")


def test_check_in_a_process_of_its_own_says_the_same(tmp_path: Path, keys: KeyPair) -> None:
    (tmp_path / "a.tar.gz").write_bytes(signed(tmp_path, keys, "1", sequence=1, expires="2099-01-01"))
    public = [read_public_key(keys.public)]
    admitted = admit(tmp_path / "a.tar.gz", public)
    assert admitted == check(tmp_path / "a.tar.gz", public)
    assert admitted == ("1", 1, "2099-01-01", ("org",), "release")
    with pytest.raises(SignatureRefused, match=r"signed by the key 'release', and other was given"):
        admit(tmp_path / "a.tar.gz", [read_public_key(keys.public, keyid="other")])


@pytest.mark.parametrize("limit", [{"seconds": 0.05}, {"memory": 200 << 20}], ids=["time", "memory"])
def test_check_that_takes_too_much_ends_itself_alone(tmp_path: Path, limit: dict[str, float]) -> None:
    (tmp_path / "a.tar.gz").write_bytes(company("1", sequence=1))
    with pytest.raises(BundleRefused):
        admit(tmp_path / "a.tar.gz", (), **limit)  # type: ignore[arg-type]
