"""OPA as a server, asked through opa-python-client. The only module that knows of that client.

Rules:
- Whom it asks, and by which token, is what it was made with: `.netrc`, proxies and certificates of the environment
  change nothing, and no redirect is followed. That is checked of the client when it starts.
- A question goes out once. Whatever comes of it, it is over for the caller when the deadline is.
- What goes out is the document byte for byte as it is recorded, and what comes back is read up to a bound: so the
  client's session is used, and not its `query_rule`, which does neither.
- The server is trusted to judge by its policy, and for nothing else: the question is the one that checks the shape
  of its input, and each answer must name the bundles that were active at the start.
- OPA itself activates any bundle that is signed well, an older one too, since it knows no sequence. Where the highest
  ones are known here, nothing is decided by what is lower.
- A forked child has a session and threads of its own.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaDeadlineExceeded,
    OpaError,
    OpaStartFailed,
    OpaUnavailable,
    PolicyRolledBack,
)
from flowyml_policy.opa.access import DEFAULT_PORTS, bearer_token, certificates, server_address
from flowyml_policy.opa.activation import Sequences
from flowyml_policy.opa.calls import BoundedCalls
from flowyml_policy.opa.data_api import DataAnswer, address_of, check_manifests, read_answer, refuse, words_of
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.shipped import DECISION_PATH
from flowyml_policy.records.result import GlobProblem
from flowyml_policy.version import VERSION

if TYPE_CHECKING:
    from opa_client.opa import OpaClient
    from requests import Response, Session

    from flowyml_policy.records.protocols import SequenceStore

LARGEST_ANSWER: Final = 16 * 2**20
"""Bytes of an answer: more than any decision."""

MOST_AT_ONCE: Final = 10
"""Calls at once: as many connections as the client's session keeps."""

INSTALL: Final = "pip install 'flowyml-policy[sidecar]'"
BUNDLES_PATH: Final = "system/bundles"
GLOBS_PATH: Final = "flowyml/main/unreadable_globs"

_STRICT: Final = "&strict-builtin-errors=true"
_AT_ONCE: Final = 2**16
_PAUSE: Final = 0.1
"""Seconds between two looks at a server that is not ready."""

_OK: Final = 200
_SERVERS_FAULT: Final = 500
"""What OPA answers about its health until each bundle was activated once; above it, what stands before it answers."""

_MOST_KNOWN: Final = 64
_GLOB_REASON: Final = "syntax error: glob.match of the server refuses it"
_UNREACHED_ADVICE: Final = "start the server, or correct policy.opa.sidecar.url; `flowyml-policy doctor` asks it"
_UNTRUSTED_ADVICE: Final = "name its CA certificates in policy.opa.sidecar.ca, or correct policy.opa.sidecar.url"


