"""The server's certificate: shown, read again without a restart, and told of where it cannot be used."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme
from cryptography.x509 import load_pem_x509_certificate

from tests.unit.server.test_connections import GET, UNSIGNED, Started, received, started


def certificate(folder: Path, authority: trustme.CA) -> int:
    """A new certificate in the folder; its serial number."""
    leaf = authority.issue_cert("127.0.0.1")
    for name, blobs in (("server.key", [leaf.private_key_pem]), ("server.pem", leaf.cert_chain_pems)):
        unfinished = folder / f"{name}.new"
        unfinished.write_bytes(b"".join(blob.bytes() for blob in blobs))
        unfinished.replace(folder / name)
    return load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number


def shown(server: Started, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that the server shows."""
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(GET + b"\r\n")
        assert received(connection).startswith(b"HTTP/1.1 200 ")
        found = connection.getpeercert()
    assert found is not None
    return int(str(found["serialNumber"]), 16)


def test_certificate_is_read_again_without_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    first = certificate(tmp_path, authority)
    with started(tmp_path, UNSIGNED + "tls: {certificate: server.pem, key: server.key}\n") as server:
        assert shown(server, context) == first
        (tmp_path / "server.key").write_text("broken")
        time.sleep(1.5)
        assert shown(server, context) == first
        second = certificate(tmp_path, authority)
        deadline = time.monotonic() + 10
        while shown(server, context) != second:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert any("certificate" in line for line in (tmp_path / "log").read_text().splitlines())


def test_client_without_a_certificate_is_refused_where_one_is_wanted(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate(tmp_path, authority)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = UNSIGNED + "tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}\n"
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with started(tmp_path, settings) as server:
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            shown(server, context)
        authority.issue_cert("client").configure_cert(context)
        assert shown(server, context)


def test_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    certificate(tmp_path, trustme.CA())
    (tmp_path / "server.key").write_text("broken")
    settings = UNSIGNED + "tls: {certificate: server.pem, key: server.key}\n"
    (tmp_path / "server.yaml").write_text("listen: 127.0.0.1:0\n" + settings)
    command = [sys.executable, "-m", "flowyml_policy", "server", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: the server's certificate cannot be used" in done.stderr
