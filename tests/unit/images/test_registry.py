"""Images by their registries: what is asked, what is remembered, and every way in which it fails."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.errors.images import (
    ImageAccessDenied,
    ImageCredentialsUnusable,
    ImageDigestMismatch,
    ImageError,
    ImageInvalid,
    ImageMissing,
    ImageOffline,
    ImageRateLimited,
    ImageTooLarge,
    ImageUnreachable,
)
from flowyml_policy.images.memory import DOCUMENT_KIND, TAG_KIND
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.network.credentials import Credentials, RegistryLogin
from flowyml_policy.network.oci_registry import OciRegistry
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts
from flowyml_policy.references.image import parse_reference
from flowyml_policy.storage.cache import ContentCache
from tests import oci_registry
from tests.oci_registry import Handler, OciServer, Repository, digest_of, only

NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
AT = "2026-11-01T12:00:00.000000Z"
APP = "/v2/team/app"
CREATED = "2026-10-30T00:00:00Z"


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with oci_registry.start() as server:
        yield server


@dataclass
class Asking:
    """Makes inspectors that share a cache and a clock."""

    server: OciServer
    home: Path
    now: datetime = NOON
    logins: dict[str, RegistryLogin] = field(default_factory=dict)
    insecure: tuple[str, ...] = ()

    @property
    def cache(self) -> ContentCache:
        return ContentCache(self.home / "cache")

    def inspector(self, **options: Any) -> RegistryInspector:
        environ = {"HOME": str(self.home), "PASSWORD": self.server.login[1], "WRONG": "wrong"}
        registry = OciRegistry(
            Credentials(self.logins, environ=environ), insecure=(self.server.host, *self.insecure), environ=environ
        )
        return RegistryInspector(registry, self.cache, now=lambda: self.now, **{"timeout": 10.0, **options})

    def __call__(self, what: str = ":1", platform: str | None = None, **options: Any) -> ImageFacts:
        """What a new process finds of `team/app`."""
        return self.inspector(**options).inspect(f"{self.server.host}/team/app{what}", platform)


@pytest.fixture(name="ask")
def _ask(server: OciServer, tmp_path: Path) -> Asking:
    return Asking(server, tmp_path)


def config(architecture: str = "amd64", *, layers: int = 1, **settings: object) -> dict[str, object]:
    diff_ids = [digest_of(b"unpacked %d" % number) for number in range(layers)]
    return {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {"Labels": {"of": architecture}, **settings},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def push_index(repository: Repository, *tags: str, docker: bool = False) -> tuple[str, str, str]:
    """An index of two platforms and an attestation: its digest, and those of the platforms' manifests."""
    amd64 = repository.add_image(config("amd64"), docker=docker)
    arm64 = repository.add_image(config("arm64"), docker=docker)
    entries = [
        repository.descriptor(amd64, platform={"os": "linux", "architecture": "amd64"}),
        repository.descriptor(arm64, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        repository.descriptor(amd64, platform={"os": "unknown", "architecture": "unknown"}),
    ]
    return repository.add_index(entries, *tags, docker=docker), amd64, arm64


def blob_of(repository: Repository, manifest: str) -> str:
    digest = json.loads(repository.manifests[manifest][0])["config"]["digest"]
    assert isinstance(digest, str)
    return digest


def size_of(repository: Repository, manifest: str) -> int:
    value = json.loads(repository.manifests[manifest][0])
    return int(sum(one["size"] for one in [value["config"], *value["layers"]]))


@pytest.mark.parametrize("docker", [False, True])
def test_index_that_is_new_is_read_whole(server: OciServer, ask: Asking, docker: bool) -> None:
    repository = server.repository()
    index, amd64, arm64 = push_index(repository, "1", docker=docker)

    def platform(name: str, manifest: str) -> PlatformFacts:
        architecture = name.split("/")[1]
        return PlatformFacts(
            platform=name,
            digest=manifest,
            labels={"of": architecture},
            created=CREATED,
            size=size_of(repository, manifest),
            architecture=architecture,
            os="linux",
            diff_ids=(digest_of(b"unpacked 0"),),
        )

    assert ask() == ImageFacts(
        ref=f"{server.host}/team/app:1",
        registry=server.host,
        repository="team/app",
        tag="1",
        digest=index,
        inspected=True,
        via="registry",
        platforms=(platform("linux/amd64", amd64), platform("linux/arm64/v8", arm64)),
        endpoint=server.host,
        inspected_at=AT,
        kind="index",
    )
    assert server.log == [
        f"HEAD {APP}/manifests/1",
        f"GET {APP}/manifests/1",
        f"GET {APP}/manifests/{amd64}",
        f"GET {APP}/blobs/{blob_of(repository, amd64)}",
        f"GET {APP}/manifests/{arm64}",
        f"GET {APP}/blobs/{blob_of(repository, arm64)}",
    ]


def test_manifest_that_is_new_is_read_whole(server: OciServer, ask: Asking) -> None:
    digest = server.repository().add_image(config(), "latest")
    found = ask("")
    assert (found.digest, found.kind, found.tag) == (digest, "manifest", None)
    assert [(one.platform, one.digest) for one in found.platforms] == [("linux/amd64", digest)]
    assert [line.split()[0] for line in server.log] == ["HEAD", "GET", "GET"]


@pytest.mark.parametrize("asks_for", ["basic", "bearer"])
def test_login_costs_a_challenge_and_a_token(server: OciServer, ask: Asking, asks_for: str) -> None:
    push_index(server.repository(), "1")
    server.asks_for = asks_for
    ask.logins = {server.host: RegistryLogin(username=server.login[0], password_env="PASSWORD")}
    ask()
    assert len(server.requests) == 1 + 1 + 2 * 2 + (2 if asks_for == "bearer" else 1)
    ask.now += timedelta(minutes=10)
    server.requests.clear()
    ask()
    assert len(server.requests) == 1 + (2 if asks_for == "bearer" else 1)


def test_tag_that_is_remembered_asks_nothing(server: OciServer, ask: Asking) -> None:
    push_index(server.repository(), "1")
    first = ask()
    server.requests.clear()
    ask.now += timedelta(seconds=300)
    assert ask() == first
    assert server.log == []


def test_tag_that_did_not_move_is_one_head(server: OciServer, ask: Asking) -> None:
    push_index(server.repository(), "1")
    first = ask()
    server.requests.clear()
    ask.now += timedelta(seconds=301)
    assert ask() == first.model_copy(update={"inspected_at": "2026-11-01T12:05:01.000000Z"})
    assert server.log == [f"HEAD {APP}/manifests/1"]


def test_tag_that_is_refreshed_is_one_head(server: OciServer, ask: Asking) -> None:
    push_index(server.repository(), "1")
    ask()
    server.requests.clear()
    ask.now += timedelta(seconds=1)
    inspector = ask.inspector(refresh=True)
    for _ in range(2):
        inspector.inspect(f"{server.host}/team/app:1")
    assert server.log == [f"HEAD {APP}/manifests/1"]


def test_tag_that_moved_is_read_anew(server: OciServer, ask: Asking) -> None:
    repository = server.repository()
    repository.add_image(config("amd64"), "1")
    ask()
    server.requests.clear()
    moved = repository.add_image(config("arm64"), "1")
    ask.now += timedelta(seconds=301)
    assert ask().digest == moved
    assert [line.split()[0] for line in server.log] == ["HEAD", "GET", "GET"]


def test_tag_that_moves_between_head_and_get_is_what_was_read(server: OciServer, ask: Asking) -> None:
    repository = server.repository()
    repository.add_image(config("amd64"), "1")
    moved = repository.add_image(config("arm64"))

    def move(handler: Handler) -> bool:
        if handler.command == "GET":
            repository.tags["1"] = moved
        return False

    server.misbehave = only("/manifests/1", move)
    found = ask()
    assert (found.digest, found.platforms[0].labels) == (moved, {"of": "arm64"})


@pytest.mark.parametrize("said", ["", "sha256:abc", "sha512:" + "a" * 128, "sha256:" + "a" * 64, "no digest"])
def test_digest_that_head_says_decides_nothing(server: OciServer, ask: Asking, said: str) -> None:
    digest = server.repository().add_image(config(), "1")
    server.says_digest = said
    assert ask().digest == digest
    server.requests.clear()
    ask.now += timedelta(seconds=301)
    assert ask().digest == digest
    assert server.log == [f"HEAD {APP}/manifests/1", f"GET {APP}/manifests/1"]


@pytest.mark.parametrize("status", [400, 404, 405])
def test_head_that_is_not_understood_is_followed_by_one_get(server: OciServer, ask: Asking, status: int) -> None:
    digest = server.repository().add_image(config(), "1")

    def refuse(handler: Handler) -> bool:
        if handler.command == "HEAD":
            handler.reply(status)
        return handler.command == "HEAD"

    server.misbehave = refuse
    assert ask().digest == digest
    assert [line.split()[0] for line in server.log] == ["HEAD", "GET", "GET"]


def test_digest_that_is_known_of_the_repository_asks_nothing(server: OciServer, ask: Asking) -> None:
    index, amd64, _ = push_index(server.repository(), "1")
    push_index(server.repository("team/other"), "1")
    first = ask(f":moved@{index}")
    assert (first.digest, first.tag) == (index, "moved")
    assert server.log[0] == f"GET {APP}/manifests/{index}"
    server.requests.clear()
    ask.now += timedelta(days=1000)
    assert ask(f"@{index}") == first.model_copy(update={"ref": f"{server.host}/team/app@{index}", "tag": None})
    assert ask(f"@{amd64}").kind == "manifest"
    assert server.log == []
    assert ask.inspector().inspect(f"{server.host}/team/other@{index}").repository == "team/other"
    assert len(server.log) == 5


def test_platform_that_is_asked_for_is_read_alone(server: OciServer, ask: Asking) -> None:
    _, _, arm64 = push_index(server.repository(), "1")
    assert [one.platform for one in ask(platform="linux/arm64").platforms] == ["linux/arm64/v8"]
    assert server.log[2:] == [
        f"GET {APP}/manifests/{arm64}",
        f"GET {APP}/blobs/{blob_of(server.repository(), arm64)}",
    ]
    with pytest.raises(ImageMissing, match=r"there for linux/amd64, linux/arm64/v8, not for 'windows/amd64'"):
        ask(platform="windows/amd64")
    server.repository().add_image(config(), "2")
    with pytest.raises(ImageMissing, match=r"there for linux/amd64, not for 'linux/arm64'"):
        ask(":2", platform="linux/arm64")


def test_entry_without_a_platform_is_what_its_configuration_says(server: OciServer, ask: Asking) -> None:
    repository = server.repository()
    amd64, arm64 = (repository.add_image(config(one)) for one in ("amd64", "arm64"))
    repository.add_index([repository.descriptor(amd64), repository.descriptor(arm64)], "1")
    assert [one.platform for one in ask().platforms] == ["linux/amd64", "linux/arm64"]
    assert [one.platform for one in ask(platform="linux/arm64").platforms] == ["linux/arm64"]


OVERSIZE = b" " * ((4 << 20) + 1)


@pytest.mark.parametrize(
    ("misbehave", "expected"),
    [
        (only("/manifests/1", oci_registry.answering(401)), ImageAccessDenied),
        (only("/manifests/1", oci_registry.answering(403)), ImageAccessDenied),
        (only("/manifests/1", oci_registry.answering(404)), ImageMissing),
        (only("/manifests/1", oci_registry.answering(429)), ImageRateLimited),
        (only("/manifests/1", oci_registry.answering(500)), ImageUnreachable),
        (only("/manifests/1", oci_registry.answering(503)), ImageUnreachable),
        (only("/manifests/1", oci_registry.silent), ImageUnreachable),
        (only("/manifests/1", oci_registry.truncated), ImageUnreachable),
        (only("/manifests/1", oci_registry.looping), ImageUnreachable),
        (only("/manifests/1", oci_registry.answering(200, OVERSIZE)), ImageTooLarge),
        (only("/manifests/1", oci_registry.answering(200, b"<html>", Content_Type="text/html")), ImageInvalid),
        (only("/manifests/sha256", oci_registry.answering(404)), ImageInvalid),
        (only("/manifests/sha256", oci_registry.answering(200, b"{}")), ImageDigestMismatch),
        (only("/manifests/sha256", oci_registry.answering(429)), ImageRateLimited),
        (only("/blobs/", oci_registry.answering(401)), ImageAccessDenied),
        (only("/blobs/", oci_registry.answering(404)), ImageInvalid),
        (only("/blobs/", oci_registry.answering(500)), ImageUnreachable),
        (only("/blobs/", oci_registry.answering(200, b"{}")), ImageDigestMismatch),
        (only("/blobs/", oci_registry.answering(200, OVERSIZE)), ImageTooLarge),
        (only("/blobs/", oci_registry.silent), ImageUnreachable),
        (only("/blobs/", oci_registry.truncated), ImageUnreachable),
    ],
)
def test_fault_fails_closed(
    server: OciServer, ask: Asking, misbehave: Callable[[Handler], bool], expected: type[ImageError]
) -> None:
    push_index(server.repository(), "1")
    server.misbehave = misbehave
    with pytest.raises(expected, match=server.host) as caught:
        ask(timeout=1.0 if expected is ImageUnreachable else 10.0)
    assert type(caught.value) is expected
    server.misbehave = None
    assert ask().inspected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (b"no json", "the configuration cannot be read: it is no JSON"),
        (config(Labels={"a": "b", "bad": 1}), "not all the labels are texts: 'bad'"),
        (config(layers=2), "its manifest has 1 layers, and its configuration 2"),
        ({"architecture": "unknown", "os": "unknown"}, "it is an attestation"),
    ],
)
def test_image_that_cannot_be_read_fails_closed(
    server: OciServer, ask: Asking, settings: object, expected: str
) -> None:
    server.repository().add_image(settings, "1")
    for _ in range(2):
        with pytest.raises(ImageInvalid, match=expected):
            ask()
    assert len(server.log) == 3


