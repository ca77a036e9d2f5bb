"""All images of a batch: each once, side by side, with an error in place of what cannot be known."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.errors.images import ImageMissing, ImageOffline, SigningKeyUnusable
from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.errors.root import UsageError
from flowyml_policy.images.batch import side_by_side
from flowyml_policy.images.inspection import Inspection
from flowyml_policy.images.registry import RegistryInspector
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.records.policy_input import (
    BasePlatform,
    ImageFacts,
    ImageProblem,
    SignatureFacts,
    SigningDemand,
    SigningKey,
)
from flowyml_policy.references.image import parse_reference
from flowyml_policy.settings.settings import Settings
from tests import oci_registry
from tests.oci_registry import OciServer, digest_of, only
from tests.unit.images.test_registry import config, push_index

Load = Callable[..., Settings]
Open = Callable[..., Inspection]
Environ = dict[str, str] | None


@pytest.fixture(name="server")
def _server() -> Iterator[OciServer]:
    with oci_registry.start() as server:
        yield server


@pytest.fixture(name="make")
def _make(server: OciServer, load: Load, tmp_path: Path) -> Open:
    """An Inspection of a project whose `policy.images` is as given, besides the registry without TLS."""

    def opened(
        images: str = "", policies: str = "", *, environ: dict[str, str] | None = None, **more: Any
    ) -> Inspection:
        text = f"policy: {{images: {{insecure: ['{server.host}']{images and f', {images}'}}}}}\n"
        found = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), **(environ or {})}
        return Inspection.of(load(text + policies), environ=found, **more)

    return opened


def named(ref: str, *path: str, **more: Any) -> ImageFacts:
    """The facts of an image that nobody has looked at yet."""
    try:
        reference = parse_reference(ref)
    except ReferenceInvalid as error:
        problem = ImageProblem(code=error.code, message=error.problem)
        return ImageFacts(ref=ref, registry=None, repository=None, via="off", error=problem, paths=(path,))
    return ImageFacts(
        ref=ref,
        registry=reference.registry,
        repository=reference.repository,
        tag=reference.tag,
        digest=reference.digest,
        paths=(path,),
        via="off",
        **more,
    )


def test_images_are_examined_once_and_stay_in_order(server: OciServer, make: Open) -> None:
    index, amd64, _ = push_index(server.repository(), "1", "latest")
    refs = [f"{server.host}/team/app:1", f"{server.host}/team/app", f"{server.host}/team/app:latest@{amd64}"]
    given = [named(refs[number % 3], "stack", str(number)) for number in range(100)]
    counts: list[tuple[int, int]] = []
    inspection = make()
    found = inspection.examine(given, told=lambda done, total: counts.append((done, total)))
    assert [(one.ref, one.paths, one.tag) for one in found] == [(one.ref, one.paths, one.tag) for one in given]
    assert [one.digest for one in found[:3]] == [index, index, amd64]
    assert all(one.inspected and one.via == "registry" and one.error is None for one in found)
    assert counts == [(1, 3), (2, 3), (3, 3)]
    assert len(server.asked("HEAD")) == 2
    asked = len(server.requests)
    assert inspection.examine(given) == found
    assert len(server.requests) == asked
    inspection.close()
    inspection.close()


def test_image_that_many_threads_want_is_asked_for_once(server: OciServer, make: Open) -> None:
    push_index(server.repository(), "1")
    server.delay = 0.02
    inspection = make()
    image = named(f"{server.host}/team/app:1")
    found: list[ImageFacts] = []
    threads = [threading.Thread(target=lambda: found.extend(inspection.examine([image]))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.model_dump_json() for one in found}) == 1
    assert len(server.requests) == 6


def test_images_are_asked_for_side_by_side(server: OciServer, make: Open) -> None:
    for number in range(12):
        server.repository().add_image(config(), str(number))
    server.delay = 0.02
    images = [named(f"{server.host}/team/app:{number}") for number in range(12)]
    assert all(one.inspected for one in make("concurrency: 5, per_registry: 64").examine(images))
    assert 1 < server.busiest <= 5
    server.busiest = 0
    assert all(one.inspected for one in make("concurrency: 8, per_registry: 2", refresh=True).examine(images))
    assert 0 < server.busiest <= 2


def test_image_that_fails_is_a_fact_and_the_others_are_examined(server: OciServer, make: Open) -> None:
    push_index(server.repository(), "1")
    good, missing, bad = (f"{server.host}/team/app:1", f"{server.host}/team/app:2", f"{server.host}/team/bad:1")
    server.repository("team/bad").add_image(config(Labels={"n": 1}), "1")
    found = make().examine([named(missing), named(good), named(bad), named("UPPER/Case")])
    assert [one.inspected for one in found] == [False, True, False, False]
    assert [one.error and one.error.code for one in found] == [
        "image_missing",
        None,
        "image_invalid",
        "reference_invalid",
    ]
    assert found[0].error is not None
    assert found[0].error.message == f"the registry has no such image (404, MANIFEST_UNKNOWN): {server.host}"
    assert (found[0].via, found[0].platforms, found[0].digest, found[3].via) == (None, (), None, None)


def test_error_is_remembered_for_a_while(server: OciServer, make: Open) -> None:
    inspection = make()
    for _ in range(3):
        assert inspection.examine([named(f"{server.host}/team/app@sha256:{'a' * 64}")])[0].error is not None
    assert len(server.requests) == 1
    inspection = make("tag_ttl: 0s")
    for _ in range(3):
        inspection.examine([named(f"{server.host}/team/app:1")])
    assert len(server.requests) == 1 + 3 * 2


def test_certificate_advice_stands_in_the_message(load: Load, tmp_path: Path) -> None:
    with oci_registry.start(_tls(trustme.CA())) as secure:
        inspection = Inspection.of(load("policy: {}\n"), environ={"HOME": str(tmp_path)})
        (found,) = inspection.examine([named(f"{secure.host}/team/app:1")])
    assert found.error is not None
    assert found.error.code == "image_unreachable"
    assert "policy.images.ca" in found.error.message


def test_off_asks_nothing(server: OciServer, make: Open) -> None:
    push_index(server.repository(), "1")
    image = named(f"{server.host}/team/app:1", "a")
    inspection = make("inspect: 'off'")
    assert not inspection.is_on
    assert inspection.examine([image]) == (image,)
    assert inspection.bases([f"{server.host}/team/app:1"]) == ()
    assert server.log == []
    assert inspection.inspect(f"{server.host}/team/app:1").inspected


ALLOWED = "policies: {{image_policy: {{allowed_registries: ['{one}']}}}}\n"
BOTH = (
    "policies: {{image_policy: {{allowed_registries: ['{one}']}}, "
    "rule_data: {{images_registry: {{allowed_registries: ['{two}/']}}}}}}\n"
)


@pytest.mark.parametrize(
    ("policies", "one", "two", "is_asked"),
    [
        ("", "", "", False),
        (ALLOWED, "HOST", "", True),
        (ALLOWED, "HOST/team", "", True),
        (ALLOWED, "HOST/other", "", False),
        (ALLOWED, "x.io", "", False),
        (BOTH, "HOST", "HOST", True),
        (BOTH, "HOST", "x.io", False),
        (BOTH, "x.io", "HOST", False),
    ],
)
def test_guessed_image_is_asked_for_where_it_is_allowed(
    server: OciServer, make: Open, policies: str, one: str, two: str, is_asked: bool
) -> None:
    push_index(server.repository(), "1")
    one, two = one.replace("HOST", server.host), two.replace("HOST", server.host)
    image = named(f"{server.host}/team/app:1", "a", certainty="guessed")
    (found,) = make("", policies.format(one=one, two=two)).examine([image])
    assert (found.inspected, bool(server.log), found.certainty) == (is_asked, is_asked, "guessed")
    if not is_asked:
        assert found == image.model_copy(update={"via": None})


def test_what_comes_from_outside_is_masked_and_can_be_encoded(server: OciServer, make: Open) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    settings = {
        "Labels": {
            "url": f"https://robot:hunter2hunter2@example.com/{token}",
            "odd": "a\ud800b",
            "db_password": "Tr0ub4dor&3",
        },
        "User": f"u{token}",
        "Entrypoint": ["run", f"--token={token}"],
        "Env": [f"{token}=x", "PASSWORD=hunter2", f"bare {token}"],
        "ExposedPorts": {token: {}},
    }
    annotations = {"org.opencontainers.image.base.name": f"https://robot:{token}@x.io/a"}
    server.repository().add_image({**config(), "config": settings}, "1", annotations=annotations)
    (found,) = make().examine([named(f"{server.host}/team/app:1")])
    text = found.model_dump_json()
    assert found.inspected
    assert not [secret for secret in (token, "hunter2", "Tr0ub4dor&3") if secret in text]
    assert found.platforms[0].labels["odd"] == "a\\ud800b"
    assert found.platforms[0].env[1] == "PASSWORD"
    assert ImageFacts.model_validate_json(text) == found


class Demanding:
    """Demands a signature of every image, and says of each that it could not be looked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def demanded(self, facts: ImageFacts) -> ImageFacts:
        demand = SigningDemand(entry="x.io", need=1, keys=(SigningKey(id="a" * 64, name="cosign.pub"),))
        return facts.model_copy(update={"signing": (demand,)})

    def signed(self, facts: ImageFacts, inspector: RegistryInspector, deadline: Deadline) -> ImageFacts:
        assert isinstance(inspector, RegistryInspector)
        assert deadline.left > 0
        if self._error is not None:
            raise self._error
        found = SignatureFacts(
            key=None,
            form="tag",
            digest=facts.digest,
            ok=False,
            reason="as \ud800",
            problem="unknown" if facts.error else None,
        )
        return self.demanded(facts).model_copy(update={"signatures": (found,)})


