"""Daemons that are down, slow or broken, what is no daemon, and an environment that must play no part."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from flowyml_policy.errors.images import DaemonUnavailable, ImageError, ImageInvalid, ImageTooLarge
from flowyml_policy.images.daemon import DaemonInspector
from tests.recorded_daemon import INDEX, NAME, Handler, RecordedDaemon, image, recorded


def of_images(answer: Callable[[Handler], object]) -> Callable[[Handler], bool]:
    """Misbehave where an image is asked for."""

    def misbehave(handler: Handler) -> bool:
        if handler.path == "/version":
            return False
        answer(handler)
        return True

    return misbehave


def starting(handler: Handler) -> bool:
    handler.reply(500, {"message": "starting"})
    return True


def hang(handler: Handler) -> None:
    handler.server.ended.wait(20)


def drip(handler: Handler) -> None:
    """One byte at a time, so that no single wait lasts long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not handler.server.ended.wait(0.05):
        handler.wfile.write(b" ")


def cut_off(handler: Handler) -> None:
    handler.reply(200, json.dumps(image()).encode()[:-20], Content_Length="5000")
    handler.close_connection = True


def cut_chunk(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'10\r\n{"Id": "sha')
    handler.close_connection = True


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01SSH-2.0-OpenSSH\r\n\r\n")
    handler.close_connection = True


def large(handler: Handler) -> None:
    handler.reply(200, b"[" + b" " * (5 << 20) + b"]")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(
            lambda h: h.reply(500, {"message": "disk is full"}), DaemonUnavailable, "500: disk is full", id="500"
        ),
        pytest.param(lambda h: h.reply(503, b"busy"), DaemonUnavailable, "503: busy", id="503, no JSON"),
        pytest.param(lambda h: h.reply(400, []), DaemonUnavailable, "cannot be read|400", id="400, other JSON"),
        pytest.param(lambda h: h.reply(200, b'{"Id": '), DaemonUnavailable, "cannot be read", id="truncated JSON"),
        pytest.param(lambda h: h.reply(200, b"<html>"), DaemonUnavailable, "cannot be read", id="HTML"),
        pytest.param(lambda h: h.reply(200, b""), DaemonUnavailable, "cannot be read", id="empty"),
        pytest.param(lambda h: h.reply(200, b"[" * 100_000), DaemonUnavailable, "RecursionError", id="deep"),
        pytest.param(lambda h: h.reply(200, []), ImageInvalid, "no JSON object", id="a list"),
        pytest.param(
            lambda h: h.reply(302, b"", Location="http://127.0.0.1:9/x"), DaemonUnavailable, "Redirects", id="redirect"
        ),
        pytest.param(cut_off, DaemonUnavailable, "cut off", id="cut off"),
        pytest.param(cut_chunk, DaemonUnavailable, "cut off", id="cut off in a chunk"),
        pytest.param(garbage, DaemonUnavailable, "does not speak HTTP", id="garbage"),
        pytest.param(large, ImageTooLarge, "larger than", id="large"),
        pytest.param(hang, DaemonUnavailable, "within 0.5 s", id="hangs"),
        pytest.param(drip, DaemonUnavailable, "within 0.5 s", id="drips"),
    ],
)
def test_daemon_that_misbehaves_fails_closed(
    daemon: RecordedDaemon,
    tmp_path: Path,
    answer: Callable[[Handler], object],
    kind: type[ImageError],
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    daemon.misbehave = of_images(answer)
    inspector = DaemonInspector(
        environ={"DOCKER_HOST": daemon.url, "HOME": str(tmp_path)}, timeout=0.5 if answer in (hang, drip) else 5
    )
    began = time.monotonic()
    with pytest.raises(kind, match=words):
        inspector.inspect(NAME)
    assert time.monotonic() - began < 4
    inspector.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "said", [[], {}, {"ApiVersion": 1.55}, {"ApiVersion": "1.55/../x"}, {"ApiVersion": "new"}, None]
)
def test_what_is_no_daemon_fails_closed(daemon: RecordedDaemon, inspector: DaemonInspector, said: object) -> None:
    daemon.version = said
    with pytest.raises(DaemonUnavailable, match="is no container daemon"):
        inspector.inspect(NAME)


