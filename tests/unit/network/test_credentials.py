"""Logins for registries: the settings', Docker's, podman's, and those of real helper programs."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from flowyml_policy.network.credential_helpers import CredentialHelper
from flowyml_policy.network.credentials import (
    AnyLogin,
    BearerToken,
    Credentials,
    CredentialsUnusable,
    IdentityToken,
    Login,
    RegistryLogin,
)
from tests.child import succeeds_in_child

HOST = "registry.example.com"
HUB = "https://index.docker.io/v1/"
PASSWORD = "s3cret-of-the-test"
LOGIN = Login("robot", PASSWORD)


def auth(username: str = "robot", password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


Configured: TypeAlias = Callable[..., Credentials]


@pytest.fixture(name="bin_folder")
def _bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture(name="configured")
def _configured(tmp_path: Path, bin_folder: Path) -> Configured:
    """Logins of a Docker configuration (text as it is, all else as JSON), with helpers on PATH."""

    def make(config: object = None, /, *, settings: dict[str, RegistryLogin] | None = None, **more: str) -> Credentials:
        folder = tmp_path / "docker"
        folder.mkdir(exist_ok=True)
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (folder / "config.json").write_text(text, "utf-8")
        environ = {"DOCKER_CONFIG": str(folder), "PATH": f"{bin_folder}:/usr/bin:/bin", **more}
        return Credentials(settings or {}, environ=environ)

    return make


@pytest.fixture(name="add_helper")
def _add_helper(bin_folder: Path) -> Callable[[str, str], Path]:
    """Makes a credential helper of a shell script; it notes what it is asked in the file that is returned."""

    def make(name: str, script: str) -> Path:
        file = bin_folder / f"docker-credential-{name}"
        asked = bin_folder / f"{name}.asked"
        file.write_text(f'#!/bin/sh\nserver=$(cat)\necho "$1 $server" >> {asked}\n{script}\n', "utf-8")
        file.chmod(0o755)
        return asked

    return make


def knowing(username: str = "robot", secret: str = PASSWORD) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': username, 'Secret': secret})}'"


NOT_FOUND = "echo 'credentials not found in native keychain'; exit 1"


def failure_of(credentials: Credentials, host: str = HOST) -> CredentialsUnusable:
    with pytest.raises(CredentialsUnusable) as caught:
        credentials.of(host)
    said = f"{caught.value} {caught.value.what} {caught.value.advice} {caught.value.__cause__!r}"
    assert PASSWORD not in said
    assert auth()["auth"] not in said
    return caught.value


# Settings


def test_settings_win_and_stay_with_their_host(configured: Configured) -> None:
    settings = {
        HOST: RegistryLogin("robot", password_env="PW"),
        f"{HOST}:5000": RegistryLogin(token_env="TOKEN"),
        "docker.io": RegistryLogin("hub", password_env="PW"),
    }
    docker = {"auths": {HOST: auth("other"), "elsewhere.example.com": auth("elsewhere")}}
    credentials = configured(docker, settings=settings, PW=PASSWORD, TOKEN="t0ken")
    hosts = [HOST, f"{HOST}:5000", "docker.io", "index.docker.io", "registry-1.docker.io"]
    hosts += ["elsewhere.example.com", f"sub.{HOST}", f"{HOST}.evil.com", f"{HOST}:443", "auth.docker.io"]
    assert [credentials.of(host) for host in hosts] == [
        LOGIN,
        BearerToken("t0ken"),
        *[Login("hub", PASSWORD)] * 3,
        Login("elsewhere", PASSWORD),
        *[None] * 4,
    ]


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        ({}, "the environment variable PW, which holds the login for registry.example.com, is not set"),
        ({"PW": ""}, "the environment variable PW, which holds the login for registry.example.com, is not set"),
        ({"PW": f"{PASSWORD}\udcff"}, "the login for registry.example.com holds characters that no login can have"),
        ({"PW": f"{PASSWORD}\n"}, "the login for registry.example.com holds characters that no login can have"),
    ],
)
def test_settings_unusable_are_told(configured: Configured, variables: dict[str, str], what: str) -> None:
    """No other login takes the place of what the settings name."""
    settings = {HOST: RegistryLogin("robot", password_env="PW")}
    failure = failure_of(configured({"auths": {HOST: auth()}}, settings=settings, **variables))
    assert (failure.what, failure.is_explicit) == (what, True)


# Docker's configuration


@pytest.mark.parametrize(
    ("config", "host", "expected"),
    [
        pytest.param({"auths": {HOST: auth()}}, HOST, LOGIN, id="host"),
        pytest.param({"auths": {f"{HOST}:5000": auth()}}, f"{HOST}:5000", LOGIN, id="host and port"),
        pytest.param({"auths": {f"{HOST}:5000": auth()}}, HOST, None, id="another port"),
        pytest.param({"auths": {f"https://{HOST}": auth()}}, HOST, LOGIN, id="address"),
        pytest.param({"auths": {f"https://{HOST}/v1/": auth()}}, HOST, LOGIN, id="address of version 1"),
        pytest.param({"auths": {f"https://{HOST}/other": auth()}}, HOST, None, id="another address"),
        pytest.param({"auths": {f"{HOST}.evil.com": auth(), f"x{HOST}": auth()}}, HOST, None, id="neighbours"),
        pytest.param({"auths": {HUB: auth()}}, "docker.io", LOGIN, id="docker hub"),
        pytest.param({"auths": {HUB: auth()}}, "registry-1.docker.io", LOGIN, id="docker hub on the wire"),
        pytest.param({"auths": {"docker.io": auth()}}, "docker.io", LOGIN, id="docker hub by podman"),
        pytest.param({"auths": {f"{HUB}refresh-token": auth()}}, "docker.io", None, id="docker hub's other tokens"),
        pytest.param({"auths": {HOST: auth(password="a:b")}}, HOST, Login("robot", "a:b"), id="colon in the password"),
        pytest.param({"auths": {HOST: auth(password="pä")}}, HOST, Login("robot", "pä"), id="utf-8"),
        pytest.param({"auths": {HOST: {"username": "robot", "password": PASSWORD}}}, HOST, LOGIN, id="not in base64"),
        pytest.param(
            {"auths": {HOST: {**auth("0", ""), "identitytoken": "t0ken"}}}, HOST, IdentityToken("t0ken"), id="identity"
        ),
        pytest.param({"auths": {HOST: {"registrytoken": "t0ken"}}}, HOST, BearerToken("t0ken"), id="registry token"),
        pytest.param({"auths": {HOST: {}}}, HOST, None, id="empty entry"),
        pytest.param({"auths": None, "credHelpers": None, "credsStore": ""}, HOST, None, id="nulls"),
        pytest.param({}, HOST, None, id="empty"),
        pytest.param(None, HOST, None, id="no file"),
    ],
)
def test_auths_are_read(configured: Configured, config: object, host: str, expected: AnyLogin | None) -> None:
    credentials = configured(config)
    assert credentials.of(host) == expected
    assert PASSWORD not in repr(credentials.of(host))
    assert "t0ken" not in repr(credentials.of(host))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{'auths': {}}", "is not JSON"),
        (f'{{"auths": {{"{HOST}": {json.dumps(auth())}}}', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no JSON object"),
        (" " * (2 << 20), "is no file of ordinary size"),
        ({"auths": []}, "holds `auths`, which is no JSON object"),
        ({"auths": {HOST: PASSWORD}}, "holds a login that is no JSON object"),
        ({"auths": {HOST: {"auth": 5}}}, "holds a login that is no text"),
        ({"auths": {HOST: {"auth": f"{PASSWORD}%"}}}, "holds a login that is not in base64"),
        ({"credHelpers": {HOST: ["x"]}}, "names a credential helper that is no text"),
        ({"credHelpers": "x"}, "holds `credHelpers`, which is no JSON object"),
    ],
)
def test_unreadable_configuration_is_told(configured: Configured, config: object, why: str) -> None:
    failure = failure_of(configured(config))
    assert why in failure.what
    assert "config.json" in failure.what
    assert not failure.is_explicit


def test_login_with_line_end_is_not_sent(configured: Configured) -> None:
    failure = failure_of(configured({"auths": {HOST: auth(password=f"{PASSWORD}\r\nX: y")}}))
    assert failure.what == f"the login for {HOST} holds characters that no login can have"


def test_podman_files_are_read(configured: Configured, tmp_path: Path) -> None:
    """One that is named comes first, then Docker's; a part of a host counts before the host."""
    named, run = tmp_path / "named.json", tmp_path / "run"
    named.write_text(json.dumps({"auths": {"a.example.com": auth("named")}}), "utf-8")
    (run / "containers").mkdir(parents=True)
    parts = {"c.example.com": auth("host"), "c.example.com/team": auth("team"), "c.example.com/team/app": auth("app")}
    (run / "containers" / "auth.json").write_text(json.dumps({"auths": parts}), "utf-8")
    docker = {"auths": {"a.example.com": auth("docker"), "b.example.com": auth("docker")}}
    credentials = configured(docker, REGISTRY_AUTH_FILE=str(named), XDG_RUNTIME_DIR=str(run))

    def username(host: str, repository: str = "") -> str:
        found = credentials.of(host, repository)
        assert isinstance(found, Login)
        return found.username

    assert [username("a.example.com"), username("b.example.com")] == ["named", "docker"]
    paths = ["team/app", "team/app/part", "team/other", "teams/app", ""]
    assert [username("c.example.com", path) for path in paths] == ["app", "app", "team", "host", "host"]