def test_index_in_an_index_fails_closed(server: OciServer, ask: Asking) -> None:
    repository = server.repository()
    inner, _, _ = push_index(repository)
    entry = repository.descriptor(inner, platform={"os": "linux", "architecture": "amd64"})
    repository.add_index([{**entry, "mediaType": oci_registry.OCI_MANIFEST}], "1")
    with pytest.raises(ImageInvalid, match="index"):
        ask()


def test_login_that_cannot_be_used_fails_closed(server: OciServer, ask: Asking) -> None:
    push_index(server.repository(), "1")
    server.asks_for = "basic"
    ask.logins = {server.host: RegistryLogin(username="robot", password_env="UNSET")}
    with pytest.raises(ImageCredentialsUnusable, match="UNSET"):
        ask()


def test_reference_that_is_none_fails_closed(ask: Asking) -> None:
    with pytest.raises(ImageInvalid, match="no image reference"):
        ask.inspector().inspect("A B")
    with pytest.raises(ImageInvalid, match="no SHA-256"):
        ask.inspector().inspect(f"x.io/a@sha512:{'a' * 128}")


def test_login_that_changed_is_another_trust(server: OciServer, ask: Asking) -> None:
    push_index(server.repository(), "1")
    ask()
    server.requests.clear()
    ask.logins = {server.host: RegistryLogin(username="robot", password_env="PASSWORD")}
    ask()
    assert server.log == [f"HEAD {APP}/manifests/1"]


