"""Why a server gave no answer that counts. Each caller makes its own errors of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from flowyml_policy.network.deadline import Deadline

FailureReason: TypeAlias = Literal[
    "offline",  # this program was told to ask no server
    "late",  # the time of the whole call is over
    "silent",  # the server said nothing for too long
    "unreachable",
    "untrusted",  # its certificate
    "certificates",  # ours cannot be read: the CA's, or the client's
    "proxy",
    "cut_off",
    "not_tls",
    "not_http",
    "too_large",
    "encoded",
    "redirect",  # too many, or one that leads nowhere
    "scheme",  # a redirect to another one
    "plain_token",  # credentials would go over a network in clear
]


_OTHER_NAME: Final = "name the server as its certificate does, or have a certificate made for this name"
_ADVICE_BY_CODE: Final = {  # OpenSSL's x509_vfy.h; of a chain that ends nowhere the caller knows where to name the CA
    9: "set this machine's clock, or wait until the certificate holds",
    10: "have the server's certificate renewed, or set this machine's clock",
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}


_NO_TLS: Final = "WRONG_VERSION_NUMBER"
"""OpenSSL's word for an answer that is no TLS, such as one of plain http."""


class HttpFailure(Exception):
    """There is no answer that counts, for `reason`.

    `what` says so without the address, and holds no credentials. `advice` is None where it depends on who asks.
    """

    def __init__(self, reason: FailureReason, what: str, advice: str | None = None) -> None:
        super().__init__(what)
        self.reason: FailureReason = reason
        self.what = what
        self.advice = advice

    def advice_for(self, own: Mapping[FailureReason, str]) -> str | None:
        """What to do: the caller's own words for the reason, but where the certificate itself says what is wrong."""
        return self.advice if self.reason == "untrusted" and self.advice else own.get(self.reason, self.advice)


def late(deadline: Deadline) -> HttpFailure:
    """The failure for a time that is over, which may be a share of another one."""
    return HttpFailure("late", f"no complete answer within {float(f'{deadline.seconds:.3g}'):g} s")


def failure_of(error: Exception) -> HttpFailure:
    """What an exception from below means: the innermost one knows it."""
    import ssl
    from http.client import HTTPException, IncompleteRead, RemoteDisconnected

    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = f"the server's certificate is not trusted ({cause.verify_message})"
        return HttpFailure("untrusted", what, _ADVICE_BY_CODE.get(cause.verify_code))
    if isinstance(cause, ssl.SSLError) and cause.reason == _NO_TLS:
        return HttpFailure("not_tls", "the server does not speak TLS")
    if isinstance(cause, TimeoutError):
        return HttpFailure("silent", "the server does not answer")
    if isinstance(cause, IncompleteRead | RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return HttpFailure("cut_off", "the answer was cut off", "try again")
    if isinstance(cause, HTTPException):
        return HttpFailure("not_http", f"the server does not speak HTTP ({type(cause).__name__})")
    return HttpFailure("unreachable", f"the server cannot be reached ({_named(cause)})")


def proxy_failure_of(error: Exception) -> HttpFailure:
    """The same of what the proxy of the environment did."""
    what = f"the proxy does not lead to the server ({_named(_innermost(error))})"
    return HttpFailure("proxy", what, "correct HTTPS_PROXY, or name the host in NO_PROXY")


def _innermost(error: BaseException) -> BaseException:
    inner = [one for one in (error.__cause__, *error.args) if isinstance(one, BaseException)]
    return _innermost(inner[0]) if inner else error


def _named(error: BaseException) -> str:
    """An error in a few words. What a library or a server says at length may hold an address."""
    import ssl

    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return type(error).__name__
    return error.strerror or type(error).__name__
