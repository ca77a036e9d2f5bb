from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.errors.opa import OpaStartFailed, PolicyInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.opa.configuration import BundleSource, Configuration, check_roots, discovered, read_configuration
from flowyml_policy.opa.services import read_services

ROOT = Path("/projects/fraud")


def test_read_configuration_without_one_is_the_shipped_policy() -> None:
    assert read_configuration(None, ROOT) == Configuration((BundleSource("flowyml", None),))


def test_read_configuration_keeps_what_opa_is_to_see() -> None:
    read = read_configuration(
        {
            "bundles": {
                "flowyml": {"resource": "shipped"},
                "company": {"resource": "org", "signing": {"keyid": "k"}, "size_limit_bytes": 100},
                "more": {"resource": "file:///etc/my%20policy", "signing": {}},
                "near": {"resource": "file://policy/near", "signing": {"scope": "write"}},
            },
            "keys": {"k": {"algorithm": "HS256", "key": "secret"}},
            "labels": {"team": "ml"},
        },
        ROOT,
    )
    assert read.sources == (
        BundleSource("flowyml", None),
        BundleSource("company", ROOT / "org", {"signing": {"keyid": "k"}, "size_limit_bytes": 100}),
        BundleSource("more", Path("/etc/my policy"), {"signing": {}}),
        BundleSource("near", ROOT / "policy/near", {"signing": {"scope": "write"}}),
    )
    assert [source.is_signed for source in read.sources] == [False, True, True, True]
    assert read.rest == {"keys": {"k": {"algorithm": "HS256", "key": "secret"}}, "labels": {"team": "ml"}}


BUNDLES = {"flowyml": {"resource": "shipped"}}


@pytest.mark.parametrize(
    ("config", "leaf", "message"),
    [
        ({}, PolicyInvalid, "policy.opa.config names no bundles, and its bundles are the whole policy"),
        ({"bundles": {}}, PolicyInvalid, "policy.opa.config names no bundles, and its bundles are the whole policy"),
        (
            {"bundles": ["shipped"]},
            PolicyInvalid,
            "policy.opa.config names no bundles, and its bundles are the whole policy",
        ),
        (
            {"bundles": {"a": "shipped"}},
            OpaStartFailed,
            "a bundle is a mapping with `resource`: policy.opa.config.bundles.a",
        ),
        (
            {"bundles": {"a": {}}},
            OpaStartFailed,
            "a bundle needs `resource`, a file, a folder or `shipped`: policy.opa.config.bundles.a",
        ),
        (
            {"bundles": {"a": {"resource": 1}}},
            OpaStartFailed,
            "a bundle needs `resource`, a file, a folder or `shipped`: policy.opa.config.bundles.a",
        ),
        (
            {"bundles": {"project": {"resource": "x"}}},
            PolicyInvalid,
            "the name `project` is kept for the project's own rules: policy.opa.config.bundles.project",
        ),
        (
            {"bundles": {"a": {"resource": "https://example.com/b.tar.gz"}}},
            OpaStartFailed,
            "a bundle from an address of https needs a service: policy.opa.config.bundles.a.resource",
        ),
        (
            {"bundles": {"a": {"resource": "x", "service": "s"}}},
            OpaStartFailed,
            "there is no such service in policy.opa.config.services: policy.opa.config.bundles.a.service",
        ),
        (
            {"bundles": {"a": {"resource": "x", "signed": True}}},
            OpaStartFailed,
            "OPA has no such setting: policy.opa.config.bundles.a.signed",
        ),
        (
            {"bundles": {"a": {"resource": "x", "persist": True}}},
            OpaStartFailed,
            "this is for bundles that a server gives: policy.opa.config.bundles.a.persist",
        ),
        (
            {"bundles": BUNDLES, "decision_logs": {}},
            FeatureUnavailable,
            "this version does not support it: policy.opa.config.decision_logs",
        ),
        (
            {"bundles": BUNDLES, "persistence_directory": 1},
            OpaStartFailed,
            "a folder is a text: policy.opa.config.persistence_directory",
        ),
        (
            {"bundles": BUNDLES, "keys": {"k": {"key": "secret"}}},
            PolicyInvalid,
            "policy.opa.config has keys, but no bundle states `signing`, so no signature would be demanded",
        ),
        ({"bundles": BUNDLES, "bundels": {}}, OpaStartFailed, "OPA has no such setting: policy.opa.config.bundels"),
    ],
)
def test_read_configuration_that_would_be_passed_over_is_refused(
    config: dict[str, Any], leaf: type[FlowymlPolicyError], message: str
) -> None:
    with pytest.raises(leaf) as raised:
        read_configuration(config, ROOT)
    assert isinstance(raised.value, leaf)
    assert raised.value.message == message