def test_signatures_are_filled_in_also_where_the_image_failed(server: OciServer, make: Open) -> None:
    digest = server.repository().add_image(config(), "1")
    images = [named(f"{server.host}/team/app:{tag}") for tag in ("1", "2")]
    found = make(signing=Demanding()).examine(images)
    assert [one.signing[0].entry for one in found] == ["x.io", "x.io"]
    assert [(one.signatures[0].digest, one.signatures[0].problem, one.signatures[0].reason) for one in found] == [
        (digest, None, "as \\ud800"),
        (None, "unknown", "as \\ud800"),
    ]
    with pytest.raises(ImageMissing):
        make(signing=Demanding()).inspect(f"{server.host}/team/app:2")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"), "internal_error", "RuntimeError: masked:"),
        (SigningKeyUnusable("no key: x.pub", advice="write one"), "signing_key_unusable", "no key: x.pub; write one"),
        (MemoryError(), "internal_error", "MemoryError: "),
    ],
)
def test_whatever_is_raised_is_the_error_of_that_image(
    server: OciServer, make: Open, error: Exception, code: str, message: str
) -> None:
    server.repository().add_image(config(), "1")
    (found,) = make(signing=Demanding(error)).examine([named(f"{server.host}/team/app:1")])
    assert found.error is not None
    assert (found.inspected, found.error.code) == (False, code)
    assert found.error.message.startswith(message)
    assert "ghp_" not in found.error.message


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a folder away")
def test_cache_folder_of_another_user_fails_closed(server: OciServer, make: Open, tmp_path: Path) -> None:
    server.repository().add_image(config(), "1")
    folder = tmp_path / "cache" / "flowyml-policy" / "images"
    folder.mkdir(parents=True)
    os.chown(folder, 65534, 65534)
    (found,) = make().examine([named(f"{server.host}/team/app:1")])
    assert found.error is not None
    assert found.error.code == "source_refused"