def test_cache_file_that_was_changed_is_fetched_again(server: OciServer, ask: Asking) -> None:
    """Whichever file it is: the tag's digest, a document, or an entry that says which bytes a key has."""
    push_index(server.repository(), "1")
    first = ask()
    files = [path for path in ask.cache.directory.rglob("*") if path.is_file()]
    assert len(files) == 2 * (1 + 1 + 2 * 2)
    for path in files:
        for data in (b"{}", b"", server.repository().manifests[str(first.platforms[0].digest)][0]):
            path.write_bytes(data)
            server.requests.clear()
            found = ask()
            assert found.model_copy(update={"inspected_at": first.inspected_at}) == first
            assert len(server.log) <= 1
            server.requests.clear()
            assert ask() == found
            assert server.log == []


def test_cache_entry_of_other_bytes_is_not_believed(server: OciServer, ask: Asking) -> None:
    index, amd64, arm64 = push_index(server.repository(), "1")
    first = ask()
    place = (DOCUMENT_KIND, server.url, "team/app")
    other = ask.cache.get(*place, arm64)
    assert other is not None
    ask.cache.put(*place, amd64, data=other.data, notes=dict(other.notes))
    server.requests.clear()
    assert ask() == first
    assert server.log == [f"GET {APP}/manifests/{amd64}"]
    assert index == first.digest


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"sha256:../../x", AT),
        (b"", AT),
        (None, ""),
        (None, "yesterday"),
        (None, "2026-11-01T12:00:00"),
        (None, "2026-11-01T11:54:59Z"),
        (None, "2026-11-01T12:00:01Z"),
    ],
)
def test_cached_tag_that_cannot_be_right_is_asked_again(
    server: OciServer, ask: Asking, data: bytes | None, at: str
) -> None:
    """Also one of the future, as a clock that was set back leaves it."""
    push_index(server.repository(), "1")
    first = ask()
    (key,) = (entry.key for entry in ask.cache.entries() if entry.key[0] == TAG_KIND)
    ask.cache.put(*key, data=str(first.digest).encode() if data is None else data, notes={"at": at})
    server.requests.clear()
    assert ask() == first
    assert server.log == [f"HEAD {APP}/manifests/1"]