def test_home_is_read_without_docker_config(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: auth()}}), "utf-8")
    assert Credentials({}, environ={"HOME": str(tmp_path)}).of(HOST) == LOGIN
    assert Credentials({}, environ={}).of(HOST) is None


# Helpers


def test_helpers_come_before_auths(configured: Configured, add_helper: Callable[[str, str], Path]) -> None:
    one, all_others = add_helper("one", knowing("of-one")), add_helper("store", knowing("of-store"))
    config = {
        "credHelpers": {HOST: "one", "docker.io": "one"},
        "credsStore": "store",
        "auths": {HOST: {}, "b.example.com": auth("of-auths")},
    }
    credentials = configured(config)
    found = [credentials.of(host) for host in (HOST, "b.example.com", "docker.io", HOST)]
    assert found == [Login(name, PASSWORD) for name in ("of-one", "of-store", "of-one", "of-one")]
    assert one.read_text().splitlines() == [f"get {HOST}", f"get {HUB}"]
    assert all_others.read_text().splitlines() == ["get b.example.com"]


def test_helper_without_login_gives_way(configured: Configured, add_helper: Callable[[str, str], Path]) -> None:
    add_helper("store", NOT_FOUND)
    credentials = configured({"credsStore": "store", "auths": {HOST: auth()}})
    assert (credentials.of(HOST), credentials.of("b.example.com")) == (LOGIN, None)


