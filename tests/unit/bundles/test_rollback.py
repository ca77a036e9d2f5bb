"""Old content that is published anew: what it is then, and what is not believed of a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowyml_policy.bundles.archive import Archive, parse_archive, write_archive
from flowyml_policy.bundles.keys import ES256, KeyPair, make_keys, public_key_of, read_private_key, read_public_key
from flowyml_policy.bundles.publication import Published, publishable
from flowyml_policy.bundles.rollback import roll_back
from flowyml_policy.bundles.server import BundleOnServer, Listed
from flowyml_policy.bundles.signing import sign_bundle, verify_archive
from flowyml_policy.errors.bundles import BundleMissing, BundleTampered, PushRefused, SignatureRefused
from flowyml_policy.opa.bundle_files import archive_bytes

OLD, NEW = "1.0.0+99e2ca2e76bf", "1.1.0+0123456789ab"


class Kept(BundleOnServer):
    """A server that keeps archives in memory, and takes everything."""

    def __init__(self, *archives: tuple[str, int, bytes]) -> None:
        super().__init__("https://policy.example.com/bundles/acme", environ={})
        self.archives = list(archives)
        self.if_match: str | None = None
        self.taken: Archive | None = None

    def history(self) -> list[Listed]:
        return [Listed(revision, number, f'"{number}"', bool(packed)) for revision, number, packed in self.archives]

    def archive(self, revision: str) -> bytes:
        return next(packed for named, _, packed in self.archives if named == revision)

    def put(self, path: Path, *, if_match: str | None = None) -> Published:
        packed, published = publishable(path, self.url)
        self.taken = parse_archive(packed, path)
        self.if_match = if_match
        return published


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys") / "release", ES256)


def bundle(tmp_path: Path, revision: str, pair: KeyPair | None, **metadata: object) -> bytes:
    manifest = {"revision": revision, "roots": ["org"], "metadata": metadata}
    files = {".manifest": json.dumps(manifest).encode(), "data.json": b'{"org": {"note": 1}}'}
    if pair is None:
        return archive_bytes(files)
    path = tmp_path / "made.tar.gz"
    write_archive(path, files)
    sign_bundle(path, read_private_key(pair.private))
    return path.read_bytes()


def test_old_content_comes_as_the_newest(tmp_path: Path, pair: KeyPair) -> None:
    old = bundle(tmp_path, OLD, pair, sequence=1, expires="2098-01-01T00:00:00Z", owner="somebody")
    server = Kept((NEW, 7, b"of no account"), (OLD, 1, old))
    key = read_private_key(pair.private)
    published = roll_back(server, OLD, key, trusted=[public_key_of(key)])
    assert (published.revision, published.sequence) == (f"{OLD}.8", 8)
    assert server.if_match == '"7"'
    taken = server.taken
    assert taken is not None
    assert taken.data == {"org": {"note": 1}}
    assert taken.manifest["metadata"] == {
        "owner": "somebody",
        "rolled_back_to": OLD,
        "sequence": 8,
        "expires": "2098-01-01T00:00:00Z",
    }
    signed = tmp_path / "taken.tar.gz"
    write_archive(signed, taken.files)
    verify_archive(taken._replace(path=signed), [read_public_key(pair.public)])


def test_what_was_rolled_back_is_named_after_its_origin_again(tmp_path: Path, pair: KeyPair) -> None:
    old = bundle(tmp_path, f"{OLD}.8", pair, sequence=8, rolled_back_to=OLD)
    server = Kept((NEW, 9, b"of no account"), (f"{OLD}.8", 8, old))
    key = read_private_key(pair.private)
    published = roll_back(server, f"{OLD}.8", key, trusted=[public_key_of(key)], expires="2099-01-01T00:00:00Z")
    assert (published.revision, published.expires) == (f"{OLD}.10", "2099-01-01T00:00:00Z")


def test_expiry_that_is_over_must_be_said_anew(tmp_path: Path, pair: KeyPair) -> None:
    old = bundle(tmp_path, OLD, pair, sequence=1, expires="2020-01-01T00:00:00Z")
    server = Kept((OLD, 1, old))
    key = read_private_key(pair.private)
    with pytest.raises(PushRefused, match="expired at 2020-01-01T00:00:00Z"):
        roll_back(server, OLD, key, trusted=[public_key_of(key)])
    assert server.taken is None


def test_nothing_is_signed_that_a_key_did_not_sign_before(tmp_path: Path, pair: KeyPair) -> None:
    key = read_private_key(pair.private)
    stranger = make_keys(tmp_path / "release", ES256)
    for old in (bundle(tmp_path, OLD, None, sequence=1), bundle(tmp_path, OLD, stranger, sequence=1)):
        server = Kept((OLD, 1, old))
        with pytest.raises(SignatureRefused):
            roll_back(server, OLD, key, trusted=[public_key_of(key)])
        assert server.taken is None


def test_server_that_gives_another_revision_is_not_believed(tmp_path: Path, pair: KeyPair) -> None:
    server = Kept((OLD, 1, bundle(tmp_path, NEW, pair, sequence=2)))
    key = read_private_key(pair.private)
    with pytest.raises(BundleTampered):
        roll_back(server, OLD, key, trusted=[public_key_of(key)])


def test_revision_that_is_not_kept(pair: KeyPair) -> None:
    server = Kept((NEW, 2, b"of no account"), (OLD, 1, b""))
    with pytest.raises(BundleMissing, match=f"keeps no archive of the revision {OLD}".replace("+", r"\+")):
        roll_back(server, OLD, read_private_key(pair.private), trusted=[read_public_key(pair.public)])