def test_check_roots_of_what_a_configured_bundle_may_own_passes() -> None:
    check_roots("company", ["org", "system/log"])
    check_roots("flowyml", ["flowyml"])


@pytest.mark.parametrize("roots", [[], [""], ["system"], ["system/bundles"], ["project"], ["org/x"], ["flowyml", "x"]])
def test_check_roots_of_any_other_is_refused(roots: list[str]) -> None:
    with pytest.raises(PolicyInvalid, match="it may own flowyml, org, system/log"):
        check_roots("company", roots)


KEYS = {"k": {"algorithm": "ES256", "key": "a public key"}}


@pytest.mark.parametrize(
    ("bundle", "problem"),
    [
        ({}, "so nothing unsigned is loaded, and the bundle does not state `signing`: policy.opa.config.bundles.a"),
        ({"signing": None}, "`signing` is no mapping, so that no signature would be demanded: "),
        ({"signing": True}, "`signing` is no mapping, so that no signature would be demanded: "),
        ({"signing": {"exclude_files": ["*"]}}, "what it names could be changed by anybody: "),
        ({"signing": {"allow_unsigned_delta_bundles": True}}, "a delta could change all data, signed by nobody: "),
        ({"signing": {"key": "k"}}, "OPA has no such setting: policy.opa.config.bundles.a.signing.key"),
        ({"signing": {"keyid": "other"}}, "policy.opa.config.keys lacks the key 'other': "),
    ],
)
@pytest.mark.parametrize("require_signed", [True, False])
def test_unsigned_bundle_where_a_key_is_set_fails_closed(
    bundle: dict[str, Any], problem: str, require_signed: bool
) -> None:
    good = {"resource": "good", "signing": {}}
    config = {"bundles": {**BUNDLES, "good": good, "a": {"resource": "x", **bundle}}, "keys": KEYS}
    with pytest.raises((PolicyInvalid, OpaStartFailed)) as raised:
        read_configuration(config, ROOT, require_signed=require_signed)
    assert problem in raised.value.message


def test_bundle_without_signing_where_it_is_required_fails_closed() -> None:
    config = {"bundles": {**BUNDLES, "a": {"resource": "x"}}}
    assert len(read_configuration(config, ROOT).sources) == 2
    with pytest.raises(PolicyInvalid, match=r"policy\.opa\.require_signed is set, so nothing unsigned is loaded"):
        read_configuration(config, ROOT, require_signed=True)


def test_signing_without_keys_fails_closed() -> None:
    said: list[dict[str, Any]] = [{}, {"keys": {}}, {"keys": None}]
    for keys in said:
        config: dict[str, Any] = {"bundles": {"a": {"resource": "x", "signing": {}}}, **keys}
        with pytest.raises(PolicyInvalid, match=r"policy\.opa\.config\.keys lacks a key"):
            read_configuration(config, ROOT)


def test_what_ships_needs_no_signature() -> None:
    for config in (
        None,
        {"bundles": BUNDLES},
        {"bundles": {**BUNDLES, "a": {"resource": "x", "signing": {}}}, "keys": KEYS},
    ):
        assert read_configuration(config, ROOT, require_signed=True).sources[0] == BundleSource("flowyml", None)
    with pytest.raises(PolicyInvalid, match="has no signature"):
        read_configuration({"bundles": {"f": {"resource": "shipped", "signing": {}}}, "keys": KEYS}, ROOT)


SERVICE = {"url": "https://policy.example.com"}


def remote(bundle: dict[str, Any] | None = None, service: Any = None, **more: Any) -> dict[str, Any]:
    """A configuration of one remote bundle."""
    return {
        "services": {"s": SERVICE if service is None else service},
        "bundles": {"a": {"service": "s", **(bundle or {})}},
        **more,
    }