def test_helper_identity_token_is_one(configured: Configured, add_helper: Callable[[str, str], Path]) -> None:
    add_helper("store", knowing("<token>", "t0ken"))
    assert configured({"credsStore": "store"}).of(HOST) == IdentityToken("t0ken")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f"echo {PASSWORD}; exit 3", "failed with exit code 3"),
        (f"echo {PASSWORD}", "gave no answer that can be read"),
        ("echo '[]'", "gave no answer that can be read"),
        ('echo \'{"Username": 1, "Secret": 2}\'', "gave no answer that can be read"),
        ("yes", "gave too long an answer"),
    ],
)
def test_helper_failing_is_told(
    configured: Configured, add_helper: Callable[[str, str], Path], script: str, why: str
) -> None:
    """It is run once, and not for each image again; a login in `auths` takes its place."""
    asked = add_helper("broken", script)
    credentials = configured({"credsStore": "broken", "auths": {"b.example.com": auth()}})
    for _ in range(2):
        assert failure_of(credentials).what == f"the credential helper docker-credential-broken {why}"
    assert len(asked.read_text().splitlines()) == 1
    assert credentials.of("b.example.com") == LOGIN


@pytest.mark.parametrize("name", ["absent", "../bin/there", "/bin/there", "", "a b", "desktop.exe"])
def test_helper_absent_is_told(configured: Configured, add_helper: Callable[[str, str], Path], name: str) -> None:
    add_helper("there", knowing())
    credentials = configured({"credHelpers": {HOST: name or "-"}})
    assert failure_of(credentials).what.endswith("is not installed")


def test_helper_that_hangs_is_ended(add_helper: Callable[[str, str], Path], bin_folder: Path) -> None:
    """With what it started, which holds its output open."""
    pid = bin_folder / "pid"
    add_helper("hanging", f"sleep 60 & echo $! > {pid}; wait")
    helper, environ = CredentialHelper("hanging", HOST), {"PATH": f"{bin_folder}:/usr/bin:/bin"}
    before = time.monotonic()
    with pytest.raises(CredentialsUnusable, match="gave no answer within 2 s"):
        helper.login(environ, 2)
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    with suppress(OSError):  # it is gone
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() - before < 30, "what the helper started is left behind"
            time.sleep(0.01)


