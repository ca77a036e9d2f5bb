"""Signatures: OPA makes them and OPA checks them, and whatever is not as it was signed is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flowyml_policy.bundles.archive import SIGNATURES, read_archive, write_archive
from flowyml_policy.bundles.build import Built, build_bundle
from flowyml_policy.bundles.keys import Key, KeyPair, read_private_key, read_public_key
from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.bundles.signing import opa_keys, sign_bundle, verify_bundle
from flowyml_policy.errors.bundles import BundleRefused, SignatureRefused, SigningFailed
from flowyml_policy.errors.opa import OpaStartFailed
from flowyml_policy.errors.root import UsageError
from flowyml_policy.opa import shipped
from flowyml_policy.opa.library import load
from tests.unit.bundles.archives import archive

Keys = dict[str, KeyPair]


@pytest.fixture
def bundle(built: Built, tmp_path: Path) -> Path:
    return Path(shutil.copy(built.file, tmp_path))


def public(keys: Keys, *names: str) -> list[Key]:
    return [read_public_key(keys[name].public) for name in names]


def tampered(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    files = dict(read_archive(path).files)
    change(files)
    write_archive(path, files)
    return path


def test_bundle_is_signed_in_place_and_verifies(bundle: Path, built: Built, keys: Keys) -> None:
    for name, algorithm in (("new", "ES256"), ("old", "RS256")):
        signed = sign_bundle(bundle, read_private_key(keys[name].private))
        verified = verify_bundle(bundle, public(keys, name))
        assert (verified.keyid, verified.algorithm, verified.revision) == (name, algorithm, built.revision)
        assert verified.digest == signed.digest != built.digest
    archive = read_archive(bundle)
    assert set(archive.files) - set(read_archive(built.file).files) == {SIGNATURES}
    assert archive.signature == ("old", "RS256")


def test_rotation_takes_either_key_by_its_name(bundle: Path, keys: Keys) -> None:
    both = public(keys, "old", "new")
    for name in ("old", "new"):
        sign_bundle(bundle, read_private_key(keys[name].private))
        assert verify_bundle(bundle, both).keyid == name
        other = public(keys, "new" if name == "old" else "old")
        with pytest.raises(SignatureRefused, match=f"signed by the key '{name}'"):
            verify_bundle(bundle, other)


def test_two_keys_of_one_name_are_a_wrong_call(bundle: Path, keys: Keys) -> None:
    sign_bundle(bundle, read_private_key(keys["new"].private))
    with pytest.raises(UsageError, match="two keys have one name"):
        verify_bundle(bundle, [read_public_key(keys[name].public, keyid="new") for name in keys])


def test_signing_again_leaves_nothing_beside_the_bundle(bundle: Path, keys: Keys) -> None:
    sign_bundle(bundle, read_private_key(keys["new"].private))
    assert list(bundle.parent.iterdir()) == [bundle]


def test_unsigned_bundle_is_refused(bundle: Path, keys: Keys) -> None:
    with pytest.raises(SignatureRefused, match="not signed"):
        verify_bundle(bundle, public(keys, "old", "new"))


def test_key_of_another_under_the_right_name_is_refused(bundle: Path, keys: Keys) -> None:
    sign_bundle(bundle, read_private_key(keys["old"].private, keyid="new"))
    with pytest.raises(SignatureRefused, match="the signature is not right"):
        verify_bundle(bundle, public(keys, "new"))


def test_key_that_is_named_counts_whatever_the_signature_says(bundle: Path, keys: Keys) -> None:
    sign_bundle(bundle, read_private_key(keys["old"].private, keyid="somebody"))
    ours = read_public_key(keys["old"].public, keyid="ours")
    assert verify_bundle(bundle, [ours], keyid="ours").keyid == "ours"
    with pytest.raises(SignatureRefused):
        verify_bundle(bundle, [read_public_key(keys["new"].public, keyid="ours")], keyid="ours")


def _other_level(files: dict[str, bytes]) -> None:
    files["data.json"] = files["data.json"].replace(b'"version.missing":"soft"', b'"version.missing":"advisory"')


def _other_rule(files: dict[str, bytes]) -> None:
    name = next(name for name in files if name.endswith(".rego"))
    files[name] = files[name].replace(b"findings", b"findigns")


def _one_more_file(files: dict[str, bytes]) -> None:
    files["company/more.rego"] = b"package org.lib.more\n\nx := 1\n"


def _one_file_less(files: dict[str, bytes]) -> None:
    del files[next(name for name in files if name.endswith(".rego"))]


def _other_sequence(files: dict[str, bytes]) -> None:
    files[".manifest"] = files[".manifest"].replace(b'"input_schema":1', b'"input_schema":1,"sequence":99')


@pytest.mark.parametrize("change", [_other_level, _other_rule, _one_more_file, _one_file_less, _other_sequence])
def test_tampered_bundle_is_refused(bundle: Path, keys: Keys, change: Callable[[dict[str, bytes]], None]) -> None:
    sign_bundle(bundle, read_private_key(keys["new"].private))
    before = read_archive(bundle).files
    with pytest.raises(SignatureRefused, match="the signature is not right"):
        verify_bundle(tampered(bundle, change), public(keys, "new"))
    assert read_archive(bundle).files != before


def test_signature_of_another_bundle_is_refused(bundle: Path, tmp_path: Path, keys: Keys) -> None:
    other = archive(tmp_path / "other.tar.gz")
    sign_bundle(other, read_private_key(keys["new"].private))
    moved = read_archive(other).files[SIGNATURES]
    with pytest.raises(SignatureRefused):
        verify_bundle(tampered(bundle, lambda files: files.update({SIGNATURES: moved})), public(keys, "new"))


def test_signed_bundle_that_claims_the_root_of_another_is_refused(bundle: Path, keys: Keys) -> None:
    for roots in ('["org","system"]', '["org","project"]', '[""]'):
        claimed = f'{{"revision":"1.0.0+x","roots":{roots},"rego_version":1}}'.encode()
        tampered(bundle, lambda files, text=claimed: files.update({".manifest": text}))  # type: ignore[misc]
        sign_bundle(bundle, read_private_key(keys["new"].private))
        with pytest.raises(BundleRefused, match="owns"):
            verify_bundle(bundle, public(keys, "new"))


def test_discovery_bundle_and_what_ships_verify_too(what_ships: Built, tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "d.yaml").write_text("bundles: {company: {resource: c}}")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: d\nversion: 1.0.0\nkind: discovery\nroots: [discovery]\ndata: {discovery: d.yaml}\n")
    for built in (build_bundle(read_recipe(recipe)), what_ships):
        file = Path(shutil.copy(built.file, tmp_path))
        sign_bundle(file, read_private_key(keys["new"].private))
        assert verify_bundle(file, public(keys, "new")).revision == built.revision


def test_bundle_that_is_no_bundle_is_an_error(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "none.tar.gz").write_bytes(b"hello")
    private = read_private_key(keys["new"].private)
    with pytest.raises(UsageError):
        sign_bundle(tmp_path / "absent.tar.gz", private)
    with pytest.raises(Exception, match="no bundle, a gzipped tar archive"):
        sign_bundle(tmp_path / "none.tar.gz", private)


def test_key_that_is_damaged_signs_nothing(bundle: Path, keys: Keys) -> None:
    before = bundle.read_bytes()
    private = read_private_key(keys["old"].private)
    lines = private.pem.splitlines()
    damaged = private._replace(pem="\n".join([*lines[:5], *lines[6:]]))
    with pytest.raises(SigningFailed, match="OPA does not sign with the key 'old'") as raised:
        sign_bundle(bundle, damaged)
    assert lines[3] not in str(raised.value)
    assert bundle.read_bytes() == before


def test_eddsa_is_refused_because_opa_takes_no_such_key() -> None:
    """Where this fails, OPA has come to verify EdDSA, and `keys` can let it through."""
    key = Key("k", "EdDSA", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")
    with shipped.bundle() as archive:
        config = {"bundles": {"b": {"resource": archive.as_uri(), "signing": {}}}, "keys": opa_keys([key])}
        settings = shipped.start_settings(config, {"b": {"roots": ["flowyml"]}}, (), 10**10, vouched=False)
        with pytest.raises(OpaStartFailed, match="unsupported algorithm 'EdDSA'"):
            load().start(settings)