def test_bases_are_the_platforms_that_can_be_read(server: OciServer, make: Open) -> None:
    index, _, _ = push_index(server.repository(), "1")
    empty = server.repository().add_image({"os": "linux", "architecture": "amd64"}, "empty")
    assert empty
    ref = f"{server.host}/team/app:1"
    refs = [ref, f"{server.host}/team/app:2", "UPPER/Case", f"{server.host}/team/app:empty"]
    layers = (digest_of(b"unpacked 0"),)
    assert make().bases(refs) == (
        BasePlatform(ref=ref, digest=index, platform="linux/amd64", diff_ids=layers),
        BasePlatform(ref=ref, digest=index, platform="linux/arm64/v8", diff_ids=layers),
    )


def test_inspect_says_what_is_wrong_by_raising(server: OciServer, make: Open) -> None:
    index, _, arm64 = push_index(server.repository(), "1")
    inspection = make()
    ref = f"{server.host}/team/app:1"
    found = inspection.inspect(ref, "linux/arm64")
    assert (found.ref, found.digest, [one.digest for one in found.platforms]) == (ref, index, [arm64])
    with pytest.raises(ImageMissing):
        inspection.inspect(ref, "windows/amd64")
    with pytest.raises(ReferenceInvalid):
        inspection.inspect("UPPER/Case")


def test_offline_is_what_the_environment_says(server: OciServer, make: Open) -> None:
    push_index(server.repository(), "1")
    ref = f"{server.host}/team/app:1"
    make().inspect(ref)
    asked = len(server.requests)
    offline = make(environ={"FLOWYML_POLICY_OFFLINE": "1"})
    assert offline.inspect(ref).inspected
    with pytest.raises(ImageOffline):
        offline.inspect(f"{server.host}/team/app:2")
    assert len(server.requests) == asked
    with pytest.raises(UsageError):
        make(environ={"FLOWYML_POLICY_OFFLINE": "yes"})


def test_timeout_is_for_all_requests_of_an_image(server: OciServer, make: Open) -> None:
    push_index(server.repository(), "1")
    server.misbehave = only("/blobs/", oci_registry.silent)
    (found,) = make("timeout: 500ms").examine([named(f"{server.host}/team/app:1")])
    assert found.error is not None
    assert found.error.code == "image_unreachable"


