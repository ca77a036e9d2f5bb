"""What refers to a manifest: by the API, by the fallback tag, and by registries that get it wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_referrers import Descriptor, Referrers
from flowyml_policy.network.oci_registry import OciRegistry
from tests.oci_registry import OCI_INDEX, OCI_MANIFEST, Handler, OciServer, Repository, answering, only, silent, start

NAME = "team/app"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
Misbehaviour = Callable[[Handler], bool]


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with start() as running:
        running.repository(NAME).add_image({"os": "linux"}, "v1")
        yield running


@pytest.fixture(name="repository")
def _repository(server: OciServer) -> Repository:
    return server.repository(NAME)


@pytest.fixture(name="subject")
def _subject(repository: Repository) -> str:
    return repository.tags["v1"]


Find = Callable[..., Referrers]


@pytest.fixture(name="find")
def _find(server: OciServer, subject: str) -> Iterator[Find]:
    client = OciRegistry(Credentials({}, environ={}), insecure=[server.host], environ={})

    def find(seconds: float = 20) -> Referrers:
        return client.referrers(client.endpoint(server.host, NAME), subject, Deadline(seconds))

    yield find
    client.close()


def index(*entries: object, **more: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **more}).encode()


def entry(number: int = 0, **more: object) -> dict[str, object]:
    return {"digest": f"sha256:{number:064x}", "mediaType": OCI_MANIFEST, "size": 7, **more}


def said(found: Referrers) -> tuple[int, bool, str | None]:
    """How many there are, whether there is the API, and what went wrong."""
    return len(found.descriptors), found.supported, None if found.error is None else found.error.what


def tag_of(subject: str) -> str:
    return subject.replace(":", "-")


@pytest.fixture(name="tagged")
def _tagged(repository: Repository, subject: str) -> str:
    """One referrer that is listed under the fallback tag alone."""
    digest = repository.add_referrer(subject, {"artifactType": BUNDLE}, listed=False)
    repository.add_index([repository.descriptor(digest)], tag_of(subject))
    return digest


def test_referrers_are_listed_by_the_api(server: OciServer, repository: Repository, subject: str, find: Find) -> None:
    digest = repository.add_referrer(subject, {"artifactType": BUNDLE})
    size = len(repository.manifests[digest][0])
    assert find() == Referrers((Descriptor(digest, OCI_MANIFEST, size, BUNDLE),), supported=True)
    assert server.log == [f"GET /v2/{NAME}/referrers/{subject}"]
    assert server.requests[0].headers["accept"] == OCI_INDEX


def test_referrers_are_listed_under_the_tag(server: OciServer, subject: str, tagged: str, find: Find) -> None:
    """Where there is no API, and where it knows of nothing."""
    for has_api in (False, True):
        server.has_referrers = has_api
        found = find()
        assert [one.digest for one in found.descriptors] == [tagged]
        assert (found.supported, found.error) == (has_api, None)
    asked = [f"GET /v2/{NAME}/referrers/{subject}", f"GET /v2/{NAME}/manifests/{tag_of(subject)}"]
    assert server.log == asked * 2


@pytest.mark.parametrize("has_api", [True, False])
def test_referrers_none_are_none(server: OciServer, find: Find, has_api: bool) -> None:
    server.has_referrers = has_api
    assert find() == Referrers(supported=has_api)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_refusal_counts_as_none_where_the_tag_is_read(server: OciServer, find: Find, status: int) -> None:
    server.misbehave = only("/referrers/", answering(status))
    assert find() == Referrers()


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_refusal_finds_what_is_under_the_tag(server: OciServer, tagged: str, find: Find, status: int) -> None:
    server.misbehave = only("/referrers/", answering(status))
    found = find()
    assert ([one.digest for one in found.descriptors], found.error) == ([tagged], None)


@pytest.mark.parametrize("status", [400, 403, 405, 501])
@pytest.mark.parametrize("of_tag", [403, 500, 200])
def test_refusal_and_no_tag_is_an_error(server: OciServer, find: Find, status: int, of_tag: int) -> None:
    def misbehave(handler: Handler) -> bool:
        return answering(status if "/referrers/" in handler.path else of_tag, b"{}")(handler)

    server.misbehave = misbehave
    found = find()
    assert (found.descriptors, found.supported, found.error is not None) == ((), False, True)


@pytest.mark.parametrize(
    ("misbehave", "what"),
    [
        (answering(500), "the registry failed (500)"),
        (answering(429), "the registry takes no more requests for now (429)"),
        (answering(401), "the registry wants other credentials (401)"),
        (answering(410), "the registry has no such image any longer (410)"),
    ],
)
def test_error_of_the_api_is_kept(
    server: OciServer, tagged: str, find: Find, misbehave: Misbehaviour, what: str
) -> None:
    """Beside what the tag has: it may not be all."""
    server.misbehave = only("/referrers/", misbehave)
    found = find()
    assert ([one.digest for one in found.descriptors], found.supported) == ([tagged], False)
    assert found.error is not None
    assert found.error.what == what


NO_INDEX = "the registry's list of referrers is no index"
ELSEWHERE = "the registry's list of referrers goes on at another address"
NO_TYPE = "the registry's list of referrers is not of the type of an index"


@pytest.mark.parametrize("place", ["/referrers/", "/manifests/"])
@pytest.mark.parametrize(
    ("body", "media_type", "what"),
    [
        (b"", "", NO_TYPE),
        (index(), "application/json", NO_TYPE),
        (index(), OCI_MANIFEST, NO_TYPE),
        (b"<html>", "text/html; charset=utf-8", NO_TYPE),
        (b"<html>", OCI_INDEX, NO_INDEX),
        (b"[" * 9999, OCI_INDEX, NO_INDEX),
        (b"[]", OCI_INDEX, NO_INDEX),
        (b"null", OCI_INDEX, NO_INDEX),
        (b"{}", OCI_INDEX, NO_INDEX),
        (index(schemaVersion=1), OCI_INDEX, NO_INDEX),
        (index(mediaType=OCI_MANIFEST), OCI_INDEX, NO_INDEX),
        (index(manifests=None), OCI_INDEX, NO_INDEX),
        (index(manifests={}), OCI_INDEX, NO_INDEX),
        (index(5), OCI_INDEX, NO_INDEX),
        (index({}), OCI_INDEX, NO_INDEX),
        (index(entry(digest="sha256:abc")), OCI_INDEX, NO_INDEX),
        (index(entry(digest=5)), OCI_INDEX, NO_INDEX),
        (index(entry(size="7")), OCI_INDEX, NO_INDEX),
        (index(entry(size=True)), OCI_INDEX, NO_INDEX),
        (index(entry(size=-1)), OCI_INDEX, NO_INDEX),
        (index(entry(mediaType=None)), OCI_INDEX, NO_INDEX),
        (index(entry(artifactType=5)), OCI_INDEX, NO_INDEX),
        (index(entry(annotations=[])), OCI_INDEX, None),
        (index(entry(annotations=["x"])), OCI_INDEX, NO_INDEX),
        (index(entry(annotations={"x": 5})), OCI_INDEX, NO_INDEX),
        (index(entry()), f"{OCI_INDEX.upper()}; charset=utf-8", None),
        (json.dumps({"schemaVersion": 2, "manifests": [entry()]}).encode(), OCI_INDEX, None),
        (b" " * ((4 << 20) + 1), OCI_INDEX, "the answer is larger than 4,194,304 bytes"),
    ],
)
def test_list_that_is_none_is_an_error(
    server: OciServer, find: Find, place: str, body: bytes, media_type: str, what: str | None
) -> None:
    server.misbehave = only(place, answering(200, body, Content_Type=media_type))
    count, _, error = said(find())
    assert (count, error) == (what is None, what)


def test_pages_are_read(server: OciServer, repository: Repository, subject: str, find: Find) -> None:
    digests = [repository.add_referrer(subject, {"annotations": {"number": str(number)}}) for number in range(7)]
    server.page = 3
    found = find()
    assert [one.digest for one in found.descriptors] == digests
    assert (found.supported, found.error, len(server.requests)) == (True, None, 3)


@pytest.mark.parametrize(
    ("listed", "page", "found", "what", "requests"),
    [
        (100, 100, 100, None, 1),
        (101, 200, 100, "the registry lists more than 100 referrers", 1),
        (101, 50, 100, "the registry lists more than 100 referrers", 3),
        (10, 1, 10, None, 10),
        (11, 1, 10, "the registry lists referrers on more than 10 pages", 10),
    ],
)
def test_pages_and_entries_are_bounded(
    server: OciServer, subject: str, find: Find, listed: int, page: int, found: int, what: str | None, requests: int
) -> None:
    for number in range(listed):
        server.repository(NAME).add_referrer(subject, {"annotations": {"number": str(number)}})
    server.page = page
    assert said(find()) == (found, True, what)
    assert len(server.requests) == requests


@pytest.mark.parametrize(
    ("link", "what"),
    [
        ('</v2/x>; rel="prev", <https://x.example.com/>; rel=nextish', None),
        ("no link", None),
        ('<https://x.example.com/v2/>; rel="next"', ELSEWHERE),
        (
            '<//x.example.com/v2/>; title=a; REL="last Next"',
            "the registry's list of referrers goes on at another address",
        ),
        ("<http://127.0.0.1:1/v2/>; rel=next", ELSEWHERE),
        ('<http://[/>; rel="next"', "the registry's list of referrers goes on at no address"),
        ('</v2/absent>; rel="next"', "the registry has no such image (404, NAME_UNKNOWN)"),
    ],
)
def test_next_page_is_the_same_registry(server: OciServer, find: Find, link: str, what: str | None) -> None:
    server.misbehave = only("/referrers/", answering(200, index(entry()), Content_Type=OCI_INDEX, Link=link))
    assert said(find()) == (1, True, what)


def test_page_without_end_is_given_up(server: OciServer, find: Find) -> None:
    link = '<?again>; rel="next"'
    server.misbehave = only("/referrers/", answering(200, index(), Content_Type=OCI_INDEX, Link=link))
    found = find()
    assert said(found) == (0, True, "the registry lists referrers on more than 10 pages")


def test_silent_registry_is_given_up(server: OciServer, find: Find) -> None:
    """And is not asked for the tag."""
    server.misbehave = silent
    assert said(find(0.3)) == (0, False, "no complete answer within 0.3 s")
    assert len(server.requests) == 1
