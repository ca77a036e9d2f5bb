"""Who is asked what an image is: its registry, the daemon, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.errors.images import (
    DaemonUnavailable,
    ImageAccessDenied,
    ImageDigestMismatch,
    ImageError,
    ImageMissing,
    ImageNotAsked,
    ImageOffline,
    ImageUnreachable,
)
from flowyml_policy.images.modes import ImageInspection
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.network.credentials import Credentials
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.oci_registry import OciRegistry
from flowyml_policy.records.policy_input import ImageFacts, PlatformFacts
from flowyml_policy.references.image import parse_reference
from flowyml_policy.storage.cache import ContentCache
from tests import oci_registry
from tests.oci_registry import Handler, OciServer, only
from tests.unit.images.test_registry import config, push_index


@dataclass
class FakeDaemon:
    """Knows images, some by the digest that they have in their repository; or cannot be asked."""

    images: dict[str, str | None] = field(default_factory=dict)
    error: ImageError | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    closed: int = 0

    def inspect(self, reference: str, platform: str | None = None) -> ImageFacts:
        self.asked.append((reference, platform))
        if self.error is not None:
            raise self.error
        if reference not in self.images:
            raise ImageMissing("the daemon has none")
        parsed = parse_reference(reference)
        return ImageFacts(
            ref=reference,
            registry=parsed.registry,
            repository=parsed.repository,
            tag=parsed.tag,
            digest=self.images[reference],
            inspected=True,
            via="daemon",
            platforms=(PlatformFacts(platform="linux/amd64"),),
            endpoint="unix:///run/docker.sock",
        )

    def close(self) -> None:
        self.closed += 1

    def for_seconds(self, seconds: float) -> FakeDaemon:
        self.seconds.append(seconds)
        return self


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with oci_registry.start() as server:
        yield server


@dataclass
class Asking:
    """Asks for `team/app:1`, or what else is named, in a mode."""

    server: OciServer
    daemon: FakeDaemon
    home: Path

    @property
    def ref(self) -> str:
        return f"{self.server.host}/team/app:1"

    def __call__(self, mode: Any = "auto", *local: str, offline: bool = False, seconds: float = 5.0) -> ImageFacts:
        environ = {"HOME": str(self.home)}
        registry = OciRegistry(Credentials({}, environ=environ), insecure=(self.server.host,), environ=environ)
        inspector = RegistryInspector(registry, ContentCache(self.home / "cache"), offline=offline)
        inspection = ImageInspection(inspector, self.daemon.for_seconds, mode=mode, allow_local=local, offline=offline)
        return inspection.inspect_within(Deadline(seconds), parse_reference(self.ref))


@pytest.fixture(name="ask")
def _ask(server: OciServer, tmp_path: Path) -> Asking:
    return Asking(server, FakeDaemon(), tmp_path)


LOCAL = "127.0.0.1*/team/*"


@pytest.mark.parametrize("mode", ["auto", "registry"])
def test_registry_that_has_the_image_answers(ask: Asking, mode: str) -> None:
    push_index(ask.server.repository(), "1")
    ask.daemon.images[ask.ref] = None
    assert ask(mode, LOCAL).via == "registry"
    assert ask.daemon.asked == []


def test_daemon_answers_for_what_may_be_local(ask: Asking) -> None:
    ask.daemon.images[ask.ref] = None
    assert ask("auto", "other/*", LOCAL).via == "daemon"
    assert ask.daemon.closed == len(ask.daemon.seconds) == 1
    for mode, local in (("auto", ()), ("auto", ("other/*",)), ("registry", (LOCAL,))):
        with pytest.raises(ImageMissing, match="the registry has no such image"):
            ask(mode, *local)
    assert len(ask.daemon.asked) == 1


@pytest.mark.parametrize(
    ("hosts", "reference", "is_asked"),
    [
        ((), "quay.io/team/app:1", False),
        (("quay.io",), "quay.io/team/app:1", True),
        (("QUAY.io",), "quay.io/team/app:1", True),
        (("quay.io",), "quay.io:8443/team/app:1", False),
        (("quay.io",), "eu.quay.io/team/app:1", False),
        (("index.docker.io",), "ubuntu", True),
        (("quay.io",), "ubuntu", False),
    ],
)
def test_only_images_of_named_hosts_are_asked_for(
    tmp_path: Path, hosts: tuple[str, ...], reference: str, is_asked: bool
) -> None:
    daemon = FakeDaemon()
    registry = OciRegistry(Credentials({}, environ={}), environ={}, offline=True)
    inspector = RegistryInspector(registry, ContentCache(tmp_path), offline=True)
    inspection = ImageInspection(inspector, daemon.for_seconds, allow_local=("*",), hosts=hosts)
    with pytest.raises(ImageError) as caught:
        inspection.inspect_within(Deadline(5), parse_reference(reference))
    assert type(caught.value) is (ImageOffline if is_asked else ImageNotAsked)
    assert daemon.asked == []


def test_daemon_has_time_where_the_registry_says_nothing(ask: Asking) -> None:
    ask.server.misbehave = oci_registry.silent
    ask.daemon.images[ask.ref] = None
    assert ask("auto", LOCAL, seconds=1.0).via == "daemon"
    assert 0.2 < ask.daemon.seconds[0] <= 0.5


@pytest.mark.parametrize(
    ("misbehave", "expected"),
    [
        (oci_registry.answering(403), ImageAccessDenied),
        (only("sha256", oci_registry.answering(200, b"{}")), ImageDigestMismatch),
    ],
)
def test_daemon_is_not_asked_where_the_registry_refuses(
    ask: Asking, misbehave: Callable[[Handler], bool], expected: type[ImageError]
) -> None:
    push_index(ask.server.repository(), "1")
    ask.server.misbehave = misbehave
    ask.daemon.images[ask.ref] = None
    with pytest.raises(expected):
        ask("auto", LOCAL)
    assert ask.daemon.asked == []


def test_daemon_and_registry_that_fail_are_both_named(ask: Asking) -> None:
    with pytest.raises(ImageMissing, match=r"no such image .*; the daemon has none"):
        ask("auto", LOCAL)
    ask.daemon.error = DaemonUnavailable("the daemon is down")
    with pytest.raises(ImageMissing, match=r"no such image .*; the daemon is down"):
        ask("auto", LOCAL)


def test_daemon_alone_is_asked_and_must_know_the_repository(ask: Asking) -> None:
    ask.daemon.images[ask.ref] = digest = f"sha256:{'a' * 64}"
    found = ask("daemon")
    assert (found.via, found.digest, ask.server.log) == ("daemon", digest, [])
    ask.daemon.images[ask.ref] = None
    with pytest.raises(ImageMissing, match="has no digest of 127"):
        ask("daemon")
    assert ask("daemon", LOCAL).digest is None
    ask.daemon.error = DaemonUnavailable("the daemon is down")
    with pytest.raises(DaemonUnavailable):
        ask("daemon", LOCAL)


@pytest.mark.parametrize("mode", ["auto", "daemon", "registry"])
def test_offline_asks_nobody(ask: Asking, mode: str) -> None:
    ask.daemon.images[ask.ref] = None
    with pytest.raises(ImageOffline):
        ask(mode, LOCAL, offline=True)
    assert (ask.daemon.asked, ask.server.log) == ([], [])


def test_daemons_image_of_the_digest_stands_in_for_a_configuration(ask: Asking) -> None:
    digest = ask.server.repository().add_image(config(), "1")
    by_digest = f"{ask.server.host}/team/app@{digest}"
    ask.server.misbehave = only("/blobs/", oci_registry.answering(500))
    ask.daemon.images = {ask.ref: None, by_digest: digest}
    found = ask()
    assert (found.via, found.digest, found.kind, found.platforms[0].digest) == ("daemon", digest, "manifest", digest)
    for mode, images in (("registry", {by_digest: digest}), ("auto", {by_digest: f"sha256:{'b' * 64}"}), ("auto", {})):
        ask.daemon.images = {**images}
        with pytest.raises(ImageUnreachable):
            ask(mode)


def test_daemon_does_not_stand_in_for_an_index(ask: Asking) -> None:
    """It knows one platform, and the others run as well."""
    index, amd64, _ = push_index(ask.server.repository(), "1")
    name = f"{ask.server.host}/team/app"
    ask.daemon.images = {f"{name}@{index}": index, f"{name}@{amd64}": amd64}
    ask.server.misbehave = only("/blobs/", oci_registry.answering(500))
    with pytest.raises(ImageUnreachable):
        ask()
    assert ask.daemon.asked == []


@pytest.mark.parametrize(
    ("glob", "reference", "expected"),
    [
        ("ubuntu", "ubuntu", True),
        ("ubuntu", "ubuntu:24.04", True),
        ("ubuntu:24.04", "ubuntu:24.04", True),
        ("ubuntu:latest", "ubuntu", True),
        ("library/ubuntu", "ubuntu", True),
        ("docker.io/library/ubuntu:*", "ubuntu", True),
        ("ubuntu:dev", "ubuntu", False),
        ("team/*", "team/app:dev", True),
        ("team/*", "x.io/team/app:dev", False),
        ("x.io/team/app@sha256:*", f"x.io/team/app@sha256:{'a' * 64}", True),
        ("{dev,test}-[a-c]?:1", "dev-b7:1", True),
        ("{dev,test}-[a-c]?:1", "dev-d7:1", False),
        ("a.c", "abc", False),
    ],
)
def test_glob_of_local_images_matches_what_people_call_them(
    ask: Asking, glob: str, reference: str, expected: bool
) -> None:
    registry = RegistryInspector(OciRegistry(Credentials({}, environ={})), ContentCache(ask.home))
    inspection = ImageInspection(registry, ask.daemon.for_seconds, allow_local=(glob,))
    assert inspection.is_local(parse_reference(reference)) is expected
