"""Public keys, what settings demand of signatures, and the signatures of both layouts of cosign."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.images import SigningKeyUnusable
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.images.signatures import SigningPolicy, demands, examine_bundle, examine_payload, load_key
from flowyml_policy.records.policy_input import SignatureFacts, SigningDemand, SigningKey
from flowyml_policy.references.image import parse_reference
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from tests.unit.images import cosign
from tests.unit.images.cosign import IMAGE, OTHER, Signer, bundle, bundles_of, key, layers_of, statement

ATTESTATION = "it is an attestation ({}), not a signature (https://sigstore.dev/cosign/sign/v1)"
BY_NONE = "none of the keys that may sign this image made it"
PREHASHED = f"{BY_NONE}; cosign signs with Ed25519 keys in a form (Ed25519ph) that is not read, use ECDSA with it"


def good(name: str, form: str = "bundle", digest: str = IMAGE) -> SignatureFacts:
    return SignatureFacts.model_validate({"key": key(name).id, "form": form, "digest": digest, "ok": True})


def bad(reason: str, *, by: str | None = None, form: str = "bundle", problem: str = "invalid") -> SignatureFacts:
    return SignatureFacts.model_validate(
        {"key": by, "form": form, "digest": IMAGE, "ok": False, "reason": reason, "problem": problem}
    )


# What cosign wrote


@pytest.mark.parametrize("names", [("one", "two"), ("two", "one")])
def test_bundle_of_cosign_is_verified(names: tuple[str, str]) -> None:
    keys = [key(name) for name in names]
    found = {fact for blob in bundles_of("bundles") for fact in examine_bundle(blob, IMAGE, keys).facts}
    assert found == {good("one"), good("two")}


def test_payload_of_cosign_is_verified() -> None:
    keys = [key("two"), key("one")]
    found = {fact for payload, made in layers_of("tags") for fact in examine_payload(payload, made, IMAGE, keys)}
    assert found == {good("one", "tag"), good("two", "tag")}


def test_platform_that_cosign_signed_recursively_is_verified() -> None:
    for platform in cosign.platforms():
        (blob,) = bundles_of("recursive", platform)
        assert examine_bundle(blob, platform, [key("one")]).facts == (good("one", digest=platform),)
        assert examine_bundle(blob, IMAGE, [key("one")]).facts == (
            bad("it signs another digest than the image's", by=key("one").id),
        )


def test_signatures_of_other_algorithms_are_verified() -> None:
    names = ["rsa", "ed25519"]
    found = {examine_bundle(blob, IMAGE, [key(name) for name in names]).facts for blob in bundles_of("others")}
    assert found == {(good("rsa"),), (bad(PREHASHED),)}
    ((payload, made),) = layers_of("others")
    assert examine_payload(payload, made, IMAGE, [key("p384")]) == (good("p384", "tag"),)


def test_attestation_of_cosign_is_no_signature() -> None:
    types = {
        "https://spdx.dev/Document",
        "https://slsa.dev/provenance/v1",
        "https://cosign.sigstore.dev/attestation/vuln/v1",
    }
    evidence = [examine_bundle(blob, IMAGE, [key("one")]) for blob in bundles_of("attested")]
    assert {found.statement.predicate_type for found in evidence if found.statement} == types
    assert {fact for found in evidence for fact in found.facts} == {
        bad(ATTESTATION.format(repr(kind)), by=key("one").id) for kind in types
    }


def test_attestation_by_another_key_is_no_evidence() -> None:
    for blob in bundles_of("attested"):
        found = examine_bundle(blob, IMAGE, [key("two")])
        assert found.statement is None
        assert [(fact.key, fact.ok, fact.problem) for fact in found.facts] == [(None, False, "invalid")]


# One change


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    value = json.loads(bundles_of("bundles")[0])
    change(value)
    return json.dumps(value).encode()


def payload_byte(value: dict[str, Any]) -> None:
    payload = base64.b64decode(value["dsseEnvelope"]["payload"]).replace(b'"predicate":{}', b'"predicate":{"a":1}')
    value["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()


def swapped(value: dict[str, Any]) -> None:
    other = json.loads(bundles_of("attested")[0])
    value["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(payload_byte, BY_NONE, id="payload"),
        pytest.param(swapped, "it is an attestation ('https://", id="swapped envelope"),
        pytest.param(
            lambda value: value["dsseEnvelope"].update(payloadType="text/plain"),
            "the envelope's payloadType is 'text/plain', not application/vnd.in-toto+json",
            id="payloadType",
        ),
        pytest.param(
            lambda value: value["dsseEnvelope"].pop("payloadType"),
            "the envelope's payloadType is missing, not application/vnd.in-toto+json",
            id="no payloadType",
        ),
        pytest.param(
            lambda value: value["dsseEnvelope"]["signatures"][0].update(sig="%%%"),
            "the envelope's signature is no base64",
            id="base64",
        ),
        pytest.param(
            lambda value: value["dsseEnvelope"]["signatures"][0].update(sig=""),
            "the envelope's signature is missing",
            id="no signature",
        ),
        pytest.param(
            lambda value: value["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), BY_NONE, id="another signature"
        ),
        pytest.param(
            lambda value: value["dsseEnvelope"].update(signatures=[]),
            "the envelope has not between 1 and 16 signatures",
            id="no signatures",
        ),
        pytest.param(
            lambda value: value["dsseEnvelope"].update(signatures=value["dsseEnvelope"]["signatures"] * 17),
            "the envelope has not between 1 and 16 signatures",
            id="many signatures",
        ),
        pytest.param(lambda value: value.pop("dsseEnvelope"), "the bundle holds no DSSE envelope", id="no envelope"),
        pytest.param(
            lambda value: value.update(messageSignature={"signature": "AAAA"}),
            "the bundle holds a message's signature, which does not say what was signed",
            id="message",
        ),
        pytest.param(
            lambda value: value.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
            "the bundle is of a version that is not read, 'application/vnd.dev.sigstore.bundle+json;version=0.2'; "
            "version 0.3 is",
            id="version 0.2",
        ),
        pytest.param(
            lambda value: value.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"),
            "the bundle is of a version that is not read, 'application/vnd.dev.sigstore.bundle.v0.4+json'; "
            "version 0.3 is",
            id="version 0.4",
        ),
        pytest.param(
            lambda value: value.pop("mediaType"),
            "the bundle is of a version that is not read, without a media type; version 0.3 is",
            id="no version",
        ),
    ],
)
def test_bundle_one_change_is_refused_with_its_reason(change: Callable[[dict[str, Any]], None], reason: str) -> None:
    (fact,) = examine_bundle(changed(change), IMAGE, [key("one"), key("two")]).facts
    assert (fact.key, fact.ok, fact.problem) == (None, False, "invalid")
    assert fact.reason is not None
    assert fact.reason.startswith(reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the bundle cannot be read: it is no JSON"),
        (b"{", "the bundle cannot be read: it is no JSON"),
        (b"[]", "the bundle is no JSON object"),
        (b"\xff", "the bundle cannot be read: it is no JSON"),
        (b"[" * 100_000, "the bundle cannot be read: it is no JSON"),
        (b'{"a": 1, "a": 2}', "the bundle cannot be read: it is no JSON of one meaning: a key stands twice"),
        (b'{"a": ' + b"1" * 5000 + b"}", "the bundle cannot be read: it is no JSON"),
        (b'{"a": NaN}', "the bundle cannot be read: it is no JSON"),
    ],
    ids=["empty", "half", "list", "no UTF-8", "deep", "twice", "long number", "NaN"],
)
def test_bundle_no_json_is_refused(data: bytes, reason: str) -> None:
    assert examine_bundle(data, IMAGE, [key("one")]).facts == (bad(reason),)


def test_bundle_by_another_key_is_refused() -> None:
    assert examine_bundle(bundles_of("bundles")[0], IMAGE, [key("p384")]).facts == (bad(BY_NONE),)
    assert examine_bundle(bundles_of("bundles")[0], IMAGE, []).facts == (bad(BY_NONE),)


def test_bundle_with_a_certificate_is_keyless() -> None:
    """What the bundle says of the key is not believed: a good signature by a key of ours stays good."""
    reason = "it was made without a lasting key (keyless, by a certificate), which is not accepted"
    blob = bundle(statement(), Signer(), verificationMaterial={"certificate": {"rawBytes": "AAAA"}})
    assert examine_bundle(blob, IMAGE, [key("one")]).facts == (bad(reason, problem="keyless"),)
    ours = changed(lambda value: value.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"}}))
    assert [fact.ok for fact in examine_bundle(ours, IMAGE, [key("one"), key("two")]).facts] == [True]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(statement(OTHER), "it signs another digest than the image's", id="another subject"),
        pytest.param(statement(subject=[]), "it signs another digest than the image's", id="no subject"),
        pytest.param(
            statement(subject=[{"digest": {"sha256": IMAGE[7:].upper()}}]),
            "it signs another digest than the image's",
            id="subject in capitals",
        ),
        pytest.param(
            statement(subject=[{"digest": {"sha512": IMAGE[7:]}}, {"name": IMAGE}, 7]),
            "it signs another digest than the image's",
            id="subject by name",
        ),
        pytest.param(
            statement(subject={"digest": {"sha256": IMAGE[7:]}}),
            "the payload is no in-toto statement: it has no predicateType or no subject",
            id="subject no list",
        ),
        pytest.param(
            statement(predicateType="https://spdx.dev/Document"),
            ATTESTATION.format("'https://spdx.dev/Document'"),
            id="attestation",
        ),
        pytest.param(
            statement(predicateType="https://sigstore.dev/cosign/sign/v2"),
            ATTESTATION.format("'https://sigstore.dev/cosign/sign/v2'"),
            id="another version",
        ),
        pytest.param(
            statement(_type="https://in-toto.io/Statement/v0.1"),
            "it is a statement of version 0.1, which no signature is",
            id="statement 0.1",
        ),
        pytest.param(
            statement(_type="https://in-toto.io/Link/v1"),
            "the payload is no in-toto statement: its _type is 'https://in-toto.io/Link/v1'",
            id="no statement",
        ),
        pytest.param(b"{", "the payload cannot be read: it is no JSON", id="no JSON"),
    ],
)
def test_bundle_signed_but_about_something_else_is_refused(payload: object, reason: str) -> None:
    signer = Signer()
    public = signer.key
    assert examine_bundle(bundle(payload, signer), IMAGE, [public]).facts == (bad(reason, by=public.id),)


def test_bundle_with_several_signatures_counts_each_key() -> None:
    signers = [Signer(f"{number}.pub") for number in range(3)]
    keys = [signer.key for signer in signers]
    blob = bundle(statement(subject=[*statement(OTHER)["subject"], *statement()["subject"]]), *signers)
    assert [fact.key for fact in examine_bundle(blob, IMAGE, keys[:2]).facts if fact.ok] == [keys[0].id, keys[1].id]


def test_payload_one_change_is_refused_with_its_reason() -> None:
    (payload, made), _ = layers_of("tags")
    keys = [key("one"), key("two")]
    assert examine_payload(payload + b" ", made, IMAGE, keys) == (bad(BY_NONE, form="tag"),)
    assert examine_payload(payload, "%", IMAGE, keys) == (bad("the signature is no base64", form="tag"),)
    assert examine_payload(payload, None, IMAGE, keys) == (bad("the signature is missing", form="tag"),)
    keyless = bad("it was made without a lasting key (keyless, by a certificate), which is not accepted", form="tag")
    assert examine_payload(payload, "AAAA", IMAGE, keys, by_certificate=True) == (
        keyless.model_copy(update={"problem": "keyless"}),
    )
    signer = Signer()
    public = signer.key
    image = {"docker-manifest-digest": IMAGE}
    for value, reason in (
        ({"critical": {"type": "cosign container image signature", "image": {"docker-manifest-digest": OTHER}}},
         "it signs another digest than the image's"),
        ({"critical": {"type": "cosign container image signature", "image": {}}},
         "the payload names no docker-manifest-digest"),
        ({"critical": {"type": "another", "image": image}},
         "the payload's critical.type is not 'cosign container image signature'"),
        ([], "the payload is no JSON object"),
    ):  # fmt: skip
        data = json.dumps(value).encode()
        assert examine_payload(data, signer.sign(data), IMAGE, [public]) == (bad(reason, form="tag", by=public.id),)


@given(st.binary(max_size=300), st.text(max_size=100))
def test_any_bytes_are_a_fact(data: bytes, text: str) -> None:
    keys = [key("one"), key("rsa"), key("ed25519")]
    facts = (*examine_bundle(data, IMAGE, keys).facts, *examine_payload(data, text, IMAGE, keys))
    assert [(fact.ok, fact.problem) for fact in facts] == [(False, "invalid")] * 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([IMAGE[7:], cosign.BUNDLE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["mediaType", "verificationMaterial", "dsseEnvelope", "payload", "payloadType", "signatures"]), JSON
)
def test_any_value_in_a_bundle_is_a_fact(place: str, value: object) -> None:
    def put(whole: dict[str, Any]) -> None:
        (whole if place in whole else whole["dsseEnvelope"])[place] = value

    (fact,) = examine_bundle(changed(put), IMAGE, [key("one")]).facts
    assert fact.ok == (place == "verificationMaterial" and fact.reason is None)


SIGNER = Signer()


@given(st.sampled_from(["_type", "subject", "predicateType", "predicate"]), JSON)
def test_any_value_in_a_signed_statement_is_a_fact(place: str, value: object) -> None:
    facts = examine_bundle(bundle({**statement(), place: value}, SIGNER), IMAGE, [SIGNER.key]).facts
    assert [fact.ok for fact in facts] == [place == "predicate"]


# Keys


def test_key_id_is_that_of_its_der() -> None:
    text = (cosign.DATA / "one.pub").read_text("ascii")
    der = base64.b64decode("".join(text.splitlines()[1:-1]))
    assert key("one").id == hashlib.sha256(der).hexdigest()
    assert key("one").name == "one.pub"


def pem(made: Any) -> bytes:
    return bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def private(made: Any) -> bytes:
    return bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


KEYS: dict[str, Callable[[], bytes]] = {
    "rsa of 1024": lambda: pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505  is refused
    "another curve": lambda: pem(ec.generate_private_key(ec.SECP256K1())),
    "dsa": lambda: pem(dsa.generate_private_key(2048)),
    "private": lambda: private(ec.generate_private_key(ec.SECP256R1())),
    "private of cosign": lambda: b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n",
    "certificate": lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "several": lambda: pem(ec.generate_private_key(ec.SECP256R1())) * 2,
    "garbage": lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "no pem": lambda: b"hello",
    "huge": lambda: (cosign.DATA / "one.pub").read_bytes() + b"\n" * 70_000,
    "another block": lambda: b"-----BEGIN PGP SIGNATURE-----\n",
}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("rsa of 1024", "its RSA key has 1024 bits, fewer than 2048"),
        ("another curve", "its key is none of ECDSA on P-256, P-384 or P-521, RSA and Ed25519"),
        ("dsa", "its key is none of ECDSA on P-256, P-384 or P-521, RSA and Ed25519"),
        ("private", "it holds a private key"),
        ("private of cosign", "it holds a private key"),
        ("certificate", "it holds a certificate"),
        ("several", "it holds several keys"),
        ("garbage", "it holds a public key that cannot be read"),
        ("no pem", "it is no PEM file"),
        ("huge", "it is no PEM file"),
        ("another block", "it holds no public key"),
    ],
)
def test_key_file_that_is_none_is_refused_by_name(name: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "cosign.pub"
    path.write_bytes(KEYS[name]())
    with pytest.raises(SigningKeyUnusable) as caught:
        load_key(path, "cosign.pub")
    assert caught.value.message == f"policy.images.cosign_keys: {path} is no key to check by: {what}"
    assert caught.value.exit_code == 3


def test_key_file_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyUnusable, match=r"policy\.images\.cosign_keys: cannot read .*none\.pub"):
        load_key(tmp_path / "none.pub", "none.pub")


def test_signatures_of_every_kind_of_key_are_checked(tmp_path: Path) -> None:
    """By the library alone, over plain data: what cosign makes is above."""
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    p256, p384, p521 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()))
    edwards, rsa_key = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    made: list[tuple[Any, bytes, bool]] = [
        (p256, p256.sign(b"data", ec.ECDSA(SHA256())), True),
        (p256, p256.sign(b"data", ec.ECDSA(SHA384())), False),
        (p384, p384.sign(b"data", ec.ECDSA(SHA384())), True),
        (p384, p384.sign(b"data", ec.ECDSA(SHA256())), True),
        (p521, p521.sign(b"data", ec.ECDSA(SHA512())), True),
        (edwards, edwards.sign(b"data"), True),
        (rsa_key, rsa_key.sign(b"data", padding.PKCS1v15(), SHA256()), True),
        (rsa_key, rsa_key.sign(b"data", padding.PSS(padding.MGF1(SHA256()), 32), SHA256()), False),
    ]
    for number, (one, signature, is_good) in enumerate(made):
        path = tmp_path / f"{number}.pub"
        path.write_bytes(pem(one))
        public = load_key(path, path.name)
        assert (public.made(signature, b"data"), public.made(signature, b"dat")) == (is_good, False)


# Demands


def settings_of(folder: Path, keys: str, platform: str | None = None) -> Settings:
    text = "policy: {{images: {{cosign_keys: {}}}}}\n"
    (folder / "flowyml.yaml").write_text(
        "project: {name: p}\n" + (text.format(keys) if platform is None else ""), "utf-8"
    )
    for name in ("one", "two"):
        (folder / f"{name}.pub").write_bytes((cosign.DATA / f"{name}.pub").read_bytes())
        (folder / f"{name}-again.pem").write_bytes((cosign.DATA / f"{name}.pub").read_bytes())
    system = folder / "nowhere.yaml"
    if platform is not None:
        system = folder / "platform" / "policy.yaml"
        system.parent.mkdir()
        (system.parent / "keys").mkdir()
        (system.parent / "keys" / "own.pub").write_bytes((cosign.DATA / "rsa.pub").read_bytes())
        system.write_text(text.format(platform), "utf-8")
    return load_settings(folder, environ={}, system_file=system)


def signing_key(name: str, file: str) -> SigningKey:
    return SigningKey(id=key(name).id, name=file)


def test_demands_are_those_of_every_entry_that_matches(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        "{myregistry.azurecr.io: one.pub, 'myregistry.azurecr.io/ml/*': {keys: [one.pub, two.pub], need: 2}, "
        "'*.azurecr.io': [two.pub, one.pub], ghcr.io: missing.pub}",
    )
    found = demands(settings, parse_reference("myregistry.azurecr.io/ml/train:v1"))
    one, two = signing_key("one", "one.pub"), signing_key("two", "two.pub")
    assert found == (
        SigningDemand(entry="myregistry.azurecr.io", need=1, keys=(one,)),
        SigningDemand(entry="myregistry.azurecr.io/ml", need=2, keys=(one, two)),
        SigningDemand(entry="*.azurecr.io", need=1, keys=(two, one)),
    )
    assert demands(settings, parse_reference("python:3.12")) == ()
    policy = SigningPolicy(settings)
    assert [one.name for one in policy.keys(policy.demands(parse_reference("myregistry.azurecr.io/ml/train")))] == [
        "one.pub",
        "two.pub",
    ]
    with pytest.raises(SigningKeyUnusable, match=r"missing\.pub"):
        demands(settings, parse_reference("ghcr.io/a/b"))


def test_two_files_that_hold_the_same_key_count_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "{ghcr.io: {keys: [one.pub, one-again.pem, two.pub], need: 2}}")
    (found,) = demands(settings, parse_reference("ghcr.io/a/b"))
    assert found.keys == (signing_key("one", "one.pub"), signing_key("two", "two.pub"))


def test_need_that_the_keys_cannot_meet_is_a_settings_error(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "{'ghcr.io/*': {keys: [one.pub, one-again.pem], need: 2}}")
    with pytest.raises(SettingsInvalid) as caught:
        demands(settings, parse_reference("ghcr.io/a/b"))
    (problem,) = caught.value.problems
    assert problem.what == "`policy.images.cosign_keys` of ghcr.io needs 2 keys to have signed, and names 1 that differ"
    assert (Path(problem.location.file).name, problem.location.line) == ("flowyml.yaml", 2)


def test_keys_of_the_platform_lie_beside_its_file(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "", platform="{'ghcr.io/*': keys/own.pub}")
    (found,) = demands(settings, parse_reference("ghcr.io/a/b"))
    assert found.keys == (signing_key("rsa", "keys/own.pub"),)


def test_package_missing_is_an_error_with_its_install_line() -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from flowyml_policy.errors.images import SigningKeyUnusable\n"
        "try:\n    import flowyml_policy.images.signatures\n"
        "except SigningKeyUnusable as error:\n    print(error.exit_code, error.advice)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "3 pip install 'flowyml-policy[signatures]'\n"