def _tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("form", ["ca: ca.pem", "ca: {{'{host}': ca.pem}}"])
def test_settings_lead_to_registries(load: Load, folder: Path, tmp_path: Path, form: str) -> None:
    """A CA beside flowyml.yaml, a login by a variable, and a mirror under a path."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    with oci_registry.start(_tls(authority)) as secure:
        secure.asks_for = "basic"
        digest = secure.repository("hub/library/ubuntu").add_image(config(), "latest")
        text = (
            f"policy: {{images: {{{form.format(host=secure.host)}, mirrors: {{docker.io: ['{secure.host}/hub']}}, "
            f"credentials: {{'{secure.host}': {{username: {secure.login[0]}, password_env: PASSWORD}}}}}}}}\n"
        )
        environ = {"HOME": str(tmp_path), "PASSWORD": secure.login[1]}
        (found,) = Inspection.of(load(text), environ=environ).examine([named("ubuntu")])
        assert (found.error, found.digest, found.endpoint) == (None, digest, f"{secure.host}/hub")


@pytest.mark.parametrize("asks_for", [None, "basic"])
def test_what_a_login_saw_is_remembered_by_a_key(
    server: OciServer, make: Open, tmp_path: Path, asks_for: str | None
) -> None:
    """Which lies in the cache, and only there; without a login there is none."""
    push_index(server.repository(), "1")
    server.asks_for = asks_for
    images, environ = "", {}
    if asks_for is not None:
        images = f"credentials: {{'{server.host}': {{username: {server.login[0]}, password_env: PASSWORD}}}}"
        environ = {"PASSWORD": server.login[1]}
    image, key = named(f"{server.host}/team/app:1"), tmp_path / "cache" / "flowyml-policy" / "images" / "key"
    first = make(images, environ=environ).examine([image])
    assert (first[0].inspected, key.exists()) == (True, asks_for is not None)
    server.requests.clear()
    assert (make(images, environ=environ).examine([image]), server.requests) == (first, [])
    if asks_for is not None:
        key.write_bytes(bytes(32))
        make(images, environ=environ).examine([image])
        assert server.requests


def test_told_that_raises_ends_the_work(server: OciServer, make: Open) -> None:
    for number in range(40):
        server.repository().add_image(config(), str(number))
    server.delay = 0.02

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("concurrency: 2").examine([named(f"{server.host}/team/app:{number}") for number in range(40)], told=stop)
    assert len(server.asked("HEAD")) <= 6


def test_side_by_side_raises_what_the_work_raises() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item * 2

    assert sorted(side_by_side(work, (1, 2), most=8)) == [(1, 2), (2, 4)]
    assert list(side_by_side(work, (), most=8)) == []
    for most in (1, 4):
        with pytest.raises(ValueError, match="three"):
            list(side_by_side(work, range(20), most=most))


HEAVY = ("asyncio", "concurrent.futures", "cryptography", "docker", "requests", "subprocess", "urllib3")
PROGRAM = """\
import sys, threading
from pathlib import Path
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.images.inspection import Inspection
started = []
threading.Thread.start = lambda self: started.append(self)
found = Inspection.of(load_settings()).inspect(sys.argv[1])
print(found.inspected, started, sorted(set(sys.argv[2:]) & set(sys.modules)))
"""


def test_remembered_image_loads_nothing_heavy(
    server: OciServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_index(server.repository(), "1")
    (folder / "flowyml.yaml").write_text(f"policy: {{images: {{insecure: ['{server.host}']}}}}\n")
    for name, value in (("HOME", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path / "cache"))):
        monkeypatch.setenv(name, value)
    from flowyml_policy.settings.loading import load_settings

    ref = f"{server.host}/team/app:1"
    Inspection.of(load_settings()).inspect(ref)
    asked = len(server.requests)
    command = [sys.executable, "-c", PROGRAM, ref, *HEAVY]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    assert answer.stdout == "True [] []\n"
    assert len(server.requests) == asked


def test_fault_in_looking_for_signatures_keeps_what_is_demanded(server: OciServer, make: Open) -> None:
    server.repository().add_image(config(), "1")
    (found,) = make(signing=Demanding(RuntimeError("odd"))).examine([named(f"{server.host}/team/app:1")])
    assert (found.inspected, [one.entry for one in found.signing]) == (False, ["x.io"])
    assert found.platforms


@pytest.mark.parametrize(("ttl", "asked"), [("0s", 3), ("5m", 1)])
def test_signatures_of_an_image_by_digest_are_looked_for_again_in_time(
    server: OciServer, make: Open, ttl: str, asked: int
) -> None:
    digest = server.repository().add_image(config(), "1")
    looked: list[str] = []

    class Counted(Demanding):
        def signed(self, facts: ImageFacts, inspector: RegistryInspector, deadline: Deadline) -> ImageFacts:
            looked.append(facts.ref)
            return super().signed(facts, inspector, deadline)

    inspection = make(f"tag_ttl: {ttl}", signing=Counted())
    for _ in range(3):
        inspection.examine([named(f"{server.host}/team/app@{digest}")])
    assert len(looked) == asked