class SidecarEvaluator(OpaEvaluator):
    """Judges by the OPA server at `url`, a scheme, a host and a port.

    `token_env` names the variable of `environ` with its bearer token, `ca` a PEM file of the certificates to trust in
    place of those that the client brings. The server is waited for until `start_timeout`; each question, whatever it
    waits for, takes at most `deadline`, both in seconds. Each bundle of `require_revision` must be at its revision.
    `sequences` says that the server takes signed bundles alone, which is for the server to keep: here it raises the
    version that the server must have, and no bundle may have a lower sequence than was seen.

    Raises OpaError where there is no server that can judge.
    """

    name = "sidecar"

    def __init__(
        self,
        url: str,
        *,
        token_env: str | None = None,
        ca: Path | None = None,
        start_timeout: float = 10.0,
        deadline: float = 2.0,
        require_revision: Mapping[str, str] | None = None,
        sequences: SequenceStore | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.url = server_address(url)
        self._ca = certificates(ca, self.url)
        self._token = bearer_token(token_env, os.environ if environ is None else environ)
        self._deadline = deadline
        self._sequences = sequences
        self._connected: _Connection | None = None
        self._known: set[frozenset[tuple[str, str]]] = set()
        try:
            self._connection()  # before time begins: to load the client takes a third of a second
            about = self._await_ready(start_timeout)
        except BaseException:
            self._close()
            raise
        super().__init__(bundles=about.bundles, version=about.version, require_revision=require_revision)

    def _query(self, path: str | None, document: bytes) -> bytes:
        answer = self._answer(DECISION_PATH if path is None else path, document)
        return json.dumps(answer._asdict()).encode()

    def _check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        question = json.dumps({"globs": list(patterns)}).encode()
        # Not strict: a pattern that cannot be read is then undefined, which is what is asked for.
        refused = self._answer(GLOBS_PATH, question, strict=False).result
        if not isinstance(refused, list) or not all(isinstance(pattern, str) for pattern in refused):
            raise OpaAnswerInvalid(f"data.{GLOBS_PATH.replace('/', '.')} is no set of patterns")
        return tuple(GlobProblem(pattern=one, reason=_GLOB_REASON) for one in patterns if one in refused)

    def _close(self) -> None:
        if self._connected is not None and self._connected.is_ours:
            self._connected.close()

    def _answer(self, path: str, document: bytes, *, strict: bool = True) -> DataAnswer:
        """The answer by bundles that are fit for this program: these are looked at once a revision."""
        until = monotonic() + self._deadline
        while True:
            answer = self._ask(path, document, until, strict=strict)
            revisions = frozenset(answer.bundles.items())
            if revisions in self._known:
                return answer
            if frozenset(self._look(until).bundles.items()) == revisions:
                return answer
            # other bundles were activated between the two: asked again, so that the answer is theirs

    def _look(self, until: float, late: str | None = None) -> DataAnswer:
        """Look at the bundles that are active.

        Raises OpaError for those that are written for another input, or have a lower sequence than was seen.
        """
        about = self._ask(BUNDLES_PATH, b"{}", until, late=late)
        try:
            self._accept(about)
        except PolicyRolledBack:
            about = self._ask(BUNDLES_PATH, b"{}", until, late=late)  # newer ones may have come since, seen by others
            self._accept(about)
        return about

    def _accept(self, about: DataAnswer) -> None:
        metadata = check_manifests(about.result)
        with _lock:
            if self._sequences is not None:
                origins = {name: f"sidecar {self.url} {name}" for name in metadata}
                seen = Sequences(self._sequences, required=True)
                try:
                    seen.keep({"origins": origins, "metadata": metadata, "bundles": about.bundles})
                except PolicyRolledBack as error:
                    raise self._told(error) from None
            if self._sequences is not None or len(self._known) >= _MOST_KNOWN:
                self._known.clear()  # a revision that comes back may be an older one
            self._known.add(frozenset(about.bundles.items()))

    def _ask(
        self, path: str, document: bytes, until: float, *, strict: bool = True, late: str | None = None
    ) -> DataAnswer:
        body = b'{"input":' + document + b"}"
        place = f"/v1/data/{address_of(path)}?provenance=true{_STRICT if strict else ''}"
        try:
            status, answer = self._exchange("POST", place, body, until, late)
            return read_answer(path, status, answer, require_signed=self._sequences is not None)
        except _NotReady as problem:
            raise self._told(problem.reason) from problem.__cause__
        except OpaError as error:
            raise self._told(error) from error.__cause__

    def _await_ready(self, timeout: float) -> DataAnswer:
        """Wait until the server has activated all its bundles, and look at them. Raises OpaError."""
        until = monotonic() + timeout
        late = f"the OPA server does not answer within {_shown(timeout)}"
        last: _NotReady | None = None
        while True:
            try:
                self._require_active(until, late)
                break
            except _NotReady as problem:
                if last is None or not problem.is_late:  # that time ran out says less than what was said before
                    last = problem
                if monotonic() + _PAUSE >= until:
                    raise self._told(last.reason) from last.__cause__
                sleep(_PAUSE)
            except OpaError as error:
                raise self._told(error) from error.__cause__
        return self._look(until, late)

    def _require_active(self, until: float, late: str) -> None:
        status, body = self._exchange("GET", "/health?bundles", b"", until, late)
        if status >= _SERVERS_FAULT:
            raise _NotReady(
                OpaStartFailed(
                    f"the OPA server has not activated all its bundles (HTTP {status}){words_of(body)}",
                    advice="look at the server's own log, which says why",
                )
            )
        if status != _OK:
            refuse(status, body)

    def _exchange(self, method: str, place: str, body: bytes, until: float, late: str | None) -> tuple[int, bytes]:
        connection = self._connection()
        left = until - monotonic()
        try:
            return connection.calls.run(lambda: connection.exchange(method, place, body, left), left)
        except TimeoutError as error:
            if late is not None:
                raise _NotReady(OpaUnavailable(late, advice=_UNREACHED_ADVICE)) from error
            raise OpaDeadlineExceeded(
                f"no decision within {_shown(self._deadline)}",
                advice="raise policy.opa.deadline, or look at what keeps the server",
            ) from error

    def _connection(self) -> _Connection:
        """What speaks to the server in this process."""
        with _lock:
            if self._connected is None or not self._connected.is_ours:
                self._connected = _Connection(self.url, self._ca, self._token)
            return self._connected

    def _told(self, error: OpaError) -> OpaError:
        """`error` with the server that it is about, and without the token, whatever the server repeats of it.

        It goes on in place of `error`, never as its consequence: a traceback shows every message of a chain.
        """
        message = f"{error.message}: {self.url}"
        if self._token:
            message = message.replace(self._token, "(not shown)")
        return type(error)(message, advice=error.advice)


class _NotReady(Exception):
    """There is no answer, and there may be one in a moment; `reason` is what to say if there is none."""

    def __init__(self, reason: OpaError) -> None:
        self.reason = reason
        super().__init__(str(reason))

    @property
    def is_late(self) -> bool:
        """Whether nothing is known but that time ran out."""
        return isinstance(self.__cause__, TimeoutError)


class _Connection:
    """The client's session in one process, and the threads on which it is used."""

    def __init__(self, url: str, ca: Path | None, token: str | None) -> None:
        self._process = os.getpid()
        self._url = url
        self._client = _client(url, ca, token)
        self._session = _own_session(self._client, url, ca, token)
        self.calls = BoundedCalls(MOST_AT_ONCE, name="flowyml-policy-sidecar")

    @property
    def is_ours(self) -> bool:
        """Whether it was made in this process, and not in one that was forked since."""
        return self._process == os.getpid()

    def exchange(self, method: str, place: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        """Status and body of what the server answers. Raises TimeoutError, _NotReady, OpaError."""
        from requests import exceptions

        until = monotonic() + seconds
        try:
            with self._session.request(
                method, self._url + place, data=body, timeout=seconds, allow_redirects=False, stream=True
            ) as response:
                return response.status_code, _bounded(response, until)
        except TimeoutError:
            raise
        except exceptions.SSLError as error:
            raise OpaUnavailable(f"the OPA server is not trusted: {_cause(error)}", advice=_UNTRUSTED_ADVICE) from error
        except exceptions.ChunkedEncodingError as error:
            raise OpaAnswerInvalid("the OPA server's answer ends before its end") from error
        except exceptions.RequestException as error:
            if monotonic() >= until or isinstance(error, exceptions.Timeout):
                raise TimeoutError from error
            reason = f"the OPA server cannot be reached: {_cause(error)}"
            raise _NotReady(OpaUnavailable(reason, advice=_UNREACHED_ADVICE)) from error
        except (OSError, ValueError) as error:  # certificates that were taken away, a host that is no name
            raise OpaUnavailable(f"the OPA server cannot be asked: {error}", advice=_UNREACHED_ADVICE) from error

    def close(self) -> None:
        self.calls.close()
        self._session.close()


def _client(url: str, ca: Path | None, token: str | None) -> OpaClient:
    try:
        from opa_client.opa import OpaClient
    except ImportError as error:
        raise OpaUnavailable(
            "policy.opa.mode: sidecar needs opa-python-client, which is not installed", advice=INSTALL
        ) from error
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    client: OpaClient = OpaClient(  # type: ignore[no-untyped-call]
        host=host,
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        ssl=False if parts.scheme == "http" else str(ca or "") or True,
        token=token,
        retries=0,
    )
    return client


def _own_session(client: OpaClient, url: str, ca: Path | None, token: str | None) -> Session:
    """The session of `client`, on its own. Raises OpaUnavailable for a client that keeps another than is known."""
    from requests import Session

    session = getattr(client, "_session", None)
    expected = f"Bearer {token}" if token else None
    if (
        not isinstance(session, Session)
        or session.headers.get("Authorization") != expected
        or (url.startswith("https:") and session.verify != (str(ca) if ca else True))
        or any(_repetitions(adapter) != 0 for adapter in session.adapters.values())
    ):
        raise OpaUnavailable(
            f"opa-python-client {_installed()} keeps its session otherwise than 3.0 does, so that the environment could"
            " change whom it asks",
            advice=INSTALL,
        )
    session.trust_env = False
    session.proxies = {}
    session.headers["User-Agent"] = f"flowyml-policy/{VERSION}"
    session.headers["Content-Type"] = "application/json"
    session.headers["Accept-Encoding"] = "identity"  # a decision is short, and a bomb is not
    return session


def _repetitions(adapter: object) -> object:
    return getattr(getattr(adapter, "max_retries", None), "total", None)


def _installed() -> str:
    try:
        return version("opa-python-client")
    except PackageNotFoundError:
        return "of an unknown version"


def _bounded(response: Response, until: float) -> bytes:
    """The whole body, at most LARGEST_ANSWER bytes, before the instant `until`. Raises OpaAnswerInvalid."""
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(_AT_ONCE):
        size += len(part)
        if size > LARGEST_ANSWER:
            raise OpaAnswerInvalid(f"the OPA server's answer is longer than {LARGEST_ANSWER // 2**20} MiB")
        if monotonic() >= until:  # nobody waits for it any more
            raise TimeoutError
        parts.append(part)
    return b"".join(parts)


def _cause(error: BaseException) -> str:
    """The innermost reason of an error of the client, in the system's words where it has some."""
    seen: BaseException | None = error
    reason = type(error).__name__
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            reason = seen.strerror
        elif isinstance(seen, ssl.SSLError):
            reason = seen.reason or reason
        seen = seen.__cause__ or seen.__context__
    return reason


def _shown(seconds: float) -> str:
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


_lock = threading.Lock()
"""Held while a connection is made, and while it is kept what the bundles are."""


def _renew_lock() -> None:
    global _lock  # one that another thread holds at the fork is held for ever in the child
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
