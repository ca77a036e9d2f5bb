"""The server's certificate: read when it starts, and again when its files change."""

from __future__ import annotations

import ssl
from pathlib import Path

from flowyml_policy.errors.server import ServerNotStarted
from flowyml_policy.server.configuration import Configuration, TlsSettings


def make_context(configuration: Configuration, tls: TlsSettings) -> ssl.SSLContext:
    """The server's side of TLS. Raises ServerNotStarted."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _load(context, configuration, tls)
        if tls.client_ca is not None:
            context.load_verify_locations(configuration.place(tls.client_ca))
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # ssl.SSLError among them
        raise ServerNotStarted(
            f"the server's certificate cannot be used: {configuration.place(tls.certificate)}: {error}",
            advice="name readable PEM files that belong together in `tls` of the server's settings",
        ) from error
    return context


class CertificateFile:
    """Puts a certificate that changed into the context that is in use; new connections then show it."""

    def __init__(self, configuration: Configuration, tls: TlsSettings, context: ssl.SSLContext) -> None:
        self._configuration = configuration
        self._tls = tls
        self._context = context
        self._seen = self._look()

    def reload(self) -> None:
        """Load it, if its files are others than before. Raises ssl.SSLError, OSError."""
        found = self._look()
        if found != self._seen:
            # On trial first: a context that fails halfway would have a certificate without its key.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._configuration, self._tls)
            _load(self._context, self._configuration, self._tls)
            self._seen = found

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._tls.certificate, self._tls.key)
        return tuple(_state(self._configuration.place(name)) for name in files)


def _load(context: ssl.SSLContext, configuration: Configuration, tls: TlsSettings) -> None:
    context.load_cert_chain(configuration.place(tls.certificate), configuration.place(tls.key), password=_no_password)


def _no_password() -> str:
    """Keep OpenSSL from asking the terminal for one."""
    raise ValueError("the private key has a password, which the server is not told")


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