def test_helper_that_leaves_a_program_behind_is_not_waited_for(
    add_helper: Callable[[str, str], Path], bin_folder: Path
) -> None:
    """As gpg's agent, which holds the output open."""
    pid = bin_folder / "pid"
    add_helper("leaving", f"setsid sh -c 'echo $$ > {pid}; exec sleep 60' &\n{knowing()}")
    before = time.monotonic()
    try:
        found = CredentialHelper("leaving", HOST).login({"PATH": f"{bin_folder}:/usr/bin:/bin"}, 20)
        assert (found, time.monotonic() - before < 10) == (LOGIN, True)
    finally:
        while not pid.exists() or not pid.read_text():
            assert time.monotonic() - before < 60
            time.sleep(0.01)
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_helper_that_does_not_end_is_ended(add_helper: Callable[[str, str], Path], bin_folder: Path) -> None:
    add_helper("endless", "exec >&-; sleep 60")
    before = time.monotonic()
    with pytest.raises(CredentialsUnusable, match="gave no answer within 1 s"):
        CredentialHelper("endless", HOST).login({"PATH": f"{bin_folder}:/usr/bin:/bin"}, 1)
    assert time.monotonic() - before < 30


def test_child_waits_for_no_helper_of_its_parent(
    configured: Configured, add_helper: Callable[[str, str], Path], bin_folder: Path
) -> None:
    """It asks one itself."""
    first, end = bin_folder / "first", bin_folder / "end"
    add_helper("slow", f"mkdir {first} && while [ ! -e {end} ]; do sleep 0.05; done; {knowing()}")
    credentials = configured({"credsStore": "slow"})
    thread = threading.Thread(target=credentials.of, args=(HOST,))
    thread.start()
    before = time.monotonic()
    while not first.exists():
        assert time.monotonic() - before < 30
        time.sleep(0.01)
    is_found = succeeds_in_child(lambda: credentials.of(HOST), 5)
    end.touch()
    thread.join()
    assert is_found


def test_helper_is_asked_once_by_many_threads(configured: Configured, add_helper: Callable[[str, str], Path]) -> None:
    asked = add_helper("slow", f"sleep 0.2; {knowing()}")
    credentials = configured({"credsStore": "slow"})
    found: list[AnyLogin | None] = []
    threads = [threading.Thread(target=lambda: found.append(credentials.of(HOST))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [LOGIN] * 8
    assert len(asked.read_text().splitlines()) == 1


# What stands for a login


def test_identity_tells_logins_apart(configured: Configured, add_helper: Callable[[str, str], Path]) -> None:
    """And nothing else: it is the same for the same login, and no helper runs for it."""
    asked = add_helper("store", knowing())
    made = [
        {"auths": {HOST: auth()}},
        {"auths": {HOST: auth("other")}},
        {"auths": {HOST: {"identitytoken": PASSWORD}}},
        {"auths": {HOST: {"registrytoken": PASSWORD}}},
        {"credsStore": "store"},
        {"credHelpers": {HOST: "other"}},
        "no JSON",
        {},
    ]
    found = [configured(config).identity(HOST) for config in made]
    assert len(set(found)) == len(made)
    assert found == [configured(config).identity(HOST) for config in made]
    assert found[-1] == "none"
    assert not asked.exists()
    settings = {HOST: RegistryLogin("robot", password_env="PW")}
    of_settings = [configured(settings=settings, PW=password).identity(HOST) for password in (PASSWORD, "other", "")]
    assert len(set(of_settings)) == 3
    assert configured({}, settings=settings, PW=PASSWORD).identity("b.example.com") == "none"


def test_identity_cannot_be_guessed_without_the_key(tmp_path: Path) -> None:
    """None is needed where there is no login, nor made."""

    def identity(host: str, key: bytes | None) -> str:
        def asked() -> bytes | None:
            assert host == HOST
            return key

        settings = {HOST: RegistryLogin("robot", password_env="PW")}
        environ = {"PW": PASSWORD, "HOME": str(tmp_path)}
        return Credentials(settings, environ=environ, key=asked).identity(host)

    found = [identity(HOST, key) for key in (b"one", b"two", None)]
    assert len(set(found)) == 3
    assert found == [identity(HOST, key) for key in (b"one", b"two", None)]
    assert identity("b.example.com", b"one") == "none"


def test_identity_without_a_key_is_that_of_the_process() -> None:
    program = (
        "from flowyml_policy.network.credentials import Credentials, RegistryLogin\n"
        f"credentials = Credentials({{{HOST!r}: RegistryLogin('robot', password_env='PW')}}, environ={{'PW': 'pw'}})\n"
        f"print(credentials.identity({HOST!r}))\n"
    )
    found = {subprocess.check_output([sys.executable, "-c", program]) for _ in range(2)}
    assert len(found) == 2