def test_daemon_too_old_for_the_sdk_fails_closed(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    daemon.version["ApiVersion"] = "1.12"
    with pytest.raises(DaemonUnavailable, match=r"below 1\.24"):
        inspector.inspect(NAME)


@pytest.mark.parametrize("made", [True, False])
def test_nobody_at_the_socket_fails_closed(socket_folder: Path, made: bool) -> None:
    place = socket_folder / "s"
    if made:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    inspector = DaemonInspector(environ={"DOCKER_HOST": f"unix://{place}"})
    with pytest.raises(DaemonUnavailable, match="refused" if made else "No such file") as caught:
        inspector.inspect(NAME)
    assert "DOCKER_HOST" in caught.value.advice


def test_daemon_that_comes_back_is_asked_again(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    daemon.misbehave = starting
    with pytest.raises(DaemonUnavailable):
        inspector.inspect(NAME)
    daemon.misbehave = None
    assert inspector.inspect(NAME).digest == INDEX


def test_proxies_logins_and_ca_of_the_environment_play_no_part(
    daemon: RecordedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the socket, and not for tcp, where requests would take them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n", "utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    with recorded(("127.0.0.1", 0)) as distant:
        for one in (daemon, distant):
            one.images[NAME] = image()
            inspector = DaemonInspector(environ={"DOCKER_HOST": one.url})
            assert inspector.inspect(NAME).endpoint == one.url
            inspector.close()
            assert not any("Authorization" in headers for _, headers in one.requests)


@pytest.mark.parametrize("client", [True, False])
def test_tls_daemon_is_believed_by_its_ca(tmp_path: Path, client: bool) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    (tmp_path / "mine").mkdir()
    (tmp_path / "theirs").mkdir()
    for name, issuer in (("mine", authority), ("theirs", trustme.CA())):
        issuer.cert_pem.write_to_path(str(tmp_path / name / "ca.pem"))
        issued = issuer.issue_cert("client.example.com")
        issued.private_key_pem.write_to_path(str(tmp_path / name / "key.pem"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / name / "cert.pem"))
    with recorded(("127.0.0.1", 0), context) as distant:
        distant.images[NAME] = image()
        environ = {"DOCKER_HOST": distant.url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path / "mine")}
        inspector = DaemonInspector(environ=environ, timeout=5)
        assert inspector.inspect(NAME).digest == INDEX
        inspector.close()
        stranger = DaemonInspector(environ=environ | {"DOCKER_CERT_PATH": str(tmp_path / "theirs")}, timeout=5)
        with pytest.raises(DaemonUnavailable, match="certificate is not trusted"):
            stranger.inspect(NAME)


def test_tls_without_its_files_fails_closed(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(DaemonUnavailable, match="certificate"):
        DaemonInspector(environ=environ).inspect(NAME)


@pytest.mark.parametrize("configuration", ["[]", "no JSON", '{"auths": 7}', '{"HttpHeaders": []}', '"text"'])
def test_strange_configuration_beside_docker_host(
    daemon: RecordedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configuration: str
) -> None:
    """The SDK reads it for headers and logins: it may do without, or fail, but only in our words."""
    (tmp_path / "config.json").write_text(configuration, "utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    daemon.images[NAME] = image()
    inspector = DaemonInspector(environ={"DOCKER_HOST": daemon.url})
    problem = ""
    try:
        inspector.inspect(NAME)
    except DaemonUnavailable as error:
        problem = error.message
    inspector.close()
    assert not problem or daemon.url in problem


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_child_of_a_fork_opens_its_own_connections(daemon: RecordedDaemon, inspector: DaemonInspector) -> None:
    inspector.inspect(NAME)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = int(inspector.inspect(NAME).digest != INDEX)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert inspector.inspect(NAME).digest == INDEX
    assert [path for path, _ in daemon.requests].count("/version") == 2


def test_socket_that_may_not_be_used_says_so(socket_folder: Path) -> None:
    """As another user, whom the socket's mode keeps out."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with recorded(socket_folder / "s") as daemon:
        program = (
            "import os, sys\n"
            "from flowyml_policy.images.daemon import DaemonInspector\n"
            "os.setuid(65534)\n"
            f"DaemonInspector(environ={{'DOCKER_HOST': {daemon.url!r}, 'HOME': '/'}}).inspect({NAME!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "DaemonUnavailable" in done.stderr
    assert "Permission denied" in done.stderr