def test_read_configuration_of_a_remote_bundle_hands_on_what_is_opas() -> None:
    service = {
        **SERVICE,
        "credentials": {"bearer": {"token_path": "token", "scheme": "Bearer"}},
        "tls": {"ca_cert": "/etc/ca.pem", "system_ca_required": True},
        "headers": {"X-Team": "ml"},
    }
    polling = {"min_delay_seconds": 1, "max_delay_seconds": 2, "superseded_etag_ttl_seconds": 3}
    read = read_configuration(
        remote({"polling": polling, "persist": True, "signing": {}}, service, keys=KEYS, persistence_directory="kept"),
        ROOT,
    )
    (source,) = read.sources
    assert (source.place, source.resource, source.is_kept, source.is_packaged) == (None, "bundles/a", True, False)
    assert source.options == {"polling": polling, "persist": True, "signing": {}}
    assert read.remote == (source,)
    assert read.rest == {
        "keys": KEYS,
        "persistence_directory": str(ROOT / "kept"),
        "services": {
            "s": {
                **service,
                "credentials": {"bearer": {"token_path": str(ROOT / "token"), "scheme": "Bearer"}},
            }
        },
    }
    assert source.origin == "https://policy.example.com bundles/a"


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (remote(service={**SERVICE, "tokn": "x"}), "OPA has no such setting: policy.opa.config.services.s.tokn"),
        (
            remote(service={**SERVICE, "credentials": {"bearer": {"tokn": "x"}}}),
            "OPA has no such setting: policy.opa.config.services.s.credentials.bearer.tokn",
        ),
        (
            remote(service={**SERVICE, "credentials": {"s3_signing": {"metadata_credentials": {"region": "x"}}}}),
            "policy.opa.config.services.s.credentials.s3_signing.metadata_credentials.region",
        ),
        (
            remote(service={**SERVICE, "credentials": {"plugin": "x"}}),
            "policy.opa.config.services.s.credentials.plugin",
        ),
        (remote(service={**SERVICE, "tls": {"ca": "x"}}), "policy.opa.config.services.s.tls.ca"),
        (remote(service={**SERVICE, "type": "git"}), "policy.opa.config.services.s.type"),
        (remote(service={**SERVICE, "headers": {"a": 1}}), "policy.opa.config.services.s.headers"),
        (remote(service={"url": "policy.example.com"}), "policy.opa.config.services.s.url"),
        (remote(service={"url": "https://a:b@policy.example.com"}), "policy.opa.config.services.s.url"),
        (remote(service="https://policy.example.com"), "policy.opa.config.services.s"),
        (remote({"polling": {"delay": 1}}), "policy.opa.config.bundles.a.polling.delay"),
        (remote({"polling": 5}), "policy.opa.config.bundles.a.polling"),
        (remote({"persist": "yes"}), "policy.opa.config.bundles.a.persist"),
        (remote({"trigger": "manual"}), "policy.opa.config.bundles.a.trigger"),
        (remote({"resource": "https://policy.example.com/b"}), "policy.opa.config.bundles.a.resource"),
        (remote({"service": "other"}), "policy.opa.config.bundles.a.service"),
        (remote(keys=[]), "policy.opa.config.keys"),
        (remote({"signing": {}}, keys={"k": {"ky": "x"}}), "policy.opa.config.keys.k.ky"),
        (remote({"signing": {}}, keys={"k": {"private_key": "x"}}), "policy.opa.config.keys.k.private_key"),
        ({"services": {"s": SERVICE}, "bundles": {"a": {"resource": "x"}}}, "policy.opa.config.bundles.a.resource"),
        ({"services": {"s": SERVICE}, "bundles": {"a/b": {"service": "s"}}}, "policy.opa.config.bundles.a/b"),
        ({"services": {"s": SERVICE}, "bundles": {"..": {"service": "s"}}}, "policy.opa.config.bundles..."),
        (remote(service={"url": "http://policy.example.com"}), "policy.opa.config.bundles.a"),
        (remote(service={**SERVICE, "allow_insecure_tls": True}), "policy.opa.config.bundles.a"),
    ],
)
def test_read_configuration_of_remote_bundles_names_the_place_of_a_mistake(config: dict[str, Any], place: str) -> None:
    with pytest.raises((PolicyInvalid, OpaStartFailed)) as raised:
        read_configuration(config, ROOT)
    assert raised.value.message.endswith(place)
    assert raised.value.advice


@pytest.mark.parametrize(
    "url", ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:1", "https://x.example.com"]
)
def test_unsigned_bundles_of_this_machine_or_by_tls_are_taken(url: str) -> None:
    assert read_configuration(remote(service={"url": url}), ROOT).remote
    plain = remote({"signing": {}}, {"url": "http://policy.example.com"}, keys=KEYS)
    assert read_configuration(plain, ROOT).remote[0].is_signed


