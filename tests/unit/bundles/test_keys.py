"""Keys: what they are is read from themselves, and a private one is for its owner alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowyml_policy.bundles.keys import (
    ES256,
    RS256,
    Key,
    KeyPair,
    key_from_environment,
    make_keys,
    read_private_key,
    read_public_key,
)
from flowyml_policy.errors.bundles import SigningFailed
from flowyml_policy.errors.root import UsageError

Keys = dict[str, KeyPair]

ED25519 = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEDWmkPbHnbMKKRSyTKcBn1HYOcPnCkRyS2J3g4kqAyb
-----END PRIVATE KEY-----
"""


def test_pair_of_keys_is_for_its_owner(keys: Keys) -> None:
    for name, algorithm in (("new", ES256), ("old", RS256)):
        pair = keys[name]
        assert pair == KeyPair(pair.private, pair.public, name, algorithm)
        assert pair.private.stat().st_mode & 0o777 == 0o600
        assert read_private_key(pair.private)[:2] == read_public_key(pair.public)[:2] == (name, algorithm)


def test_pair_is_for_its_owner_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pair = make_keys(tmp_path / "k", ES256)
    finally:
        os.umask(before)
    assert (pair.private.stat().st_mode & 0o777, pair.public.stat().st_mode & 0o777) == (0o600, 0o644)


@pytest.mark.parametrize("ending", ["key", "pub"])
def test_file_that_exists_is_not_overwritten(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"k.{ending}").write_text("mine")
    with pytest.raises(UsageError, match="the file exists"):
        make_keys(tmp_path / "k", ES256)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(f"k.{ending}", "mine")]


def test_eddsa_is_refused_before_anybody_signs_with_it(tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="nobody could verify"):
        make_keys(tmp_path / "k", "EdDSA")
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "ed.key"
    file.write_text(ED25519)
    file.chmod(0o600)
    with pytest.raises(SigningFailed, match="nobody could verify"):
        read_private_key(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601])
def test_private_key_that_others_may_use_is_refused(tmp_path: Path, keys: Keys, mode: int) -> None:
    file = tmp_path / "k.key"
    file.write_bytes(keys["new"].private.read_bytes())
    file.chmod(mode)
    with pytest.raises(SigningFailed, match=rf"may be read by others \(mode {mode:04o}\)"):
        read_private_key(file)


def test_public_key_may_be_read_by_all(keys: Keys) -> None:
    keys["new"].public.chmod(0o666)
    assert read_public_key(keys["new"].public, keyid="other").keyid == "other"


def test_one_half_of_a_pair_is_not_taken_for_the_other(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(SigningFailed, match="a public key is wanted, and this is a PRIVATE KEY"):
        read_public_key(keys["new"].private)
    file = tmp_path / "k.key"
    file.write_bytes(keys["new"].public.read_bytes())
    file.chmod(0o600)
    with pytest.raises(SigningFailed, match="a private key without a passphrase is wanted, and this is a PUBLIC KEY"):
        read_private_key(file)


def test_key_from_the_environment_needs_a_name(keys: Keys) -> None:
    text = keys["new"].private.read_text()
    with pytest.raises(UsageError, match="has no name"):
        key_from_environment("K", {"K": text}, keyid=None, private=True)
    read = key_from_environment("K", {"K": text}, keyid="k", private=True)
    assert read == Key("k", ES256, read_private_key(keys["new"].private).pem)
    assert text.splitlines()[1] not in repr(read)


def test_line_breaks_written_out_are_read(keys: Keys) -> None:
    text = keys["new"].private.read_text()
    escaped = key_from_environment("K", {"K": text.replace("\n", "\\n")}, keyid="k", private=True)
    assert escaped.pem == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the variable K is not set, or empty"),
        ("secret", r"the key is no PEM text: \$K"),
        ("-----BEGIN PUBLIC KEY-----\n???\n-----END PUBLIC KEY-----", "its body is no base64"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "of no kind that OPA signs bundles with"),
        ("-----BEGIN PUBLIC KEY----- AA BB -----END PUBLIC KEY-----", "the line breaks of the key became blanks"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "this is a certificate"),
    ],
)
def test_text_that_is_no_key_is_told_as_what_it_is(text: str, problem: str) -> None:
    with pytest.raises(SigningFailed, match=problem):
        key_from_environment("K", {"K": text}, keyid="k", private=False)


def test_keys_without_cryptography_name_the_extra(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from flowyml_policy.cli import main\n"
        "sys.exit(main(['bundle', 'keygen', 'k']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'flowyml-policy[signatures]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_to_sign_and_verify_loads_no_cryptography(keys: Keys) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import flowyml_policy.bundles.signing\n"
        "from flowyml_policy.bundles.keys import read_public_key\n"
        "read_public_key(Path(sys.argv[1]))\n"
        "print([name for name in sys.modules if name.startswith('cryptography')])\n"
    )
    command = [sys.executable, "-c", script, str(keys["new"].public)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