def test_tag_whose_digest_is_gone_is_asked_again(server: OciServer, ask: Asking) -> None:
    repository = server.repository()
    old = repository.add_image(config("amd64"), "1")
    ask()
    new = repository.add_image(config("arm64"), "1")
    del repository.manifests[old]
    for entry in ask.cache.entries():
        if entry.key[-1] == old:
            ask.cache.put(*entry.key, data=b"poison")
    assert ask().digest == new


def test_cache_that_keeps_nothing_is_no_error(server: OciServer, tmp_path: Path) -> None:
    push_index(server.repository(), "1")
    (tmp_path / "cache").write_text("no folder")
    ask = Asking(server, tmp_path)
    assert ask() == ask()
    assert len(server.log) == 12


def test_offline_tag_counts_within_its_time(server: OciServer, ask: Asking) -> None:
    index, _, _ = push_index(server.repository(), "1")
    first = ask()
    server.requests.clear()
    assert ask(offline=True) == first
    ask.now += timedelta(seconds=301)
    with pytest.raises(ImageOffline, match="not enough is remembered"):
        ask(offline=True)
    with pytest.raises(ImageOffline):
        ask(":2", offline=True)
    assert ask(f"@{index}", offline=True).platforms == first.platforms
    assert server.log == []


def test_offline_part_that_is_missing_fails_closed(server: OciServer, ask: Asking) -> None:
    index, _, arm64 = push_index(server.repository(), "1")
    ask(platform="linux/amd64")
    assert ask(platform="linux/amd64", offline=True).inspected
    for what in (":1", f"@{index}", f"@{arm64}"):
        with pytest.raises(ImageOffline):
            ask(what, offline=True)