def discovering(**section: Any) -> dict[str, Any]:
    return {
        "services": {"company": {"url": "https://policy.example.com"}},
        "bundles": BUNDLES,
        "discovery": {"service": "company", "resource": "discovery.tar.gz", **section},
    }


def test_read_configuration_of_discovery_makes_it_a_bundle() -> None:
    read = read_configuration(discovering(decision="/discovery/prod", persist=True), ROOT)
    assert read.sources[0] == BundleSource("flowyml", None)
    assert read.alone.sources == read.sources[1:]
    (source,) = read.remote
    assert (source.name, source.resource, source.roots) == ("discovery", "discovery.tar.gz", ("discovery",))
    assert (source.origin, source.options) == ("https://policy.example.com discovery.tar.gz", {"persist": True})
    assert (read.discovery, read.is_discovered, "discovery" in read.rest) == ("discovery/prod", False, False)
    named = {"bundles": {"acme": {"service": "company", "persist": True}}}
    found = discovered(read, named, require_signed=False)
    assert found.sources[:2] == read.sources
    assert (found.sources[2].resource, found.sources[2].roots) == ("bundles/acme", ("org", "system/log"))
    assert found.is_discovered


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**discovering(), "discovery": {}}, "the discovery bundle needs `service`: policy.opa.config.discovery"),
        ({**discovering(), "discovery": ["a"]}, "this is a mapping with `service` and `resource`: policy.opa.config.d"),
        ({**discovering(), "bundles": {}}, "policy.opa.config names no bundles"),
        (discovering(service="other"), "no such service in policy.opa.config.services: policy.opa.config.discovery"),
        (discovering(resource="https://elsewhere/x"), "its path below the address of its service"),
        (discovering(decision="org"), "a discovery bundle owns `discovery` alone"),
        (discovering(decision="discovery//a"), "a discovery bundle owns `discovery` alone"),
        (discovering(trigger="manual"), "never asked for is never there: policy.opa.config.discovery.trigger"),
        (discovering(name="d"), "this version does not support it: policy.opa.config.discovery.name"),
        (discovering(sign={}), "OPA has no such setting: policy.opa.config.discovery.sign"),
        (discovering(signing=None), "no signature would be demanded: policy.opa.config.discovery.signing"),
        (
            {**discovering(), "bundles": {**BUNDLES, "discovery": {"service": "company"}}},
            "the name `discovery` is kept for the discovery bundle: policy.opa.config.bundles.discovery",
        ),
        ({**discovering(), "keys": KEYS}, "policy.opa.config has keys, but no bundle states `signing`"),
        (
            {**discovering(), "services": {"company": {"url": "http://policy.example.com"}}},
            "so the bundle must be signed: policy.opa.config.discovery",
        ),
    ],
)
def test_read_configuration_of_discovery_names_the_place_of_a_mistake(config: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowymlPolicyError) as raised:
        read_configuration(config, ROOT)
    assert message in raised.value.message


def test_discovery_must_be_signed_where_signatures_are_required() -> None:
    with pytest.raises(PolicyInvalid, match=r"does not state `signing`: policy\.opa\.config\.discovery"):
        read_configuration(discovering(), ROOT, require_signed=True)


@pytest.mark.parametrize(
    ("credentials", "place"),
    [
        ({"oauth2": {"aws_kms": {"nam": "x"}}}, "oauth2.aws_kms.nam"),
        ({"oauth2": {"azure_keyvault": {"url": "x"}}}, "oauth2.azure_keyvault.url"),
        ({"oauth2": {"azure_signing": {"azure_managed_identity": {"x": 1}}}}, "azure_managed_identity.x"),
        (
            {"s3_signing": {"assume_role_credentials": {"aws_signing": {"metadata_credentials": {"role": "x"}}}}},
            "assume_role_credentials.aws_signing.metadata_credentials.role",
        ),
        ({"s3_signing": {"environment_credentials": True}}, "s3_signing.environment_credentials"),
    ],
)
def test_key_below_credentials_that_opa_does_not_know_is_refused(credentials: dict[str, Any], place: str) -> None:
    with pytest.raises(OpaStartFailed) as raised:
        read_services({"s": {"url": "https://policy.example.com", "credentials": credentials}}, ROOT)
    assert raised.value.message.endswith(place)
