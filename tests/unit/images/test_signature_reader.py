"""Where signatures lie in a registry, how many requests that takes, and what becomes of a place that fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowyml_policy.images.signature_reader import FoundSignatures, SignatureReader
from flowyml_policy.images.signatures import PublicKey
from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_registry import Endpoint, OciRegistry
from flowyml_policy.records.policy_input import SignatureFacts, SigningDemand
from flowyml_policy.records.protocols import ContentStore
from flowyml_policy.storage.cache import ContentCache
from tests.oci_registry import Handler, OciServer, Repository, answering, only, start, truncated
from tests.unit.images.cosign import (
    BUNDLE,
    IMAGE,
    OTHER,
    Signer,
    bundle,
    demand,
    document,
    fill,
    key,
    platforms,
    referring,
    statement,
)

SCAN = "https://cosign.sigstore.dev/attestation/vuln/v1"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CUT = "there is more to read than {} requests allow for; look again to go on"


@pytest.fixture
def server() -> Iterator[OciServer]:
    with start() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


def simple_signing(digest: str) -> bytes:
    image = {"docker-manifest-digest": digest}
    return json.dumps({"critical": {"type": "cosign container image signature", "image": image}}).encode()


class Look:
    """A reader of the repository team/app of a scripted registry."""

    def __init__(self, server: OciServer, store: ContentStore | None = None, *, offline: bool = False) -> None:
        self.server = server
        self.registry = OciRegistry(Credentials({}, environ={}), insecure=[server.host], offline=offline, environ={})
        self.reader = SignatureReader(self.registry, store)

    @property
    def endpoint(self) -> Endpoint:
        return self.registry.endpoint(self.server.host, "team/app")

    def __call__(
        self,
        *demands: SigningDemand,
        keys: Sequence[PublicKey],
        platforms: Sequence[str] = (),
        attestations: bool = False,
        seconds: float = 20.0,
    ) -> FoundSignatures:
        before = len(self.server.requests)
        found = self.reader.read(
            self.endpoint,
            IMAGE,
            platforms,
            demands=demands,
            keys=keys,
            deadline=Deadline(seconds),
            attestations=attestations,
        )
        assert found.requests == len(self.server.requests) - before
        return found


def good(found: FoundSignatures) -> set[tuple[str | None, str, str | None]]:
    return {(fact.key, fact.form, fact.digest) for fact in found.signatures if fact.ok}


def problems(found: FoundSignatures) -> set[tuple[str, str | None, str | None]]:
    return {(fact.form, fact.problem, fact.reason) for fact in found.signatures if not fact.ok}


ONE, TWO, RSA = key("one"), key("two"), key("rsa")


# Where cosign puts them


@pytest.mark.parametrize("listed", [True, False])
def test_bundle_is_found_by_the_api_and_by_the_fallback_tag(server: OciServer, *, listed: bool) -> None:
    fill(server.repository(), "recursive", listed=listed)
    server.has_referrers = listed
    found = Look(server)(demand(ONE), keys=[ONE])
    assert (good(found), found.requests) == ({(ONE.id, "bundle", IMAGE)}, 3 if listed else 4)


def test_bundle_is_found_by_the_tag_after_an_empty_answer(server: OciServer) -> None:
    fill(server.repository(), "recursive")
    found = Look(server)(demand(ONE), keys=[ONE])
    assert (good(found), found.requests) == ({(ONE.id, "bundle", IMAGE)}, 4)


def test_bundle_behind_that_of_another_key_is_found(server: OciServer, cache: ContentCache) -> None:
    """By the API at once; the fallback tag takes one request more, and so a second look."""
    fill(server.repository(), "bundles", listed=True)
    look = Look(server)
    for signer in (ONE, TWO):
        found = look(demand(signer), keys=[signer])
        assert good(found) == {(signer.id, "bundle", IMAGE)}
        assert found.requests in {3, 5}
    server.repositories.clear()
    server.has_referrers = False
    fill(server.repository(), "bundles")
    looks = [Look(server, cache)(demand(signer), keys=[signer]) for signer in (ONE, TWO, ONE, TWO)]
    assert [bool(good(found)) for found in looks] == [False, True, True, True]
    assert ("bundle", "unknown", CUT.format(5)) in problems(looks[0])
    assert [found.requests for found in looks] == [5, 2, 4, 0]


def test_older_layout_is_found(server: OciServer) -> None:
    fill(server.repository(), "tags")
    found = Look(server)(demand(TWO), keys=[TWO])
    assert (good(found), found.requests) == ({(TWO.id, "tag", IMAGE)}, 4)


def test_older_layout_has_both_of_two_keys_in_one_payload(server: OciServer) -> None:
    fill(server.repository(), "tags")
    server.has_referrers = False
    both = demand(ONE, TWO, need=2)
    found = Look(server, None)(both, keys=[ONE, TWO])
    assert good(found) == {(ONE.id, "tag", IMAGE), (TWO.id, "tag", IMAGE)}


def test_two_keys_are_found_in_two_bundles(server: OciServer) -> None:
    """Two requests more for the second key: without the API, with the fallback tag."""
    fill(server.repository(), "bundles")
    server.has_referrers = False
    found = Look(server)(demand(ONE, TWO, RSA, need=2), keys=[ONE, TWO, RSA])
    assert good(found) == {(ONE.id, "bundle", IMAGE), (TWO.id, "bundle", IMAGE)}
    assert (found.requests, problems(found)) == (6, set())


def test_keys_of_both_layouts_count_together(server: OciServer) -> None:
    fill(server.repository(), "recursive", listed=True)
    fill(server.repository(), "tags")
    found = Look(server)(demand(ONE, entry="a.io"), demand(TWO, entry="a.io/b"), keys=[ONE, TWO])
    assert good(found) == {(ONE.id, "bundle", IMAGE), (ONE.id, "tag", IMAGE), (TWO.id, "tag", IMAGE)}
    assert (found.requests, problems(found)) == (5, set())


def test_platforms_are_looked_at_where_the_index_has_none(server: OciServer) -> None:
    repository = server.repository()
    fill(repository, "recursive")
    del repository.tags[IMAGE.replace(":", "-")]
    server.has_referrers = False
    first, second = platforms()
    found = Look(server)(demand(ONE), keys=[ONE], platforms=[first, second])
    assert good(found) == {(ONE.id, "bundle", first), (ONE.id, "bundle", second)}
    assert found.requests == 3 + 4 + 4
    del repository.tags[first.replace(":", "-")]
    found = Look(server)(demand(ONE), keys=[ONE], platforms=[first, second])
    assert (good(found), found.requests) == (set(), 3 + 3), "one without is enough to know that it is not signed"


@pytest.mark.parametrize("has_referrers", [True, False])
def test_no_signature_is_nothing(server: OciServer, *, has_referrers: bool) -> None:
    server.repository()
    server.has_referrers = has_referrers
    found = Look(server)(demand(ONE), keys=[ONE], platforms=[IMAGE])
    assert found == FoundSignatures(requests=3)


@pytest.mark.parametrize("kind", [None, "application/vnd.oci.empty.v1+json", "application/spdx+json", "a" * 500])
def test_wrong_artifact_type_in_the_list_does_not_matter(server: OciServer, kind: str | None) -> None:
    repository = server.repository()
    referring(repository, IMAGE, bundle(statement(), signer := Signer()))
    (entry,) = repository.referrers[IMAGE]
    entry.pop("artifactType")
    entry.update({} if kind is None else {"artifactType": kind})
    public = signer.key
    assert good(Look(server)(demand(public), keys=[public])) == {(public.id, "bundle", IMAGE)}


def test_signature_on_a_later_page_is_found(server: OciServer) -> None:
    """It is read before what says that it is something else, however many of that are listed first."""
    repository = server.repository()
    for number in range(5):
        repository.add_referrer(IMAGE, {"artifactType": "application/spdx+json", "layers": [], "number": number})
    referring(repository, IMAGE, bundle(statement(), signer := Signer()))
    server.page = 4
    public = signer.key
    found = Look(server).reader.read(
        Look(server).endpoint, IMAGE, (), demands=[demand(public)], keys=[public], deadline=Deadline(20)
    )
    assert good(found) == {(public.id, "bundle", IMAGE)}
    assert len(server.requests) == 4


def test_other_artefacts_are_passed_over(server: OciServer) -> None:
    repository = server.repository()
    layer = {"mediaType": "application/spdx+json", "digest": OTHER, "size": 10}
    repository.add_referrer(IMAGE, {"artifactType": "application/spdx+json", "layers": [layer]})
    index = repository.add_index([])
    repository.referrers[IMAGE].append(repository.descriptor(index))
    assert Look(server)(demand(ONE), keys=[ONE]).signatures == ()


def test_attestations_take_no_request_where_the_list_names_them(server: OciServer) -> None:
    repository = server.repository()
    fill(repository, "attested", listed=True)
    for entry in repository.referrers[IMAGE]:
        entry["annotations"] = {"dev.sigstore.bundle.predicateType": "https://spdx.dev/Document"}
    referring(repository, IMAGE, bundle(statement(), signer := Signer()))
    public = signer.key
    found = Look(server)(demand(public), keys=[public])
    assert (good(found), found.requests) == ({(public.id, "bundle", IMAGE)}, 3)


def test_attestation_alone_is_invalid_and_no_signature(server: OciServer) -> None:
    fill(server.repository(), "attested")
    server.has_referrers = False
    found = Look(server)(demand(ONE), keys=[ONE])
    assert good(found) == set()
    assert {(form, problem) for form, problem, _ in problems(found)} == {("bundle", "invalid"), ("bundle", "unknown")}
    assert found.statements == ()


def test_attestations_are_read_where_they_are_wanted(server: OciServer, cache: ContentCache) -> None:
    fill(server.repository(), "attested", listed=True)
    for requests in (6, 1):
        found = Look(server, cache)(keys=[ONE], attestations=True)
        assert {one.predicate_type for one in found.statements} == {"https://slsa.dev/provenance/v1", SCAN}
        assert (found.unread, found.requests) == ({}, requests)


def attesting(repository: Repository, subject: str, *signers: Signer, claims: str | None = SCAN, **changes: Any) -> str:
    """Put a scan attestation into a repository, whose list says that it `claims` that predicate type."""
    digest = referring(repository, subject, bundle(statement(subject, SCAN, **changes), *signers))
    if claims is not None:
        repository.referrers[subject][-1]["annotations"] = {"dev.sigstore.bundle.predicateType": claims}
    return digest


@pytest.mark.parametrize("claims", [SCAN, None])
def test_attestation_behind_those_of_others_is_read(server: OciServer, claims: str | None) -> None:
    """Signatures have requests of their own, and so has what anybody pushes in front of an attestation."""
    repository, signer = server.repository(), Signer()
    referring(repository, IMAGE, bundle(statement(), signer))
    for number in range(3):
        attesting(repository, IMAGE, Signer(), claims=claims, number=number)
    attesting(repository, IMAGE, signer, claims=claims)
    found = Look(server)(demand(signer.key), keys=[signer.key], attestations=True)
    assert good(found) == {(signer.key.id, "bundle", IMAGE)}
    assert ([one.predicate_type for one in found.statements], found.unread) == ([SCAN], {})


def test_attestation_that_is_cut_off_is_unread_and_read_next_time(server: OciServer, cache: ContentCache) -> None:
    repository, signer = server.repository(), Signer()
    for number in range(11):
        attesting(repository, IMAGE, Signer(), number=number)
    attesting(repository, IMAGE, signer)
    looks = [Look(server, cache)(keys=[signer.key], attestations=True) for _ in range(2)]
    cut = "more refers to it than 20 requests can read; look again to go on"
    assert [(len(found.statements), found.unread, found.requests) for found in looks] == [
        (0, {SCAN: cut}, 21),
        (1, {}, 5),
    ]


@pytest.mark.parametrize("claims", [SCAN, None])
@pytest.mark.parametrize(
    ("part", "misbehave", "why"),
    [
        ("/blobs/", answering(500), "the registry failed (500)"),
        ("/blobs/", answering(404), "the registry lists a document that it does not have"),
        ("/referrers/", answering(500), "the registry failed (500)"),
    ],
)
def test_attestation_that_fails_is_unread_though_the_image_is_signed(
    server: OciServer, part: str, misbehave: Callable[[Handler], bool], why: str, claims: str | None
) -> None:
    repository, signer = server.repository(), Signer()
    tag, payload = f"{IMAGE.replace(':', '-')}.sig", simple_signing(IMAGE)
    kept = repository.add_blob(payload)
    signed = {"dev.cosignproject.cosign/signature": signer.sign(payload)}
    layer = {"mediaType": SIMPLE, "digest": kept, "size": len(payload), "annotations": signed}
    repository.add_manifest(json.dumps({"layers": [layer]}).encode(), MANIFEST, tag)
    attesting(repository, IMAGE, signer, claims=claims)
    server.misbehave = lambda handler: kept not in handler.path and only(part, misbehave)(handler)
    look = Look(server)
    found = look.reader.read(
        look.endpoint,
        IMAGE,
        (),
        demands=[demand(signer.key)],
        keys=[signer.key],
        deadline=Deadline(20),
        attestations=True,
    )
    assert good(found) == {(signer.key.id, "tag", IMAGE)}
    assert found.unread == {None if part == "/referrers/" else claims: why}


def test_attestation_of_a_platform_is_read_where_the_index_is_signed(server: OciServer) -> None:
    repository, signer = server.repository(), Signer()
    first, second = platforms()
    referring(repository, IMAGE, bundle(statement(), signer))
    attesting(repository, second, signer)
    found = Look(server)(demand(signer.key), keys=[signer.key], platforms=[first, second], attestations=True)
    assert good(found) == {(signer.key.id, "bundle", IMAGE)}
    assert ([one.subjects for one in found.statements], found.unread) == ([frozenset({second})], {})


def test_requests_for_attestations_are_bounded_for_the_whole_image(server: OciServer) -> None:
    """Three lists, each with its fallback tag where it is empty, and 20 documents."""
    repository, signer = server.repository(), Signer()
    for subject in (IMAGE, *platforms()):
        for number in range(6):
            attesting(repository, subject, signer, number=number)
    found = Look(server)(keys=[signer.key], platforms=platforms(), attestations=True)
    assert (len(found.statements), list(found.unread), found.requests) == (10, [SCAN], 22)


def test_attestations_are_remembered_offline(server: OciServer, cache: ContentCache) -> None:
    repository, signer = server.repository(), Signer()
    referring(repository, IMAGE, bundle(statement(), signer))
    offline = Look(server, cache, offline=True)

    def look() -> FoundSignatures:
        every = [demand(signer.key)]
        within = Deadline(20)
        return offline.reader.read(
            offline.endpoint, IMAGE, (), demands=every, keys=[signer.key], deadline=within, attestations=True
        )

    assert look().unread == {None: "nothing is asked offline, and what attests the image is not remembered"}
    for attested in (0, 1):
        online = Look(server, cache)(demand(signer.key), keys=[signer.key], attestations=True)
        asked, found = len(server.requests), look()
        assert (len(online.statements), online.unread) == (attested, {})
        assert (found.statements, found.unread, len(server.requests)) == (online.statements, {}, asked)
        attesting(repository, IMAGE, signer)
    cache.put("image-attested", offline.endpoint.place, "team/app", IMAGE, data=b"[7]")
    assert list(look().unread) == [None]


# Faults


REFUSED = "the registry gives no access (403)"
FAILED = "the registry failed (500)"


@pytest.mark.parametrize(
    ("part", "place", "misbehave", "reason"),
    [
        ("/referrers/", "bundle", answering(500), FAILED),
        ("/referrers/", "bundle", answering(429), "the registry takes no more requests for now (429)"),
        (f"/manifests/{IMAGE.replace(':', '-')}.sig", "tag", answering(500), FAILED),
        (f"/manifests/{IMAGE.replace(':', '-')}.sig", "tag", answering(403), REFUSED),
        (
            f"/manifests/{IMAGE.replace(':', '-')}.sig",
            "tag",
            answering(401),
            "the registry wants other credentials (401)",
        ),
    ],
)
def test_place_that_fails_is_unknown_and_never_none(
    server: OciServer, part: str, place: str, misbehave: Callable[[Handler], bool], reason: str
) -> None:
    server.repository()
    server.misbehave = only(part, misbehave)
    found = Look(server).reader.read(
        Look(server).endpoint, IMAGE, (), demands=[demand(ONE)], keys=[ONE], deadline=Deadline(20)
    )
    assert problems(found) == {(place, "unknown", reason)}


@pytest.mark.parametrize(
    ("name", "part"), [("recursive", ".sig"), ("tags", "/referrers/")], ids=["tag fails", "referrers fail"]
)
def test_good_signature_in_the_other_place_is_enough(server: OciServer, name: str, part: str) -> None:
    fill(server.repository(), name)
    server.misbehave = only(part, answering(403))
    found = Look(server)(demand(ONE), keys=[ONE])
    assert [fact.key for fact in found.signatures if fact.ok] == [ONE.id]


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_registry_without_the_api_counts_as_one(server: OciServer, status: int) -> None:
    server.repository()
    server.misbehave = only("/referrers/", answering(status))
    assert Look(server)(demand(ONE), keys=[ONE]).signatures == ()


def test_bundle_that_is_listed_and_missing_is_unknown(server: OciServer) -> None:
    repository = server.repository()
    fill(repository, "recursive", listed=True)
    repository.blobs.clear()
    reason = "the registry lists a document that it does not have"
    assert problems(Look(server)(demand(ONE), keys=[ONE])) == {("bundle", "unknown", reason)}
    repository.manifests.clear()
    assert problems(Look(server)(demand(ONE), keys=[ONE])) == {("bundle", "unknown", reason)}


def test_bundle_behind_one_that_is_missing_is_found(server: OciServer) -> None:
    repository = server.repository()
    gone = referring(repository, IMAGE, bundle(statement(), Signer()))
    referring(repository, IMAGE, bundle(statement(), signer := Signer()))
    del repository.manifests[gone]
    found = Look(server)(demand(signer.key), keys=[signer.key])
    assert (good(found), found.requests) == ({(signer.key.id, "bundle", IMAGE)}, 4)


def test_payload_that_is_listed_and_missing_is_unknown(server: OciServer) -> None:
    fill(server.repository(), "tags")
    server.repository().blobs.clear()
    reason = "the registry lists a document that it does not have"
    assert problems(Look(server)(demand(ONE), keys=[ONE])) == {("tag", "unknown", reason)}


def test_document_of_another_digest_is_unknown(server: OciServer) -> None:
    fill(server.repository(), "recursive", listed=True)
    server.misbehave = only("/blobs/", answering(200, b"{}"))
    ((form, problem, _),) = problems(Look(server)(demand(ONE), keys=[ONE]))
    assert (form, problem) == ("bundle", "unknown")


def test_truncated_manifest_is_unknown(server: OciServer) -> None:
    fill(server.repository(), "tags")
    server.misbehave = only(".sig", truncated)
    found = Look(server).reader.read(
        Look(server).endpoint, IMAGE, (), demands=[demand(ONE)], keys=[ONE], deadline=Deadline(2)
    )
    assert {(form, problem) for form, problem, _ in problems(found)} == {("tag", "unknown")}


@pytest.mark.parametrize(("number", "problem"), [(32, "unknown"), (33, "unknown")])
def test_manifest_with_more_layers_than_are_read_is_unknown(server: OciServer, number: int, problem: str) -> None:
    repository, signer = server.repository(), Signer()
    tag = f"{IMAGE.replace(':', '-')}.sig"
    layers = [{"mediaType": SIMPLE, "digest": f"sha256:{number:064}", "size": 1} for number in range(number)]
    repository.add_manifest(json.dumps({"layers": layers}).encode(), MANIFEST, tag)
    ((form, found, reason),) = problems(Look(server)(demand(signer.key), keys=[signer.key]))
    assert (form, found) == ("tag", problem)
    assert reason == (
        f"the manifest under {tag} has 33 layers, and no more than 32 are read"
        if number > 32
        else "the registry lists a document that it does not have"
    )


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"layers": 7}', b'{"layers": [7]}', b'{"layers": [{}]}'])
def test_manifest_that_is_none_is_invalid(server: OciServer, data: bytes) -> None:
    repository = server.repository()
    tag = f"{IMAGE.replace(':', '-')}.sig"
    repository.add_manifest(data, "application/vnd.oci.image.manifest.v1+json", tag)
    repository.referrers[IMAGE] = [repository.descriptor(repository.tags[tag], artifactType=BUNDLE)]
    assert problems(Look(server)(demand(ONE), keys=[ONE])) == {
        ("bundle", "invalid", "a manifest that refers to the image cannot be read"),
        ("tag", "invalid", f"the manifest under {tag} cannot be read"),
    }


def test_manifest_with_several_bundles_is_invalid(server: OciServer) -> None:
    repository = server.repository()
    blob = bundle(statement(), signer := Signer())
    layer = {"mediaType": BUNDLE, "digest": repository.add_blob(blob), "size": len(blob)}
    repository.add_referrer(IMAGE, {"artifactType": BUNDLE, "layers": [layer, layer]})
    public = signer.key
    reason = "a manifest that refers to the image holds several bundles"
    assert problems(Look(server)(demand(public), keys=[public])) == {("bundle", "invalid", reason)}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=100))
def test_any_bytes_of_a_registry_are_facts(server: OciServer, data: bytes) -> None:
    repository = server.repositories["team/app"] = Repository()
    tag = f"{IMAGE.replace(':', '-')}.sig"
    kind = "application/vnd.oci.image.manifest.v1+json"
    blob = repository.add_blob(data)
    repository.add_referrer(IMAGE, {"layers": [{"mediaType": BUNDLE, "digest": blob, "size": 1}]})
    repository.add_manifest(data, kind, tag)
    found = Look(server)(demand(ONE), keys=[ONE])
    assert {(fact.ok, fact.problem) for fact in found.signatures} == {(False, "invalid")}


# Bounds and memory


def test_what_is_cut_off_is_unknown_and_read_next_time(server: OciServer, cache: ContentCache) -> None:
    repository = server.repository()
    for number in range(3):
        referring(repository, IMAGE, bundle(statement(), Signer(f"{number}.pub")))
    referring(repository, IMAGE, bundle(statement(), signer := Signer()))
    public = signer.key
    looks = []
    for _ in range(4):
        found = Look(server, cache)(demand(public), keys=[public])
        assert found.requests <= 5
        looks.append((bool(good(found)), ("bundle", "unknown", CUT.format(5)) in problems(found)))
        if good(found):
            break
    assert looks[0] == (False, True)
    assert looks[-1] == (True, False)


def test_list_of_many_pages_leaves_requests_for_what_it_names(server: OciServer, cache: ContentCache) -> None:
    repository, signer = server.repository(), Signer()
    for number in range(8):
        repository.add_referrer(IMAGE, {"artifactType": "application/spdx+json", "layers": [], "number": number})
    referring(repository, IMAGE, bundle(statement(), signer))
    server.page = 1
    found = Look(server, cache)(demand(signer.key), keys=[signer.key])
    assert (good(found), found.requests) == ({(signer.key.id, "bundle", IMAGE)}, 11)


def test_nothing_changed_asks_nothing(server: OciServer, cache: ContentCache) -> None:
    fill(server.repository(), "recursive")
    first = Look(server, cache)(demand(ONE), keys=[ONE])
    again = Look(server, cache)(demand(ONE), keys=[ONE])
    assert (first.requests, again.requests, again.signatures) == (4, 0, first.signatures)
    offline = Look(server, cache, offline=True)
    assert offline(demand(ONE), keys=[ONE]).signatures == first.signatures


@pytest.mark.parametrize("name", ["recursive", "tags"])
def test_what_is_kept_is_verified_again(server: OciServer, cache: ContentCache, name: str) -> None:
    """By the keys of now: a key that was taken out of the settings signs nothing any more."""
    fill(server.repository(), name)
    assert good(Look(server, cache)(demand(ONE), keys=[ONE]))
    found = Look(server, cache)(demand(RSA), keys=[RSA])
    assert good(found) == set()
    assert found.requests > 0


def test_no_signature_is_never_kept(server: OciServer, cache: ContentCache) -> None:
    server.repository()
    assert Look(server, cache)(demand(ONE), keys=[ONE]).signatures == ()
    fill(server.repository(), "recursive")
    assert good(Look(server, cache)(demand(ONE), keys=[ONE])) == {(ONE.id, "bundle", IMAGE)}


def test_poisoned_cache_is_read_from_the_registry(server: OciServer, cache: ContentCache) -> None:
    fill(server.repository(), "recursive")
    look = Look(server, cache)
    look(demand(ONE), keys=[ONE])
    for kind, data in (("image-signed", b"[[1], 2]"), ("image-signed", b"{"), ("image-signed", b'[["bundle", "x"]]')):
        cache.put(kind, look.endpoint.place, look.endpoint.repository, IMAGE, data=data)
        assert good(look(demand(ONE), keys=[ONE])) == {(ONE.id, "bundle", IMAGE)}
    signer = Signer()
    forged = bundle(statement(), signer)
    for digest in list(server.repository().blobs):
        cache.put("image-signature", look.endpoint.place, look.endpoint.repository, digest, data=forged)
    public = signer.key
    assert good(look(demand(public), keys=[public])) == set()


def test_offline_without_memory_is_unknown(server: OciServer, cache: ContentCache) -> None:
    look = Look(server, cache, offline=True)
    found = look.reader.read(look.endpoint, IMAGE, (), demands=[demand(ONE)], keys=[ONE], deadline=Deadline(5))
    assert {(form, problem) for form, problem, _ in problems(found)} == {("bundle", "unknown"), ("tag", "unknown")}
    assert server.requests == []


def test_data_is_what_its_names_say() -> None:
    from tests.unit.images.cosign import DATA, sha256

    names = [path.name for path in (DATA / "documents").iterdir()]
    assert all(sha256(document(f"sha256:{name}")) == f"sha256:{name}" for name in names)


def test_facts_are_whole(server: OciServer) -> None:
    fill(server.repository(), "recursive")
    assert Look(server)(demand(ONE), keys=[ONE]).signatures == (
        SignatureFacts(key=ONE.id, form="bundle", digest=IMAGE, ok=True),
    )