@pytest.fixture(name="mirror")
def _mirror() -> Iterator[OciServer]:
    with oci_registry.start() as server:
        yield server


def test_mirror_comes_first(server: OciServer, mirror: OciServer, ask: Asking) -> None:
    digest = mirror.repository("hub/team/app").add_image(config(), "1")
    server.repository().add_image(config("arm64"), "1")
    ask.insecure = (mirror.host,)
    mirrors = {server.host: (f"{mirror.host}/hub",)}
    found = ask(mirrors=mirrors)
    assert (found.digest, found.endpoint, found.registry) == (digest, f"{mirror.host}/hub", server.host)
    assert (mirror.log[0], server.log) == ("HEAD /v2/hub/team/app/manifests/1", [])
    inspector = ask.inspector(mirrors=mirrors)
    assert inspector.endpoint_of(found).url == f"{mirror.url}/v2/hub/team/app"
    by_daemon = found.model_copy(update={"via": "daemon", "endpoint": "unix:///run/docker.sock"})
    assert inspector.endpoint_of(by_daemon).url == f"{server.url}/v2/team/app"
    assert ask().endpoint == server.host
    mirror.requests.clear()
    assert ask(mirrors=mirrors) == found
    assert mirror.log == []


@pytest.mark.parametrize(
    "misbehave",
    [
        oci_registry.answering(404),
        oci_registry.answering(401),
        oci_registry.answering(500),
        oci_registry.answering(200, b"<html>"),
        oci_registry.silent,
        oci_registry.truncated,
    ],
)
def test_mirror_that_has_nothing_is_passed_over(
    server: OciServer, mirror: OciServer, ask: Asking, misbehave: Callable[[Handler], bool]
) -> None:
    server.repository().add_image(config(), "1")
    mirror.misbehave = misbehave
    ask.insecure = (mirror.host,)
    mirrors = {server.host: (mirror.host,)}
    assert ask(mirrors=mirrors, timeout=2.0).endpoint == server.host
    mirror.requests.clear()
    server.requests.clear()
    assert ask(mirrors=mirrors, timeout=2.0).endpoint == server.host
    assert (mirror.log, server.log) == ([], [])


