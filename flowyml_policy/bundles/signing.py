"""Signs bundles, and checks signatures, as OPA does both.

Rules:
- OPA makes the signature (`.signatures.json`), and OPA's own bundle loader checks it, in an evaluator that is started
  on that file with `keys` and `signing`: OPA's command line verifies nothing.
- A private key is read by its owner alone, and is never an argument of a process, where others could see it.
- A signature names its key. During a rotation both keys are given, and the signature says which one counts.
- What OPA's configuration takes no key of, EdDSA in the OPA inside, is refused before anything is signed with it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from flowyml_policy.bundles.archive import SIGNATURES, Archive, read_archive, write_archive
from flowyml_policy.bundles.keys import Key, check_keyid
from flowyml_policy.errors.bundles import BundleRefused, SignatureRefused, SigningFailed
from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.opa import shipped
from flowyml_policy.opa.command import run_child
from flowyml_policy.opa.configuration import DISCOVERY
from flowyml_policy.opa.library import load
from flowyml_policy.records.record import Json

SIGN_SECONDS: Final = 60.0
START_NS: Final = 30_000_000_000
STOP_NS: Final = 5_000_000_000

_BUNDLE: Final = "bundle"
_OF_BUNDLE: Final = re.compile(r'^bundle "[^"]*" does not load: ')


class Signed(NamedTuple):
    """A bundle that was signed: where, by which key, and the digest of the file."""

    file: Path
    revision: str
    keyid: str
    algorithm: str
    digest: str


class Verified(NamedTuple):
    """A bundle whose signature is right: what it is, and which key made it."""

    file: Path
    revision: str
    keyid: str
    algorithm: str | None
    digest: str


def sign_bundle(path: Path, key: Key, *, output: Path | None = None) -> Signed:
    """Sign the bundle at `path` with a private key; a signature that it has is replaced.

    It is written to `output`, to `path` itself by default. Raises UsageError, BundleUnreadable, SigningFailed.
    """
    check_keyid(key.keyid)
    archive = read_archive(path)
    files = {name: content for name, content in archive.files.items() if name != SIGNATURES}
    target = output or path
    signature = _signature(files, key)
    digest = write_archive(target, {**files, SIGNATURES: signature})
    return Signed(target, _revision(archive), key.keyid, key.algorithm, digest)


def verify_bundle(path: Path, keys: Sequence[Key], *, keyid: str | None = None) -> Verified:
    """Check that one of `keys` signed the bundle at `path`, and that it is as it was signed.

    With `keyid` it must be the key of that name, whatever the signature says. Raises UsageError, BundleUnreadable,
    SignatureRefused, BundleRefused for a bundle that is rightly signed and still does not load, OpaError.
    """
    return verify_archive(read_archive(path), keys, keyid=keyid)


def verify_archive(archive: Archive, keys: Sequence[Key], *, keyid: str | None = None) -> Verified:
    """As `verify_bundle`, of an archive that was read. OPA reads its file again."""
    path = archive.path
    names = [key.keyid for key in keys]
    if len(set(names)) < len(names):
        raise UsageError("two keys have one name", advice="rename a file: signatures tell keys apart by their names")
    signature = archive.signature
    if signature is None:
        raise SignatureRefused(f"the bundle is not signed: {path}")
    named = keyid or signature.keyid
    if named is None:
        raise SignatureRefused(
            f"the signature does not name its key: {path}", advice="name the key that it must be of with --keyid"
        )
    if named not in {key.keyid for key in keys}:
        known = ", ".join(sorted(key.keyid for key in keys))
        raise SignatureRefused(
            f"the bundle is signed by the key {named!r}, and {known} was given: {path}",
            advice="give the public key of that name, or name the file's key with --keyid",
        )
    _activate(archive, keys, {} if keyid is None else {"keyid": keyid})
    return Verified(path, _revision(archive), named, signature.algorithm, archive.digest)


def check_loads(archive: Archive) -> None:
    """Check that OPA loads an archive, whose signature nobody can check. Raises BundleRefused, OpaError."""
    if archive.signature is None:
        _activate(archive, (), None)
        return
    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:  # OPA refuses a signature that it has no key for
        unsigned = Path(scratch) / "bundle.tar.gz"
        write_archive(unsigned, {name: content for name, content in archive.files.items() if name != SIGNATURES})
        _activate(archive._replace(path=unsigned), (), None)


def opa_keys(keys: Sequence[Key]) -> dict[str, Json]:
    """The section `keys` of OPA's configuration."""
    return {key.keyid: {"algorithm": key.algorithm, "key": key.pem} for key in keys}


def _signature(files: Mapping[str, bytes], key: Key) -> bytes:
    """The signature of an archive's files, made by OPA."""
    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:
        folder = Path(scratch)
        write_archive(folder / "bundle.tar.gz", dict(files))
        (folder / "claims.json").write_text(json.dumps({"keyid": key.keyid}))
        handle = os.open(folder / "private.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key.pem)
        argv = ["sign", "--bundle", "bundle.tar.gz", "--signing-key", "private.pem", "--signing-alg", key.algorithm]
        argv += ["--claims-file", "claims.json", "--output-file-path", "."]
        done = run_child(argv, folder=folder, timeout=SIGN_SECONDS)
        made = folder / SIGNATURES
        if done.returncode != 0 or not made.is_file():
            said = (done.stderr or done.stdout).decode(errors="replace").strip().removeprefix("error: ")
            raise SigningFailed(f"OPA does not sign with the key {key.keyid!r}: {said}")
        return made.read_bytes()


def _activate(archive: Archive, keys: Sequence[Key], signing: Mapping[str, Json] | None) -> None:
    """Have OPA load the bundle beside what ships, on whose functions it may rest; without `signing`, unsigned."""
    roots = archive.manifest.get("roots")
    owned = (DISCOVERY,) if roots == [DISCOVERY] else shipped.CONFIGURED_ROOTS
    with shipped.bundle() as beside:
        bundle: dict[str, Json] = {"resource": archive.path.absolute().as_uri()}
        bundles: dict[str, Json] = {_BUNDLE: bundle if signing is None else {**bundle, "signing": signing}}
        if roots != [DISCOVERY] and shipped.SHIPPED_BUNDLE not in (roots or ()):
            bundles[shipped.SHIPPED_BUNDLE] = {"resource": beside.as_uri()}
        expected = {name: {"roots": owned if name == _BUNDLE else shipped.CONFIGURED_ROOTS} for name in bundles}
        config = {"bundles": bundles, "keys": opa_keys(keys)}
        library = load()
        try:
            started = library.start(shipped.start_settings(config, expected, (), START_NS, vouched=False))
        except PolicyInvalid as error:
            raise BundleRefused(f"the bundle does not load: {archive.path}: {_own(error.message)}") from error
        except OpaStartFailed as error:
            if not _OF_BUNDLE.match(error.message):  # a key that OPA cannot read
                raise
            if signing is None:
                raise BundleRefused(f"the bundle does not load: {archive.path}: {_own(error.message)}") from error
            raise SignatureRefused(f"the signature is not right: {archive.path}: {_own(error.message)}") from error
    library.stop(started["handle"], STOP_NS)


def _own(message: str) -> str:
    return _OF_BUNDLE.sub("", message)


def _revision(archive: Archive) -> str:
    return str(archive.manifest.get("revision", ""))