def test_mirror_that_sends_something_else_ends_it(server: OciServer, mirror: OciServer, ask: Asking) -> None:
    server.repository().add_image(config(), "1")
    mirror.repository().add_image(config(), "1")
    mirror.misbehave = only("/blobs/", oci_registry.answering(200, b"{}"))
    ask.insecure = (mirror.host,)
    with pytest.raises(ImageDigestMismatch, match=mirror.host):
        ask(mirrors={server.host: (mirror.host,)})
    assert server.log == []


def test_mirrors_and_host_that_fail_are_all_named(server: OciServer, mirror: OciServer, ask: Asking) -> None:
    ask.insecure = (mirror.host,)
    mirror.misbehave = oci_registry.answering(403)
    with pytest.raises(ImageMissing, match=rf"no access .*: {mirror.host}; .*no such image.*: {server.host}"):
        ask(mirrors={server.host: (mirror.host,)})


def test_no_layer_is_ever_asked_for(server: OciServer, ask: Asking) -> None:
    repository = server.repository()
    push_index(repository, "1")
    ask()
    asked = {one.path.rpartition("/")[2] for one in server.asked("GET", "/blobs/")}
    layers = {
        layer["digest"] for data, _ in repository.manifests.values() for layer in json.loads(data).get("layers", [])
    }
    assert asked <= set(repository.blobs)
    assert not asked & layers


def test_tag_is_not_remembered_by_a_ca_that_did_not_vouch_for_it(tmp_path: Path) -> None:
    """The file may be exchanged between the look at what is remembered and the first request."""
    cache, ca_file = ContentCache(tmp_path / "cache"), tmp_path / "ca.pem"
    other, theirs = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.issue_cert("127.0.0.1").configure_cert(context)
    with oci_registry.start(context) as server:
        server.repository().add_image(config(), "1")
        reference = parse_reference(f"{server.host}/team/app:1")

        def inspector() -> RegistryInspector:
            return RegistryInspector(OciRegistry(Credentials({}, environ={}), ca=ca_file, environ={}), cache)

        other.cert_pem.write_to_path(ca_file)
        inspecting = inspector()
        assert inspecting.remembered(reference) is None
        theirs.cert_pem.write_to_path(ca_file)
        assert inspecting.inspect(str(reference)).inspected
        other.cert_pem.write_to_path(ca_file)
        with pytest.raises(ImageUnreachable, match="not trusted"):
            inspector().inspect(str(reference))
        theirs.cert_pem.write_to_path(ca_file)
        inspector().inspect(str(reference))
        assert inspector().remembered(reference) is not None


def test_index_that_does_not_say_its_platforms_has_one_image_for_each(ask: Asking) -> None:
    repository = ask.server.repository()
    first, second = (repository.add_image({**config("amd64"), "author": name}) for name in "ab")
    arm64 = repository.add_image(config("arm64"))
    repository.add_index([repository.descriptor(one) for one in (first, arm64, first)], "good")
    repository.add_index([repository.descriptor(one) for one in (first, arm64, second)], "twice")
    assert len(ask(":good").platforms) == 2
    with pytest.raises(ImageInvalid, match="the index has two images for linux/amd64"):
        ask(":twice")
